"""Acts on verdicts: gives each request its one outcome at once, after a pause, or when a greenlet is done with it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import gevent

from .._log import log
from ..errors import DeadlineExceeded, HTTPError, Phase
from ..tracebacks import traceback_of
from .figures import Figures
from .gevent_types import Loop, Watcher
from .outcomes import Again, Answered, Deferred, Elsewhere, Final, Verdict
from .pending import Outcome, PendingResponse, Redirect
from .settings import Settings
from .streaming import StreamedResponse

__all__ = ['Completion', 'DeferredHolder', 'call_hook', 'killed']

T = TypeVar('T')
#: A timer, or the greenlet that is busy with a request.
UnderWay: TypeAlias = 'Watcher | gevent.Greenlet[..., None]'


class Resender(Protocol):
    """Where requests wait that are to be sent once more."""

    def enqueue(self, pending: PendingResponse) -> None:
        """Send it once more."""

    def send_elsewhere(self, pending: PendingResponse, redirect: Redirect) -> None:
        """Send something else instead."""


class Completion:
    """Completes the requests to one origin.

    :param loop: gevent's loop.
    :param queue: where requests go that are tried again.
    :param figures: what is counted.
    :param on_timeout: called when the time of a request is up that had been sent.
    :param keeps: whose secrets the text of an error must not show.
    """

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        queue: Resender,
        figures: Figures,
        on_timeout: Callable[[], None],
        keeps: object,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._queue = queue
        self._figures = figures
        self._on_timeout = on_timeout
        self._keeps = keeps
        #: Requests without a slot: a timer, or the greenlet that is busy with them.
        self.deferred: dict[PendingResponse, UnderWay] = {}

    def act(self, pending: PendingResponse, verdict: Verdict) -> None:
        """Do what is to be done with a request that is in nobody's hand."""
        match verdict:
            case Final(outcome):
                self.complete(pending, outcome)
            case Again(seconds):
                timer = self._loop.timer(seconds)
                self.deferred[pending] = timer
                pending.holder = DeferredHolder(self, 'backoff')
                timer.start(self._back, pending, update=True)  # the loop's own time may be that of long ago
            case Elsewhere(redirect):
                self._queue.send_elsewhere(pending, redirect)
            case Answered():
                raise AssertionError('whoever holds the slot sends the answer')
            case Deferred(phase, step):
                pending.holder = DeferredHolder(self, phase)
                greenlet = self.deferred[pending] = gevent.spawn(self._step, pending, step)
                greenlet.rawlink(partial(self._ended, pending))

    def _step(self, pending: PendingResponse, step: Callable[[], Verdict]) -> None:
        """In a greenlet."""
        verdict = step()
        outcome = verdict.outcome if isinstance(verdict, Final) else None
        if self.deferred.pop(pending, None) is not None:
            self.act(pending, verdict)
        elif isinstance(outcome, StreamedResponse):
            outcome.close()  # it was cancelled meanwhile: nobody will read it
        cause = getattr(outcome, '__cause__', None)
        if isinstance(cause, (KeyboardInterrupt, SystemExit)):
            raise cause  # the program's business

    def _ended(self, pending: PendingResponse, greenlet: gevent.Greenlet[..., Any]) -> None:
        """A greenlet ended: one that somebody killed, perhaps before it began, gave no verdict."""
        if self.deferred.get(pending) is greenlet:
            del self.deferred[pending]
            self.complete(pending, killed(pending, greenlet))

    def _back(self, pending: PendingResponse) -> None:
        """The pause is over."""
        stop(self.deferred.pop(pending))
        self._queue.enqueue(pending)

    def complete(self, pending: PendingResponse, outcome: Outcome) -> None:
        """Set the outcome, count it, and tell the hooks."""
        settings = self._settings
        if isinstance(outcome, HTTPError):
            self._figures.failed += 1
            outcome.request = pending.request
            outcome.attempts = max(pending.tries, 1)
            # What is known of one connection is so of the request where it was the only one.
            outcome.unprocessed = not pending.sent or (outcome.unprocessed and pending.attempts == 1)
            if outcome.route is None and outcome.response is None:
                outcome.route = pending.route
            outcome.keep(self._keeps)
            if isinstance(outcome, DeadlineExceeded) and outcome.phase in ('send', 'read'):
                self._on_timeout()
            if settings.on_error is not None:
                call_hook(pending, settings.on_error, outcome)
        else:
            self._figures.done += 1
            if settings.on_response is not None:
                call_hook(pending, settings.on_response, outcome)
        pending.finish(outcome)

    def clear(self) -> None:
        """End all timers and greenlets: their requests get no outcome from here."""
        for under_way in self.deferred.values():
            stop(under_way)
        self.deferred.clear()


class DeferredHolder:
    """Holds a request that has no connection: it waits to be tried again, is being signed, its answer decoded."""

    __slots__ = ('_completion', 'phase')
    #: It has no connection.
    route = None

    def __init__(self, completion: Completion, phase: Phase) -> None:
        self._completion = completion
        self.phase = phase

    def drop(self, pending: PendingResponse) -> Completion:
        """Stop the timer or the greenlet."""
        stop(self._completion.deferred.pop(pending, None))
        return self._completion


def stop(under_way: UnderWay | None) -> None:
    """End the timer of a back-off, or a greenlet."""
    if isinstance(under_way, gevent.Greenlet):
        under_way.kill(block=False)
    elif under_way is not None:
        under_way.stop()
        under_way.close()


def killed(pending: PendingResponse, greenlet: gevent.Greenlet[..., Any]) -> HTTPError:
    """The outcome of a request whose greenlet was killed from outside."""
    cause, holder = greenlet.exception or greenlet.value, pending.holder
    error = HTTPError(
        f'its greenlet was killed: {type(cause).__name__}', phase=None if holder is None else holder.phase
    )
    error.__cause__ = cause
    return error


def call_hook(pending: PendingResponse, hook: Callable[[T], object], value: T) -> None:
    """Call a hook in a greenlet, in the context of the call."""
    assert pending.context is not None
    gevent.spawn(_run_hook, pending.context, hook, value)


def _run_hook(context: Context, hook: Callable[[T], object], value: T) -> None:
    """What it raises is logged and changes nothing."""
    try:
        context.copy().run(hook, value)  # a copy: another call of the same request may be blocked in it
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:  # a gevent.Timeout of its own, too
        log.error('a hook failed\n%s', traceback_of(exc))
