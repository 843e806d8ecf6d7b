"""Proxies: what ``proxy=`` and ``no_proxy=`` mean, and how a proxy is asked to let us through.

The connection to it is made elsewhere.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from time import monotonic
from typing import Any
from urllib.parse import unquote_to_bytes

import gevent
from gevent import socket

from ...errors import ConnectError, ProtocolError, ProxyError, RefusedError, one_line
from ...messages import Headers, Origin, Request, Response, parse_origin
from ..http1.parser import ResponseParser

__all__ = ['NoProxy', 'Proxy', 'Refusal', 'ask_socks', 'ask_tunnel', 'is_own', 'proxy_of', 'shows_origin']

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
        return f'{self.scheme}://{_bracketed(self.host)}:{self.port}'


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


def _bracketed(host: str) -> str:
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


# Asking a proxy -------------------------------------------------------------------------------------------------------

#: Bytes asked for at once, and those of a refusal of which no more are asked for.
_READ_SIZE = 16384
_MAX_REFUSAL = 65536
#: RFC 1928 §6: what a reply stands for. The first five are about the origin, the others about the proxy.
_REPLIES: dict[int, tuple[type[ConnectError], str]] = {
    3: (ConnectError, 'network unreachable'),
    4: (ConnectError, 'host unreachable'),
    6: (ConnectError, 'TTL expired'),
    1: (ConnectError, 'general failure'),
    5: (RefusedError, 'connection refused'),
    2: (ProxyError, 'not allowed by its rules'),
    7: (ProxyError, 'command not supported'),
    8: (ProxyError, 'address type not supported'),
}


class Refusal(Exception):
    """A SOCKS proxy did not connect to that address; ``error`` is what it says of it."""

    def __init__(self, error: ConnectError) -> None:
        super().__init__(error)
        self.error = error


def ask_tunnel(
    sock: socket.socket, proxy: Proxy, origin: Origin, parser: ResponseParser, request: Request | None, seconds: float
) -> None:
    """Have an HTTP proxy connect to an origin (RFC 9110 §9.3.6).

    :param parser: a new one. The answer ends with its head where it is a 2xx, as that to a HEAD does.
    :param request: what the tunnel is for.
    :param seconds: for the body of a refusal.
    :raises ProxyError: for anything but a 2xx, with nothing behind it; with the answer, where it is one.
    :raises OSError: when the connection breaks.
    """
    target = f'{_bracketed(origin.host)}:{origin.port}'
    head = f'CONNECT {target} HTTP/1.1\r\nHost: {target}'.encode('latin-1')
    began = monotonic()
    sock.sendall(head + proxy.fields.block + b'\r\n\r\n')
    parser.begin('HEAD', None)
    received: list[bytes] = []
    first = b''
    try:
        while not received or not parser.feed(received[-1]):
            received.append(_some(sock, proxy, _READ_SIZE))
            if len(first) < 5:
                first = (first + received[-1]).lstrip(b'\r\n')
            if not b'HTTP/'.startswith(first[:5]):  # no end of a head is to be waited for
                raise ProtocolError(f'it said {first[:20]!r}')
    except ProtocolError as exc:
        raise ProxyError(f'the proxy {proxy} did not answer CONNECT in HTTP: {exc.message}', phase='connect') from exc
    if not 200 <= parser.status < 300:
        status, answered = parser.status, parser.head or b''
        reason = answered.partition(b'\r\n')[0].partition(b' ')[2].decode('latin-1')
        error = ProxyError(f'the proxy {proxy} refused the tunnel: "{one_line(reason)[:200]}"', phase='connect')
        if request is not None:
            body = _refusal(sock, parser, b''.join(received), seconds)
            error.response = Response(request, status, answered, body, monotonic() - began)
        raise error
    if parser.overrun:
        raise ProxyError(f'the proxy {proxy} sent more than its answer to CONNECT', phase='connect')


def _refusal(sock: socket.socket, parser: ResponseParser, data: bytes, seconds: float) -> bytes:
    """Read the body of an answer that has begun: all of it, or what has come by the time or the bound."""
    parser.begin('GET', None)
    left = _MAX_REFUSAL
    clock = gevent.Timeout(seconds)
    clock.start()
    try:
        while not parser.feed(data) and left > 0:
            data = sock.recv(_READ_SIZE)
            left -= len(data)
            if not data:
                parser.eof()
                break
    except (OSError, ProtocolError):  # broken off: the head says enough
        pass
    except gevent.Timeout as exc:
        if exc is not clock:
            raise
    finally:
        clock.close()
    return b'' if parser.coding else parser.take_body()


def ask_socks(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have a SOCKS5 proxy connect to an address, or to a name that it looks up (RFC 1928, RFC 1929).

    :raises Refusal: when it cannot connect to that.
    :raises ProxyError: when it does not speak SOCKS5, or does not accept the credentials.
    :raises OSError: when the connection breaks.
    """
    from socksio import ProtocolError as MalformedReply
    from socksio import socks5

    session: Any = socks5.SOCKS5Connection()

    def ask(message: Any, size: int) -> bytes:
        session.send(message)
        sock.sendall(session.data_to_send())
        return _exactly(sock, proxy, size)

    try:
        _authenticate(session, proxy, ask)
        reply = ask(socks5.SOCKS5CommandRequest.from_address(socks5.SOCKS5Command.CONNECT, (host, port)), 5)
        # Its length depends on the type of the address in it; one byte of that was read.
        rest = {1: 3, 3: reply[4], 4: 15}.get(reply[3])
        if rest is None:
            raise MalformedReply('unknown type of address')
        code = session.receive_data(reply + _exactly(sock, proxy, rest + 2)).reply_code[0]
    except MalformedReply as exc:
        raise ProxyError(f'the proxy {proxy} did not answer in SOCKS5: {exc}', phase='connect') from exc
    kind, text = _REPLIES.get(code, (None, ''))
    if kind is not None:
        raise Refusal(kind(f'the proxy {proxy} says of {_bracketed(host)}:{port}: {text}', phase='connect'))


def _authenticate(session: Any, proxy: Proxy, ask: Callable[[Any, int], bytes]) -> None:
    """Agree on a way to authenticate, and authenticate in it (RFC 1928 §3, RFC 1929).

    :param session: socksio's.
    :param ask: sends a message, and returns so many bytes of the reply.
    :raises ProxyError: when the proxy accepts none of our ways, or not the credentials.
    """
    from socksio import ProtocolError as MalformedReply
    from socksio import socks5

    methods = [socks5.SOCKS5AuthMethod.NO_AUTH_REQUIRED]
    if proxy.credentials is not None:
        methods.append(socks5.SOCKS5AuthMethod.USERNAME_PASSWORD)
    reply = ask(socks5.SOCKS5AuthMethodsRequest(methods), 2)
    method = session.receive_data(reply).method
    if reply[:1] != b'\x05':
        raise MalformedReply('another version')
    if method not in methods:
        raise ProxyError(f'the proxy {proxy} accepts none of our ways to authenticate', phase='connect')
    if method is socks5.SOCKS5AuthMethod.USERNAME_PASSWORD:
        assert proxy.credentials is not None
        reply = ask(socks5.SOCKS5UsernamePasswordRequest(*proxy.credentials), 2)
        if not session.receive_data(reply).success:
            raise ProxyError(f'the proxy {proxy} does not accept user and password', phase='connect')


def _some(sock: socket.socket, proxy: Proxy, size: int) -> bytes:
    data: bytes = sock.recv(size)
    if not data:
        raise ProxyError(f'the proxy {proxy} closed the connection before it had answered', phase='connect')
    return data


def _exactly(sock: socket.socket, proxy: Proxy, size: int) -> bytes:
    data = b''
    while len(data) < size:
        data += _some(sock, proxy, size - len(data))
    return data
