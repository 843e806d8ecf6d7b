"""The one outcome of a request, and those who wait for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from time import monotonic
from typing import Any, NamedTuple, Protocol

import gevent
from gevent.hub import Waiter, get_hub

from ..authenticators.fetching import Way
from ..checks import is_number
from ..errors import Cancelled, ConnectTimeout, DeadlineExceeded, HTTPError, Phase, QueueTimeout, Timeout
from ..messages import Request, Response, Shared, one_of
from ..peer import Route

__all__ = [
    'Completer',
    'Batch',
    'Holder',
    'PendingResponse',
    'Redirect',
    'RequestState',
    'Signed',
    'deadline_of',
    'drop_unsent',
    'new_pending',
    'pause',
]

Outcome = Response | HTTPError
Link = Callable[['PendingResponse'], object]
NEVER = float('inf')


class Holder(Protocol):
    """Whoever has an unfinished request in hand: a queue, a dial, a connection, a back-off."""

    @property
    def phase(self) -> Phase:
        """The phase that a timeout now is reported with."""

    @property
    def route(self) -> Route | None:
        """The addresses that it has tried for the request, ``None`` for none."""

    def drop(self, pending: PendingResponse) -> Completer:
        """Let go of the request at once and give back what it takes; who is returned completes it."""


class Completer(Protocol):
    """Counts the outcomes of an origin, and calls the hooks."""

    def complete(self, pending: PendingResponse, outcome: Outcome) -> None:
        """Make this the outcome."""


class _NotReady(Timeout, gevent.Timeout):
    """``get`` was not to wait any longer; the request goes on. Also a ``gevent.Timeout``, as ``AsyncResult`` raises."""

    def __init__(self, request: Request) -> None:
        Timeout.__init__(self, 'no outcome yet; the request goes on', request=request)

    __str__ = Timeout.__str__
    __repr__ = Timeout.__repr__


class _NotAnswered(_NotReady, DeadlineExceeded):
    """The same when the request had been sent: a server that gives up for it is late, not busy."""


# Texts, members and documents name the kind that callers know.
_NotReady.__name__, _NotAnswered.__name__ = 'Timeout', 'DeadlineExceeded'


class Redirect(NamedTuple):
    """What is sent instead of a request, after a redirect."""

    request: Request
    followed: int  # redirects so far
    foreign: bool  # it has left the origin that its caller named: credentials stay behind
    sent_before: int  # attempts of the requests before it


class Signed:
    """What an authenticator made of one attempt, and which challenges of it were answered."""

    __slots__ = ('answered', 'attempt', 'proxied', 'request', 'way')

    def __init__(self, attempt: int, request: Request, way: Way | None = None) -> None:
        self.attempt: int = attempt
        self.way: Way | None = way
        #: As it is sent, but for what the cookie jar and the authenticator of a proxy add.
        self.request: Request = request
        #: What the proxy that it is sent to was told of it.
        self.proxied: Request | None = None
        #: The statuses, 401 or 407.
        self.answered: list[int] = []


class RequestState:
    """What the engine knows of one request under way."""

    __slots__ = (
        '__weakref__',
        'asked',
        'attempts',
        'context',
        'deadline',
        'holder',
        'outcome',
        'last_route',
        'propagated',
        'redirect',
        'retry',
        'sent',
        'signed',
    )

    #: The request, as long as nobody has looked at it perhaps a shared one.
    asked: Request
    outcome: Outcome | None
    holder: Holder | None
    deadline: float  # of time.monotonic(), for the total
    context: Context | None  # of the call that asked for it
    attempts: int  # tries begun
    sent: bool  # whether a byte of it may ever have reached the server
    signed: Signed | None  # by an authenticator, in the attempt under way or the last one
    retry: Any  # urllib3.Retry as it stands; None before the first failure
    propagated: str | None  # the fields of the call context that its last attempt carried
    redirect: Redirect | None
    last_route: Route | None  # of the last attempt that was not the end of it; not there before the first one

    @property
    def request(self) -> Request:
        """The :class:`Request` as its caller made it."""
        asked = self.asked
        if asked.tag is Shared:
            outcome = self.outcome
            asked = self.asked = outcome.request if isinstance(outcome, Response) else one_of(asked)
        return asked

    @property
    def current(self) -> Request:
        """What is to be sent now."""
        return self.request if self.redirect is None else self.redirect.request

    @property
    def route(self) -> Route | None:
        """The addresses that were tried last; ``None`` while none was."""
        found = None if self.holder is None else self.holder.route
        return getattr(self, 'last_route', None) if found is None else found

    @property
    def tries(self) -> int:
        """How often the request was tried; to follow a redirect is no further try."""
        return self.attempts if self.redirect is None else self.attempts - self.redirect.followed


class PendingResponse(RequestState):
    """A request under way, and its outcome when it has one.

    ``gevent.wait``, ``gevent.iwait`` and ``gevent.joinall`` take it.
    """

    __slots__ = ('_batch', '_index', '_links', '_waiter')

    outcome: Outcome | None
    holder: Holder | None
    _batch: Batch | None
    _index: int  # in the batch
    _links: list[Link] | None
    _waiter: Waiter[object] | None  # of a greenlet that waits without a clock: it costs less than a link

    def ready(self) -> bool:
        """Whether the outcome is there."""
        return self.outcome is not None

    def successful(self) -> bool:
        """Whether the outcome is there and is a :class:`Response`."""
        return isinstance(self.outcome, Response)

    @property
    def value(self) -> Response | None:
        """The :class:`Response`; ``None`` before the end and after an error."""
        outcome = self.outcome
        return outcome if isinstance(outcome, Response) else None

    @property
    def exception(self) -> HTTPError | None:
        """The :class:`HTTPError`; ``None`` before the end and after a success."""
        outcome = self.outcome
        return outcome if isinstance(outcome, HTTPError) else None

    def get(self, block: bool = True, timeout: float | None = None) -> Response:
        """Wait for the outcome: return the :class:`Response` or raise the :class:`HTTPError`.

        :param timeout: seconds to wait; the request itself goes on afterwards.
        :raises Timeout: (and ``gevent.Timeout``) when there is no outcome yet.
        """
        if self.outcome is None and block:
            self.wait(deadline_of(timeout))
        outcome = self.outcome
        if outcome is None:
            not_ready = (_NotAnswered if self.sent else _NotReady)(self.request)
            not_ready.route = self.route
            raise not_ready
        if isinstance(outcome, Response):
            return outcome
        raise outcome.with_traceback(None)

    def wait(self, deadline: float | None = None) -> None:
        """Block until the outcome is there or ``monotonic()`` reaches the deadline."""
        while self.outcome is None:
            waiter: Waiter[object] = Waiter()
            if deadline is None and self._waiter is None:
                self._waiter = waiter
                try:
                    waiter.get()
                finally:
                    self._waiter = None
                continue
            self.rawlink(waiter.switch)
            try:
                if not pause(waiter, deadline):
                    return
            finally:
                self.unlink(waiter.switch)

    def cancel(self) -> None:
        """End the request now with :class:`Cancelled`: a queued one is dropped, one in flight loses its connection."""
        self.end(Cancelled('cancelled', request=self.request))

    kill = cancel

    def end(self, error: HTTPError) -> None:
        """Take the request from whoever has it, and make the error its outcome; nothing if it has one already."""
        if self.outcome is None:
            error.route = self.route
            holder, self.holder = self.holder, None
            if holder is None:
                self.finish(error)
                return
            started = getattr(holder, 'started', 0.0)
            if self.sent and started:
                error.elapsed = monotonic() - started
            holder.drop(self).complete(self, error)
        elif isinstance(self.outcome, Response):  # it was handed out, but its body can still be cut off
            self.outcome.break_off(error)

    def finish(self, outcome: Outcome) -> None:
        """The one place where an outcome is set."""
        self.outcome = outcome
        self.holder = None
        batch = self._batch
        if batch is not None:
            self._batch = None
            index = self._index
            batch.outcomes[index] = outcome  # in place of the pending, which nobody may need any more
            finished = batch.finished
            finished.append(index)
            if len(finished) >= batch.wake_at:
                batch.wake()
        if self._links is not None:
            get_hub().loop.run_callback(self._notify)
        if self._waiter is not None:  # behind the links: a span ends before who made the call goes on
            get_hub().loop.run_callback(self._waiter.switch, self)

    def rawlink(self, callback: Link) -> None:
        """Have the hub call ``callback(self)`` once, when the outcome is there; it must not block."""
        if self._links is None:
            self._links = []
        self._links.append(callback)
        if self.outcome is not None:
            get_hub().loop.run_callback(self._notify)

    def unlink(self, callback: Link) -> None:
        """Take a link back; may be repeated."""
        if self._links is not None and callback in self._links:
            self._links.remove(callback)

    def _notify(self) -> None:
        links, hub = self._links, get_hub()
        while links:
            link = links.pop(0)
            try:
                link(self)
            except Exception as exc:  # the caller's own callback: reported as gevent reports one
                hub.handle_error(link, type(exc), exc, exc.__traceback__)

    def _raise_exception(self) -> None:
        """Protocol of ``gevent.joinall(raise_error=True)``."""
        self.get(block=False)

    def __repr__(self) -> str:
        state = self.outcome if self.outcome is not None else self.holder.phase if self.holder else 'new'
        return f'<PendingResponse {self.asked}: {state!r}>'


def new_pending(request: Request, batch: Batch | None, index: int = 0) -> PendingResponse:
    """A request that nobody holds yet. A function, because to call a class costs Python three times as much."""
    pending = _new_object(PendingResponse)
    pending.asked = request
    pending._batch = batch
    pending._index = index
    pending.outcome = None
    pending.holder = None
    pending._links = None
    pending._waiter = None
    pending.deadline = NEVER
    pending.context = None
    pending.attempts = 0
    pending.sent = False
    pending.signed = None
    pending.retry = None
    pending.redirect = None
    pending.propagated = None
    return pending


_new_object = object.__new__
#: What stands at a place of a batch.
Entry = PendingResponse | Response | HTTPError | None


class Batch:
    """Requests that one ``wait``, one loop or one stream will hand out.

    Each has an index, at which its outcome replaces its ``PendingResponse``: so a request that is done costs two
    objects less to hold, and the collector as much less work.
    """

    __slots__ = ('finished', 'outcomes', 'wake_at', 'waiter')

    def __init__(self, outcomes: list[Entry] | dict[int, Entry]) -> None:
        #: By place, in the order asked: a ``PendingResponse``, then its outcome, then ``None`` when it is handed out.
        self.outcomes: list[Any] = outcomes  # type: ignore[assignment]  # that of a stream is a dict, by place as well
        #: The places of what has finished, in that order.
        self.finished: deque[int] = deque()
        self.wake_at: float = NEVER  # how many must have finished before the waiter is woken
        self.waiter: Any = None

    def wake(self) -> None:
        """Called within a transition of the engine: the waiter runs in a later turn of the loop."""
        self.wake_at = NEVER
        get_hub().loop.run_callback(self.waiter.switch, self)

    def wait(self, count: int, deadline: float | None) -> bool:
        """Block until so many have finished; false when ``monotonic()`` reached the deadline before."""
        while len(self.finished) < count:
            self.waiter = Waiter()
            self.wake_at = count
            try:
                if not pause(self.waiter, deadline):
                    return len(self.finished) >= count
            finally:
                self.wake_at = NEVER
        return True

    def unfinished(self) -> list[PendingResponse]:
        """What has no outcome yet."""
        outcomes = self.outcomes.values() if isinstance(self.outcomes, dict) else self.outcomes
        return [entry for entry in outcomes if isinstance(entry, PendingResponse)]

    def restart(self, entries: list[Entry]) -> None:
        """Hold these from now on, at new places; ``None`` among them is left out."""
        self.outcomes = [entry for entry in entries if entry is not None]
        self.finished.clear()
        for index, entry in enumerate(self.outcomes):
            if isinstance(entry, PendingResponse):
                entry._batch, entry._index = self, index
            else:
                self.finished.append(index)

    def expire(self) -> None:
        """The waiter's time is up: what has not finished ends with a timeout."""
        for pending in _queued_first(self.unfinished()):
            pending.end(timeout_of(pending, 'wait'))

    def drop_unsent(self) -> None:
        """Cancel what has not been sent; what is in flight finishes in the background."""
        for pending in _queued_first(self.unfinished()):
            drop_unsent(pending)


def _queued_first(unfinished: list[PendingResponse]) -> list[PendingResponse]:
    """In this order, what ends makes no room for one that is to end as well."""
    return sorted(unfinished, key=lambda pending: pending.holder is not None and pending.holder.phase != 'queue')


_UNSENT = frozenset(['queue', 'connect', 'authenticate', 'backoff'])


def drop_unsent(pending: PendingResponse) -> None:
    """Cancel a request that has not been sent.

    Whether one is sent that is another process's by now, that process knows: its holder has ``recall``, and asks it.
    """
    holder = pending.holder
    if holder is None or holder.phase in _UNSENT:
        pending.cancel()
    elif hasattr(holder, 'recall'):
        holder.recall()


def timeout_of(pending: PendingResponse, clock: str) -> Timeout:
    """The error for a request whose time is up, by where it stands.

    :param clock: ``total`` for the request's own, ``wait`` for that of ``pool.wait`` and its like.
    """
    phase = pending.holder.phase if pending.holder is not None else 'read' if pending.sent else 'queue'
    what = 'the total time' if clock == 'total' else 'the time to wait'
    if not pending.sent:
        name = getattr(pending.holder, 'name', None)
        where = f', in the look-up of {name}' if name else ''
        if phase == 'connect' and clock == 'total':
            return ConnectTimeout(f'{what} was up while connecting{where}', request=pending.request, phase=phase)
        return QueueTimeout(f'{what} was up before anything was sent{where}', request=pending.request, phase=phase)
    return DeadlineExceeded(
        f'{what} was up after sending had begun (phase: {phase})', request=pending.request, phase=phase
    )


def deadline_of(timeout: float | None) -> float | None:
    """What ``monotonic()`` will show when so many seconds are up.

    :raises ValueError: for what is not a number of 0 or more.
    """
    if timeout is None:
        return None
    if not is_number(timeout) or not timeout >= 0:
        raise ValueError(f'timeout is a number of seconds or None, not {timeout!r}')
    return None if timeout == NEVER else monotonic() + timeout


def pause(waiter: Waiter[object], deadline: float | None) -> bool:
    """Block on a waiter; false when ``monotonic()`` reached the deadline first."""
    if deadline is None:
        waiter.get()
        return True
    timer = get_hub().loop.timer(max(deadline - monotonic(), 0))
    # The switch to the waiter itself marks the clock. The loop's own time may be that of long ago.
    timer.start(waiter.switch, waiter, update=True)
    try:
        return waiter.get() is not waiter
    finally:
        timer.stop()
        timer.close()
