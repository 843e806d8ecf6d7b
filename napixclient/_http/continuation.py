"""Asks for what follows a streamed answer: the rest of a body that broke off, or the next events."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ..errors import Cancelled, HTTPError, ProtocolError
from ..masking import mask
from ..messages import Request
from .core import PoolCore
from .following import Fields
from .pending import NEVER, PendingResponse, new_pending
from .retrying import after_failure, retries_of
from .streaming import StreamedResponse

__all__ = ['Continuation']


class Continuation:
    """Asks once more what a streamed answer was asked with: within the same time, and with what is left of its retries.

    :param pending: the request that was answered.
    :param send: sends another one, after so many seconds.
    """

    __slots__ = ('_before', '_core', '_send', '_under_way')

    def __init__(
        self, pending: PendingResponse, core: PoolCore, send: Callable[[PendingResponse, float], object]
    ) -> None:
        self._core = core
        self._send = send
        # Not the request under way itself: it holds its answer, which would never be dropped.
        self._before = _follower(pending, pending.request)
        self._under_way: PendingResponse | None = None

    @property
    def max_body(self) -> int | None:
        """The bound of a body, in bytes."""
        own = self._before.request.max_body
        return self._core.settings.max_body if own is None else own

    def ask(self, fields: Fields, after: HTTPError | None, seconds: float) -> StreamedResponse:
        """Ask once more, and wait for the answer.

        The parameters are those of :class:`Continuing`.
        """
        before = self._before
        if not before.request.repeatable:
            raise after or ProtocolError('the body of the request cannot be read again', request=before.request)
        if after is not None:
            seconds = self._pause(after)
        pending = self._under_way = _follower(before, self._request(fields))
        try:
            self._submit(pending, seconds)
            answer = pending.get()
        except HTTPError as error:
            error.request = before.request
            raise
        except BaseException:
            pending.cancel()
            raise
        finally:
            self._under_way = None
            before.retry = pending.retry
        assert isinstance(answer, StreamedResponse)
        answer.request = before.request
        return answer

    def _submit(self, pending: PendingResponse, seconds: float) -> None:
        core = self._core
        core.check_thread()
        if core.closed:
            raise Cancelled('the pool is closed')
        core.requests += 1
        if pending.deadline != NEVER:
            core.clock.watch(pending, pending.deadline)
        self._send(pending, seconds)

    def _pause(self, error: HTTPError) -> float:
        """Seconds to wait before it is asked again what broke off while it was read.

        It may block where ``retries`` is of a class of the caller's own.

        :raises HTTPError: that error, where it is not asked again; or one that says what the caller's own has raised.
        """
        before, core = self._before, self._core
        try:
            seconds = after_failure(retries_of(before, core.settings.retries), before, error)
        except Exception as exc:
            raise HTTPError(f'retries failed: {type(exc).__name__}: {mask(str(exc))}', phase='backoff') from exc
        if seconds is None or monotonic() + seconds >= before.deadline or not core.may_retry():
            raise error
        return seconds

    def _request(self, fields: Fields) -> Request:
        request = self._before.request
        names = {name.lower() for name in fields}
        return request.replace(
            headers=[
                *(pair for pair in request.headers.multi_items() if pair[0].lower() not in names),
                *((name, value) for name, value in fields.items() if value is not None),
            ]
        )

    def stop(self, error: HTTPError) -> None:
        """End what is being asked, or what is waited for before it is."""
        if self._under_way is not None:
            self._under_way.end(error)


def _follower(before: PendingResponse, request: Request) -> PendingResponse:
    """A request that follows another, of which something was sent: in its context, with its clock and its retries."""
    pending = new_pending(request, None)
    pending.context = None if before.context is None else before.context.copy()
    pending.deadline, pending.retry, pending.sent = before.deadline, before.retry, True
    return pending
