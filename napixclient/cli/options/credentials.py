"""Flags that say who asks: credentials, TLS and proxies."""

from __future__ import annotations

from .flag import Flag, not_empty
from .kinds import FILE

__all__ = ['CREDENTIALS']

CREDENTIALS = [
    Flag(
        '--login',
        topic='credentials',
        metavar='NAME',
        callback=not_empty,
        help='Sign the requests in this name; needs the key. NAPIX_LOGIN in the environment.',
    ),
    Flag(
        '--key',
        topic='credentials',
        metavar='@FILE',
        callback=not_empty,
        help='The key of the login, in a file. NAPIX_KEY in the environment is the key itself, or @FILE.',
    ),
    Flag(
        '--token',
        topic='credentials',
        metavar='@FILE',
        callback=not_empty,
        help='Add the token in this file to the query: ?token=... NAPIX_TOKEN in the environment is the token, or '
        '@FILE. (--bearer sends one in a header field.)',
    ),
    Flag(
        '--bearer',
        topic='credentials',
        metavar='@FILE',
        callback=not_empty,
        help='Send the token in this file as Authorization: Bearer.',
    ),
    Flag(
        '--auth',
        topic='credentials',
        metavar='@FILE',
        callback=not_empty,
        help='Send the NAME:PASSWORD in this file as Authorization: Basic.',
    ),
    Flag(
        '--digest',
        topic='credentials',
        metavar='@FILE',
        callback=not_empty,
        help='Answer challenges of Digest with the NAME:PASSWORD in this file.',
    ),
    Flag(
        '--netrc',
        topic='credentials',
        help='Send each host the user and the password that ~/.netrc has for it, as Authorization: Basic.',
    ),
    Flag(
        '--profile',
        topic='credentials',
        metavar='NAME',
        callback=not_empty,
        help='Take what is not given from this profile of the configuration. NAPIX_PROFILE in the environment.',
    ),
    Flag(
        '--cacert',
        topic='credentials',
        metavar='FILE',
        type=FILE,
        help="Trust the certificates in this PEM file instead of the system's.",
    ),
    Flag(
        '--cert',
        topic='credentials',
        metavar='FILE',
        type=FILE,
        help='Show servers this certificate: a PEM file with certificate and key.',
    ),
    Flag(
        '--secret',
        topic='credentials',
        metavar='NAME',
        multiple=True,
        help='What header fields, parameters and members of this name hold is a secret too, and shown nowhere.',
    ),
    Flag('-k', '--insecure', topic='credentials', help='Accept any certificate.'),
    Flag(
        '--proxy',
        topic='credentials',
        metavar='URL',
        callback=not_empty,
        help='Go through this proxy: http, https, socks5 or socks5h. HTTPS_PROXY, http_proxy and ALL_PROXY in '
        'the environment.',
    ),
    Flag(
        '--no-proxy',
        topic='credentials',
        metavar='LIST',
        help='Hosts that are reached without it, with commas between; "*" for all. NO_PROXY in the environment.',
    ),
    Flag(
        '--source',
        topic='credentials',
        metavar='ADDRESS',
        callback=not_empty,
        help='Connect from this address of the machine.',
    ),
]
