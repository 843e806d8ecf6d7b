"""What a worker says to submitters: grouped by run, sealed, and published until it is confirmed."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from gevent.event import Event
from gevent.hub import get_hub

from ...errors import BodyTooLarge, HTTPError
from ..keys import Keyring
from ..outcomes import OUTCOME, Word, pack_outcome, packed
from ..publisher import PLAIN, SEALED, Fate, Message, Publisher

__all__ = ['Sayer', 'Ticket']

#: Entries of one message, and about how many bytes of bodies.
MOST_ENTRIES = 500
MOST_BYTES = 256 << 10
#: Seconds between two looks for what waits while more of its run are to come: a message costs the broker as much as a
#: hundred entries. The first for as long does not wait.
LINGER_SECONDS = 0.05
#: Seconds after a message of its run within which what waits is left to the next look.
LATELY_SECONDS = 0.02
#: How many times what is still to come waits when it goes before that.
FEW_TO_COME = 8
#: Runs that are over, and that are remembered so.
MOST_GONE = 1000


class Ticket:
    """Counts what is not yet confirmed of what a batch has to say."""

    __slots__ = ('done', 'left')

    def __init__(self) -> None:
        self.left: int = 0
        self.done: Event = Event()
        self.done.set()

    def add(self, count: int = 1) -> None:
        """So many more."""
        self.left += count
        if self.left == count:
            self.done.clear()

    def take(self) -> None:
        """One is confirmed."""
        self.left -= 1
        if not self.left:
            self.done.set()


class Run:
    """What waits to be said to one run."""

    __slots__ = ('bytes', 'coming', 'entries', 'put', 'since')

    def __init__(self) -> None:
        self.entries: deque[tuple[Word, int, Ticket]] = deque()
        #: Of the bodies in them.
        self.bytes: int = 0
        #: How many more are under way here.
        self.coming: int = 0
        #: Whether the publisher has been told.
        self.put: bool = False
        #: When the last ones were taken to be said.
        self.since: float = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it goes now: the fewer there are still to come, the sooner, and so the last at once."""
        return len(self.entries) >= min(FEW_TO_COME * self.coming, MOST_ENTRIES) or self.bytes >= MOST_BYTES


class Sayer:
    """Groups entries that wait for the same run."""

    def __init__(self, worker: str, keys: Keyring, publisher: Publisher) -> None:
        self.worker = worker
        self.keys = keys
        self._publisher = publisher
        self._runs: defaultdict[str, Run] = defaultdict(Run)
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._sources: set[Callable[[], None]] = set()
        loop: Any = get_hub().loop
        self._linger = loop.timer(LINGER_SECONDS, LINGER_SECONDS, ref=False)

    def is_gone(self, queue: str) -> bool:
        """Whether nobody waits for what goes to this queue."""
        return queue in self._gone

    def mark_gone(self, queue: str) -> None:
        """Nobody waits for what goes to this queue."""
        self._gone[queue] = None
        while len(self._gone) > MOST_GONE:
            self._gone.popitem(last=False)

    def expect(self, queue: str, more: int) -> None:
        """So many more entries are to be said to this queue; fewer, where that is negative."""
        run = self._runs[queue]
        run.coming += more
        if more <= 0:
            self._consider(queue, run)

    def say(self, queue: str, entries: list[Word], ticket: Ticket, expected: int = 0) -> None:
        """Have entries published.

        :param expected: how many of those that were to come they are.
        """
        run = self._runs[queue]
        run.coming -= expected
        if queue not in self._gone:
            waiting = run.entries
            ticket.add(len(entries))
            for entry in entries:
                size = _size_of(entry)
                waiting.append((entry, size, ticket))
                run.bytes += size
        if not run.put:
            self._consider(queue, run)

    def _consider(self, queue: str, run: Run) -> None:
        """Publish what is due, see that it will be, or forget the run."""
        if run.put:
            return
        if run.entries:
            self._begin_to_look()
            if run.is_due or run.since + LINGER_SECONDS <= monotonic():
                self._put(queue, run)
        elif not run.coming:
            del self._runs[queue]

    def _put(self, queue: str, run: Run) -> None:
        run.put = True
        self._publisher.put(_Group(self, queue))

    def listen(self, source: Callable[[], None]) -> None:
        """Call this at each look: it says what it has held back."""
        self._sources.add(source)
        self._begin_to_look()

    def unlisten(self, source: Callable[[], None]) -> None:
        """It has nothing more to say."""
        self._sources.discard(source)

    def _begin_to_look(self) -> None:
        if not self._linger.active:
            self._linger.again(self._look)

    def _look(self) -> None:
        """What has waited goes now. Called by the loop."""
        for source in list(self._sources):
            source()
        waits, late = bool(self._sources), monotonic() - LATELY_SECONDS
        for queue, run in self._runs.items():
            if run.entries and not run.put:
                waits = True
                if run.since <= late:
                    self._put(queue, run)
        if not waits:
            self._linger.stop()

    def say_plainly(self, queue: str, id: str, text: str, ticket: Ticket) -> None:
        """Say why a batch cannot be opened, to one who may have no key in common with this worker."""
        ticket.add()

        def ended(fate: Fate) -> bool:
            if fate != 'lost':
                ticket.take()
            return fate == 'lost'

        message = Message(queue, text.encode(), ended, {'correlation_id': id}, content_type=PLAIN)
        self._publisher.put(message)

    def sealed(self, queue: str, entries: list[Word]) -> bytes:
        """Entries as they are published to that queue."""
        return self.keys.seal(packed(self.worker, entries), queue.encode())

    def take(self, queue: str) -> list[tuple[Word, int, Ticket]]:
        """What goes into one message; another follows where more waits."""
        run = self._runs[queue]
        waiting = run.entries
        taken: list[tuple[Word, int, Ticket]] = []
        size = 0
        while waiting and len(taken) < MOST_ENTRIES and (not taken or size + waiting[0][1] <= MOST_BYTES):
            taken.append(waiting.popleft())
            size += taken[-1][1]
        run.bytes -= size
        run.put = False
        run.since = monotonic()
        self._consider(queue, run)
        return taken

    def put_alone(self, queue: str, entry: Word, ticket: Ticket) -> None:
        """Publish an entry in a message of its own."""
        group = _Group(self, queue)
        group.fill([(entry, 0, ticket)])
        self._publisher.put(group)


class _Group:
    """Entries to one run: those that wait when it is its turn."""

    __slots__ = ('_body', '_entries', '_sayer', 'content_type', 'headers', 'properties', 'queue')

    def __init__(self, sayer: Sayer, queue: str) -> None:
        self.queue = queue
        self.content_type = SEALED
        self.properties: dict[str, Any] = {}
        self.headers: dict[str, Any] = {}
        self._sayer = sayer
        self._entries: list[tuple[Word, int, Ticket]] = []
        self._body: bytes | None = None

    def fill(self, entries: list[tuple[Word, int, Ticket]]) -> None:
        """Hold these."""
        try:
            self._body = self._sayer.sealed(self.queue, [entry for entry, _, _ in entries])
        except (TypeError, ValueError, OverflowError):  # the publisher is not to end by one of them
            entries = [(self._packable(entry), size, ticket) for entry, size, ticket in entries]
            self._body = self._sayer.sealed(self.queue, [entry for entry, _, _ in entries])
        self._entries = entries

    def _packable(self, entry: Word) -> Word:
        """The entry, or an error in its place that says why it cannot travel."""
        try:
            self._sayer.sealed(self.queue, [entry])
            return entry
        except (TypeError, ValueError, OverflowError) as exc:
            number = _answered_by(entry)
            if number is None:
                raise
            return pack_outcome(number, HTTPError(f'the outcome cannot travel: {ascii(exc)}', phase='read'))

    @property
    def body(self) -> bytes:
        """What is published."""
        if self._body is None:
            self.fill(self._sayer.take(self.queue))
        assert self._body is not None
        return self._body

    def ended(self, fate: Fate) -> bool:
        """What became of it; whether it is to be published once more."""
        if fate == 'lost':
            return True
        if fate == 'too large':
            self._split()
            return False
        if fate == 'returned':
            self._sayer.mark_gone(self.queue)
        for _, _, ticket in self._entries:
            ticket.take()
        return False

    def _split(self) -> None:
        """The broker does not take so much at once: each on its own, and what is too large by itself as an error."""
        for entry, _, ticket in self._entries:
            number = _answered_by(entry)
            if len(self._entries) == 1 and number is not None:
                error = BodyTooLarge('the answer is larger than the broker takes (its max_message_size)', phase='read')
                entry = pack_outcome(number, error)
            self._sayer.put_alone(self.queue, entry, ticket)


def _size_of(entry: Word) -> int:
    """About how many bytes it takes: those of the body."""
    if isinstance(entry, tuple):
        return len(entry[1].payload)
    response = entry[3] if entry[0] == OUTCOME else None
    return 0 if response is None else len(response[2])


def _answered_by(entry: Word) -> int | None:
    """The number of the request whose outcome it is."""
    if isinstance(entry, tuple):
        return entry[0]
    return entry[1] if entry[0] == OUTCOME else None
