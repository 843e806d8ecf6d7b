"""What a verb returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import HTTPError, RemoteError
from .errors import Faults

if TYPE_CHECKING:
    from .._http.pending import PendingResponse
    from ..messages import Headers
    from ..messages import Response as Answer

__all__ = ['Response', 'answered']


class Response:
    """What the server answered.

    With ``success=None`` it is lazy: the request is under way, and whatever is asked of it waits for the answer. One
    that nobody reads finishes in the background.

    :raises ClientError: from any property of a lazy one, when there was no answer.
    """

    __slots__ = ('__weakref__', '_answer', '_faults', '_pending')
    _answer: Answer | None
    _pending: PendingResponse | None
    _faults: Faults

    def __init__(self, pending: PendingResponse | None, faults: Faults, answer: Answer | None = None) -> None:
        self._pending = pending
        self._faults = faults
        self._answer = answer

    def _wait(self) -> Answer:
        """The answer, whatever its status."""
        if self._answer is None:
            assert self._pending is not None
            self._answer = answered(self._pending, self._faults)
            self._pending = None
        return self._answer

    @property
    def status_code(self) -> int:
        """The status: 200."""
        return self._wait().status

    @property
    def status(self) -> str:
        """The reason phrase of the status line: ``OK``; often empty."""
        return self._wait().reason

    @property
    def headers(self) -> Headers:
        """The header fields, a case-insensitive mapping."""
        return self._wait().headers

    @property
    def content(self) -> bytes:
        """The body as bytes, content coding undone unless ``decode=False``."""
        return self._wait().data

    @property
    def text(self) -> str:
        """The body as text, by the charset of its Content-Type, else UTF-8; what does not decode is replaced."""
        return self._wait().text

    @property
    def json(self) -> Any:
        """The body, decoded from JSON.

        :raises ClientError: when it is not JSON.
        """
        try:
            return self._wait().json()
        except ValueError as exc:
            raise self._faults.unreadable(self, exc) from exc

    def __reduce__(self) -> Any:
        return type(self), (None, Faults(), self._wait())

    def __repr__(self) -> str:
        if self._answer is not None:
            return repr(self._answer)
        assert self._pending is not None
        return f'<Response of {self._pending.request}, {"not read yet" if self._pending.ready() else "under way"}>'


def answered(pending: PendingResponse, faults: Faults) -> Answer:
    """Wait for the answer, whatever its status.

    :raises ClientError: when there is none.
    """
    try:
        return pending.get()
    except RemoteError as error:
        assert error.response is not None
        return error.response
    except HTTPError as error:
        raise faults.failed(error) from error
