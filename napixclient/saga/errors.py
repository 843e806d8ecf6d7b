"""The errors of sagas.

HTTPError
└── SagaFailed               a step failed, or the saga was given up; what was done is undone, and what not is told

NapixError
└── JournalError             the journal cannot be read or written
    ├── JournalLocked            another process has it
    └── JournalUnfinished        it tells of a saga that was never ended: it is to be undone first
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

from ..error_texts import one_line
from ..errors import HTTPError, NapixError
from ..masking import Shown, mask, sentence
from ..peer import Route

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

__all__ = ['JournalError', 'JournalLocked', 'JournalUnfinished', 'SagaFailed', 'cause_of']

#: Steps of each kind that a document tells of, and characters of each text.
_MOST = 10
_LONGEST = 120
#: Steps of each kind that the text of an error names.
_MOST_LINES = 20


class JournalError(NapixError):
    """The journal of a saga cannot be read or written, or is none."""


class JournalLocked(JournalError):
    """Another saga, or a recovery, has the journal."""


class JournalUnfinished(JournalError):
    """The journal tells of a saga that was neither committed nor undone."""


class Told(Protocol):
    """A step, as far as an error tells of it."""

    @property
    def name(self) -> str:
        """The text of its request, without secrets."""


class SagaFailed(HTTPError):
    """A step of a saga failed, or the saga was given up: what had been done is undone.

    ``request``, ``response``, ``status``, ``remote_call`` and ``remote_error`` are those of the first step that failed;
    ``__cause__`` is its error, or an ``ExceptionGroup`` of all where several failed.

    :param failed: the errors of the steps that failed, in the order asked.
    :param undone: the steps that are undone.
    :param not_undone: pairs of a step that could not be undone, and the error.
    :param unknown: the steps of which nobody knows whether they were done.
    """

    def __init__(
        self,
        message: str = '',
        *,
        failed: Sequence[HTTPError] = (),
        undone: Sequence[Told] = (),
        not_undone: Sequence[tuple[Told, HTTPError]] = (),
        unknown: Sequence[Told] = (),
    ) -> None:
        first = failed[0] if failed else HTTPError()
        super().__init__(
            message,
            request=first.request,
            response=first.response,
            remote_error=first.remote_error,
            phase=first.phase,
            elapsed=first.elapsed,
        )
        self.attempts: int = first.attempts
        self.route: Route | None = first.route
        self.keep(first)
        self.failed: list[HTTPError] = list(failed)
        self.undone: list[Told] = list(undone)
        self.not_undone: list[tuple[Told, HTTPError]] = list(not_undone)
        self.unknown: list[Told] = list(unknown)

    @property
    def _kind(self) -> str:
        """What kind of failure it was: that of the first step."""
        return type(self.failed[0] if self.failed else self).__name__

    @property
    def document_members(self) -> dict[str, object]:
        """What was rolled back, as a server tells it to its caller."""
        return {
            'saga': {
                'undone': _texts([step.name for step in self.undone]),
                'not_undone': _texts([step.name for step, _ in self.not_undone]),
                'unknown': _texts([step.name for step in self.unknown]),
            }
        }

    def __str__(self) -> str:
        lines = [super().__str__()]
        lines += _some([f'also failed: {_call_of(error)}: {one_line(error.message)}' for error in self.failed[1:]])
        lines += _some([f'undone: {mask(step.name)}' for step in self.undone])
        lines += _some(
            [
                f'NOT undone: {mask(step.name)}: {_call_of(error)}: {one_line(error.message)}'
                for step, error in self.not_undone
            ]
        )
        lines += _some([f'unknown whether it was done: {mask(step.name)}' for step in self.unknown])
        return sentence('\n'.join(lines))


def _call_of(error: HTTPError) -> str:
    return one_line(error.remote_call or 'its undo')


def _some(lines: list[str]) -> list[str]:
    """The first of them, and how many more there are: the lists have them all."""
    more = [f'  … and {len(lines) - _MOST_LINES} more'] if len(lines) > _MOST_LINES else []
    return [f'  {line}' for line in lines[:_MOST_LINES]] + more


def _texts(names: list[str]) -> list[Shown]:
    """The first of them, each cut; the last tells how many more there are."""
    texts = [Shown(mask(name if len(name) <= _LONGEST else f'{name[:_LONGEST]}…')) for name in names[:_MOST]]
    return texts + [Shown(f'and {len(names) - _MOST} more')] * (len(names) > _MOST)


def cause_of(errors: Sequence[HTTPError]) -> BaseException | None:
    """What a failure of these is caused by: one error, or a group of several."""
    if len(errors) < 2:
        return errors[0] if errors else None
    group: Exception = ExceptionGroup(Shown(f'{len(errors)} steps failed'), list(errors))
    return group
