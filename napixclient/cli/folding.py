"""Shows identical answers once, under the node set of their hosts, and how the other answers differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import suppress

from ..error_texts import escaped
from ..hosts import Groups, fold
from ..messages import exact_text, redump_json, written_json
from .formats import Outcome, answered_of, chain_of, status_of

__all__ = ['Folder']

_LINE = '-' * 15


class _Group:
    """Hosts with the same answer."""

    def __init__(self, shown: list[str]) -> None:
        self.hosts: dict[str, None] = {}
        self.shown = shown
        self.count = 0


class Folder:
    """Groups identical answers. It holds each different answer once, and the names of all hosts.

    :param groups: what ``@name`` stands for.
    :param regroup: write ``@name`` instead of all hosts of a group.
    :param spread: give each member of a JSON document its own line, for readable differences.
    """

    def __init__(self, groups: Groups, regroup: bool, spread: bool) -> None:
        self._groups = groups
        self._regroup = regroup
        self._spread = spread
        self._found: dict[tuple[str, bytes | str], _Group] = {}

    def add(self, outcome: Outcome) -> None:
        """Add it to the group with the same answer."""
        response = answered_of(outcome)
        content = response.data if response is not None else getattr(outcome, 'message', '')
        group = self._found.get((status_of(outcome), content))
        if group is None:
            group = self._found[status_of(outcome), content] = _Group(_shown(outcome, self._spread))
        group.hosts[outcome.request.host] = None
        group.count += 1

    def _ranked(self) -> list[_Group]:
        """The groups, largest first; those of equal size in the order of arrival."""
        return sorted(self._found.values(), key=lambda group: -group.count)

    def _name(self, group: _Group) -> str:
        count = (
            f'{len(group.hosts)}' if group.count == len(group.hosts) else f'{len(group.hosts)}, {group.count} answers'
        )
        return f'{fold(group.hosts, self._groups, self._regroup)} ({count})'

    def blocks(self) -> Iterator[str]:
        """The lines of all groups, the largest first."""
        for group in self._ranked():
            yield from (_LINE, self._name(group), _LINE, *group.shown)

    def differences(self) -> Iterator[str]:
        """The lines of the largest group, then how each of the others differs from it."""
        ranked = self._ranked()
        for most in ranked[:1]:
            yield from (_LINE, self._name(most), _LINE, *most.shown)
            for other in ranked[1:]:
                yield from difflib.unified_diff(
                    most.shown, other.shown, self._name(most), self._name(other), lineterm=''
                )


def _shown(outcome: Outcome, spread: bool) -> list[str]:
    """The lines of an answer: its status, then its body; or the error."""
    response = answered_of(outcome)
    if response is None:
        return [f'{status_of(outcome)}: {escaped(getattr(outcome, "message", ""))}']
    reason = escaped(response.reason)
    first = f'{response.status} {reason}'.rstrip()
    if chain := chain_of(outcome):
        return [first, *chain[1:]]
    body = response.body
    if spread and isinstance(body, (dict, list)):
        with suppress(RecursionError):  # it is shown as it is
            return [first, *map(escaped, redump_json(body, indent=2, ensure_ascii=False).split('\n'))]
    for text in written_json(response), exact_text(response):
        if text is not None:
            return [first, *map(escaped, text.splitlines())]
    return [first, repr(response.data)]
