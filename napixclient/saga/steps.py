"""A step: what its caller holds of it, with the interface of a ``PendingResponse``."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Literal, Protocol

from gevent.hub import Waiter, get_hub

from .._http.pending import Outcome, PendingResponse, deadline_of, pause
from ..errors import HTTPError, Timeout
from ..masking import mask
from ..messages import Request, Response
from ..resources.deadline import Deadline
from .undos import Undo

__all__ = ['GONE', 'Owner', 'State', 'Step', 'TO_UNDO', 'Wait']

#: ``queued`` (not handed to the pool yet), ``running``; then how it ended: ``done``, ``failed``, ``unknown`` (sent, and
#: nobody knows whether it was done) or ``dropped`` (not sent, as another one failed); then what became of its undo.
State = Literal['queued', 'running', 'done', 'failed', 'unknown', 'dropped', 'undoing', 'undone', 'not_undone']
Link = Callable[['Step'], object]
#: States in which there may be something to undo.
TO_UNDO = frozenset(['done', 'unknown', 'undoing', 'not_undone'])


class Owner(Protocol):
    """The saga of a step, or the part of one."""

    @property
    def failing(self) -> bool:
        """Whether nothing more of it is to be sent."""

    def stop(self) -> None:
        """A step has failed: nothing more is to be sent."""

    def settled(self, step: Step) -> None:
        """A step has its outcome."""


class Canceller(Protocol):
    """Who has a step in hand."""

    def cancel(self, step: Step) -> None:
        """End it now."""


class Wait:
    """Steps that are waited for together, and undone side by side.

    :param number: in the order in which they were begun.
    """

    __slots__ = ('left', 'number', 'order', 'steps')

    def __init__(self, number: int) -> None:
        self.number: int = number
        #: Its place among those that were waited for; infinite until it is waited for.
        self.order: float = float('inf')
        self.steps: list[Step] = []
        #: How many of them have no outcome yet.
        self.left: int = 0


class Step:
    """A request of a saga, and what undoes it. ``gevent.wait``, ``gevent.iwait`` and ``gevent.joinall`` take it.

    ``name`` is the text of its request without secrets, ``request`` the :class:`napixclient.Request` as it is sent,
    ``outcome`` a :class:`napixclient.Response`, an :class:`napixclient.HTTPError`, or ``None`` before the end.
    ``undo`` has the requests that undo it, none where there is nothing to undo, and is ``None`` as long as they are
    not known. ``state`` is one of ``queued``, ``running``, ``done``, ``failed``, ``unknown``, ``dropped`` (not sent,
    because another step failed), ``undoing``, ``undone`` and ``not_undone``.
    """

    # Defaults are those of the class: most steps differ from few of them, and each costs time.
    request: Request
    number: int
    owner: Owner
    wait_group: Wait
    context: Context  # of the call that asked for it
    undone_on: frozenset[int]
    undo_timeout: float
    outcome: Outcome | None = None
    state: State = 'queued'
    undo: tuple[Request, ...] | None = None
    given_undo: Undo | None = None  # None where there is nothing to undo
    find: Request | None = None
    idempotent: bool = False  # whether the server knows its key, so that it may be sent again
    deadline: Deadline | None = None  # where it may wait in our own queue, or be tried again
    again: int | None = None  # the number of the same step, asked for by a process that is gone
    asked_at: float = 0.0  # of ``time.monotonic()``
    runner: Canceller | None = None
    pending: PendingResponse | None = None  # the try that is under way
    attempts: int = 0  # tries so far
    maybe_sent: bool = False  # whether an earlier try was sent and not answered
    cancelled: str = ''  # why it is not to go on; empty where it is
    excused: bool = False  # whether the saga goes on although it failed
    kept: bool = False  # whether it stays whatever happens
    error: HTTPError | None = None  # why it is not undone
    send_undo: Callable[[Request], PendingResponse | None] | None = None  # where its undo goes, if not through the pool
    _links: list[Link] | None = None

    def __init__(self, number: int, request: Request, owner: Owner, wait: Wait, name: str = '') -> None:
        self.number = number
        self.request = request
        self.owner = owner
        self.wait_group = wait
        self._name = name

    @property
    def name(self) -> str:
        """The text of its request, without secrets."""
        return self._name or mask(str(self.request))

    # -- the interface of a PendingResponse ------------------------------------------------------------------------

    def ready(self) -> bool:
        """Whether the outcome is there."""
        return self.outcome is not None

    def successful(self) -> bool:
        """Whether the outcome is there and is a :class:`napixclient.Response`."""
        return isinstance(self.outcome, Response)

    @property
    def value(self) -> Response | None:
        """The :class:`napixclient.Response`; ``None`` before the end and after an error."""
        outcome = self.outcome
        return outcome if isinstance(outcome, Response) else None

    @property
    def exception(self) -> HTTPError | None:
        """The :class:`napixclient.HTTPError`; ``None`` before the end and after a success."""
        outcome = self.outcome
        return outcome if isinstance(outcome, HTTPError) else None

    def get(self, block: bool = True, timeout: float | None = None) -> Response:
        """Wait for the outcome: return the :class:`napixclient.Response` or raise the :class:`napixclient.HTTPError`.

        It undoes nothing: that is for the next ``wait`` or ``call`` of the saga, or for the end of its block.

        :param timeout: seconds to wait; the step itself goes on afterwards.
        :raises Timeout: when there is no outcome yet.
        """
        if self.outcome is None and block:
            self.wait(deadline_of(timeout))
        outcome = self.outcome
        if outcome is None:
            raise Timeout('no outcome yet; the step goes on', request=self.request)
        if isinstance(outcome, Response):
            return outcome
        raise outcome.with_traceback(None)

    def wait(self, deadline: float | None = None) -> None:
        """Block until the outcome is there or ``monotonic()`` reaches the deadline."""
        while self.outcome is None:
            waiter: Waiter[object] = Waiter()
            self.rawlink(waiter.switch)
            try:
                if not pause(waiter, deadline):
                    return
            finally:
                self.unlink(waiter.switch)

    def cancel(self) -> None:
        """End the step now, as one that failed: what is in flight loses its connection, and may have been done."""
        if self.outcome is None and self.runner is not None:
            self.cancelled = 'cancelled'
            self.runner.cancel(self)

    kill = cancel

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

    @property
    def was_dropped(self) -> bool:
        """Whether it was taken back before it was sent, as another one failed."""
        return self.state == 'dropped'

    # -- its end ---------------------------------------------------------------------------------------------------

    def settle(self, state: State, outcome: Outcome) -> None:
        """Set the outcome, which is written down by now."""
        self.state = state
        self.outcome = outcome
        self.pending = None
        self.owner.settled(self)
        if self._links is not None:
            get_hub().loop.run_callback(self._notify)

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (self.number, self.request, self.name, self.outcome, self.undo, self.state)

    def __repr__(self) -> str:
        return f'<Step {self.name}: {self.state}>'


class _Gone:
    """The owner of steps that were copied, or whose program is gone."""

    failing = True

    def stop(self) -> None:
        """Nothing is being sent."""

    def settled(self, step: Step) -> None:
        """Nobody waits."""


#: For steps that nobody is doing any more.
GONE: Owner = _Gone()


def _remade(
    number: int, request: Request, name: str, outcome: Outcome | None, undo: tuple[Request, ...] | None, state: State
) -> Step:
    """For pickle and copy."""
    step = Step(number, request, GONE, Wait(0), name)
    step.outcome, step.undo, step.state = outcome, undo, state
    return step
