"""The error tree. Owns every exception of the library; imports nothing of ours.

NapixError
└── HTTPError                    a request that did not end well
    ├── RemoteError              the server answered 400 or above
    ├── ConnectError             no connection: nothing was sent
    │   ├── NameResolutionError      the name has no address, or the resolver failed
    │   ├── RefusedError             nobody listens there
    │   ├── TLSError                 certificate or handshake
    │   └── ProxyError               the proxy itself failed
    ├── Timeout                  a clock ran out
    │   ├── QueueTimeout             before its turn came: nothing was sent
    │   ├── ConnectTimeout           while the connection was being opened: nothing was sent
    │   ├── ReadTimeout              the server was silent for too long
    │   └── DeadlineExceeded         the total ran out after sending had begun
    ├── ProtocolError            the answer is not HTTP as RFC 9112 has it, or broke off
    │   ├── TruncatedBody            it ended before its end
    │   ├── BodyTooLarge             it is larger than ``max_body``
    │   └── InvalidResponse          it is malformed
    └── Cancelled                ended by ``cancel()``, by closing the pool or by a fork
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .messages import Request, Response

__all__ = [
    'BodyTooLarge', 'Cancelled', 'ConnectError', 'ConnectTimeout', 'DeadlineExceeded', 'HTTPError', 'Hop',
    'InvalidResponse', 'NameResolutionError', 'NapixError', 'ProtocolError', 'ProxyError', 'QueueTimeout',
    'ReadTimeout', 'RefusedError', 'RemoteError', 'TLSError', 'Timeout', 'TruncatedBody',
]

#: A chain longer than this is cut: a document may nest as deep as its sender likes.
MAX_HOPS = 64
#: Longest text of another server's that goes into a text of ours, in characters.
MAX_TEXT = 2000


class Hop(NamedTuple):
    """One call of a chain of servers, with what its answer said.

    ``remote_call`` is the text of the call (``None`` where the document does not tell), ``status`` the HTTP status
    or ``None``, ``elapsed`` seconds or ``None``, ``traceback`` the list that the server sent or ``None``.
    """

    remote_call: str | None
    status: int | None
    error_class: str | None
    error_text: str | None
    elapsed: float | None = None
    traceback: list[Any] | None = None


class NapixError(Exception):
    """Root of every exception that this library raises."""


class HTTPError(NapixError):
    """A request that did not end well: raised by ``Client.request``, handed out as a value by the pool.

    :param message: what happened, without the request.
    :param request: the :class:`Request` as its caller made it.
    :param response: the :class:`Response`, where the server answered.
    :param remote_error: what the server said: a decoded JSON object, or a text (``WIRE``: napix's error object).
    :param phase: what was going on: ``queue``, ``connect``, ``send``, ``read``, or ``None``.
    """

    def __init__(self, message: str = '', *, request: Request | None = None, response: Response | None = None,
                 remote_error: Any = None, phase: str | None = None, elapsed: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.request = request
        self.response = response
        self.remote_error = remote_error
        self.phase = phase
        #: Seconds from the first byte sent to the failure; ``None`` when nothing was sent.
        self.elapsed = elapsed
        #: How often the request was tried.
        self.attempts = 1

    @property
    def status(self) -> int | None:
        """The answer's status, ``None`` without an answer."""
        return None if self.response is None else self.response.status

    @property
    def remote_call(self) -> str | None:
        """Text of the call that failed: ``GET http://server.example/captains``."""
        return None if self.request is None else str(self.request)

    @property
    def chain(self) -> list[Hop]:
        """Every hop of the failure, the nearest (our own call) first, the root cause last."""
        document = self.remote_error
        hops = [self._own_hop(document)]
        while isinstance(document, dict) and len(hops) < MAX_HOPS:
            nested = document.get('remote_error')
            if nested is None:
                break
            hops.append(_hop(document, nested))
            document = nested
        return hops

    @property
    def root(self) -> Hop:
        """The last hop of the chain: the first cause."""
        return self.chain[-1]

    def _own_hop(self, document: Any) -> Hop:
        error_class, text, traceback = _said(document)
        if document is None:
            error_class, text = type(self).__name__, self.message
        return Hop(self.remote_call, self.status, error_class, text, self.elapsed, traceback)

    def __str__(self) -> str:
        call = self.remote_call
        lines = [self.message if call is None else f'{call}: {self.message}']
        for hop in self.chain[1:]:
            said = ': '.join(part for part in (hop.error_class, hop.error_text) if part)
            lines.append(f'  from {one_line(hop.remote_call or "another server")}: {one_line(said)}')
        return '\n'.join(lines)

    def __repr__(self) -> str:
        call = self.remote_call
        return f'<{type(self).__name__} {self.message}>' if call is None else \
            f'<{type(self).__name__} {call}: {self.message}>'


class RemoteError(HTTPError):
    """The server answered 400 or above."""


class ConnectError(HTTPError):
    """No connection could be made: nothing was sent."""


class NameResolutionError(ConnectError):
    """The name has no address, or the resolver failed."""


class RefusedError(ConnectError):
    """Nobody listens at that address and port."""


class TLSError(ConnectError):
    """The certificate or the TLS handshake failed: nothing was sent."""


class ProxyError(ConnectError):
    """The proxy itself failed."""


class Timeout(HTTPError):
    """A clock ran out; ``phase`` tells which."""


class QueueTimeout(Timeout):
    """The time was up before anything was sent."""


class ConnectTimeout(Timeout):
    """The connection was not open in time: name, TCP and TLS handshake together. Nothing was sent."""


class ReadTimeout(Timeout):
    """The server neither sent nor took a byte for the read timeout."""


class DeadlineExceeded(Timeout):
    """The total time was up after sending had begun."""


class ProtocolError(HTTPError):
    """The answer broke off, or is not an answer as RFC 9112 has it."""


class TruncatedBody(ProtocolError):
    """The body ended before its end."""


class BodyTooLarge(ProtocolError):
    """The body is larger than ``max_body``, as sent or as decoded."""


class InvalidResponse(ProtocolError):
    """The answer is malformed, or its head exceeds the bounds."""


class Cancelled(HTTPError):
    """Ended by ``cancel()``, by leaving a loop early, by closing the pool, or by a fork."""


def _said(document: Any) -> tuple[str | None, str | None, list[Any] | None]:
    """Class, text and traceback that an error document tells of; anything else is text."""
    if not isinstance(document, dict):
        return None, None if document is None else str(document), None
    error_class, text, traceback = (document.get(name) for name in ('error_class', 'error_text', 'traceback'))
    return (error_class if isinstance(error_class, str) else None,
            text if isinstance(text, str) else None,
            traceback if isinstance(traceback, list) else None)


def _hop(document: dict[str, Any], nested: Any) -> Hop:
    """The call that a server describes in its document, and what it was answered."""
    call, status, elapsed = (document.get(name) for name in ('remote_call', 'remote_status', 'remote_elapsed'))
    error_class, text, traceback = _said(nested)
    return Hop(call if isinstance(call, str) else None,
               status if type(status) is int else None, error_class, text,
               elapsed if type(elapsed) in (int, float) else None, traceback)


def one_line(text: str) -> str:
    """A text of another server's, as it may stand in a line of ours: a line of its own would look like one of ours."""
    words = ' '.join(text[:MAX_TEXT + 1].split())
    return words if len(words) <= MAX_TEXT else f'{words[:MAX_TEXT]}…'
