"""What a journal tells: its lines, read into the steps of its saga. No I/O.

Each line is a JSON object with ``event``:

``saga``        the first line: ``version``, ``id``, ``undo_timeout``, ``undone_on``, ``key_field``
``step``        is about to be sent: ``step`` (its number), ``wait``, ``name``, ``host``, ``method``, ``url``, ``undo``,
                ``find``, ``undo_timeout``, ``undone_on``, ``key`` (its idempotency key), and ``again``, the number of
                the same step where it was asked for before a restart
``waited``      ``wait`` is being waited for: this is the order in which waits are undone
``done``        ``step`` was answered: ``status``, and ``undo`` where that was not known before
``failed``      ``step`` was not done: ``error``
``unknown``     nobody knows whether ``step`` was done: ``error``
``dropped``     ``step`` was not sent after all
``failing``     the saga is being undone: ``reason``
``undoing``     ``undo`` of ``step`` is about to be sent
``undone``      ``step`` is undone
``not_undone``  ``step`` could not be undone: ``error``
``kept``        ``step`` stays, whatever becomes of the saga
``values``      parts of the answer of ``step`` that later steps want: only the service writes it
``committed``   the end
``ended``       the end of undoing: ``state`` is ``undone`` or ``not_undone``
"""

from __future__ import annotations

import json
from typing import Any

from ..messages import load_json
from .errors import JournalError

__all__ = ['Entry', 'History', 'VERSION', 'read_history']

VERSION = 1
_HEAD = b'{"event":"saga",'
_OUTCOMES = frozenset(['done', 'failed', 'unknown', 'dropped', 'undoing', 'undone', 'not_undone'])


class Entry:
    """A step, as its lines tell of it."""

    __slots__ = ('error', 'kept', 'line', 'outcome', 'state', 'status', 'undo', 'values', 'wait')

    def __init__(self, line: dict[str, Any]) -> None:
        #: The line of its beginning.
        self.line: dict[str, Any] = line
        self.wait: int = line['wait']
        #: ``running`` where no other line tells more: then it counts as sent.
        self.state: str = 'running'
        #: How it ended, before anything was undone.
        self.outcome: str = 'running'
        self.status: int | None = None
        self.error: str | None = None
        self.kept: bool = False
        #: Parts of its answer that later steps want.
        self.values: dict[str, Any] = {}
        #: What undoes it: records, ``'callable'`` as long as only the program knows, or nothing.
        self.undo: list[dict[str, Any]] | str | None = line.get('undo')

    @property
    def number(self) -> int:
        """Its place among the steps."""
        return int(self.line['step'])

    @property
    def name(self) -> str:
        """The text of its request."""
        return str(self.line['name'])

    def tell(self, event: dict[str, Any]) -> None:
        """A further line tells of it."""
        kind = event['event']
        if kind == 'kept':
            self.kept = True
            return
        if kind == 'values':
            self.values = event['values']
            return
        self.state = kind
        if kind in ('done', 'failed', 'unknown', 'dropped'):
            self.outcome = kind
        self.status = event.get('status', self.status)
        self.error = event.get('error', self.error)
        if 'undo' in event:
            self.undo = event['undo']


class History:
    """What a journal tells.

    :param size: bytes of its whole lines.
    """

    def __init__(self, size: int = 0) -> None:
        self.size = size
        #: The first line; empty where there is none.
        self.head: dict[str, Any] = {}
        self.entries: dict[int, Entry] = {}
        #: The place of each wait in the order in which they were waited for.
        self.waits: dict[int, int] = {}
        self.reason: str | None = None
        #: ``empty``, ``running``, ``undoing``, or how it ended: ``committed``, ``undone`` or ``not_undone``.
        self.state: str = 'empty'

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.state in ('empty', 'committed', 'undone')

    def order_of(self, wait: int) -> tuple[float, int]:
        """Sorts waits: those that nobody waited for yet come last."""
        return self.waits.get(wait, float('inf')), wait

    def tell(self, event: dict[str, Any]) -> None:
        """One more line.

        :raises KeyError, TypeError, ValueError: for what is no event.
        """
        kind = event['event']
        if kind == 'saga':
            if event['version'] != VERSION:
                raise ValueError(f'it is of version {event["version"]}')
            self.head, self.state = event, 'running'
        elif kind == 'step':
            self.entries[event['step']] = Entry(event)
            if 'again' in event:
                self.entries[event['again']].state = 'dropped'
        elif kind == 'waited':
            self.waits[event['wait']] = len(self.waits)
        elif kind in _OUTCOMES or kind in ('kept', 'values'):
            self.entries[event['step']].tell(event)
        elif kind == 'failing':
            self.reason, self.state = event.get('reason', self.reason), 'undoing'
        elif kind in ('committed', 'ended'):
            self.state = event.get('state', 'committed')


def read_history(data: bytes, path: str) -> History:
    """Read the lines of a journal; a last one that is torn does not count.

    :raises JournalError: when it is no journal, or a line within it cannot be read.
    """
    history = History()
    lines = data.split(b'\n')
    # What stands behind the last line end is the torn line of a write that was never confirmed.
    whole, torn = lines[:-1], lines[-1]
    for number, line in enumerate(whole, 1):
        try:
            event = load_json(line)
            if (number == 1) is not (event['event'] == 'saga'):
                raise ValueError('it does not begin as a journal')
            history.tell(event)
        except (KeyError, TypeError, ValueError, AttributeError, json.JSONDecodeError) as exc:
            if number == len(whole) > 1 and not torn and _is_torn(line):
                break
            what = 'no journal of a saga' if number == 1 else f'damaged: line {number} cannot be read'
            raise JournalError(f'{path} is {what}') from exc
        history.size += len(line) + 1
    if not whole and torn and not (_HEAD.startswith(torn[: len(_HEAD)]) or not torn.strip(b'\0')):
        raise JournalError(f'{path} is no journal of a saga')
    return history


def _is_torn(line: bytes) -> bool:
    """Whether a last line that has an end is no JSON: a file system may write the end of a block before its begin."""
    try:
        load_json(line)
    except ValueError:
        return True
    return False
