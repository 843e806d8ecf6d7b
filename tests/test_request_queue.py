"""The queue of one origin: order, and what ends while it waits."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from napixclient import Cancelled, Request
from napixclient._http.pending import PendingResponse, new_pending
from napixclient._http.request_queue import RequestQueue


class Holder:
    """Has the requests of one queue in hand, as the pool of an origin has."""

    phase = 'queue'
    route = None

    def __init__(self) -> None:
        self.queue = RequestQueue()
        self.ended: list[PendingResponse] = []

    def put(self) -> PendingResponse:
        """One more request."""
        pending = new_pending(Request('server.example', 'GET', '/'), None)
        pending.holder = self
        self.queue.entries.append(pending)
        return pending

    def drop(self, pending: PendingResponse) -> Holder:
        """It ends."""
        self.queue.drop(pending)
        return self

    def complete(self, pending: PendingResponse, outcome: Cancelled) -> None:
        """Its outcome."""
        self.ended.append(pending)
        pending.finish(outcome)


def test_first_in_first_out() -> None:
    """Requests are sent in the order in which they were asked for; then there is none."""
    holder = Holder()
    made = [holder.put() for _ in range(5)]
    assert [holder.queue.pop() for _ in range(6)] == [*made, None]


def test_what_ended_is_skipped() -> None:
    """One that ended while it waited is not sent, and does not count."""
    holder = Holder()
    made = [holder.put() for _ in range(4)]
    made[0].cancel()
    made[2].cancel()
    assert len(holder.queue) == 2
    assert [holder.queue.pop() for _ in range(3)] == [made[1], made[3], None]
    assert len(holder.queue) == 0 and not holder.queue


def test_what_ended_is_not_kept() -> None:
    """Where most have ended, the queue does not hold them until their turn, which may never come."""
    holder = Holder()
    made = [holder.put() for _ in range(10_000)]
    for pending in made[:-1]:
        pending.cancel()
    assert len(holder.queue) == 1 and len(holder.queue.entries) < 200
    assert holder.queue.pop() is made[-1] and holder.queue.pop() is None and len(holder.queue) == 0


@given(st.lists(st.tuples(st.sampled_from(['put', 'put', 'pop', 'drop', 'back', 'clear']), st.integers(0, 300))))
def test_any_order_of_things(steps: list[tuple[str, int]]) -> None:
    """The queue is what a plain list would be."""
    holder, model, taken = Holder(), [], []
    for what, number in [*steps, ('pop', 0)]:
        if what == 'put':
            model += [holder.put() for _ in range(number)]
        elif what == 'drop':
            for pending in model[number // 2 : number]:
                pending.cancel()
            model = [pending for pending in model if not pending.ready()]
        elif what == 'back' and taken:
            holder.queue.entries.appendleft(taken[-1])
            model.insert(0, taken.pop())
        elif what == 'clear' and number > 290:
            holder.queue.clear()
            model.clear()
        elif what == 'pop':
            found = holder.queue.pop()
            assert found is (model.pop(0) if model else None)
            if found is not None:
                taken.append(found)
        assert len(holder.queue) == len(model)
        assert bool(holder.queue) == bool(model)
