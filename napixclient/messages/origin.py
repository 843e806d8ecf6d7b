"""Hosts as their callers write them, and the origins that they stand for."""

from __future__ import annotations

import os
import re
import sys
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

__all__ = ['UNIX', 'Origin', 'parse_origin', 'without_userinfo']

_is_plain_host = re.compile(r'([0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?)(?::([0-9]{1,5}))?').fullmatch
_is_host = re.compile(r'[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._~%-]+)?\]').fullmatch
_has_control = re.compile(r'[\x00-\x1f\x7f]').search
_DEFAULT_PORTS = {'http': 80, 'https': 443}
_REMEMBERED = 8192
#: The scheme of what is said in HTTP over a Unix socket; its authority is the path of the socket, percent-encoded.
UNIX = 'http+unix'
#: Bytes of such a path: those of ``sun_path`` but for the NUL behind it (unix(7)).
_LONGEST_PATH = 107 if sys.platform == 'linux' else 103


class Origin(NamedTuple):
    """Scheme, host and port: what a connection leads to (RFC 9110 §4.3.1).

    Of a Unix socket the scheme is ``http+unix``, the host its path, and the port 0.
    """

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the ``Host`` field: the port only where it is not the scheme's own (RFC 9110 §7.2)."""
        if self.scheme == UNIX:  # there is no name for it, and servers want one
            return 'localhost'
        # A zone is the client's own business: RFC 6874 §4.
        host = f'[{self.host.partition("%")[0]}]' if ':' in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f'{host}:{self.port}'

    @property
    def socket_path(self) -> str | None:
        """The path of the Unix socket; ``None`` where it is none."""
        return self.host if self.scheme == UNIX else None

    def __str__(self) -> str:
        if self.scheme == UNIX:
            return f'{UNIX}://{quote_from_bytes(os.fsencode(self.host), safe="")}'
        return f'{self.scheme}://{self.authority}'


def parse_origin(host: str) -> Origin:
    """Read ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.

    A Unix socket is ``unix:///run/x.sock``, as it is written, or ``http+unix://%2Frun%2Fx.sock``, percent-encoded.

    :raises ValueError: for anything else, an unknown scheme, a path, credentials or a port out of range.
    """
    if not isinstance(host, str):
        raise ValueError(f'a host is a text such as "name:8002", not {host!r}')
    origin = _origins.get(host)
    if origin is None:
        if len(_origins) >= _REMEMBERED:
            _origins.clear()
        origin = _origins[host] = _parse_origin(host)
    return origin


_origins: dict[str, Origin] = {}


def _parse_origin(host: str) -> Origin:
    if (match := _is_plain_host(host)) and 0 < int(match[2] or 80) < 65536:
        return Origin('http', match[1].lower(), int(match[2] or 80))
    if (unix := _is_unix(host)) is not None:
        return Origin(UNIX, _path_of(host, unix[1].lower(), unix[2].removesuffix('/')), 0)
    expected = 'expected name, name:port, [ipv6]:port, http://name, https://name:port or unix:///path'
    if not host or _has_control(host) or ' ' in host:
        raise ValueError(f'not a host: {_shown(host)}; {expected}')
    if '/' in host.partition('://')[2 if '://' in host else 0].removesuffix('/') or any(c in host for c in '@?#\\'):
        raise ValueError(f'not a host: {_shown(host)}; {expected}, without credentials, path or query')
    if host.count(':') > 1 and '[' not in host and '://' not in host:
        raise ValueError(f'not a host: {_shown(host)}; an IPv6 address is written in brackets, [::1]:80')
    try:
        url = parse_url(host if '://' in host else f'http://{host}')
    except LocationParseError as exc:
        raise ValueError(f'not a host: {_shown(host)}; {expected}') from exc
    if url.scheme not in _DEFAULT_PORTS:
        raise ValueError(f'unknown scheme in host {_shown(host)}: http, https, unix and http+unix are known')
    if (
        not url.host
        or not _is_host(url.host)
        or host.rstrip('/').endswith(':')
        or url.auth is not None
        or ('%' in host and '[' not in host)
    ):
        raise ValueError(f'not a host: {_shown(host)}; {expected}')
    if url.port == 0:
        raise ValueError(f'port out of range in host {_shown(host)}')
    return Origin(url.scheme, url.host.strip('[]').lower(), url.port or _DEFAULT_PORTS[url.scheme])


_is_unix = re.compile(r'(unix|http\+unix|https\+unix)://(.*)', re.DOTALL | re.IGNORECASE).fullmatch


def _path_of(host: str, scheme: str, text: str) -> str:
    """The path of a Unix socket.

    :param text: what follows the scheme in the host.
    """
    expected = 'expected unix:///run/x.sock or http+unix://%2Frun%2Fx.sock, with an absolute path'
    if scheme == 'https+unix':
        raise ValueError(f'no TLS is spoken over a Unix socket: {_shown(host)}; {expected}')
    path = text
    if scheme == UNIX:
        if any(character in text for character in '/@:?#\\ '):
            raise ValueError(
                f'not a Unix socket: {_shown(host)}; {expected}, without credentials, port, path and query'
            )
        path = os.fsdecode(unquote_to_bytes(text))
    if not path.startswith('/') or _has_control(path):
        raise ValueError(f'not a Unix socket: {_shown(host)}; {expected}')
    try:
        size = len(os.fsencode(path))
    except UnicodeError:
        raise ValueError(f'not a Unix socket: {_shown(host)} cannot be the name of a file') from None
    if size > _LONGEST_PATH:
        raise ValueError(
            f'the path of a Unix socket has at most {_LONGEST_PATH} bytes (unix(7)), not {size}: {_shown(host)}'
        )
    return path


def _shown(host: str) -> str:
    return repr(without_userinfo(host))


def without_userinfo(text: str) -> str:
    """What was given as a host or a URL, without the credentials that somebody has put into it."""
    return _userinfo('***@', text)


_userinfo = re.compile(r'[^/@\s]*@').sub
