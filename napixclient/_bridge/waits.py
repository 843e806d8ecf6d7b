"""What each thread has asked for, and the waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .._http.pending import Outcome
from .._http.streaming import StreamedResponse
from .batches import CallBatch
from .feed import Feed
from .hub import HubThread
from .threads import wait_for

__all__ = ['ThreadBatches']


#: Requests that a stream takes from its iterable for each outcome that it hands out, while there is room.
_PULLS = 2


class ThreadBatches:
    """The batches of all threads of a pool; each sees its own."""

    def __init__(self, hub: HubThread) -> None:
        self._hub = hub
        self._mine = threading.local()  # of greenlets, where gevent has patched it

    # -- asking ------------------------------------------------------------------------------------------------------

    def current(self) -> CallBatch:
        """Where the next request of this thread belongs."""
        try:
            batch: CallBatch = self._mine.batches[-1]
        except AttributeError:
            batch = CallBatch([])
            if not self._hub.is_here:  # where nobody can wait, nothing is kept
                self._mine.batches = [batch]
        return batch

    def begin_another(self) -> None:
        """The last index of the present batch must not be used again."""
        self._mine.batches = [*self._kept(), CallBatch([])]

    def _kept(self) -> list[CallBatch]:
        return getattr(self._mine, 'batches', [])

    def _streams(self) -> set[CallBatch]:
        try:
            streams: set[CallBatch] = self._mine.streams
        except AttributeError:
            streams = self._mine.streams = set()
        return streams

    # -- waiting -----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """:raises RuntimeError: when the pool is closed, and in the hub's own thread."""
        self._hub.check()
        self._hub.check_thread()

    def take(self) -> list[CallBatch]:
        """What this thread has asked for since its last wait: one batch, and more after one was interrupted."""
        self.check()
        batches = self._kept()
        self._mine.batches = [CallBatch([])]
        return batches

    def _give_back(self, batches: list[CallBatch]) -> None:
        """A wait was interrupted: the next one returns the same requests, and those asked for since."""
        self._mine.batches = [*batches, *self._kept()]

    def wait(self, batches: list[CallBatch], deadline: float | None) -> list[Outcome]:
        """Wait for all, and hand them out in the order asked."""
        try:
            for batch in batches:
                self._wait(batch, len(batch.entries), deadline)
        except BaseException:  # Ctrl-C: nothing is cancelled, nothing is lost
            self._give_back(batches)
            raise
        return [outcome for batch in batches for outcome in batch.entries if outcome is not None]

    def as_they_finish(self, batches: list[CallBatch], count: int, deadline: float | None) -> Iterator[Outcome]:
        """Hand out each as soon as it is there, so many at most."""
        try:
            for batch in batches:
                for _ in range(batch.left):
                    if not count:
                        return
                    while (outcome := batch.take_next()) is None:
                        self._wait_within(batches, batch, deadline)
                    count -= 1
                    yield outcome
        finally:
            self._drop_unsent(batches)

    def in_order(self, batches: list[CallBatch]) -> Iterator[Outcome]:
        """Hand them out in the order asked, each when it is ready."""
        try:
            for batch in batches:
                for index in range(len(batch.entries)):
                    if batch.entries[index] is None:
                        continue  # it was handed out before
                    while (outcome := batch.take(index)) is None:
                        self._wait_within(batches, batch, None)
                    yield outcome
        finally:
            self._drop_unsent(batches)

    def _wait_within(self, batches: list[CallBatch], batch: CallBatch, deadline: float | None) -> None:
        """Wait for another outcome."""
        try:
            self._wait(batch, batch.done + 1, deadline)
        except BaseException:  # Ctrl-C, as above
            self._give_back(batches)
            batches.clear()
            raise

    def _wait(self, batch: CallBatch, count: int, deadline: float | None) -> None:
        """Wait until so many of a batch have finished; those that have not in time end then."""
        if not wait_for(batch, count, deadline):
            self._hub.expire(batch.tickets())
            wait_for(batch, count, None)

    def stream(self, feed: Feed, ordered: bool) -> Iterator[Outcome]:
        """Hand out what a feed asks for, which is asked for more between two outcomes."""
        batch, turn = feed.batch, 0
        with self._streaming(batch):
            while True:
                if feed.is_late():
                    feed.stop()
                    self._hub.expire(batch.tickets())
                done = batch.done
                outcome = batch.take(turn) if ordered else batch.take_next()
                if outcome is not None:
                    turn += 1
                    yield outcome
                    feed.pull(_PULLS)
                elif not feed.pull(1):
                    if not batch.entries:
                        break
                    wait_for(batch, done + 1, feed.deadline)
        if feed.failure is not None:
            raise feed.failure

    @contextmanager
    def _streaming(self, batch: CallBatch) -> Iterator[None]:
        """This thread has a stream under way, whose requests are dropped at its end if they were not sent."""
        streams = self._streams()
        streams.add(batch)
        try:
            yield
        finally:
            streams.discard(batch)
            self._drop_unsent([batch])

    def _drop_unsent(self, batches: Iterable[CallBatch]) -> None:
        tickets = [ticket for batch in batches for ticket in batch.tickets()]
        if tickets:
            self._hub.drop_unsent(tickets)

    # -- ends --------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End all that this thread has under way, and wait for that end."""
        batches = [*self._kept(), *self._streams()]
        for batch in batches:
            for outcome in batch.outcomes():
                if isinstance(outcome, StreamedResponse):
                    outcome.cancel()
        tickets = [ticket for batch in batches for ticket in batch.tickets()]
        if tickets:
            self._hub.cancel(tickets)
        if not self._hub.is_here:
            for batch in batches:
                wait_for(batch, batch.done + len(batch.tickets()), None)
