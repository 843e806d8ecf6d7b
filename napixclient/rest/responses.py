"""What a verb of a REST client returns."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from .. import messages
from .._http.pending import PendingResponse
from .._http.streaming import StreamedResponse
from ..errors import HTTPError, RemoteError
from ..messages import Headers
from ..peer import AnyPeer

__all__ = ['ErrorSource', 'Response', 'answered']

_R = TypeVar('_R', bound='Response')


class ErrorSource(Protocol):
    """Makes the errors that a response raises."""

    def failed(self, failure: HTTPError) -> HTTPError:
        """The error for a request that got no answer."""

    def refused(self, response: Response) -> HTTPError:
        """The error for an answer with an unexpected status."""

    def unreadable(self, response: Response, exc: ValueError) -> HTTPError:
        """The error for a body that is not JSON."""


class Response:
    """The answer of a server.

    With ``success=None`` the response is lazy: the request is under way, and the first property that is read waits for
    the answer. The request of a response that nobody reads finishes in the background.

    :raises ClientError: from any property of a lazy response, if there was no answer.
    """

    __slots__ = ('__weakref__', '_answer', '_errors', '_pending')
    _answer: messages.Response | None
    _pending: PendingResponse | None
    _errors: ErrorSource

    def __init__(
        self, pending: PendingResponse | None, errors: ErrorSource, answer: messages.Response | None = None
    ) -> None:
        self._pending = pending
        self._errors = errors
        self._answer = answer

    @property
    def answer(self) -> messages.Response:
        """The answer as the core has it, a :class:`napixclient.Response` of any status."""
        if self._answer is None:
            assert self._pending is not None
            self._answer = answered(self._pending, self._errors)
            self._pending = None
        return self._answer

    @property
    def stream(self) -> StreamedResponse:
        """The answer to a call with ``stream=True``, which is read in pieces, saved, or read as events.

        :raises ValueError: of any other call, and of an answer of 400 or above, which is read whole.
        """
        answer = self.answer
        if not isinstance(answer, StreamedResponse):
            raise ValueError('the answer was read whole: ask for one to be read in pieces with stream=True')
        return answer

    @property
    def status_code(self) -> int:
        """The status: 200."""
        return self.answer.status

    @property
    def status(self) -> str:
        """The reason phrase of the status line: ``OK``; often empty."""
        return self.answer.reason

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.answer.ok

    def raise_for_status(self: _R) -> _R:
        """The response itself, if its status is below 400.

        :raises ClientError: if it is not.
        """
        if not self.answer.ok:
            raise self._errors.refused(self)
        return self

    def as_dict(self) -> dict[str, Any]:
        """The answer as ``napix --json`` writes it, without ``index``: see :meth:`napixclient.Response.as_dict`."""
        return self.answer.as_dict()

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self.answer.url

    @property
    def peer(self) -> AnyPeer | None:
        """The :class:`napixclient.Peer` that answered, behind a proxy that proxy; of a Unix socket the path."""
        return self.answer.peer

    @property
    def tried(self) -> tuple[AnyPeer, ...]:
        """The addresses that were tried when its connection was opened, in that order."""
        return self.answer.tried

    @property
    def headers(self) -> Headers:
        """The header fields, a case-insensitive mapping."""
        return self.answer.headers

    @property
    def trailers(self) -> Headers:
        """The fields behind the body of a chunked answer: see :attr:`napixclient.Response.trailers`."""
        return self.answer.trailers

    def conditional(self) -> Headers:
        """What asks for the same again only if it has changed: see :meth:`napixclient.Response.conditional`."""
        return self.answer.conditional()

    @property
    def content(self) -> bytes:
        """The body as bytes, with its content coding undone unless ``decode=False``."""
        return self.answer.data

    @property
    def text(self) -> str:
        """The body as text, by the charset of its Content-Type, else UTF-8; undecodable bytes are replaced."""
        return self.answer.text

    @property
    def json(self) -> Any:
        """The body, decoded from JSON.

        :raises ClientError: if it is not JSON.
        """
        try:
            return self.answer.json()
        except ValueError as exc:
            raise self._errors.unreadable(self, exc) from exc

    def __reduce__(self) -> Any:
        return type(self), (None, self._errors, self.answer)

    def __repr__(self) -> str:
        if self._answer is not None:
            return repr(self._answer)
        assert self._pending is not None
        return f'<Response of {self._pending.request}, {"not read yet" if self._pending.ready() else "under way"}>'


def answered(pending: PendingResponse, errors: ErrorSource) -> messages.Response:
    """Wait for the answer, whatever its status.

    :raises ClientError: if there is none.
    """
    try:
        return pending.get()
    except RemoteError as error:
        assert error.response is not None
        return error.response
    except HTTPError as error:
        raise errors.failed(error) from error
