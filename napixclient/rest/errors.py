"""The errors of REST clients."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from .. import messages
from ..error_shapes import fault, parse
from ..error_texts import one_line, words
from ..errors import Hop, HTTPError
from ..masking import cut
from ..messages import beginning, error_of
from .responses import Response

__all__ = ['ClientError', 'ErrorFactory']

#: Characters that are read of an answer that is not a JSON object.
_LONGEST = 16_000


class ClientError(HTTPError):
    """A call of a :class:`Client` got another status than it expects, or no answer at all.

    An error that you make yourself has no request, and its ``chain`` is empty. An error for a call without an answer
    (refused, timed out, …) has the status 0 and is raised ``from`` the error of the core.

    :param message: what happened; for an answer, the server's own words.
    :param status: the status of the answer, 0 without one.
    :param details: a list is kept; ``None`` becomes an empty list, and any other value a list with that value.
    """

    #: The :class:`Response`, if the server answered.
    response: Response | None = None  # type: ignore[assignment]
    _status: int = 0
    _details: list[Any] | None = None
    _line: str | None = None  # status line and words

    def __init__(self, message: str, status: int = 0, details: object = None) -> None:
        super().__init__(message)
        self._status = status
        self._details = _listed(details)

    @property
    def status(self) -> int:
        """The answer's status, 0 without an answer."""
        return self._status

    @property
    def _answer(self) -> messages.Response | None:
        return None if self.response is None else self.response.answer

    @property
    def details(self) -> list[Any]:
        """What the server said besides the message, as it was received."""
        self._read()
        if self._details is None:
            self._details = []
        return self._details

    @property
    def chain(self) -> list[Hop]:
        """Every hop of the failure, like :attr:`napixclient.HTTPError.chain`; empty if no call failed."""
        return [] if self.request is None and self.remote_error is None else super().chain

    @property
    def root(self) -> Hop:
        """The last hop of the chain, which is the first cause; the error itself if the chain is empty."""
        return (self.chain or [self._own_hop()])[-1]

    @property
    def _text(self) -> str:
        message = self.message  # read first
        return self._line or message

    @property
    def _kind(self) -> str:
        cause = self.__cause__
        return cause._kind if isinstance(cause, HTTPError) and self.request is not None else type(self).__name__


def _listed(details: object) -> list[Any]:
    if details is None:
        return []
    return details if isinstance(details, list) else [details]


class ErrorFactory:
    """Makes the errors of one client.

    :param class_of: returns the class of the error for a status.
    :param holder: holds the secrets that no text of the errors must show.
    """

    __slots__ = ('_class_of', '_holder')

    def __init__(self, class_of: Callable[[int], type[ClientError]] | None = None, holder: object = None) -> None:
        self._class_of = class_of
        self._holder = holder

    def refused(self, response: Response) -> ClientError:
        """The error for an answer with an unexpected status. It reads the answer on demand."""
        error = self._made('', response)
        error.read_when_asked(_read)
        return error

    def unreadable(self, response: Response, exc: ValueError) -> ClientError:
        """The error for a body that is not JSON."""
        return self.broken(f'the body is not JSON: {exc}', response)

    def broken(self, message: str, response: Response) -> ClientError:
        """The error for an answer that cannot be used.

        :param message: why.
        """
        return self._made(message, response)

    def failed(self, failure: HTTPError) -> ClientError:
        """The error for a request that got no answer."""
        error = self._class(0)(failure.message)
        error.request, error.phase, error.elapsed = failure.request, failure.phase, failure.elapsed
        error.attempts, error.route = failure.attempts, failure.route
        error.keep(failure)  # which holds the secrets of its request
        return error

    def _made(self, message: str, response: Response) -> ClientError:
        answer = response.answer
        error = self._class(answer.status)(message, answer.status)
        error.request, error.response, error.phase = answer.request, response, 'read'
        error.elapsed, error.attempts = answer.elapsed, answer.attempts
        error.keep(self._holder)
        return error

    def _class(self, status: int) -> type[ClientError]:
        return ClientError if self._class_of is None else self._class_of(status)

    def __reduce__(self) -> Any:
        return type(self), ()  # another process has neither the client nor its secrets


def _read(error: HTTPError, _: str) -> tuple[str, Any]:
    """Read the message and the ``remote_error`` of an answer, and its details too."""
    assert isinstance(error, ClientError) and error.response is not None
    answer = error.response.answer
    remote = error_of(answer)
    error._line, document = remote.message, remote.remote_error
    error.keep(remote)  # which holds the secrets of this request
    if isinstance(document, dict):
        text, error._details = fault(document)
        text = text or words(document)
    else:
        body = answer.body if isinstance(answer.body, str) else beginning(answer, _LONGEST)
        text = parse(cut(body, _LONGEST)).error_text or ''
    return one_line(text) or answer.reason or _phrase(answer.status), document


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f'status {status}'
