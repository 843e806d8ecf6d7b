"""Proxies: what ``proxy=`` and ``no_proxy=`` mean, and which answers are a proxy's own. Without I/O."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote_to_bytes

from ...messages import Headers, Origin, parse_origin

__all__ = ['NoProxy', 'Proxy', 'bracketed', 'is_own', 'proxy_of', 'shows_origin']

_PORTS = {'http': 80, 'https': 443, 'socks5': 1080, 'socks5h': 1080}
_EXPECTED = (
    "proxy is a URL such as 'http://user:password@proxy.example:3128', its scheme one of http, https, "
    'socks5 and socks5h'
)
_names_port = re.compile(r':[0-9]+/?\Z').search
_has_delimiter = re.compile(r'[\x00-\x20\x7f/?#\\]').search
_has_control = re.compile(rb'[\x00-\x1f\x7f]').search


# What the options mean -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy as ``proxy=`` names it. No text about it shows the credentials."""

    scheme: str
    host: str
    port: int
    #: User and password.
    credentials: tuple[bytes, bytes] | None = field(default=None, repr=False)

    @property
    def speaks_socks(self) -> bool:
        """Whether it is not an HTTP proxy."""
        return self.scheme.startswith('socks')

    def forwards(self, origin: Origin) -> bool:
        """Whether it is sent the origin's requests themselves (RFC 9112 §3.2.2), and not asked for a tunnel."""
        return origin.scheme == 'http' and not self.speaks_socks

    @property
    def fields(self) -> Headers:
        """What goes with every request to an HTTP proxy (RFC 9110 §11.7.2, RFC 7617)."""
        if self.credentials is None:
            return Headers()
        return Headers({'Proxy-Authorization': f'Basic {b64encode(b":".join(self.credentials)).decode()}'})

    def __str__(self) -> str:
        return f'{self.scheme}://{bracketed(self.host)}:{self.port}'


def proxy_of(value: object) -> Proxy | None:
    """Read ``proxy=``.

    :raises ValueError: for what is no such URL; it does not repeat the value, in which there may be a password.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f'{_EXPECTED}, not {type(value).__name__}')
    scheme, mark, rest = value.partition('://')
    scheme = scheme.lower()
    if not mark or scheme not in _PORTS:
        raise ValueError(f'{_EXPECTED}; this one has another or none')
    credentials, mark, authority = rest.rpartition('@')
    try:
        origin = parse_origin(f'http://{authority}')
    except ValueError:
        raise ValueError(f'{_EXPECTED}; the host or the port of this one makes no sense') from None
    if scheme.startswith('socks'):
        try:
            import socksio  # noqa: F401
        except ImportError:
            raise ValueError("a SOCKS proxy needs the package socksio: pip install 'napixclient[socks]'") from None
    return Proxy(
        scheme,
        origin.host,
        origin.port if _names_port(authority) else _PORTS[scheme],
        _credentials(scheme, credentials) if mark else None,
    )


def _credentials(scheme: str, text: str) -> tuple[bytes, bytes] | None:
    if _has_delimiter(text):
        raise ValueError('proxy: write spaces and any of / ? # \\ in user and password as %20 and so on')
    user, _, password = text.partition(':')
    credentials = unquote_to_bytes(user), unquote_to_bytes(password)
    if any(_has_control(part) for part in credentials):
        raise ValueError('proxy: control characters such as CR, LF and NUL are not allowed in user and password')
    if scheme.startswith('socks'):
        if not 1 <= len(credentials[0]) <= 255 or len(credentials[1]) > 255:
            raise ValueError('proxy: user and password for SOCKS are of 1 to 255 bytes (RFC 1929)')
    elif b':' in credentials[0]:
        raise ValueError('proxy: a colon is not allowed in the user (RFC 7617)')
    return credentials


class NoProxy:
    """The origins to which ``no_proxy=`` has requests go straight.

    :raises ValueError: for what is none of hosts, suffixes, networks and ``*``, with a port or without.
    """

    def __init__(self, value: object) -> None:
        self._all = False
        self._names: list[tuple[str, int | None]] = []
        self._networks: list[tuple[IPv4Network | IPv6Network, int | None]] = []
        entries: Iterable[object] = ()
        if isinstance(value, str):
            entries = [entry for entry in map(str.strip, value.split(',')) if entry]
        elif isinstance(value, (list, tuple, set, frozenset)):
            entries = value
        elif value is not None:
            raise ValueError(f'no_proxy is a list or a comma-separated text, not {value!r}')
        for entry in entries:
            if entry == '*':
                self._all = True
            elif not isinstance(entry, str) or not self._add(entry.strip()):
                raise ValueError(
                    "no_proxy: expected hosts, suffixes such as '.example.com', networks such as "
                    f"'10.0.0.0/8', '*', or 'host:port'; not {entry!r}"
                )

    def _add(self, entry: str) -> bool:
        """Take an entry; false when it is none."""
        network, port = _network(entry), None
        if network is None and (found := _has_port(entry)):
            entry, port = found[1], int(found[2])
            network = None if '/' in entry else _network(entry)
        if port is not None and not 0 < port < 65536:
            return False
        if network is not None:
            self._networks.append((network, port))
            return True
        if _is_name(entry):
            self._names.append((entry.lstrip('*').strip('.').lower(), port))
            return True
        return False

    def covers(self, origin: Origin) -> bool:
        """Whether requests to the origin go straight to it. Networks are for literals: no name is looked up."""
        if self._all:
            return True
        host, address = origin.host.rstrip('.'), _address(origin.host)
        if address is None:
            return any(
                (host == name or host.endswith(f'.{name}')) and port in (None, origin.port)
                for name, port in self._names
            )
        return any(address in network and port in (None, origin.port) for network, port in self._networks)


_has_port = re.compile(r'(.+):([0-9]{1,5})').fullmatch
_is_name = re.compile(r'(?:\*?\.)?[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*\.?').fullmatch


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    """A network, or an address as one; in brackets or without."""
    try:
        return ip_network(entry[1:-1] if entry.startswith('[') and entry.endswith(']') else entry, strict=False)
    except ValueError:
        return None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.partition('%')[0])
    except ValueError:
        return None


def bracketed(host: str) -> str:
    """A host as an authority has it: an IPv6 address in brackets, without its scope."""
    return f'[{host.partition("%")[0]}]' if ':' in host else host


# What a proxy says ---------------------------------------------------------------------------------------------------

#: Programs whose Server field, where nothing was added on the way (RFC 9110 §7.6.3), is that of the proxy itself.
_PROGRAMS = frozenset(['3proxy', 'privoxy', 'squid', 'tinyproxy'])
#: Fields that only a proxy adds to an answer of its own.
_OWN_FIELDS = ('proxy-authenticate', 'proxy-agent', 'x-squid-error')
#: Fields by which an origin shows: a proxy leaves them as they are.
_TRACES = ('server', 'set-cookie', 'www-authenticate', 'etag', 'last-modified', 'x-powered-by', 'x-request-id', 'allow')
_product = re.compile(r'[^/\s()]+').search


def is_own(status: int, fields: Headers) -> bool:
    """Whether an answer that came from a forwarding proxy is the proxy's own, as far as that shows."""
    if status == 407 or any(name in fields for name in _OWN_FIELDS):
        return True
    server, via = fields.get('server'), fields.get('via')
    program = server and _product(server.lower())
    if not program:
        return False
    if via is None:
        return program[0] in _PROGRAMS
    # "1.1 host (program/1.0)": one proxy only, of the program that says that it is the server.
    return ',' not in via and program[0] in map(str.strip, re.split(r'[/\s()]+', via.lower()))


def shows_origin(fields: Headers) -> bool:
    """Whether anything in an answer is the origin's, and not a proxy's that added its Via."""
    return 'via' not in fields or any(name in fields for name in _TRACES)
