"""Threads as destinations: native ones, and the greenlets that threads are in a process that gevent has patched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

import gevent
from gevent.hub import get_hub

from .._http.following import Continuing, Fields, Streamed
from .._http.streaming import StreamedResponse
from .._log import log
from ..errors import Cancelled, HTTPError
from ..messages import Response
from ..tracebacks import traceback_of
from .batches import CallBatch
from .bodies import Pieces, Pulled
from .ports import Border, Group, Port, Ticket

__all__ = ['Greenlets', 'Natives', 'ThreadPort', 'wait_for']


class Natives:
    """All native threads: the hub's thread itself sets what they wait for."""

    def expect(self) -> None:
        """They wait by themselves."""

    def forked(self) -> None:
        """Nothing is kept."""

    def run(self, count: int, function: Callable[[], object]) -> None:
        """Do it."""
        function()


class Greenlets:
    """The greenlets of one hub. Locks do not wake greenlets of another thread well, so all is done in their own.

    While something is to come, their loop must go on, though it cannot see where from.
    """

    def __init__(self) -> None:
        self._loop: Any = get_hub().loop
        self._expected = 0
        self._alive = self._loop.timer(3600.0, 3600.0)

    def expect(self) -> None:
        """Keep the loop going for one more thing."""
        if not self._expected:
            self._alive.start(int)
        self._expected += 1

    def forked(self) -> None:
        """Nothing comes any more."""
        self._came(self._expected)

    def _came(self, count: int) -> None:
        self._expected -= count
        if not self._expected:
            self._alive.stop()

    def run(self, count: int, function: Callable[[], object]) -> None:
        """Have a greenlet do it, with which so many things have come; callbacks of the caller's may block."""

        def run() -> None:
            self._came(count)
            function()

        try:
            self._loop.run_callback_threadsafe(gevent.spawn, run)
        except Exception:  # the hub was destroyed, with its greenlets
            pass


class ThreadPort(Port):
    """Threads of one kind.

    :param where: native ones, or the greenlets of a hub.
    """

    def __init__(self, border: Border, where: Natives | Greenlets) -> None:
        super().__init__(border)
        self._where = where
        #: The condition of all futures that were finished before anybody had asked for one.
        self.finished: threading.Condition = threading.Condition()

    def expect(self) -> None:
        """One more thing is going to be asked of the hub."""
        self._where.expect()

    def forked(self) -> list[Ticket]:
        """In the child of a fork: forget what was under way, and return it."""
        self.finished = threading.Condition()
        self._where.forked()
        return super().forked()

    def deliver(self, group: Group) -> None:
        """Finish the tickets."""
        self._where.run(len(group), partial(_finish, group))

    def post(self, function: Callable[[], object]) -> None:
        """Do it."""
        self._where.run(1, function)

    def streamed(self, response: StreamedResponse) -> StreamedResponse:
        """The answer with a body that is pulled."""
        body = _PulledBody(self, response)
        copy = StreamedResponse(response.request, response.status, response.head, response.elapsed, body, response.url)
        copy.attempts, copy.route = response.attempts, response.route
        if response.continuation is not None:
            copy.continuation = _PulledContinuation(self, response.continuation)
        return copy


def _finish(group: Group) -> None:
    for ticket, outcome in group:
        try:
            ticket.finish(outcome)
        except BaseException as exc:  # of a callback: the others are to come all the same
            log.error('a callback of a future failed\n%s', traceback_of(exc))


def wait_for(batch: CallBatch, count: int, deadline: float | None) -> bool:
    """Block the calling thread until so many have finished; false when ``monotonic()`` reached the deadline before."""
    while batch.done < count:
        event = threading.Event()
        batch.wake = event.set
        batch.wake_at = count
        if batch.done >= count:  # it was between the two looks
            break
        if not event.wait(_seconds_until(deadline)) and deadline is not None and monotonic() >= deadline:
            return batch.done >= count
    return True


def _seconds_until(deadline: float | None) -> float | None:
    return None if deadline is None else min(max(deadline - monotonic(), 0.0), threading.TIMEOUT_MAX)


class _PulledBody:
    """The body of a streamed answer, as a thread reads it."""

    __slots__ = ('_arrived', '_pieces', '_port', '_pulling', '_read', '_source', 'coded', 'response', 'trailers')

    def __init__(self, port: Port, source: StreamedResponse) -> None:
        self._port = port
        self._source: StreamedResponse | None = source
        self._read = source.iter_bytes()
        self.coded: bool = source.coded
        #: The fields behind the body, each behind a CRLF; none before it is read to its end.
        self.trailers: bytes = b''
        #: Weak: dropping the response frees the connection.
        self.response: Callable[[], Response | None] = lambda: None
        self._pieces = Pieces()
        #: Set by what was asked for; whoever was interrupted meanwhile finds it there.
        self._pulling = False
        self._arrived = threading.Event()

    @property
    def over(self) -> bool:
        """Whether it was read to its end, or broke off."""
        return self._pieces.over

    def gather(self) -> None:
        """All that is left is going to be read: it crosses the border in pieces all the same."""

    def scatter(self) -> None:
        """Whoever was to read all that is left has been interrupted."""

    def next(self, most: int = -1) -> bytes:
        """The next piece, or the first bytes of it; ``b''`` at the end."""
        return self._pieces.take(most) if self._fill() else b''

    #: There is nothing to view but what crossed the border.
    next_part = next

    def next_cut(self, cut: Callable[[bytes | memoryview], list[bytes]]) -> bytes:
        """The next piece, up to the first of the places at which ``cut`` cuts it; ``b''`` at the end."""
        return self._pieces.take_cut(cut) if self._fill() else b''

    def unread(self, parts: Sequence[bytes | memoryview]) -> None:
        """Who reads on reads these first."""
        self._pieces.put_back(parts)

    def give_turn(self) -> None:
        """Threads need not."""

    def _fill(self) -> bool:
        pieces = self._pieces
        while not pieces.has_some():
            if pieces.ended:
                return False
            if not self._pulling:
                self._pulling = True
                self._arrived.clear()
                self._port.expect()
                self._port.border.put(Pulled(self._port, partial(next, self._read, b''), self._take))
            self._arrived.wait()
        return True

    def _take(self, piece: bytes | HTTPError) -> None:
        if isinstance(piece, HTTPError):
            self._tell(piece)
        if self._source is not None:
            self.trailers = self._source.trailers.block
        self._pieces.put(piece)
        self._pulling = False
        self._arrived.set()

    def _tell(self, error: HTTPError) -> None:
        """Tell an error what it is of."""
        response = self.response()
        if response is not None:
            error.request, error.response = response.request, response

    def break_off(self, error: HTTPError) -> None:
        """The body is not wanted any more, by whoever reads it."""
        source = self._source
        if source is not None and not self._pieces.ended:
            self._port.border.put(partial(source.break_off, error))
            self._take(error)

    def close(self) -> None:
        """Give the slot back; what has not been read is lost."""
        source, self._source = self._source, None
        if source is not None:
            error = Cancelled('the answer was closed before it was read to its end')
            self._tell(error)
            self._pieces.break_off(error)
            self._port.border.put(partial(source.close))

    def on_collected(self) -> None:
        """Nobody can read it any more; called in whatever thread."""
        if self._source is not None:
            self._source.on_collected()


class _PulledContinuation:
    """What follows a streamed answer, as a thread asks for it."""

    __slots__ = ('_continuation', '_port')

    def __init__(self, port: ThreadPort, continuation: Continuing) -> None:
        self._port = port
        self._continuation = continuation

    @property
    def max_body(self) -> int | None:
        """The bound of a body, in bytes."""
        return self._continuation.max_body

    def ask(self, fields: Fields, after: HTTPError | None, seconds: float) -> StreamedResponse:
        """Ask in the hub, and wait for the answer."""
        found: list[Streamed | HTTPError] = []
        arrived = threading.Event()

        def take(outcome: Streamed | HTTPError) -> None:
            found.append(outcome)
            arrived.set()

        self._port.expect()
        self._port.border.put(Pulled(self._port, partial(self._continuation.ask, fields, after, seconds), take))
        try:
            arrived.wait()
        except BaseException:
            self.stop(Cancelled('cancelled'))
            raise
        outcome = found[0]  # the end of the hub is told once more
        if isinstance(outcome, HTTPError):
            raise outcome
        assert isinstance(outcome, StreamedResponse)
        return self._port.streamed(outcome)

    def stop(self, error: HTTPError) -> None:
        """End what is being asked."""
        self._port.border.put(partial(self._continuation.stop, error))
