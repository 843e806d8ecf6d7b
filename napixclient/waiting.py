"""How the outcomes of a pool's requests are handed out: in order, as they finish, or as a stream."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from time import monotonic
from typing import Any, Literal, Protocol, overload

import gevent
from gevent.event import Event
from gevent.hub import Waiter

from ._http.pending import NEVER, Batch, Outcome, PendingResponse, deadline_of, pause
from ._options import Unpack, lists
from .checks import whole_number
from .errors import HTTPError
from .masking import Shown
from .messages import Body, Fields, Request, RequestOptions, Response, WholeOptions
from .verbs import by_host, requests_to

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

__all__ = ['Submitter', 'Waiting', 'request_of', 'unless_failed']


class Submitter(Protocol):
    """Takes the requests to an origin."""

    def submit(self, request: Request, batch: Batch | None, index: int = 0) -> PendingResponse:
        """Have a request sent; its outcome lands in the batch, at this index."""


class Waiting(ABC):
    """What pools have in common: the requests since the last wait, and the ways to wait for them.

    :param check: raises what forbids the use of the pool here and now.
    :param submitter_for: gives who takes the requests to a host.
    :param window: requests of a stream that may be under way or finished and not yet taken, unless it says otherwise.
    """

    def __init__(self, check: Callable[[], None], submitter_for: Callable[[str], Submitter], window: int) -> None:
        self._check = check
        self._submitter_for = submitter_for
        self._window = window
        self._batch = Batch([])

    @abstractmethod
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> PendingResponse:
        """Send a request whose outcome is part of the next wait."""

    @abstractmethod
    def close(self) -> None:
        """End what is under way. May be repeated."""

    def _inspect(self, outcomes: list[Outcome]) -> None:  # noqa: B027  (most have nothing to look for)
        """Raise what ended requests for a reason that is not theirs: they stay to be waited for."""

    @overload
    def wait(self, timeout: float | None = None, *, raise_errors: Literal[True]) -> list[Response]: ...

    @overload
    def wait(self, timeout: float | None, raise_errors: Literal[True]) -> list[Response]: ...

    @overload
    def wait(self, timeout: float | None = None, raise_errors: bool = False) -> list[Outcome]: ...

    def wait(self, timeout: float | None = None, raise_errors: bool = False) -> list[Outcome] | list[Response]:
        """The outcomes of all requests since the last wait, in the order asked.

        :param timeout: seconds; what has not finished then is cancelled and comes out as a :class:`Timeout` error.
        :param raise_errors: raise what failed instead of handing it out; what succeeded is then in the
            :class:`PendingResponse` objects that ``request`` returned.
        :raises ExceptionGroup: of every :class:`HTTPError`, also of a single one, with ``raise_errors`` (that of the
            package ``exceptiongroup`` on Python 3.10).
        """
        deadline = deadline_of(timeout)
        batch = self._take_batch()
        try:
            if not batch.wait(len(batch.outcomes), deadline):
                batch.expire()
            self._inspect(batch.outcomes)
        except BaseException:  # thrown in: nothing is cancelled, nothing is lost
            self._give_back(batch)
            raise
        return unless_failed(batch.outcomes) if raise_errors else batch.outcomes

    @lists(WholeOptions)
    def map(
        self,
        hosts: Iterable[str],
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[WholeOptions],
    ) -> dict[str, Outcome]:
        """Ask each host the same, wait, and return the outcomes by host, in the order of ``hosts``.

        They are no part of any ``wait``. A host that is named twice is asked once. Who throws an exception in drops
        what has not been sent; what is in flight finishes in the background.

        :param hosts: as ``request`` takes them. Nothing is sent unless all can be asked.
        :param options: those of :class:`RequestOptions`, but for ``stream``:
        :raises ValueError: for a part that cannot be sent, and for a body that can be read only once.
        :raises TypeError: for an option that there is not.
        """
        requests = requests_to(type(self).request, hosts, method, url, body, headers, options)
        return by_host(requests, self.stream(requests.values()))

    def wait_unordered(self, count: int = -1, timeout: float | None = None) -> Iterator[Outcome]:
        """The outcomes of all requests since the last wait, each as soon as it is there.

        Leaving the loop early, or reaching ``count``, drops what has not been sent; what is in flight finishes in the
        background.

        :param count: outcomes to hand out at most; below 0 all.
        :param timeout: seconds from this call on; what has not finished then is cancelled, comes out as a
            :class:`Timeout` error, and the loop ends as if by itself.
        """
        deadline = deadline_of(timeout)
        return self._as_they_finish(self._take_batch(), count, deadline)

    def _as_they_finish(self, batch: Batch, count: int, deadline: float | None) -> Iterator[Outcome]:
        finished, outcomes = batch.finished, batch.outcomes
        left = len(outcomes) if count < 0 else min(count, len(outcomes))
        while left:
            if deadline is not None and monotonic() >= deadline:
                batch.expire()
                deadline = None
            elif not finished:
                try:
                    batch.wait(1, deadline)
                except BaseException:  # thrown in: nothing is cancelled, nothing is lost
                    self._give_back(batch)
                    raise
                continue
            index = finished.popleft()
            outcome, outcomes[index] = outcomes[index], None
            left -= 1
            try:
                yield outcome
            except GeneratorExit:
                batch.drop_unsent()
                raise
        batch.drop_unsent()

    def __iter__(self) -> Iterator[Outcome]:
        """The outcomes of all requests since the last wait, in the order asked, each as soon as it is ready."""
        return self._in_order(self._take_batch())

    def _in_order(self, batch: Batch) -> Iterator[Outcome]:
        outcomes = batch.outcomes
        for index, pending in enumerate(outcomes):
            if isinstance(pending, PendingResponse):
                try:
                    pending.wait()
                except BaseException:
                    self._give_back(batch)
                    raise
            outcome, outcomes[index] = outcomes[index], None
            try:
                yield outcome
            except GeneratorExit:
                batch.drop_unsent()
                raise

    def _take_batch(self) -> Batch:
        self._check()
        batch, self._batch = self._batch, Batch([])
        return batch

    def _give_back(self, batch: Batch) -> None:
        """A wait was interrupted: the next one returns the same requests, and those asked for since."""
        batch.restart(batch.outcomes + self._batch.outcomes)
        self._batch = batch

    def stream(
        self,
        requests: Iterable[Request | tuple[object, ...]],
        ordered: bool = False,
        window: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[Outcome]:
        """Send any number of requests, and hand each outcome out: lazily, in constant memory.

        The iterable runs in a greenlet of its own: while it blocks, finished outcomes are still handed out; while the
        consumer does not take them, it is not asked for more. What it raises is raised here, after the outcomes of
        what it had given before. Leaving the loop early drops what has not been sent.

        :param requests: ``Request`` objects or tuples ``(host, method, url[, body[, headers]])``.
        :param ordered: hand out in the order of ``requests`` instead of as they finish.
        :param window: requests that may be under way or finished and not yet taken; by default
            ``max_connections``, so that no more wait for their turn, while their time runs, than could have it.
        :param timeout: seconds from this call on for the whole stream; then no more is asked for, what has not finished
            is cancelled and comes out as a :class:`Timeout` error, and the loop ends as if by itself.
        """
        most = self._window if window is None else whole_number(window, 'window')
        deadline = deadline_of(timeout)
        return _stream(_Feed(self, self._submitter_for, iter(requests), most, deadline), ordered)


class _Feed:
    """The producing side of a stream: takes requests from the caller's iterable while there is room."""

    def __init__(
        self,
        pool: Waiting,
        submitter_for: Callable[[str], Submitter],
        requests: Iterator[Any],
        window: int,
        deadline: float | None,
    ) -> None:
        self.under_way: dict[int, Any] = {}  # what is not yet taken: a PendingResponse, then its outcome
        self.batch = Batch(self.under_way)
        self.over = False
        self.failure: BaseException | None = None
        self.deadline = deadline  # of ``monotonic()``; ``None`` where there is none, and behind it
        self._pool = pool  # so that it lives for as long as requests may come
        self._submitter_for = submitter_for
        self._requests = requests
        self._window = window
        # Waking for each slot that is freed would cost two switches a request.
        self._low = window - max(1, window // 4)
        self._room = Event()
        self.greenlet = gevent.Greenlet(self._run)
        self.greenlet.gr_context = copy_context()  # these calls hand on its call context
        self.greenlet.start()

    def _run(self) -> None:
        under_way = self.under_way
        try:
            for index, given in enumerate(self._requests):
                if self.over or self.is_late():  # it may have blocked until then, or not have heeded its end
                    break
                request = request_of(given)
                pending = self._submitter_for(request.host).submit(request, self.batch, index)
                if pending.outcome is None:
                    under_way[index] = pending
                if len(under_way) >= self._window:
                    self._room.clear()
                    self._room.wait()
                if self.is_late():
                    break
        except gevent.GreenletExit:
            pass
        except BaseException as exc:  # a gevent.Timeout of the iterable's own, too
            self.failure = exc
        finally:
            self.over = True
            if self.batch.wake_at != NEVER:
                self.batch.wake()

    def is_late(self) -> bool:
        """Whether the time of the stream is up, and nobody has acted on that."""
        return self.deadline is not None and monotonic() >= self.deadline

    def expire(self) -> None:
        """The time of the stream is up: no more is asked for, and what is under way ends."""
        self.over, self.deadline = True, None
        self.greenlet.kill(block=False)
        self.batch.expire()

    def wait(self) -> None:
        """Block until something has finished, the iterable has ended, or the time is up."""
        self.batch.waiter = Waiter()
        self.batch.wake_at = 1
        try:
            pause(self.batch.waiter, self.deadline)
        finally:
            self.batch.wake_at = NEVER

    def take(self, index: int) -> Outcome:
        """Hand out the outcome at that index, which makes room for another."""
        outcome = self.under_way.pop(index)
        if len(self.under_way) <= self._low:
            self._room.set()
        return outcome  # type: ignore[no-any-return]


def unless_failed(outcomes: list[Outcome]) -> list[Response]:
    """The outcomes, if all of them are answers.

    :raises ExceptionGroup: of every :class:`HTTPError` among them.
    """
    errors = [outcome for outcome in outcomes if isinstance(outcome, HTTPError)]
    if errors:
        raise ExceptionGroup(Shown(f'{len(errors)} of {len(outcomes)} requests failed'), errors)
    return outcomes  # type: ignore[return-value]  # there is no error in it


def request_of(given: object) -> Request:
    """What a stream was given, a ``Request`` or its parts, as a ``Request``.

    :raises ValueError: for anything else.
    """
    if isinstance(given, Request):
        return given
    if not isinstance(given, tuple) or not 3 <= len(given) <= 5:
        raise ValueError(
            f'a stream takes Request objects or tuples (host, method, url[, body[, headers]]), not {given!r}'
        )
    return Request(*given)


def _stream(feed: _Feed, ordered: bool) -> Iterator[Outcome]:
    batch, finished, turn = feed.batch, feed.batch.finished, 0
    try:
        while True:
            if feed.is_late():
                feed.expire()
            if ordered:
                pending = feed.under_way.get(turn)
                if pending is not None:
                    if isinstance(pending, PendingResponse):
                        pending.wait(feed.deadline)
                        if pending.outcome is None:  # the time is up
                            continue
                    finished.clear()
                    turn += 1
                    yield feed.take(turn - 1)
                    continue
            elif finished:
                yield feed.take(finished.popleft())
                continue
            if feed.over and not feed.under_way:
                break
            feed.wait()
    finally:
        feed.greenlet.kill(block=False)
        batch.drop_unsent()
    if feed.failure is not None:
        raise feed.failure
