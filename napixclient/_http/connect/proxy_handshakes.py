"""How a proxy is asked for a connection to an origin: CONNECT (RFC 9110 §9.3.6), SOCKS5 (RFC 1928, RFC 1929).

The connection to the proxy is there already, and is blocking: all this runs in the greenlet that opens a connection.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

import gevent
from gevent import socket

from ...error_texts import one_line
from ...errors import ConnectError, ProtocolError, ProxyError, RefusedError
from ...messages import Request, Response
from ..http1.parser import ResponseParser
from .proxies import Proxy, bracketed

__all__ = ['Refusal', 'TunnelRefusal', 'ask_socks', 'ask_tunnel']

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


class TunnelRefusal(NamedTuple):
    """What an HTTP proxy answered instead of a tunnel."""

    error: ProxyError
    response: Response
    #: Whether the connection can be used again.
    is_kept: bool


def ask_tunnel(
    sock: socket.socket,
    proxy: Proxy,
    told: Request,
    fields: bytes,
    parser: ResponseParser,
    request: Request | None,
    seconds: float,
) -> TunnelRefusal | None:
    """Have an HTTP proxy connect to an origin (RFC 9110 §9.3.6); ``None`` when it has.

    :param told: what it is told, whose target is the origin.
    :param fields: for the proxy, as they are written.
    :param parser: a new one. The answer ends with its head where it is a 2xx, as that to a HEAD does.
    :param request: what the tunnel is for.
    :param seconds: for the body of a refusal.
    :raises ProxyError: for what is no answer, and for a 2xx with something behind it.
    :raises OSError: when the connection breaks.
    """
    head = f'CONNECT {told.url} HTTP/1.1\r\nHost: {told.url}'.encode('latin-1')
    began = monotonic()
    sock.sendall(head + fields + b'\r\n\r\n')
    received = _read_head(sock, proxy, parser)
    if not 200 <= parser.status < 300:
        status, answered = parser.status, parser.head or b''
        reason = answered.partition(b'\r\n')[0].partition(b' ')[2].decode('latin-1')
        error = ProxyError(f'the proxy {proxy} refused the tunnel: "{one_line(reason)[:200]}"', phase='connect')
        body = _refusal(sock, parser, received, seconds)
        error.response = Response(request or told, status, answered, body, monotonic() - began)
        return TunnelRefusal(error, error.response, parser.reusable)
    if parser.overrun:
        raise ProxyError(f'the proxy {proxy} sent more than its answer to CONNECT', phase='connect')
    return None


def _read_head(sock: socket.socket, proxy: Proxy, parser: ResponseParser) -> bytes:
    """Read the head of an answer, which the parser then knows, and what came with it."""
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
    return b''.join(received)


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
        raise Refusal(kind(f'the proxy {proxy} says of {bracketed(host)}:{port}: {text}', phase='connect'))


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
