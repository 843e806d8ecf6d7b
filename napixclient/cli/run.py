"""One run, from its first request to the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from time import monotonic

from ..errors import HTTPError, Timeout
from ..hosts import fold
from ..messages import Request
from . import signals
from .formats import Outcome, json_line, tag_of
from .joblog import BadLog, JobLog
from .options import Asked
from .plan import BadUsage, Plan
from .printing import Files, Lines, chain_lines
from .schedule import Schedule
from .stdio import Output, tell
from .tally import Tally

__all__ = ['Run', 'show']

#: Requests in flight to one host at most with "auto".
_AUTO = 64
#: Requests to one host that are published ahead, for a worker to send within its cap.
_AHEAD = 500
#: Seconds that a slow reader has for the rest after an interrupt.
_PATIENCE = 1.0


def show(plan: Plan) -> int:
    """Show the requests that would be sent, send none, and return the exit code."""
    from .showing import Curl, target_line

    targets = plan.targets
    curl = Curl(plan.asked, plan.items, plan.authenticator, plan.connecting) if plan.asked.curl else None
    signals.raise_exit()
    output, patience = Output(), None
    try:
        for place, turn in map(targets.at, range(len(targets))):
            if plan.done is None or not plan.done.has(targets, place, turn):
                request = targets.request(place, turn)
                output.put(target_line(request) if curl is None else f'{curl.command(request)}\n')
    except SystemExit:
        patience = _PATIENCE
        raise
    finally:
        output.close(patience)
    return 0


class Run:
    """Sends the requests of a plan, and shows and counts the outcomes.

    :raises BadUsage: if the job log cannot be written.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._asked = asked = plan.asked
        targets = plan.targets
        try:
            self._log = None if asked.joblog is None else JobLog(asked.joblog, plan.done)
        except BadLog as exc:
            raise BadUsage(str(exc)) from exc
        self._tally = Tally(len(targets), len(targets.hosts), asked.summary)
        self._end = None if asked.deadline is None else monotonic() + asked.deadline
        self._late = False
        self._patience: float | None = None
        self._enough = False
        self._failed: dict[str, None] = {}
        self._schedule = Schedule(
            targets,
            _at_once(asked),
            ordered=asked.ordered,
            rate=asked.rate,
            end=self._end,
            timeout=asked.timeout,
            skip=None if plan.done is None else self._skip,
        )
        #: Each of them gets each outcome, in this order.
        self._shows: list[Callable[[Outcome], object]] = []
        #: Gives the lines that are shown at the end.
        self._closing_lines: Callable[[], Iterable[str]] | None = None
        self._output = self._begin_output()
        self._begin_showing()

    def _begin_output(self) -> Output:
        """The output; on a terminal it has a table."""
        if self._asked.verbose:
            self._schedule.tells.append(self._tell_request)
        if self._asked.quiet or not sys.stderr.isatty() or os.environ.get('TERM', 'dumb') == 'dumb':
            return Output()
        # What only few runs need is imported by those: a start takes a fifth of a second as it is.
        from .live import Board, Live

        board = Board(self._schedule, self._tally)
        self._schedule.tells.append(board.began)
        self._shows.append(board.ended)
        return Live(board)

    def _begin_showing(self) -> None:
        asked, targets = self._asked, self._plan.targets
        if asked.output is not None:
            self._shows.append(Files(asked.output, targets).write)
        if asked.folds:
            from .folding import Folder

            folder = Folder(self._plan.groups, asked.regroup, asked.diff)
            self._shows.append(folder.add)
            self._closing_lines = folder.differences if asked.diff else folder.blocks
        elif asked.json:
            self._shows.append(self._show_json)
        elif not asked.quiet:
            self._lines = Lines(targets.hosts)
            self._shows.append(self._show_line)

    def go(self) -> int:
        """Send all requests and return the exit code."""
        signals.raise_exit(self._tell_who_is_pending)
        with ExitStack() as stack:
            if self._log is not None:
                stack.callback(self._log.close)
            stack.callback(self._close)
            stack.callback(self._plan.pool.close)
            try:
                self._listen()
            except SystemExit:
                self._patience = _PATIENCE
                raise
            except HTTPError as exc:  # no outcome: the cluster itself refuses
                tell(f'napix: {exc}\n')
                return 1 if self._tally.good + self._tally.bad else 3
        late = self._late or self._schedule.late
        return self._tally.code(self._asked.need, self._asked.min_ok, late)

    def _listen(self) -> None:
        ended, count = self._schedule.ended_at, self._tally.count
        for outcome in self._plan.pool.stream(self._schedule, self._asked.ordered):
            ended(tag_of(outcome).place)
            count(outcome)
            if self._log is not None:
                self._log.write(outcome, self._plan.targets)
            for show in self._shows:
                show(outcome)
            if isinstance(outcome, HTTPError):
                self._failed_one(outcome)
                if self._asked.fail_fast:
                    return
            elif self._tally.good + self._tally.done == self._asked.need:
                self._enough = True
                return

    def _failed_one(self, error: HTTPError) -> None:
        self._failed[error.request.host] = None
        if self._end is not None and isinstance(error, Timeout) and monotonic() >= self._end:
            self._late = True
        if self._tally.bad + self._tally.silent == self._asked.max_fail:
            self._schedule.stop()

    def _skip(self, place: int, turn: int) -> bool:
        """Whether the request succeeded in an earlier run."""
        done = self._plan.done
        found = done is not None and done.has(self._plan.targets, place, turn)
        self._tally.done += found
        return found

    # -- showing ---------------------------------------------------------------------------------------------------

    def _show_json(self, outcome: Outcome) -> None:
        self._output.put(json_line(outcome))

    def _show_line(self, outcome: Outcome) -> None:
        self._output.put(self._lines.line(outcome))
        if isinstance(outcome, HTTPError) and (chain := chain_lines(outcome)):
            self._output.note(chain)

    def _tell_request(self, request: Request) -> None:
        from .showing import request_lines

        self._output.note(''.join(f'{line}\n' for line in request_lines(request, self._plan.authenticator)))

    def _tell_who_is_pending(self) -> None:
        hosts = self._schedule.unfinished()
        self._output.note(
            f'napix: waiting for {len(hosts)} of {self._tally.hosts}: {fold(hosts)} (Ctrl-C again to stop)\n'
        )

    # -- the end ---------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """Show and write what is known, whatever ended the run."""
        if self._asked.failed_out is not None:
            self._write_failed(self._asked.failed_out)
        try:
            for line in () if self._closing_lines is None else self._closing_lines():
                self._output.put(f'{line}\n')
        finally:
            self._output.close(self._patience)
        if self._asked.summary:
            tell(''.join(f'{line}\n' for line in self._tally.summary()))
        elif not self._asked.quiet:
            tell(f'{self._tally}\n')

    def _write_failed(self, path: str) -> None:
        """Write the hosts that failed, and those whose answers were still wanted when the run ended."""
        left = [] if self._enough else self._schedule.unfinished()
        with open(path, 'w') as file:
            if failed := dict.fromkeys([*self._failed, *left]):
                file.write(f'{fold(failed)}\n')


def _at_once(asked: Asked) -> int:
    """How many requests to one host may be handed out at once."""
    if asked.via is not None:
        return _AHEAD
    return _AUTO if asked.simultaneous == 'auto' else int(asked.simultaneous or 2)
