"""gevent's WSGI server with bounds: in time, in connections, in what a request may look like. Imports websocket, wsgi.

pywsgi itself waits for ever for the rest of a request's head, and for who does not read his answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from errno import EPIPE
from typing import Any

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

from ..masking import mask, mask_query
from ..wsgi import RawURIHandler
from .websocket import PIECE, UpgradingHandler

__all__ = ['Handler', 'Server']

log = logging.getLogger('napixclient.service')
access = logging.getLogger('napixclient.service.access')
#: Seconds for which a connection may be kept that has nothing to ask.
IDLE_SECONDS = 60.0
_LATE = (b'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')


class Handler(RawURIHandler, UpgradingHandler):
    """One connection."""

    header_seconds = 10.0
    #: Whether a request came over this connection before.
    used = False
    _clock: gevent.Timeout | None = None

    def handle_one_request(self) -> Any:
        """One request; its head has a deadline."""
        if self.used and not self._waits_well():
            return None
        self.used = True
        self._clock = clock = gevent.Timeout(self.header_seconds)
        clock.start()
        try:
            return super().handle_one_request()
        except gevent.Timeout as exc:
            if exc is not clock:
                raise
            with suppress(OSError):
                self.socket.sendall(_LATE)
            return None
        finally:
            clock.close()

    def _waits_well(self) -> bool:
        """Whether something comes over a kept connection before it has been idle for too long."""
        quietly: Any = False
        with gevent.Timeout(IDLE_SECONDS, quietly), suppress(OSError, ValueError):
            return bool(self.rfile.peek(1))
        return False

    def read_request(self, raw_requestline: str) -> Any:
        """Refuse what two servers could read in two ways: RFC 9112 §6.3, §11.2."""
        if len(raw_requestline.split()) != 3:
            raise ValueError('not a request line of HTTP/1')
        read = super().read_request(raw_requestline)
        lengths = self.headers.get_all('content-length') or []
        coding = self.headers.get_all('transfer-encoding') or []
        if coding and (lengths or coding[0].lower() != 'chunked' or len(coding) > 1):
            raise ValueError('a body with two lengths, or in a coding that is not known')
        if len(lengths) > 1 or (lengths and not (lengths[0].isascii() and lengths[0].isdigit())):
            raise ValueError('Content-Length is not a number')
        if len(self.headers.get_all('host') or []) > 1:
            raise ValueError('Host is there twice')
        return read

    def get_environ(self) -> dict[str, Any]:
        """The head is complete: its clock stops."""
        if self._clock is not None:
            self._clock.close()
        return super().get_environ()

    def _sendall(self, data: Any) -> None:
        """Send, as long as the peer takes something."""
        view = memoryview(data)
        clock = gevent.Timeout(self.slow_seconds)
        try:
            for start in range(0, len(view), PIECE):
                clock.start()
                super()._sendall(view[start:start + PIECE])
                clock.cancel()
        except gevent.Timeout as exc:
            if exc is not clock:
                raise
            raise OSError(EPIPE, f'nothing was read for {self.slow_seconds:g} s') from None
        finally:
            clock.close()

    # -- what goes wrong -------------------------------------------------------------------------------------------

    def log_error(self, msg: str, *args: Any) -> None:
        """What a peer did wrong."""
        log.info('%s: %s', self.client_address[0] if self.client_address else '-', mask(msg % args if args else msg))

    def _log_error(self, t: Any, v: Any, tb: Any) -> None:
        if not issubclass(t, gevent.GreenletExit):
            log.error('%s %s failed', self.command, mask_query((self.path or '').partition('?')[0]),
                      exc_info=(t, v, tb))

    def log_request(self) -> None:
        """One record for each request."""
        if access.isEnabledFor(logging.INFO):
            status = (self._orig_status or '000').split()[0]
            ms = (self.time_finish - self.time_start) * 1000 if self.time_finish else 0.0
            path = mask(mask_query(self.path or ''))
            address = self.client_address[0] if self.client_address else '-'
            access.info('%s %s %s %s %d bytes %.1f ms', address, self.command, path, status, self.response_length, ms,
                        extra={'fields': {'remote': address, 'method': self.command, 'path': path,
                                          'status': int(status), 'bytes': self.response_length, 'ms': round(ms, 1)}})


class Server(WSGIServer):
    """Serves an application on a socket that listens.

    :param connections: how many it has open at most; others wait until one is closed.
    """

    def __init__(self, listener: Any, app: Callable[..., Any], *, connections: int, header_seconds: float,
                 slow_seconds: float) -> None:
        handler = type('Handler', (Handler,), {'header_seconds': header_seconds, 'slow_seconds': slow_seconds})
        name = listener.getsockname()[0]
        super().__init__(listener, app, spawn=Pool(connections), handler_class=handler, log=None, error_log=None,
                         environ={'SERVER_NAME': name})     # else it asks the DNS for one

    def handle(self, sock: Any, address: Any) -> None:
        """A connection that is new."""
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)     # pywsgi sends head and body apart
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        super().handle(sock, address)
