"""gevent's WSGI server with bounds: in time, in connections, in what a request may look like.

 pywsgi itself waits for ever for the rest of a request's head,
and for who does not read his answer; and it takes much for a request that another server would not, or reads otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from errno import EMFILE, ENFILE
from time import monotonic
from typing import Any
from urllib.parse import unquote_to_bytes

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from ..error_documents import document_of, encode
from ..masking import mask, mask_query
from ..wsgi import RawURIHandler
from ..wsgi.refusals import Refusal
from . import framing
from .admission import Admission
from .logs import escaped
from .problems import BadRequest, RequestTimeout, Unavailable
from .sender import PIECE, not_read, within
from .websocket import UpgradingHandler

__all__ = ['Handler', 'Server']

log: logging.Logger = logging.getLogger('napixclient.service')
access: logging.Logger = logging.getLogger('napixclient.service.access')
#: Seconds for which a connection may be kept that has nothing to ask.
IDLE_SECONDS = 60.0
#: Seconds for which we read on after an answer that ends the connection: to close it with something unread would reset
#: it, and the peer might never see the answer (RFC 9112 §9.6).
LINGER_SECONDS = 2.0
#: Is answered at once, however many others are served: who asks wants to know whether to start us anew.
HEALTH = '/healthz'
_CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
_QUIETLY: Any = False
#: What pywsgi has the fields of a head in; to have them read by it, in the way of electronic mail, takes longer.
_Fields: Any = type(WSGIHandler.headers)


class Handler(RawURIHandler, UpgradingHandler):
    """One connection."""

    header_seconds: float = 10.0
    request_version: str
    headers: Any
    close_connection: bool
    #: Where a server of ours counts its connections.
    admission: Admission | None = None
    #: Whether a request came over this connection before.
    used: bool = False
    #: Whether it had to give way to another.
    outdone: bool = False
    command: Any = ''
    path: Any = ''
    wsgi_input: Any
    result: Any
    requestline: Any
    _clock: gevent.Timeout | None = None

    def handle(self) -> None:
        """All requests of the connection."""
        if self.admission is None:
            super().handle()
            return
        self.admission.enter(self)
        try:
            super().handle()
        finally:
            self.admission.leave(self)

    def give_way(self) -> None:
        """Nothing more is read, as if the peer had ended; what is being answered still is."""
        self.outdone = True
        with suppress(OSError, AttributeError):  # not through gevent, which would break a wait of any kind
            self.socket._sock.shutdown(socket.SHUT_RD)  # type: ignore[attr-defined]

    def handle_one_request(self) -> Any:
        """One request; its head has a deadline."""
        if self.used and not self._waits_well():
            return None
        self.used = True
        self.command = self.path = self.requestline = ''
        self._clock = clock = gevent.Timeout(self.header_seconds)
        clock.start()
        try:
            return super().handle_one_request()
        except Refusal as exc:
            self._refuse(Unavailable('there are too many connections', Retry_After='1') if self.outdone else exc)
        except OSError:  # the peer is gone, or broken
            pass
        except gevent.Timeout as exc:
            if exc is not clock:
                raise
            self._refuse(RequestTimeout('the head of the request does not come'))
        finally:
            clock.close()
        return None

    def _waits_well(self) -> bool:
        """Whether something comes over a kept connection before it has been idle for too long."""
        gevent.sleep(0)  # there may always be one more request to read
        with gevent.Timeout(IDLE_SECONDS, _QUIETLY), suppress(OSError, ValueError):
            return bool(self.rfile.peek(1))
        return False

    # -- the head --------------------------------------------------------------------------------------------------

    def read_requestline(self) -> str:
        """The request line, as it came; an empty line before it is passed over (RFC 9112 §2.2)."""
        line = self.rfile.readline(framing.LONGEST_LINE)
        if line == b'\r\n':
            line = self.rfile.readline(framing.LONGEST_LINE)
        self.requestline = line.decode('latin-1')
        if len(line) == framing.LONGEST_LINE:
            framing.read_request_line(line)  # refuses it; pywsgi would do so without a document
        return line.decode('latin-1')

    def read_request(self, raw_requestline: str) -> Any:
        """Read the head, and refuse what two servers could read in two ways (their seam).

        :raises Refusal: which says what is wrong.
        """
        self.command, self.path, self.request_version = framing.read_request_line(raw_requestline.encode('latin-1'))
        fields = framing.read_fields(self.rfile)
        self._length = framing.length_of(fields, self.request_version)
        self.headers = _Fields()
        for name, value in fields:
            self.headers[name] = value
        authority, self._target = framing.split_target(self.path)
        if authority is not None and authority.lower() != self.headers.get('host', authority).lower():
            raise BadRequest('the target names another host than Host (RFC 9112 §3.2.2)')
        options = {word.strip().lower() for word in ','.join(self.headers.get_all('connection', [])).split(',')}
        self.close_connection = 'close' in options or (
            self.request_version == 'HTTP/1.0' and 'keep-alive' not in options
        )
        self.content_length: int = max(self._length, 0)
        return True

    def _handle_client_error(self, ex: BaseException) -> Any:
        """pywsgi's seam: what :meth:`read_request` raises is answered by us."""
        raise ex

    def get_environ(self) -> dict[str, Any]:
        """The head is complete: its clock stops."""
        if self._clock is not None:
            self._clock.close()
        environ = super().get_environ()
        if not self.path.startswith('/'):
            path, _, environ['QUERY_STRING'] = self._target.partition('?')
            environ['PATH_INFO'] = unquote_to_bytes(path.encode('latin-1')).decode('latin-1')
        waits = environ.get('HTTP_EXPECT', '').lower() == '100-continue' and self.request_version != 'HTTP/1.0'
        self.wsgi_input = framing.Body(self.rfile, self._length, self._agree if waits else None)
        environ.update({'wsgi.input': self.wsgi_input, 'wsgi.input_terminated': True})
        return environ

    def _agree(self) -> None:
        self.socket.sendall(_CONTINUE)

    # -- the answer ------------------------------------------------------------------------------------------------

    def handle_one_response(self) -> None:
        """Answer, when it is this connection's turn; what of the body was not read must not be the next request."""
        body = self.wsgi_input
        if self.admission is None or self._target.partition('?')[0] == HEALTH:
            super().handle_one_response()
        else:
            self.admission.take(self, self.slow_seconds)
            try:
                super().handle_one_response()
            finally:
                self.admission.give(self)
        if not self.rfile.closed and not body.skip():
            self.close_connection = True
            self._linger()

    def _refuse(self, refusal: Refusal) -> None:
        """Say what is wrong, and close: where this request ends, and another begins, nobody knows."""
        if not self.outdone:  # of those there may be thousands a second
            address = self.client_address[0] if self.client_address else '-'
            line = escaped(mask(mask_query(self.requestline.strip())))
            log.info('%s was answered %d: %s: %s', address, refusal.status, refusal, line[:1000])
        document = document_of(refusal, refusal.status, self.command or '-', self.path.partition('?')[0] or '-')
        data = encode(document)
        fields = {
            'Content-Type': 'application/json',
            'Content-Length': str(len(data)),
            'X-Content-Type-Options': 'nosniff',
            **dict(refusal.fields),
            'Connection': 'close',
        }
        head = ''.join(f'{name}: {value}\r\n' for name, value in fields.items())
        answer = f'HTTP/1.1 {refusal.status} {document["title"]}\r\n{head}\r\n'.encode('latin-1')
        with suppress(OSError), gevent.Timeout(self.slow_seconds, _QUIETLY):
            self.socket.sendall(answer + (b'' if self.command == 'HEAD' else data))
        self._linger()

    def _linger(self) -> None:
        end = monotonic() + LINGER_SECONDS
        with gevent.Timeout(LINGER_SECONDS, _QUIETLY), suppress(OSError, ValueError):
            self.socket.shutdown(socket.SHUT_WR)
            while self.rfile.read1(PIECE) and monotonic() < end:
                gevent.sleep(0)

    def _sendall(self, data: Any) -> None:
        """Send, as long as the peer takes something."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            with within(self.slow_seconds, not_read(self.slow_seconds)):
                super()._sendall(view[start : start + PIECE])

    # -- what goes wrong -------------------------------------------------------------------------------------------

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """What breaks out of the application; that the peer's body cannot be read is no fault of it."""
        if not isinstance(v, framing.BadBody):
            super().handle_error(t, v, tb)
        elif not self.headers_sent:
            self._refuse(BadRequest(str(v)))

    def log_error(self, msg: str, *args: Any) -> None:
        """What a peer did wrong."""
        log.info(
            '%s: %s', self.client_address[0] if self.client_address else '-', escaped(mask(msg % args if args else msg))
        )

    def _log_error(self, t: Any, v: Any, tb: Any) -> None:
        if not issubclass(t, gevent.GreenletExit):
            log.error(
                '%s %s failed',
                self.command,
                escaped(mask_query((self.path or '').partition('?')[0])),
                exc_info=(t, v, tb),
            )

    def log_request(self) -> None:
        """One record for each request."""
        if access.isEnabledFor(logging.INFO):
            status = (self._orig_status or '000').split()[0]
            ms = (self.time_finish - self.time_start) * 1000 if self.time_finish else 0.0
            path = escaped(mask(mask_query(self.path or '')))
            address = self.client_address[0] if self.client_address else '-'
            access.info(
                '%s %s %s %s %d bytes %.1f ms',
                address,
                self.command,
                path,
                status,
                self.response_length,
                ms,
                extra={
                    'fields': {
                        'remote': address,
                        'method': self.command,
                        'path': path,
                        'status': int(status),
                        'bytes': self.response_length,
                        'ms': round(ms, 1),
                    }
                },
            )


class Server(WSGIServer):
    """Serves an application on a socket that listens.

    :param connections: requests that are served at once; more wait. An eighth more connections may be open.
    """

    def __init__(
        self, listener: Any, app: Callable[..., Any], *, connections: int, header_seconds: float, slow_seconds: float
    ) -> None:
        self._admission = Admission(connections, spare=max(connections // 8, 16))
        handler = type(
            'Handler',
            (Handler,),
            {'header_seconds': header_seconds, 'slow_seconds': slow_seconds, 'admission': self._admission},
        )
        name = listener.getsockname()[0]
        super().__init__(
            listener, app, spawn=Pool(), handler_class=handler, log=None, error_log=None, environ={'SERVER_NAME': name}
        )  # else it asks the DNS for one

    def do_read(self) -> Any:
        """The next connection; where no descriptor is left, one that has asked nothing gives way (their seam)."""
        try:
            return super().do_read()
        except OSError as exc:
            if exc.errno in (EMFILE, ENFILE) and self._admission.make_room():
                return None  # in the next turn of the loop there is one
            raise

    def handle(self, sock: Any, address: Any) -> None:
        """A connection that is new."""
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pywsgi sends head and body apart
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        super().handle(sock, address)
