"""Hands the results of a run to all who watch it, wherever it is run.

Those who have all that was handed out wait together: what is new is written once for each kind of stream, and put into
one socket after the other. Whose socket does not take it leaves the others, and reads at his own pace until he has it
all.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from math import inf
from time import monotonic
from typing import Any, Protocol

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from ..masking import mask
from .database import StoreError
from .run import Run
from .runs import Runs
from .segments import TAIL_BYTES, Form, Segment, written

__all__ = ['Feed', 'Feeds', 'Outlet', 'Watcher']

log: logging.Logger = logging.getLogger('napixclient.service')

#: Seconds between two looks at a run that another instance runs.
POLL_SECONDS = 0.1
#: Seconds between two messages of progress, at least.
PROGRESS_SECONDS = 0.25
#: A round of handing out is followed by a rest so many times as long: the requests of the run come first. But what is
#: committed at the beginning of a round is to have reached everybody in so many seconds, at the end of the next.
REST = 3
LATEST_SECONDS = 0.12
#: Bytes of results that are handed out together, and that one who reads by himself is sent at once: he holds no more
#: of his own, however slow he is.
ROUND_BYTES = 1 << 20
OWN_BYTES = 64 * 1024
#: Seconds for which watchers are served before everything else has its turn, which may be all answers that have come.
TURN_SECONDS = 0.005
_SHOWN = ('state', 'outcome', 'reason', 'counts', 'latency', 'results', 'finished')


class Outlet(Protocol):
    """Where a watcher's bytes go."""

    def send_now(self, data: bytes) -> bool:
        """Send what is taken without waiting, and keep the rest to be sent before anything else; whether none is left.

        It raises nothing: who is gone takes nothing.
        """


class Watcher:
    """Follows a run in sequence.

    :param seq: the number in sequence of the first result that is wanted.
    :param outlet: where the feed puts what is new while this one waits.
    """

    def __init__(self, feed: Feed, seq: int, form: Form, outlet: Outlet) -> None:
        self.seq: int = seq
        self.form = form
        self.outlet = outlet
        #: Whether it has been sent how the run stands.
        self.informed: bool = False
        #: When it was last sent something, by ``time.monotonic()``.
        self.sent_at: float = monotonic()
        #: Set when it can no longer wait.
        self.woken: Event = Event()
        self._feed = feed

    def pieces(self, every: float = inf, total: float = inf) -> Iterator[bytes]:
        """What the caller is to send by itself until the run ends, after what the outlet has kept.

        :param every: seconds after which something is sent, if only to find out who has left.
        :param total: how many results there will be: when all were sent, nothing is sent for its own sake.
        """
        feed = self._feed
        yield self._wrapped(self.form.head)
        while True:
            while (reached := feed.gather(self.seq, feed.seq, OWN_BYTES))[0]:
                found, end = reached
                first, self.seq = self.seq, end
                yield self._wrapped(written(self.form, found, first, end))
                gevent.sleep(0)
            if feed.over:
                yield self._wrapped(self.form.end(feed.progress))
                return
            progress = None if self.informed else feed.current()
            if progress is not None:
                self.informed = True
                yield self._wrapped(self.form.progress(progress))
            elif feed.wait(self, self.sent_at + every - monotonic()):
                yield b''
            elif monotonic() >= self.sent_at + every:
                yield self._wrapped(self.form.idle if self.seq < total else b'')

    def _wrapped(self, data: bytes) -> bytes:
        self.sent_at = monotonic()
        return self.form.wrap(data) if data else b''


class Feed:
    """What all who watch one run are sent."""

    def __init__(self, runs: Runs, id: str) -> None:
        #: The number of results that have been handed out: who is behind reads by himself.
        self.seq: int = 0
        #: Whether there will be no more.
        self.over: bool = False
        #: Whether that is too early: the store failed, or the service ends.
        self.broken: bool = False
        #: How the run stood at some moment: a JSON object.
        self.progress: str = '{}'
        #: How many there are who watch.
        self.watchers = 0
        #: How many results there will be.
        self.total: int = 0
        self._runs = runs
        self._id = id
        self._run: Run | None = None
        self._document: dict[str, Any] = {}  # as the store has it
        self._told = (-1, -inf)  # how many results the progress counts, and when it was asked for
        self._sent = ('', -inf)  # the progress that all were sent last, and when
        self._waiting: dict[Watcher, None] = {}
        self._pages: dict[int, Segment] = {}  # read from the store
        self._reading = BoundedSemaphore()
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self.seq, self.over, self.broken = self._look()
        self._tell()

    # -- what a watcher asks ---------------------------------------------------------------------------------------

    def committed(self) -> int:
        """How many results there are at this moment."""
        return self._look()[0]

    def gather(self, seq: int, end: int, room: int) -> tuple[list[Segment], int]:
        """Where the results are from one number in sequence on to another, or to where so many bytes of them end.

        They are in memory or in the store.
        """
        found: list[Segment] = []
        while seq < end and room > 0:
            segment = (self._run and self._run.segment(seq)) or self._page(seq, end)
            if segment is None:
                break
            found.append(segment)
            seq, room = segment.reach(seq, end, room)
        return found, seq

    def _page(self, seq: int, end: int) -> Segment | None:
        """Results from the store. Some pages are kept: who watches the same often comes at the same time."""
        with self._reading:
            page = self._pages.get(seq)
            if page is None:
                lines = self._runs.store.lines(self._id, seq)[: end - seq]
                if not lines:
                    return None
                page = self._pages[seq] = Segment(seq, lines)
                while len(self._pages) > 1 and sum(kept.size for kept in self._pages.values()) > TAIL_BYTES:
                    del self._pages[next(iter(self._pages))]
            return page

    def current(self) -> str | None:
        """How the run stands, if that is known for what has been handed out."""
        results, at = self._told
        run = self._run
        if run is not None and run.results == self.seq and (results != self.seq or monotonic() > at + PROGRESS_SECONDS):
            self._tell()
        return self.progress if self._told[0] == self.seq else None

    def wait(self, watcher: Watcher, seconds: float) -> bool:
        """Be handed what is new until that cannot be sent at once, or the run ends; ``False`` when the time is up."""
        watcher.woken.clear()
        self._waiting[watcher] = None
        if self._greenlet is None:
            self._greenlet = gevent.Greenlet(self._serve)
            self._greenlet.gr_context = Context()  # it outlives the request that it came with
            self._greenlet.start()
        try:
            return watcher.woken.wait(None if seconds == inf else max(seconds, 0))
        finally:
            self._waiting.pop(watcher, None)

    # -- handing out -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Nobody watches any more."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def _serve(self) -> None:
        try:
            while self._waiting and not self.over:
                news = None if self._run is None else self._run.news
                committed, over, broken = self._look()
                began = monotonic()
                self._round(committed)
                if over and self.seq >= committed:
                    self._tell()
                    self.over, self.broken = True, broken
                    break
                took = monotonic() - began
                gevent.sleep(max(min(REST * took, LATEST_SECONDS - 2 * took), took / 4))
                if self.seq >= committed:
                    self._pause(news)
        except StoreError as exc:
            log.warning('run %s: the store fails those who watch it: %s', self._id, mask(str(exc)))
            self.over = self.broken = True
        except Exception:
            log.error('run %s cannot be watched', self._id, exc_info=True)
            self.over = self.broken = True
        finally:
            self._greenlet = None
            if self.over:
                for watcher in list(self._waiting):
                    self._dismiss(watcher)

    def _pause(self, news: Event | None) -> None:
        """Until there may be something new."""
        if news is None:
            gevent.sleep(POLL_SECONDS)
        else:
            news.wait(PROGRESS_SECONDS)

    def _round(self, committed: int) -> None:
        """Hand out what is new to all who wait."""
        first = self.seq
        found, self.seq = self.gather(first, committed, ROUND_BYTES)
        if first == self.seq < committed:
            raise StoreError('results are missing')
        progress, due = self._due()
        made: dict[tuple[Form, bool, bool], bytes] = {}
        turn_ends = monotonic() + TURN_SECONDS
        for watcher in list(self._waiting):
            if monotonic() > turn_ends:
                gevent.sleep(0)
                turn_ends = monotonic() + TURN_SECONDS
            if watcher not in self._waiting:
                continue
            if first < watcher.seq < self.seq:  # it wants a part of what is new
                self._dismiss(watcher)
                continue
            key = watcher.form, watcher.seq == first < self.seq, progress != '' and (due or not watcher.informed)
            if key not in made:
                made[key] = self._written(*key, found, first, progress)
            if made[key]:
                self._push(watcher, made[key], informs=key[2])

    def _due(self) -> tuple[str, bool]:
        """How the run stands, for who has not been sent that at all, and whether it is sent to all others, too."""
        now = monotonic()
        due = now >= self._sent[1] + PROGRESS_SECONDS
        if due or not all(watcher.informed for watcher in self._waiting):
            self._tell()
        if self._told[0] != self.seq:  # it is of another moment
            return '', False
        due = due and self.progress != self._sent[0]
        if due:
            self._sent = self.progress, now
        return self.progress, due

    def _written(
        self, form: Form, results: bool, progresses: bool, found: list[Segment], first: int, progress: str
    ) -> bytes:
        data = written(form, found, first, self.seq) if results else b''
        if progresses:
            data += form.progress(progress)
        return form.wrap(data) if data else b''

    def _push(self, watcher: Watcher, data: bytes, informs: bool) -> None:
        watcher.seq = max(watcher.seq, self.seq)
        watcher.informed = watcher.informed or informs
        watcher.sent_at = monotonic()
        if not watcher.outlet.send_now(data):
            self._dismiss(watcher)

    def _dismiss(self, watcher: Watcher) -> None:
        """It goes on by itself."""
        self._waiting.pop(watcher, None)
        watcher.woken.set()

    # -- the run, here or elsewhere --------------------------------------------------------------------------------

    def _look(self) -> tuple[int, bool, bool]:
        """How many results there are, whether there will be no more, and whether that is too early."""
        self._run = run = self._run or self._runs.under_way.get(self._id)
        if run is not None:
            return run.results, run.ended, run.broken
        document = self._runs.document(self._id)
        if document is None:  # it was forgotten
            return self.seq, True, False
        self._document = document
        return document['results'], document['state'] != 'running', False

    def _tell(self) -> None:
        """Ask how the run stands."""
        document = self._document if self._run is None else self._run.document()
        self._told = document.get('results', 0), monotonic()
        self.total = document['counts']['total'] if document else 0
        self.progress = json.dumps({name: document.get(name) for name in _SHOWN}, separators=(',', ':'))


class Feeds:
    """The feeds of all runs that are watched."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._feeds: dict[str, Feed] = {}

    @contextmanager
    def watching(self, id: str, kind: str) -> Iterator[Feed]:
        """The feed of a run, while one more client watches it."""
        feed = self._feeds.get(id)
        if feed is None or feed.broken:
            feed = self._feeds[id] = Feed(self.runs, id)
        feed.watchers += 1
        try:
            with self.runs.metrics.watching(kind):
                yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                feed.close()
                if self._feeds.get(id) is feed:
                    del self._feeds[id]
