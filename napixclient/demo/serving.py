"""One listening socket on loopback for all the servers: HTTP, the same over TLS, and a proxy for both.

Which of them a connection wants is seen from its first bytes, so that one port is enough.
"""

from __future__ import annotations

import json
import socket as sockets
import ssl
from collections.abc import Iterable
from http import HTTPStatus
from importlib.resources import as_file, files
from typing import Any

import gevent
from gevent import socket
from gevent.pywsgi import WSGIServer
from gevent.ssl import SSLContext

from ..wsgi import RawURIHandler
from ..wsgi.environ import Environ, StartResponse
from .answers import Answer, answer, knows
from .names import HOSTS

__all__ = ['ca_certs', 'serve']

_HANDSHAKE = b'\x16'  # the first byte of TLS
_BLOCK = 65536
_TEXT = {'Content-Type': 'text/plain'}


def ca_certs() -> str:
    """The certificate of the authority that the servers are certified by, in PEM."""
    return (files(__package__) / 'ca.pem').read_text()


def serve(port: int) -> int:
    """Start the servers, and return their port on 127.0.0.1. The next port is held, and refuses connections.

    :param port: 0 for any two that are free.
    :raises OSError: when one of the two is in use.
    """
    listener, dead = _neighbours(port)
    found: int = listener.getsockname()[1]
    listener.listen(1024)
    tls = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with as_file(files(__package__) / 'server.pem') as file:
        tls.load_cert_chain(file)
    _Servers(listener, tls, dead).start()
    return found


def _neighbours(port: int) -> tuple[Any, Any]:
    """Two sockets that are bound to a port and to the next one."""
    while True:
        first, second = socket.socket(), socket.socket()
        try:
            for sock in first, second:
                sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
            first.bind(('127.0.0.1', port))
            second.bind(('127.0.0.1', first.getsockname()[1] + 1))
            return first, second
        except (OSError, OverflowError):  # there is no port beyond the last one
            first.close()
            second.close()
            if port:
                raise


class _Servers(WSGIServer):
    """Answers by the name that each request is for."""

    def __init__(self, listener: Any, tls: SSLContext, dead: Any) -> None:
        super().__init__(listener, _app, log=None, error_log=None, handler_class=RawURIHandler)
        self._tls = tls
        self._dead = dead

    def handle(self, sock: Any, address: Any) -> None:
        """Serve one connection."""
        sock.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)  # head and body are sent apart
        try:
            begun = _peek(sock)
            if begun.startswith(b'CONNECT '):
                self._tunnel(sock)
            elif begun[:1] == _HANDSHAKE:
                super().handle(self._tls.wrap_socket(sock, server_side=True), address)
            else:
                super().handle(sock, address)
        except OSError:  # the client is gone, or does not trust us
            sock.close()

    def _tunnel(self, sock: Any) -> None:
        """Answer a CONNECT, and join the client with the servers, which is where all names lead."""
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            head += sock.recv(1) or b'\r\n\r\n'
        line, *fields = head.decode('latin-1').split('\r\n')
        pairs = (field.partition(':') for field in fields)
        if not knows({name.lower(): value.strip() for name, _, value in pairs}):
            body = b'who are you?'
            sock.sendall(
                b'HTTP/1.1 407 Proxy Authentication Required\r\nContent-Type: text/plain\r\n'
                b'Content-Length: %d\r\nConnection: close\r\n\r\n%b' % (len(body), body)
            )
            sock.close()
            return
        if line.split(' ')[1].partition(':')[0] not in HOSTS:
            sock.sendall(b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
            sock.close()
            return
        onward = socket.create_connection(sock.getsockname())
        sock.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
        back = gevent.spawn(_pump, onward, sock)
        _pump(sock, onward)
        back.join()
        sock.close()
        onward.close()


def _peek(sock: Any) -> bytes:
    """The first bytes of a connection, which stay to be read."""
    for _ in range(100):
        socket.wait_read(sock.fileno())
        begun: bytes = sock.recv(8, sockets.MSG_PEEK)
        if len(begun) == 8 or begun[:1] != b'C':
            break
        gevent.sleep(0.01)  # it may become a CONNECT
    return begun


def _pump(source: Any, target: Any) -> None:
    """Pass on what comes, until its end."""
    try:
        while data := source.recv(_BLOCK):
            target.sendall(data)
        target.shutdown(sockets.SHUT_WR)
    except OSError:
        pass  # the other direction ends as well


def _app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request (PEP 3333)."""
    headers = {name[5:].replace('_', '-').lower(): value for name, value in environ.items() if name.startswith('HTTP_')}
    headers['content-type'] = environ.get('CONTENT_TYPE') or ''
    status, fields, body = _answered(environ['REQUEST_METHOD'], environ['RAW_URI'], headers, environ['wsgi.input'])
    if isinstance(body, (dict, list)):
        fields = {'Content-Type': 'application/json', **fields}
        body = json.dumps(body)
    data = body.encode() if isinstance(body, str) else body or b''
    if status not in (204, 304):
        fields = {'Content-Length': str(len(data)), **fields}
    start_response(f'{status} {HTTPStatus(status).phrase}', list(fields.items()))
    return [data] if data and environ['REQUEST_METHOD'] != 'HEAD' else []


def _answered(method: str, target: str, headers: dict[str, str], body: Any) -> Answer:
    """By the servers, or by the proxy where the target is a whole URL."""
    if target.startswith('http://'):
        if not knows(headers):
            return 407, _TEXT, 'who are you?'
        host, _, path = target.removeprefix('http://').partition('/')
        target, headers['host'] = f'/{path}', host
    return answer(method, target, headers, body.read())
