"""The error tree: every exception of the library.

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
    ├── Interrupted              who had sent it is gone: whether it was carried out is not known
    ├── Cancelled                ended by ``cancel()``, by closing the pool or by a fork
    └── SagaFailed               (napixclient.saga) a step failed, and what had been done was undone

Two more are below HTTPError: ClientError of ``napixclient.rest``, ClusterError of ``napixclient.cluster``.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from .error_shapes import nested, parse
from .error_texts import MAX_HOPS, frames, one_line, tell
from .hops import Hop, hops_of, shown
from .masking import Shown, mask, sentence
from .members import error_member, head_of
from .peer import AnyPeer, Route, listed

if TYPE_CHECKING:
    from .messages import Request, Response

__all__ = [
    'BodyTooLarge',
    'Cancelled',
    'ConnectError',
    'ConnectTimeout',
    'DeadlineExceeded',
    'HTTPError',
    'Hop',
    'Interrupted',
    'InvalidResponse',
    'NameResolutionError',
    'NapixError',
    'Phase',
    'ProtocolError',
    'ProxyError',
    'QueueTimeout',
    'ReadTimeout',
    'RefusedError',
    'RemoteError',
    'TLSError',
    'Timeout',
    'TruncatedBody',
]

#: What was going on when a request failed, in the order of its life; ``backoff`` is the wait before another attempt.
Phase = Literal['queue', 'connect', 'authenticate', 'send', 'expect', 'read', 'backoff']


class NapixError(Exception):
    """Root of every exception that this library raises."""


class HTTPError(NapixError):
    """A request that did not end well: raised by ``Client.request``, handed out as a value by the pool.

    :param message: what happened, without the request.
    :param request: the :class:`Request` as its caller made it.
    :param response: the :class:`Response`, where the server answered.
    :param remote_error: what the server said: a decoded JSON object, or a text.
    :param phase: what was going on: ``queue`` (it waited for its turn), ``connect``, ``authenticate`` (the
        authenticator ran), ``send``, ``expect`` (it waited for the server to agree to the body), ``read``, ``backoff``
        (it waited to be tried again), or ``None`` where nothing was asked.
    """

    # For a class derived from it whose own __init__ does not call this one: a middleware must be able to tell of it.
    #: The :class:`Request` as its caller made it. Every outcome has one; an error that somebody made by hand without it
    #: has ``None``, which its type does not say: nobody should have to ask an outcome.
    request: Request = None  # type: ignore[assignment]
    phase: Phase | None = None
    response: Response | None = None
    elapsed: float | None = None
    attempts: int = 1
    #: Whether it is known that no server has carried the request out, so that it is safe to ask again, whatever its
    #: method is (RFC 9110 §9.2.2): nothing was sent, or TCP tells that the server had closed before the request came.
    unprocessed: bool = False
    #: The worker of a cluster that asked, ``number/of@host``; ``None`` where no worker did.
    worker: str | None = None
    #: Of the connection that failed, or that could not be opened.
    route: Route | None = None
    args: tuple[Any, ...]
    _message: str = ''
    _remote_error: Any = None
    #: Who holds the secrets that are not to be shown: they are hidden as long as their holders live.
    _keeps: Any = None
    #: Gives the message and ``remote_error`` when they are first asked for.
    _unread: Reader | None = None

    def __init__(
        self,
        message: str = '',
        *,
        request: Request | None = None,
        response: Response | None = None,
        remote_error: object = None,
        phase: Phase | None = None,
        elapsed: float | None = None,
    ) -> None:
        message = sentence(str(message))
        super().__init__(message)
        self._message = message
        self.request = request  # type: ignore[assignment]
        self.response = response
        self._remote_error = remote_error
        self.phase = phase
        #: Seconds from the first byte sent to the failure; ``None`` when nothing was sent.
        self.elapsed = elapsed
        #: How often the request was tried.
        self.attempts = 1

    @property
    def message(self) -> str:
        """What happened, without the request and without secrets."""
        self._read()
        return self._message

    @message.setter
    def message(self, message: str) -> None:
        self._read()
        self._message = message

    @property
    def remote_error(self) -> Any:
        """What the server said, as it was received: a decoded JSON object, or a text; ``None`` without an answer."""
        self._read()
        return self._remote_error

    @remote_error.setter
    def remote_error(self, remote_error: object) -> None:
        self._read()
        self._remote_error = remote_error

    def _read(self) -> None:
        read, self._unread = self._unread, None
        if read is not None:
            self._message, self._remote_error = read(self, self._message)
            self.args = (self._message,)

    @property
    def status(self) -> int | None:
        """The answer's status, ``None`` without an answer."""
        return None if self.response is None else self.response.status

    @property
    def ok(self) -> bool:
        """``False``, so that outcomes of both kinds can be asked."""
        return False

    def raise_for_status(self) -> NoReturn:
        """Raise this error, as that of a :class:`Response` does if its status is 400 or above."""
        raise self.with_traceback(None)

    @property
    def body(self) -> Any:
        """The decoded body of the answer, see :attr:`Response.body`; ``None`` without one, and where it is streamed."""
        answer = self._answer
        return answer.body if answer is not None and answer.payload else None

    def as_dict(self) -> dict[str, Any]:
        """The error as ``napix --json`` writes it, without ``index``.

        Its members are those of :meth:`Response.as_dict`; ``error`` is an object of ``class``, ``text``, and ``chain``,
        a list of ``remote_call``, ``status``, ``error_class``, ``error_text`` and ``ms``.
        """
        answer = self._answer
        return {
            **head_of(self),
            'body': None if answer is None else answer.as_dict()['body'],
            'error': error_member(self),
        }

    @property
    def _answer(self) -> Response | None:
        """The answer, as the core has it."""
        return self.response

    @property
    def peer(self) -> AnyPeer | None:
        """The :class:`Peer` that answered, or was tried last; ``None`` where none was tried.

        Behind a proxy it is that proxy; of a Unix socket it is the path.
        """
        if self.route is None:
            return None if self.response is None else self.response.peer
        return self.route.peer

    @property
    def tried(self) -> tuple[AnyPeer, ...]:
        """The addresses that were tried for the connection of the last attempt, in that order (RFC 8305)."""
        if self.route is None:
            return () if self.response is None else self.response.tried
        return self.route.tried

    @property
    def remote_call(self) -> str | None:
        """Text of the call that failed, without secrets: ``GET http://server.example/captains``."""
        return None if self.request is None else mask(str(self.request))

    @property
    def chain(self) -> list[Hop]:
        """Every hop of the failure, the nearest (our own call) first, the root cause last.

        Where a fan-out failed on several hosts, the first of them is followed; ``str()`` shows all.
        """
        return [self._own_hop(), *hops_of(self.remote_error)]

    @property
    def root(self) -> Hop:
        """The last hop of the chain: the first cause."""
        return self.chain[-1]

    @property
    def _text(self) -> str:
        """What happened, as ``str()`` and ``repr()`` tell it."""
        return self.message

    @property
    def _kind(self) -> str:
        """What kind of failure it was."""
        return type(self).__name__

    @property
    def document_members(self) -> dict[str, object]:
        """Further members of the document by which a server tells its caller of this error."""
        return {}

    def _own_hop(self) -> Hop:
        error_class, text, traceback = parse(self.remote_error)
        if self.remote_error is None:
            error_class, text = Shown(self._kind), sentence(self.message)
        return Hop(self.remote_call, self.status or None, shown(error_class), shown(text), self.elapsed, traceback)

    def read_when_asked(self, read: Reader) -> None:
        """Leave the message and ``remote_error`` unread until somebody asks for one of them."""
        self._unread = read

    def keep(self, holder: object) -> None:
        """Keep a holder of secrets alive as long as the error, so that no text of the error shows them."""
        self._keeps = holder if self._keeps is None else (self._keeps, holder)

    def __reduce__(self) -> Any:
        return type(self), self.args, {name: value for name, value in vars(self).items() if name != '_keeps'}

    def __str__(self) -> str:
        call = self.remote_call
        first = self._text if call is None else f'{call}: {self._text}'
        if self.phase == 'connect' and self.response is None:
            first += listed(self.tried, first)
        lines = [first]
        further = nested(self.remote_error)
        tell(further, '  ', lines, {})
        if not further:
            lines += frames(parse(self.remote_error).traceback, '    ')
        if len(lines) >= MAX_HOPS:
            root = self.root
            what = ': '.join(part for part in (root.error_class, root.error_text) if part)
            lines[MAX_HOPS - 1 :] = [f'  and so on, at last because of {one_line(what)}']
        return sentence('\n'.join(lines))

    def __repr__(self) -> str:
        call = self.remote_call
        return sentence(
            f'<{type(self).__name__} {self._text}>' if call is None else f'<{type(self).__name__} {call}: {self._text}>'
        )


class RemoteError(HTTPError):
    """The server answered 400 or above."""

    response: Response  # what it answered


class ConnectError(HTTPError):
    """No connection could be made: nothing was sent."""


class NameResolutionError(ConnectError):
    """The name has no address, or the resolver failed."""


class RefusedError(ConnectError):
    """Nobody listens at that address and port."""


class TLSError(ConnectError):
    """The certificate or the TLS handshake failed: nothing was sent."""


class ProxyError(ConnectError):
    """The proxy itself failed; with ``response`` and ``status`` where it answered.

    What a proxy that forwards made of a request, of which it may have got all, has the phase ``read`` or ``send``.
    """


class Timeout(HTTPError):
    """A clock ran out; ``phase`` says which."""


class QueueTimeout(Timeout):
    """The time was up before anything was sent."""


class ConnectTimeout(Timeout):
    """The connection was not open in time: name, TCP and TLS handshake together. Nothing was sent.

    The message says so when it was the look-up of the name that took the time.
    """


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


class Interrupted(HTTPError):
    """Who had the request in hand is gone, and it is not idempotent: it may have been carried out, or not.

    It is not sent again. Look at the server before you ask once more. Its ``status`` is ``None``.
    """


class Cancelled(HTTPError):
    """Ended by ``cancel()``, by leaving a loop early, by closing the pool, or by a fork."""


#: Gives the message and the ``remote_error`` of an error that has the message so far.
Reader = Callable[[HTTPError, str], tuple[str, Any]]


_E = TypeVar('_E', bound=HTTPError)


def copy_for(error: _E, request: Request) -> _E:
    """A copy of an error for another request that shares its outcome."""
    copied = copy(error)
    copied.__cause__, copied._keeps, copied.request = error.__cause__, error._keeps, request
    return copied
