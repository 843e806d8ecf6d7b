"""Hops: the calls of a chain of servers, as the document of a failure tells of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from .error_shapes import MAX_TEXT, Nested, nested, parse, pruned
from .error_texts import MAX_HOPS
from .masking import cut, mask, sentence

__all__ = ['Hop', 'hops_of', 'shown']

#: Characters of a text of another server's in a hop.
_LONGEST = 8 * MAX_TEXT


class Hop(NamedTuple):
    """One call of a chain of servers, with what its answer said.

    ``remote_call`` is the text of the call (``None`` where the document does not say), ``status`` the HTTP status
    or ``None``, ``elapsed`` seconds or ``None``, ``traceback`` the list that the server sent or ``None``. The texts
    are without secrets, and cut where they are very long.
    """

    remote_call: str | None
    status: int | None
    error_class: str | None
    error_text: str | None
    elapsed: float | None = None
    traceback: list[Any] | None = None

    def __repr__(self) -> str:
        shown = [*map(repr, self[:-1]), mask(repr(pruned(self.traceback, MAX_TEXT, [_LONGEST])))]
        return sentence(f'Hop({", ".join(map("{}={}".format, self._fields, shown))})')


def hops_of(remote_error: object) -> list[Hop]:
    """The calls that a document tells of, the nearest first, the root cause last."""
    calls: list[Nested] = []
    further, seen = nested(remote_error), set()
    while further and (len(calls) < MAX_HOPS or id(further[0].document) not in seen):
        seen.add(id(further[0].document))
        calls.append(further[0])
        further = nested(further[0].document)
    if len(calls) >= MAX_HOPS:
        calls[MAX_HOPS - 2 :] = calls[-1:]  # the middle goes, never the root
    return list(map(_hop, calls))


def _hop(one: Nested) -> Hop:
    error_class, text, traceback = parse(one.document)
    if one.cut:  # it was not this call that was answered so
        return Hop(None, None, shown(error_class), shown(text), None, traceback)
    return Hop(shown(one.call), one.status, shown(error_class), shown(text), one.elapsed, traceback)


def shown(text: str | None) -> str | None:
    """A text of another server's as a hop has it."""
    return None if text is None else mask(cut(text, _LONGEST))
