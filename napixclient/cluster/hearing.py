"""What workers say to a submitter: the outcomes of requests, and what became of whole lots."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any, Protocol

from .._http.pending import Completer, Outcome
from .._http.redirecting import redirect_of
from ..errors import HTTPError
from ..messages import IDEMPOTENT, REDIRECTS, Response, new_response
from .errors import ClusterError
from .heir import Heir
from .keys import BadSeal
from .lanes import reply_queue
from .lots import Entry, Lot
from .outbox import Outbox, key_of
from .outcomes import BEGAN, HAS, OUTCOME, REFUSED, UNSURE, AskedResponse, Said, response_of, restored, unpacked
from .plan import Plan
from .publisher import PLAIN

__all__ = ['Hearing']


class Ends(Completer, Protocol):
    """Who ends requests."""

    def interrupt(self, entry: Entry, why: str) -> None:
        """Nobody knows what became of the request."""

    def refuse(self, entries: Iterable[Entry], error: ClusterError) -> None:
        """The cluster refuses these."""

    def fail(self, error: ClusterError) -> None:
        """The cluster cannot be used."""


class Hearing:
    """Makes of it outcomes, and lots that are published anew."""

    def __init__(self, plan: Plan, outbox: Outbox, heir: Heir, ends: Ends) -> None:
        self._plan = plan
        self._outbox = outbox
        self._heir = heir
        self._ends = ends

    def take(self, body: bytes, properties: dict[str, Any], again: bool) -> list[int]:
        """A message of a worker's. Called by the replies' greenlet.

        :returns: the requests that it tells of, by the caller's numbers, in a run that outlives its process.
        """
        self._heir.hear()
        try:
            if properties.get('content_type') == PLAIN:  # of a worker that cannot seal it
                self._refuse_by_name(properties.get('correlation_id') or '', body[:1000].decode('utf-8', 'replace'))
                return []
            said = unpacked(self._plan.keys.open(body, reply_queue(self._plan.run).encode()))
        except ValueError as exc:
            what = 'a worker' if isinstance(exc, BadSeal) else 'a reply'
            self._ends.fail(ClusterError(f'{what} cannot be understood: {exc}'))
            return []
        now = monotonic()
        self._take_answers(said, now)
        told = [answer[0] for answer in said.answers] if self._plan.fence is not None else []
        for kind, number, *rest in said.words:
            if kind == OUTCOME:
                told.append(number)
                entry = self._outbox.find(number)
                if entry is not None:
                    entry.lane.heard = now
                    error, packed = rest
                    response = None if packed is None else response_of(packed, entry.pending.request, said.worker)
                    self._finish(entry, said.worker, error, response)
            else:
                told += [] if kind == HAS else rest[0]
                lot = self._outbox.lots.get(number)
                if lot is not None:
                    lot.lane.heard = now
                    self._take_word(lot, kind, rest)
                elif kind != HAS:
                    self._heir.take_word(kind, again, *rest)
        return [] if self._plan.fence is None else [key_of(number) for number in told]

    def _take_answers(self, said: Said, now: float) -> None:
        """The answers of a message, which are most of what there is to hear."""
        worker, heads, routes, answers, _ = said
        outbox, complete = self._outbox, self._ends.complete
        for number, status, head, data, elapsed, attempts, route in answers:
            entry = outbox.find(number)
            if entry is None:
                continue
            entry.lane.heard = now
            pending = entry.pending
            response = new_response(pending.asked, status, heads[head], data, elapsed, routes[route], AskedResponse)
            response.worker = worker
            response.answering_url = None
            response.attempts = attempts
            if pending.redirect is None and status not in REDIRECTS:
                pending.attempts = response.attempts = pending.attempts + attempts
                outbox.leave(entry)
                complete(pending, response)
            else:
                self._finish(entry, worker, None, response)

    def _take_word(self, lot: Lot, said: int, rest: list[Any]) -> None:
        """What a worker says of a whole lot."""
        if said == HAS:
            self.take_stock(lot, rest[0])
        elif said == BEGAN:
            lot.began = True
        elif said == REFUSED and not lot.entries:
            self._outbox.forget_inquiry(lot)
        elif said == REFUSED:
            self._ends.refuse(lot.under_way(), ClusterError(str(rest[1])))
        elif said == UNSURE:
            if not lot.began:
                self.again(lot)
                return
            for entry in lot.under_way():
                self._ends.interrupt(entry, 'the worker that had begun it is gone')

    def take_stock(self, inquiry: Lot, has: Iterable[int]) -> None:
        """A worker says which lots it has: a doubtful one that is not among them is not in the lane."""
        for lot in self._outbox.answered(inquiry):
            if lot.number not in has:
                for entry in lot.under_way():
                    self._ends.interrupt(entry, 'the broker was lost before it had confirmed the batch')

    def again(self, lot: Lot) -> None:
        """Nothing of the lot was sent: publish it anew, as another."""
        left = lot.under_way()
        for entry in left:
            self._outbox.leave(entry)
            self._outbox.add(entry)

    def _finish(self, entry: Entry, worker: str, error: tuple[Any, ...] | None, response: AskedResponse | None) -> None:
        """An outcome, or an answer that may not be one."""
        pending = entry.pending
        request = pending.request
        if response is not None and pending.redirect is not None:
            response.answering_url = pending.redirect.request.full_url
        outcome: Outcome
        try:
            outcome = restored(error, response, request, worker)
            pending.attempts += outcome.attempts
            if outcome is response and response.status in REDIRECTS and self._follows(entry, response):
                return
        except HTTPError as exc:
            exc.request, exc.worker = request, worker
            outcome = exc
        outcome.attempts = pending.tries
        self._outbox.leave(entry)
        self._ends.complete(pending, outcome)

    def _follows(self, entry: Entry, response: Response) -> bool:
        """Whether the request goes on where the answer redirects it.

        :raises HTTPError: if it may not.
        """
        pending = entry.pending
        redirect = redirect_of(pending, response, bool(self._plan.defaults.redirect))
        if redirect is None:
            return False
        request = redirect.request
        if entry.inherited and request.method not in IDEMPOTENT:
            return True  # the other process may have followed it
        self._outbox.leave(entry)
        pending.redirect = redirect
        entry.lane, entry.safe = self._outbox.lane(request.host), request.method in IDEMPOTENT
        self._outbox.add(entry)
        return True

    def _refuse_by_name(self, id: str, text: str) -> None:
        run, _, number = id.rpartition('.')
        lot = self._outbox.lots.get(int(number)) if run == self._plan.run and number.isdecimal() else None
        if lot is not None:
            self._take_word(lot, REFUSED, [[], text])
