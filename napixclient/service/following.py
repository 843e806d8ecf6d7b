"""Reads the results of a run, wherever they are."""

from __future__ import annotations

import gevent
from gevent.event import Event

from .runs import Runs
from .segments import Segment

__all__ = ['Follower']

#: Seconds between two looks at a run that another service runs.
POLL_SECONDS = 0.5


class Follower:
    """Reads the results of a run in sequence, at the pace of whoever watches.

    :param seq: the first that is wanted.
    """

    def __init__(self, runs: Runs, id: str, seq: int) -> None:
        self.seq = seq
        #: Whether the end has been read.
        self.over = False
        #: Whether it came too early: the store failed, or the service ends.
        self.broken = False
        self._runs = runs
        self._id = id
        self._run = runs.under_way.get(id)
        self._news: Event | None = None

    def take(self) -> Segment | None:
        """The next results, from ``seq`` on; ``None`` where there are none now."""
        run = self._run
        self._news = None if run is None else run.news
        ended = self._ended()
        segment = None if run is None else run.segment(self.seq)
        if segment is None and (run is None or self.seq < run.results):
            lines = self._runs.store.lines(self._id, self.seq)
            segment = Segment(self.seq, lines) if lines else None
        elif segment is not None and segment.first < self.seq:
            segment = Segment(self.seq, segment.lines[self.seq - segment.first :])
        if segment is None:
            self.over = ended
            self.broken = ended and run is not None and run.broken
        else:
            self.seq = segment.first + len(segment.lines)
        return segment

    @property
    def live(self) -> bool:
        """Whether it is run here, and under way."""
        return self._run is not None and not self._run.ended

    def _ended(self) -> bool:
        if self._run is not None:
            return self._run.ended
        document = self._runs.document(self._id)
        return document is None or document['state'] != 'running'

    def wait(self, seconds: float) -> None:
        """Until there may be something new, or the time is up."""
        if self._news is not None:
            self._news.wait(seconds)
        else:
            gevent.sleep(min(seconds, POLL_SECONDS))
