"""Shows identical answers once, under the node set of their hosts, and how the other answers differ."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from ..error_texts import escaped, one_line
from ..errors import HTTPError
from ..hosts import Groups, fold
from ..messages import Response, exact_text, redump_json, written_json
from .formats import Format
from .outcomes import Outcome, answering_field, chain_of, head_of, shown_answer_of, status_of, tag_of
from .stdio import BOLD, CYAN, GREEN, OFF, RED, colours

__all__ = ['Folded', 'Shown', 'coloured_difference']

_LINE = '-' * 15
#: A server that asked another one may repeat what it was answered.
_without_status = re.compile(r'\A"[^"]*" ?').sub


class Shown(NamedTuple):
    """An answer as it is shown."""

    lines: list[str]
    failed: bool

    @classmethod
    def of(cls, outcome: Outcome, include: bool) -> Shown:
        """That of an outcome.

        :param include: whether the header fields are a part of it.
        """
        return cls(_answer_lines(outcome, include), isinstance(outcome, HTTPError))

    def difference(self, other: Shown, name: str = '', other_name: str = '', context: int = 3) -> Iterator[str]:
        """How another answer differs from it. An error in its place does not make its body a list of what is gone."""
        own = self.lines[:1] if other.failed and not self.failed else self.lines
        return difflib.unified_diff(own, other.lines, name, other_name, n=context, lineterm='')


class _Group:
    """Hosts with the same answer."""

    def __init__(self, outcome: Outcome, include: bool) -> None:
        self.hosts: dict[str, None] = {}
        self.shown = Shown.of(outcome, include)
        self.count = 0
        self.first = tag_of(outcome).number

    def add(self, other: _Group) -> None:
        """Take the hosts of another one."""
        self.hosts |= other.hosts
        self.count += other.count
        self.first = min(self.first, other.first)


class Folded(Format):
    """Shows identical answers once. It holds each different answer once, and the names of all hosts.

    :param groups: what ``@name`` stands for.
    :param regroup: write ``@name`` instead of all hosts of a group.
    :param include: whether the header fields are a part of the answer; when it was made (``Date``) is none.
    :param compares: show what most answered, and how the other answers differ from it.
    """

    def __init__(self, groups: Groups, *, regroup: bool, include: bool, compares: bool) -> None:
        self._groups = groups
        self._regroup = regroup
        self._include = include
        self._compares = compares
        self._coloured = colours(sys.stdout)
        self._found: dict[tuple[str, bytes | str, str], _Group] = {}

    def show(self, outcome: Outcome) -> str:
        """Add it to the group with the same answer."""
        response = shown_answer_of(outcome)
        content = response.data if response is not None else getattr(outcome, 'message', '')
        key = status_of(outcome), content, '' if response is None else '\n'.join(_head_lines(response, self._include))
        group = self._found.get(key)
        if group is None:
            group = self._found[key] = _Group(outcome, self._include)
        group.hosts[outcome.request.host] = None
        group.first = min(group.first, tag_of(outcome).number)
        group.count += 1
        return ''

    def end(self) -> Iterator[str]:
        """The lines of all groups, the largest first; or those of the largest, and how the others differ from it."""
        if self._compares and self._found:
            yield from self._differences()
            return
        for group in self._ranked():
            yield from self._block(group)

    def _ranked(self) -> list[_Group]:
        """The groups, largest first; of equal ones good answers first, then that of the host that is named first."""
        return sorted(self._alike(), key=lambda group: (-group.count, group.shown.failed, group.first))

    def _alike(self) -> Iterable[_Group]:
        """The groups; those that are shown alike, such as JSON with other white space, are one."""
        found: dict[tuple[str, ...], _Group] = {}
        for group in self._found.values():
            known = found.setdefault(tuple(group.shown.lines), group)
            if known is not group:
                known.add(group)
        return found.values()

    def _name(self, group: _Group) -> str:
        count = (
            f'{len(group.hosts)}' if group.count == len(group.hosts) else f'{len(group.hosts)}, {group.count} answers'
        )
        return f'{fold(group.hosts, self._groups, self._regroup)} ({count})'

    def _block(self, group: _Group) -> Iterator[str]:
        name, (first, *others) = self._name(group), group.shown.lines
        if self._coloured:
            name, first = f'{BOLD}{name}{OFF}', f'{RED if group.shown.failed else GREEN}{first}{OFF}'
        yield from (_LINE, name, _LINE, first, *others)

    def _differences(self) -> Iterator[str]:
        """The lines of the largest group, then how each of the others differs from it."""
        most, *others = self._ranked()
        yield from self._block(most)
        for other in others:
            lines = most.shown.difference(other.shown, self._name(most), self._name(other))
            yield from coloured_difference(lines) if self._coloured else lines


def coloured_difference(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a difference, for a terminal: what is gone in red, what is new in green."""
    for line in lines:
        colour = BOLD if line.startswith(('---', '+++')) else {'-': RED, '+': GREEN, '@': CYAN}.get(line[:1], '')
        yield f'{colour}{line}{OFF}' if colour else line


def _answer_lines(outcome: Outcome, include: bool) -> list[str]:
    """The lines of an answer: its status, then its body, JSON member by member; or the error, with its whole chain.

    :param include: whether the header fields stand between.
    """
    response = shown_answer_of(outcome)
    if response is None:
        return [f'{status_of(outcome)}: {escaped(getattr(outcome, "message", ""))}']
    first = f'{response.status} {escaped(response.reason)}'.rstrip()
    head = _head_lines(response, include)
    if chain := chain_of(outcome):
        return [first, *head, *_own_words(outcome, chain), *chain[1:]]
    return [first, *head, *_body_lines(response)]


def _own_words(outcome: Outcome, chain: list[str]) -> list[str]:
    """What the server itself said of its failure, if that is more than those behind it said."""
    hop = outcome.chain[0] if isinstance(outcome, HTTPError) else None
    if hop is None or not hop.error_text:
        return []
    text = _without_status('', one_line(hop.error_text))
    if any(text in line for line in chain[1:]):
        return []
    return [f'{one_line(hop.error_class)}: {text}' if hop.error_class else text]


def _head_lines(response: Response, include: bool) -> list[str]:
    if include:
        return [line for line in head_of(response) if not line.lower().startswith('date:')][1:]
    return [] if response.data else [escaped(line) for line in [answering_field(response)] if line]


def _body_lines(response: Response) -> list[str]:
    body = response.body
    if isinstance(body, (dict, list)):
        with suppress(RecursionError):  # it is shown as it is
            return [*map(escaped, redump_json(body, indent=2, ensure_ascii=False).split('\n'))]
    for text in written_json(response), exact_text(response):
        if text is not None:
            return [*map(escaped, text.splitlines())]
    return [repr(response.data)]
