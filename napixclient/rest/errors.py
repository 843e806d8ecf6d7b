"""What a REST client raises."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..documents import fault, said
from ..errors import Hop, HTTPError, one_line, words
from ..masking import cut
from ..remote import error_of

if TYPE_CHECKING:
    from .responses import Response

__all__ = ['ClientError', 'Faults']

#: Characters of an answer that is no JSON object that are looked at.
_LONGEST = 16_000


class ClientError(HTTPError):
    """What a call of a :class:`Client` raises: another status than was asked for, or no answer at all.

    Made by hand, it has no request, and its ``chain`` is empty. That of a failure without an answer (refused, timed
    out, …) has the status 0 and is raised ``from`` the error of the core.

    :param message: what happened; of an answer, the server's own words.
    :param status: the status of the answer, 0 without one.
    :param details: a list is kept, a text becomes ``[text]``, ``None`` the empty list, anything else ``[value]``.
    """

    #: The :class:`Response`, where the server answered.
    response: Response | None = None  # type: ignore[assignment]
    _status: int = 0
    _details: list[Any] | None = None
    _line: str | None = None  # status line and words

    def __init__(self, message: str, status: int = 0, details: Any = None) -> None:
        super().__init__(message)
        self._status = status
        self._details = listed(details)

    @property
    def status(self) -> int:
        """The answer's status, 0 without an answer."""
        return self._status

    @property
    def details(self) -> list[Any]:
        """What the server said beside the message, as it was received."""
        self._read()
        if self._details is None:
            self._details = []
        return self._details

    @property
    def chain(self) -> list[Hop]:
        """Every hop of the failure, as :attr:`napixclient.HTTPError.chain`; empty where no call failed."""
        return [] if self.request is None and self.remote_error is None else super().chain

    @property
    def root(self) -> Hop:
        """The last hop of the chain, the first cause; the error itself where the chain is empty."""
        return (self.chain or [self._own_hop()])[-1]

    @property
    def _told(self) -> str:
        message = self.message  # read first
        return self._line or message

    @property
    def _kind(self) -> str:
        cause = self.__cause__
        return cause._kind if isinstance(cause, HTTPError) and self.request is not None else type(self).__name__


def listed(details: Any) -> list[Any]:
    """Details as a list."""
    if details is None:
        return []
    return details if isinstance(details, list) else [details]


class Faults:
    """Makes the errors of one client.

    :param kind_of: the class of the error for a status.
    :param keeps: who holds the secrets that no text of theirs must show.
    """

    __slots__ = ('_keeps', '_kind_of')

    def __init__(self, kind_of: Callable[[int], type[ClientError]] | None = None, keeps: Any = None) -> None:
        self._kind_of = kind_of
        self._keeps = keeps

    def refused(self, response: Response) -> ClientError:
        """The error that an answer stands for; it is read when somebody asks for what it says."""
        error = self._made('', response)
        error._unread = _read
        return error

    def unreadable(self, response: Response, exc: ValueError) -> ClientError:
        """The error for a body that is not JSON."""
        return self.broken(f'the body is not JSON: {exc}', response)

    def broken(self, message: str, response: Response) -> ClientError:
        """The error for an answer that makes no sense."""
        return self._made(message, response)

    def failed(self, failure: HTTPError) -> ClientError:
        """The error for a request that got no answer."""
        error = self._kind(0)(failure.message)
        error.request, error.phase, error.elapsed = failure.request, failure.phase, failure.elapsed
        error.attempts, error._keeps = failure.attempts, failure._keeps
        return error

    def _made(self, message: str, response: Response) -> ClientError:
        answer = response._answer
        assert answer is not None
        error = self._kind(answer.status)(message, answer.status)
        error.request, error.response, error.phase = answer.request, response, 'read'
        error.elapsed, error.attempts, error._keeps = answer.elapsed, answer.attempts, self._keeps
        return error

    def _kind(self, status: int) -> type[ClientError]:
        return ClientError if self._kind_of is None else self._kind_of(status)


def _read(error: HTTPError) -> tuple[str, Any]:
    """Message and ``remote_error`` of an answer; the details too."""
    assert isinstance(error, ClientError) and error.response is not None
    answer = error.response._answer
    assert answer is not None
    told = error_of(answer)
    error._line, document = told.message, told.remote_error
    error._keeps = error._keeps, told  # which knows the secrets of this request
    if isinstance(document, dict):
        text, error._details = fault(document)
        text = text or words(document)
    else:
        body = answer.body if isinstance(answer.body, str) else answer._beginning(_LONGEST)
        text = said(cut(body, _LONGEST)).error_text or ''
    return one_line(text) or answer.reason or _phrase(answer.status), document


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f'status {status}'
