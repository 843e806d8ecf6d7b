"""``napix saga``: shows what the journal of a saga tells, and undoes what it has done."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import click
import gevent

from .._http.options import Options
from ..error_texts import escaped
from ..errors import HTTPError
from ..masking import mask
from ..pool import ClientPool
from ..saga.errors import JournalError
from ..saga.history import Entry, History
from ..saga.journal import read_file
from ..saga.recovery import Report
from ..saga.saga import Saga
from ..saga.steps import Step
from ..secret_names import add_secret_names
from . import signals
from .credentials import authenticator_of, connection_options, profile_of
from .options import FLAGS, Asked
from .plan import pool_options
from .stdio import colours

__all__ = ['UNDO_FLAGS', 'run_saga']

ALL_WELL, NOT_ALL, UNREADABLE = 0, 1, 2
#: Those of the other commands that say who asks, by what way, and for how long.
UNDO_FLAGS = [
    flag for flag in FLAGS if flag.topic == 'credentials' or flag.name in ('timeout', 'connect_timeout', 'deadline')
]


def run_saga(arguments: list[str]) -> int:
    """Run ``napix saga show JOURNAL`` or ``napix saga undo JOURNAL [FLAGS]`` and return the exit code."""
    if not arguments or arguments[0] not in ('show', 'undo'):
        raise click.UsageError('say what to do with the journal: napix saga show JOURNAL, or napix saga undo JOURNAL')
    journal = click.Argument(['journal'], type=click.Path())
    action = arguments[0]
    flags = UNDO_FLAGS if action == 'undo' else []
    command = click.Command(
        action, callback=_undo if action == 'undo' else _show, params=[journal, *flags], add_help_option=False
    )
    try:
        code = command.main(arguments[1:], prog_name=f'napix saga {action}', standalone_mode=False)
    except JournalError as exc:
        raise click.UsageError(str(exc)) from exc
    return code if isinstance(code, int) else ALL_WELL


# Showing -------------------------------------------------------------------------------------------------------------


def _show(journal: str) -> int:
    history = read_file(journal)
    rows = [_row(entry) for entry in sorted(history.entries.values(), key=lambda one: _place(history, one))]
    if sys.stdout.isatty():
        _print_table(history, rows)
    else:
        sys.stdout.writelines(f'{line}\n' for line in _lines(history, rows))
    return ALL_WELL


def _place(history: History, entry: Entry) -> tuple[float, int, int]:
    return *history.order_of(entry.wait), entry.number


def _row(entry: Entry) -> tuple[str, ...]:
    """Wait, step, state, status, and what undoes it; an error last."""
    state = 'unknown' if entry.state == 'running' else entry.state
    if entry.kept:
        state = 'kept'
    status = '' if entry.status is None else str(entry.status)
    return str(entry.wait), state.replace('_', ' '), status, entry.name, _undo_text(entry.undo), entry.error or ''


def _undo_text(undo: Any) -> str:
    if isinstance(undo, str):
        return '(only its program knows)'
    texts = []
    for record in undo or ():
        host = record.get('host')
        texts.append(f'{record.get("method")} {"" if host is None else host}{record.get("url")}')
    return mask(', '.join(texts)) or '(nothing)'


def _state_text(history: History) -> str:
    reason = f': {history.reason}' if history.reason else ''
    return f'{history.state.replace("_", " ")}{reason}'


def _lines(history: History, rows: list[tuple[str, ...]]) -> Iterable[str]:
    """Plain lines, uncut, with tabs between what a table has in columns."""
    yield f'saga\t{escaped(_state_text(history))}'
    for row in rows:
        yield '\t'.join(map(escaped, row))


def _print_table(history: History, rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(escaped(_state_text(history))), title_justify='left', header_style='bold')
    for title in 'wait', 'state', 'status', 'step', 'undo', 'error':
        table.add_column(title, overflow='fold')
    for row in rows:
        table.add_row(
            *(Text(escaped(cell), style=_STYLES.get(row[1], '') if at == 1 else '') for at, cell in enumerate(row))
        )
    Console(no_color=not colours(sys.stdout), highlight=False).print(table)


_STYLES = {'done': 'green', 'undone': 'cyan', 'failed': 'red', 'not undone': 'bold red', 'unknown': 'yellow'}


# Undoing -------------------------------------------------------------------------------------------------------------


def _undo(journal: str, **given: Any) -> int:
    asked = Asked(**{**{field.name: None for field in fields(Asked)}, 'secret': (), **given})
    add_secret_names(asked.secret)
    try:
        profile = profile_of(asked)
        hosts = {entry.line['host'] for entry in read_file(journal).entries.values()}
        options: Options = {**pool_options(asked), **connection_options(asked, profile, hosts)}
        pool = ClientPool(authenticator_of(asked, profile), **options)
    except ValueError as exc:  # BadCredentials too
        raise click.UsageError(str(exc)) from exc
    signals.raise_exit()
    with pool, gevent.Timeout(asked.deadline, exception=False):  # type: ignore[arg-type]  # the stubs do not know False
        report = Saga.recover(journal, pool)
        sys.stdout.writelines(f'{line}\n' for line in _report_lines(report))
        return ALL_WELL if report.state in ('committed', 'undone') else NOT_ALL
    print('napix: the deadline ended it; what is left can be undone by the same command', file=sys.stderr)
    return NOT_ALL


def _report_lines(report: Report) -> Iterable[str]:
    """A line for each step, with tabs between its parts; nothing to do is said too."""
    yield f'saga\t{report.state.replace("_", " ")}'
    rows: list[tuple[str, Step, HTTPError | None]] = [('undone', step, None) for step in report.undone]
    rows += [('not undone', step, error) for step, error in report.not_undone]
    rows += [('unknown', step, None) for step in report.unknown]
    for what, step, error in sorted(rows, key=lambda row: row[1].number):
        why = '' if error is None else f'{error.remote_call or ""} {error.message}'.strip()
        yield '\t'.join(filter(None, [what, escaped(step.name), escaped(why)]))
