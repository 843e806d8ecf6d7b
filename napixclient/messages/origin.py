"""Hosts as their callers write them, and the origins that they stand for."""

from __future__ import annotations

import re
from typing import NamedTuple

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

__all__ = ['Origin', 'parse_origin', 'without_userinfo']

_is_plain_host = re.compile(r'([0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?)(?::([0-9]{1,5}))?').fullmatch
_is_host = re.compile(r'[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._~%-]+)?\]').fullmatch
_has_control = re.compile(r'[\x00-\x1f\x7f]').search
_DEFAULT_PORTS = {'http': 80, 'https': 443}
_REMEMBERED = 8192


class Origin(NamedTuple):
    """Scheme, host and port: what a connection leads to (RFC 9110 §4.3.1)."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the ``Host`` field: the port only where it is not the scheme's own (RFC 9110 §7.2)."""
        # A zone is the client's own business: RFC 6874 §4.
        host = f'[{self.host.partition("%")[0]}]' if ':' in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f'{host}:{self.port}'

    def __str__(self) -> str:
        return f'{self.scheme}://{self.authority}'


def parse_origin(host: str) -> Origin:
    """Read ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.

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
    expected = 'expected name, name:port, [ipv6]:port, http://name or https://name:port'
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
        raise ValueError(f'unknown scheme in host {_shown(host)}: http and https are known')
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


def _shown(host: str) -> str:
    return repr(without_userinfo(host))


def without_userinfo(text: str) -> str:
    """What was given as a host or a URL, without the credentials that somebody has put into it."""
    return _userinfo('***@', text)


_userinfo = re.compile(r'[^/@\s]*@').sub
