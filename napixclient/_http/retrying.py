"""Whether a request is tried again, and when: ``urllib3.Retry`` decides, timers wait."""

from __future__ import annotations

from typing import Any, NamedTuple

from urllib3 import Retry
from urllib3 import exceptions as urllib3_errors

from ..errors import (
    BodyTooLarge,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    ProtocolError,
    ProxyError,
    ReadTimeout,
    TLSError,
)
from ..masking import mask
from ..messages import Headers, Response
from .pacing import SIX_HOURS, pause_asked_for
from .pending import RequestState

__all__ = ['UP_TO_THREE', 'Try', 'after_failure', 'after_response', 'next_try', 'retries_of']

#: What counts the tries where the caller decides on each, and has not said how many.
UP_TO_THREE = Retry(3, redirect=0)


def retries_of(pending: RequestState, default: Retry | None) -> Retry | None:
    """What says whether a request is tried again: what is left of its own, or its own, or the client's."""
    if isinstance(pending.retry, Retry):
        return pending.retry
    own = pending.asked.options.retries
    return default if own is None else own


class _Answer:
    """A response as far as ``urllib3.Retry`` looks at one."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers: Headers = response.headers

    def get_redirect_location(self) -> bool:
        """Redirects are answers."""
        return False


class Try(NamedTuple):
    """Another try: what is left then, and the seconds to wait before it."""

    retry: Retry
    seconds: float


def after_failure(retry: Retry | None, pending: RequestState, error: HTTPError) -> float | None:
    """Seconds to wait before the next try; ``None`` when the error is the outcome."""
    foreign = _as_urllib3(error)
    if retry is None or foreign is None or not pending.current.repeatable:
        return None
    return _counted(pending, _step(retry, pending, error=foreign))


def after_response(retry: Retry | None, pending: RequestState, response: Response) -> float | None:
    """Seconds to wait before the next try; ``None`` when the answer is the outcome."""
    if retry is None or not pending.current.repeatable:
        return None
    answer: Any = _Answer(response)
    if not retry.is_retry(pending.current.method, response.status, 'Retry-After' in answer.headers):
        return None
    return _counted(pending, _step(retry, pending, answer=answer))


def next_try(retry: Retry, pending: RequestState, last: Response | HTTPError) -> Try | None:
    """Another try where the caller decides; ``None`` where there may be none.

    A body that cannot be read again is not sent again. A method that is not among ``allowed_methods`` is sent once at
    most, as if ``retries`` decided: it is only tried again where nothing was sent.
    """
    if not pending.current.repeatable:
        return None
    if isinstance(last, HTTPError):
        return _step(retry, pending, error=_as_urllib3(last) or urllib3_errors.ProtocolError(last.message))
    if retry.allowed_methods and pending.current.method not in retry.allowed_methods:
        return None
    return _step(retry, pending, answer=_Answer(last))


def _counted(pending: RequestState, step: Try | None) -> float | None:
    if step is None:
        return None
    pending.retry = step.retry
    return step.seconds


def _step(retry: Retry, pending: RequestState, error: Exception | None = None, answer: Any = None) -> Try | None:
    request = pending.current
    try:
        retry = retry.increment(request.method, mask(request.url), response=answer, error=error)
    except urllib3_errors.HTTPError:  # used up, or not allowed for this kind of failure
        return None
    delay = None
    if answer is not None and retry.respect_retry_after_header:
        delay = _pause(retry, answer)
    return Try(retry, max(0.0, delay or retry.get_backoff_time()))


def _pause(retry: Retry, answer: Any) -> float | None:
    """Seconds that the server asked for; ``None`` where nobody can read that: then the back-off is what it is."""
    if not _reads_itself(retry):
        most = getattr(retry, 'retry_after_max', SIX_HOURS)  # which urllib3 2.6.0 has not
        return pause_asked_for(answer.headers.get('Retry-After'), most)
    try:
        return retry.get_retry_after(answer)
    except (urllib3_errors.InvalidHeader, ValueError, OverflowError):
        return None


def _reads_itself(retry: Retry) -> bool:
    """Whether it is of a class of the caller's own that has its own way to read the field."""
    kind = type(retry)
    return kind.get_retry_after is not Retry.get_retry_after or kind.parse_retry_after is not Retry.parse_retry_after


def _as_urllib3(error: HTTPError) -> Exception | None:
    """The kind of failure in the words of ``Retry``; ``None`` for one that is never tried again."""
    nobody: Any = None
    if isinstance(error, TLSError):
        return urllib3_errors.SSLError(error.message)
    if isinstance(error, ProxyError) and error.phase != 'connect' and not error.unprocessed:  # the request was sent
        return urllib3_errors.ProtocolError(error.message)
    # Where writing failed, whoever keeps us from writing, such as a lease that is over, says what follows.
    too_late = isinstance(error, ProtocolError) and error.unprocessed and error.__cause__ is None
    if too_late or isinstance(error, (ConnectError, ConnectTimeout)):
        return urllib3_errors.ConnectTimeoutError(error.message)
    if isinstance(error, ReadTimeout):
        return urllib3_errors.ReadTimeoutError(nobody, '', error.message)
    if isinstance(error, ProtocolError) and not isinstance(error, BodyTooLarge):
        return urllib3_errors.ProtocolError(error.message)
    return None
