"""Whether a request is tried again, and when: ``urllib3.Retry`` decides, timers wait. Imports messages and errors."""

from __future__ import annotations

from typing import Any

from urllib3 import Retry
from urllib3 import exceptions as urllib3_errors

from ..errors import BodyTooLarge, ConnectError, ConnectTimeout, HTTPError, ProtocolError, ReadTimeout, TLSError
from ..masking import mask
from ..messages import Headers, Response
from .pending import PendingResponse

__all__ = ['after_failure', 'after_response']


class _Answer:
    """A response as far as ``urllib3.Retry`` looks at one."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers: Headers = response.headers

    def get_redirect_location(self) -> bool:
        """Redirects are answers."""
        return False


def after_failure(retry: Retry | None, pending: PendingResponse, error: HTTPError) -> float | None:
    """Seconds to wait before the next try; ``None`` when the error is the outcome."""
    foreign = _as_urllib3(error)
    if retry is None or foreign is None or not pending._current._repeatable:
        return None
    return _step(retry, pending, error=foreign)


def after_response(retry: Retry | None, pending: PendingResponse, response: Response) -> float | None:
    """Seconds to wait before the next try; ``None`` when the answer is the outcome."""
    if retry is None or not pending._current._repeatable:
        return None
    answer: Any = _Answer(response)
    if not retry.is_retry(pending._current.method, response.status, 'Retry-After' in answer.headers):
        return None
    return _step(retry, pending, answer=answer)


def _step(retry: Retry, pending: PendingResponse, error: Exception | None = None, answer: Any = None) -> float | None:
    request = pending._current
    try:
        pending._retry = retry = retry.increment(request.method, mask(request.url), response=answer, error=error)
    except urllib3_errors.HTTPError:            # used up, or not allowed for this kind of failure
        return None
    delay = None
    if answer is not None and retry.respect_retry_after_header:
        try:
            delay = retry.get_retry_after(answer)
        except (urllib3_errors.InvalidHeader, ValueError, OverflowError):
            delay = None                        # no date, or none that a clock knows
    return max(0.0, retry.get_backoff_time() if not delay else delay)


def _as_urllib3(error: HTTPError) -> Exception | None:
    """The kind of failure in the words of ``Retry``; ``None`` for one that is never tried again."""
    nobody: Any = None
    if isinstance(error, TLSError):
        return urllib3_errors.SSLError(error.message)
    if isinstance(error, (ConnectError, ConnectTimeout)):
        return urllib3_errors.ConnectTimeoutError(error.message)
    if isinstance(error, ReadTimeout):
        return urllib3_errors.ReadTimeoutError(nobody, '', error.message)
    if isinstance(error, ProtocolError) and not isinstance(error, BodyTooLarge):
        return urllib3_errors.ProtocolError(error.message)
    return None
