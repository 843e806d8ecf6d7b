"""The list of runs, filtered by how they ended and by what they ask."""

from __future__ import annotations

from typing import Any, NamedTuple

from .counts import OUTCOMES, document_of
from .rows import Kept
from .runs import Runs

__all__ = ['Filter', 'list_runs']

#: Runs that are looked at together, where not all are shown.
_AT_ONCE = 200


class Filter(NamedTuple):
    """Which runs are shown.

    :param states: any of these; all where there is none.
    :param outcomes: any of these; all where there is none.
    :param words: each is in the method, the URL, the first host or the id, in any case.
    """

    states: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def matches(self, document: dict[str, Any]) -> bool:
        """Whether a run is one of them."""
        if self.states and document['state'] not in self.states:
            return False
        if self.outcomes and document['outcome'] not in self.outcomes:
            return False
        about = document['about']
        text = f'{about["method"]} {about["url"]} {about["host"]} {document["id"]}'.lower()
        return all(word.lower() in text for word in self.words)

    @property
    def kept_states(self) -> set[str]:
        """The states in which the store has such runs; none for all of them."""
        found = {state for outcome in self.outcomes for state in OUTCOMES[outcome]} or set(self.states)
        return found & set(self.states) or {''} if self.states else found


def list_runs(runs: Runs, limit: int, before: Kept | None, which: Filter) -> tuple[list[dict[str, Any]], bool]:
    """The newest runs, or those older than one; and whether there are more."""
    shown: list[dict[str, Any]] = []
    count = max(limit + 1, _AT_ONCE) if any(which) else limit + 1
    while True:
        found = runs.store.newest(count, before, which.kept_states, which.words)
        for run in found:
            here = runs.under_way.get(run.id)
            document = document_of(run) if here is None else here.document()
            if which.matches(document):
                shown.append(document)
        if len(shown) > limit or len(found) < count:
            more = len(shown) > limit
            break
        before = found[-1]
    again = runs.store.asked_again(document['id'] for document in shown[:limit])
    return [{**document, 'again': again.get(document['id'])} for document in shown[:limit]], more
