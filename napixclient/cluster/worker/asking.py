"""Sends the requests of batches, each batch in a greenlet of its own, all over one pool: so the cap holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic, time
from typing import Any, NamedTuple

from gevent.event import Event
from gevent.hub import get_hub

from ..._http.options import Options
from ..._http.pending import NEVER, PendingResponse, drop_unsent
from ..._http.pending import Batch as Outcomes
from ...allow import Allow
from ...authenticators.fetching import Way
from ...call_context import current
from ...errors import Cancelled, HTTPError, QueueTimeout
from ...messages import IDEMPOTENT, Response
from ...pool import ClientPool
from ..keys import BadSeal
from ..lanes import DELIVERIES
from ..outcomes import BEGAN, HAS, REFUSED, UNSURE, Word, pack_outcome
from ..travel import Batch, Parcel, unpack
from .fence import Fence, Lease, LeaseOver
from .saying import Sayer, Ticket
from .signing import BatchSigner, Sign
from .withdrawn import Numbers, Withdrawn

__all__ = ['Asker', 'Delivery', 'Figures']

#: Seconds over which a rate is measured.
RATE_SECONDS = 10.0
#: Of what a batch has under way, the part that has finished when it is said: a quarter.
HELD_BACK = 4


class Delivery(NamedTuple):
    """One batch as the broker delivered it.

    :param id: the run and the number of the batch.
    :param reply: the queue of the run's replies.
    :param again: whether it was delivered before, to whom the connection was lost.
    :param before: how often that was.
    :param sent: when it was published first, by the submitter's clock; 0 where that is not known.
    """

    id: str
    reply: str
    lane: int
    sealed: bytes
    again: bool
    before: int
    sent: float

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.id.rpartition('.')[0]

    @property
    def number(self) -> int:
        """The number of the batch in its run."""
        number = self.id.rpartition('.')[2]
        return int(number) if number.isdecimal() else 0


class Figures:
    """How much a worker has done, in all and lately."""

    def __init__(self) -> None:
        #: Requests that have their outcome.
        self.done: int = 0
        self._marks: deque[tuple[float, int]] = deque([(monotonic(), 0)])

    def rate(self) -> float:
        """Requests a second, over the last ten seconds or so."""
        now = monotonic()
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[1][0] > RATE_SECONDS:
            self._marks.popleft()
        since, done = self._marks[0]
        return (self.done - done) / max(now - since, 0.001)


class Poison(Exception):
    """A batch that no worker has survived: it goes to the dead letters."""


class Kept(Exception):
    """A batch that is not done here: it stays with the broker, which gives it to another when the connection ends."""


class Asker:
    """Sends what is delivered.

    :param options: those of the pool.
    :raises ValueError: for options that make no sense.
    """

    def __init__(self, cap: int, allow: Allow, sayer: Sayer, lease: Lease, options: Options) -> None:
        self.cap = cap
        self.fence: Fence | None = None
        self.figures: Figures = Figures()
        #: Batches that have begun. One may be delivered twice at once: its submitter published it again.
        self.under_way: dict[Ticket, Delivery] = {}
        #: Nothing more begins when it is set: the worker is to end.
        self.draining = False
        #: Whether something was not sent as the lease was over.
        self.lapsed = False
        self.sayer = sayer
        #: What nobody waits for any more, and what is not to be sent any more.
        self.cancelled: Withdrawn = Withdrawn()
        self.recalled: Withdrawn = Withdrawn()
        self._flights: set[_Flight] = set()
        self._sign = Sign()
        self.pool: ClientPool = ClientPool(self._sign, cap, **options)
        allow.guard(self.pool)
        core = self.pool._core
        core.guard = lease.guard
        self._way = Way(core.settings, core.dialer)

    def ask(self, delivery: Delivery) -> None:
        """Send the requests of a batch, and return when all outcomes are confirmed, so that it may be acknowledged.

        :raises Poison: for a batch that is to go to the dead letters.
        :raises Kept: for one that stays with the broker.
        """
        if self.draining:
            raise Kept('the worker is to end')
        ticket = Ticket()
        self.under_way[ticket] = delivery
        try:
            self._ask(delivery, ticket)
            ticket.done.wait()
        finally:
            del self.under_way[ticket]

    def _ask(self, delivery: Delivery, ticket: Ticket) -> None:
        sayer = self.sayer
        try:
            batch = unpack(sayer.keys.open(delivery.sealed, delivery.id.encode()))
        except BadSeal as exc:
            sayer.say_plainly(delivery.reply, delivery.id, f'worker {sayer.worker} cannot open it: {exc}', ticket)
            return
        except ValueError as exc:
            self._refuse(delivery, [], f'worker {sayer.worker} cannot read it: {exc}', ticket)
            ticket.done.wait()
            raise Poison(str(exc)) from exc
        if not batch.parcels:
            has = [other.number for other in self.under_way.values() if other.run == delivery.run]
            sayer.say(delivery.reply, [[HAS, delivery.number, has]], ticket)
            return
        if batch.cap != self.cap:
            self._refuse(
                delivery,
                batch.numbers,
                f'worker {sayer.worker} keeps to {self.cap} requests at once to an origin, this pool to {batch.cap}: '
                'give both the same number',
                ticket,
            )
            return
        if delivery.before >= DELIVERIES - 1:
            text = f'a batch was delivered {delivery.before} times, and each worker that had it is gone'
            self._refuse(
                delivery, batch.numbers, f'{text}: it is in the dead letters now, and may have been sent', ticket
            )
            ticket.done.wait()
            raise Poison(text)
        if not {parcel.request.method for parcel in batch.parcels} <= IDEMPOTENT:
            if delivery.again:
                sayer.say(delivery.reply, [[UNSURE, delivery.number, batch.numbers]], ticket)
                return
            if not self._may_begin(delivery, batch.numbers):
                return
        self._send(delivery, batch, ticket)

    def _refuse(self, delivery: Delivery, numbers: list[int], text: str, ticket: Ticket) -> None:
        self.sayer.say(delivery.reply, [[REFUSED, delivery.number, numbers, text]], ticket)

    def _may_begin(self, delivery: Delivery, numbers: list[int]) -> bool:
        """Whether a batch that may be sent once only begins here and now."""
        if self.fence is None:
            raise Kept('the connection is lost')
        fate = self.fence.begin(delivery.reply, self.sayer.sealed(delivery.reply, [[BEGAN, delivery.number, numbers]]))
        if fate == 'gone':
            self.sayer.mark_gone(delivery.reply)
        elif fate == 'lost':
            raise Kept("it is another worker's")
        return fate == 'begun'

    def _send(self, delivery: Delivery, batch: Batch, ticket: Ticket) -> None:
        signer = BatchSigner(self._sign, self._way, batch.signer)
        flight = _Flight(self, signer, delivery, ticket, len(batch.parcels))
        self._flights.add(flight)
        self.sayer.expect(delivery.reply, flight.left)
        try:
            flight.run(batch.parcels)
        finally:
            flight.close()
            self._flights.discard(flight)
            self.sayer.expect(delivery.reply, -flight.left)
        if flight.held_back:
            raise Kept("some was not sent, as the lanes may be another worker's")

    def say(self, delivery: Delivery, entries: list[Word], ticket: Ticket) -> None:
        """Say outcomes of a batch."""
        self.figures.done += len(entries)
        self.sayer.say(delivery.reply, entries, ticket, len(entries))

    def is_dropped(self, delivery: Delivery, number: int) -> bool:
        """Whether nobody waits for the outcome of a request."""
        return self.sayer.is_gone(delivery.reply) or self.cancelled.has(delivery.run, number)

    def wants_all(self, delivery: Delivery) -> bool:
        """Whether nothing of the run was withdrawn."""
        run = delivery.run
        return not (self.sayer.is_gone(delivery.reply) or self.cancelled.of(run) or self.recalled.of(run))

    def cancel(self, run: str, ranges: list[list[int]]) -> None:
        """Drop requests of a run: what is not sent, and what is in flight.

        :raises TypeError, ValueError: for what is no range.
        """
        numbers = self.cancelled.add(run, ranges)
        for flight in self._flights_of(run):
            flight.cancel(numbers)

    def recall(self, run: str, ranges: list[list[int]]) -> None:
        """Send these requests of a run no more; what is in flight goes on.

        :raises TypeError, ValueError: for what is no range.
        """
        numbers = self.recalled.add(run, ranges)
        for flight in self._flights_of(run):
            flight.recall(numbers)

    def _flights_of(self, run: str) -> list[_Flight]:
        return [flight for flight in self._flights if flight.delivery.run == run]

    def cut_off(self) -> None:
        """End all that is in flight: the lanes are another's, or the time is up."""
        for flight in list(self._flights):
            flight.held_back = True
            flight.cancel()

    def close(self) -> None:
        """Close the pool."""
        self.pool.close()


class _Flight:
    """The requests of a batch that the pool has in hand.

    What has finished is said from within the loop, some at a time: to wake a greenlet for each outcome would cost more
    than to pack it. What is held back is said when the sayer looks. Only where a signer may have to answer a challenge
    the batch's own greenlet does it, which may block.

    :param count: how many requests it has.
    """

    def __init__(self, asker: Asker, signer: BatchSigner, delivery: Delivery, ticket: Ticket, count: int) -> None:
        self.delivery = delivery
        #: How many have no outcome that was said.
        self.left = count
        #: Whether something was not sent as the lease was over.
        self.held_back = False
        self._asker = asker
        self._signer = signer
        self._ticket = ticket
        self._submitter_for = asker.pool._submitter_for
        self._under_way: dict[int, Any] = {}
        self._outcomes = Outcomes(self._under_way) if signer.asks else _Told(self._under_way, self._tell)
        self._over = Event()
        self._failure: Exception | None = None

    def run(self, parcels: list[Parcel]) -> None:
        """Send these, and say the outcomes as they come, but for what is dropped."""
        now, failed = time(), []
        is_plain = self._is_plain
        for parcel in parcels:
            if is_plain and parcel.deadline > now:
                self._submit(parcel)
            else:
                error = self._begin(parcel, now)
                if error is not None:
                    failed.append(pack_outcome(parcel.number, error))
        if failed:
            self._say(failed)
        if self._signer.asks:  # to answer a challenge may take a while
            while self._under_way:
                self._outcomes.wait(1, None)
                self._say_finished()
        elif self._under_way:
            self._asker.sayer.listen(self._tell)
            self._outcomes.wake()
            self._over.wait()
            if self._failure is not None:
                raise self._failure

    @property
    def _is_plain(self) -> bool:
        """Whether nothing is to be looked up for a request of it."""
        return not self._signer.asks and self._asker.wants_all(self.delivery)

    def _tell(self) -> None:
        """Say what has finished. Called by the loop."""
        if self._over.is_set():
            return
        try:
            self._say_finished()
        except Exception as exc:
            self._failure = exc
        if self._under_way and self._failure is None:
            self._outcomes.wake_at = max(len(self._under_way) // HELD_BACK, 1)
        else:
            self._over.set()

    def _say_finished(self) -> None:
        finished, under_way, is_plain = self._outcomes.finished, self._under_way, self._is_plain
        entries = []
        while finished:
            number = finished.popleft()
            outcome = under_way.pop(number)
            if not is_plain or not isinstance(outcome, Response):
                outcome = self._end(number, outcome)
            if outcome is not None:
                entries.append(pack_outcome(number, outcome))
        if entries:
            self._say(entries)

    def _say(self, entries: list[Word]) -> None:
        self.left -= len(entries)
        self._asker.say(self.delivery, entries, self._ticket)

    def close(self) -> None:
        """End what is under way, and say nothing more."""
        self._asker.sayer.unlisten(self._tell)
        self._over.set()
        self.cancel()

    def _begin(self, parcel: Parcel, now: float) -> HTTPError | None:
        """Send one, if that is still wanted and it can be signed; its outcome, where it has one by that."""
        asker, request = self._asker, parcel.request
        if self.held_back or asker.is_dropped(self.delivery, parcel.number):
            return None
        if asker.recalled.has(self.delivery.run, parcel.number):
            return Cancelled('cancelled', request=request, phase='queue')
        if parcel.deadline <= now:
            return QueueTimeout('the total time was up before anything was sent', request=request, phase='queue')
        signed = self._signer.signed(parcel)
        if isinstance(signed, HTTPError):
            return signed
        self._submit(signed)
        return None

    def _end(self, number: int, outcome: Response | HTTPError) -> Response | HTTPError | None:
        """What is to be said of one that came back: nothing where it is dropped, held back, or asked once more."""
        again = self._signer.answer(number, outcome)
        if isinstance(outcome, HTTPError) and self._is_held_back(outcome):
            self.held_back = self._asker.lapsed = True
            return None
        if self._asker.is_dropped(self.delivery, number):
            return None
        if isinstance(again, Parcel):
            self._submit(again)
            return None
        return again if isinstance(again, HTTPError) else outcome

    def _is_held_back(self, error: HTTPError) -> bool:
        return self.held_back or isinstance(error.__cause__, LeaseOver)

    def _submit(self, parcel: Parcel) -> None:
        request, number = parcel.request, parcel.number
        submit = self._submitter_for(request.host).submit
        pending: PendingResponse
        if parcel.context is None:
            pending = submit(request, self._outcomes, number)
        else:
            context = copy_context()
            context.run(current.set, parcel.context)
            pending = context.run(submit, request, self._outcomes, number)
        self._under_way[number] = pending if pending.outcome is None else pending.outcome

    def cancel(self, numbers: Numbers | None = None) -> None:
        """End these, or all."""
        for pending in self._among(numbers):
            pending.cancel()

    def recall(self, numbers: Numbers) -> None:
        """End those of these that are not sent."""
        for pending in self._among(numbers):
            drop_unsent(pending)

    def _among(self, numbers: Numbers | None) -> list[PendingResponse]:
        return [
            pending
            for number, pending in self._under_way.items()
            if isinstance(pending, PendingResponse) and (numbers is None or number in numbers)
        ]


class _Told(Outcomes):
    """Outcomes that are told within the loop.

    :param tell: called when there are some, once; it sets ``wake_at`` to be called again.
    """

    __slots__ = ('_tell',)

    def __init__(self, outcomes: dict[int, Any], tell: Callable[[], None]) -> None:
        super().__init__(outcomes)
        self._tell = tell

    def wake(self) -> None:
        """Called within a transition of the engine."""
        self.wake_at = NEVER
        get_hub().loop.run_callback(self._tell)
