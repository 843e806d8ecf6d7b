"""One run, from its first request to the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic

from ..errors import HTTPError, Timeout
from ..hosts import fold
from ..messages import Request
from ..pool import ClientPool
from . import signals
from .formats import Format
from .joblog import BadLog, JobLog
from .options import Asked
from .outcomes import Outcome, tag_of
from .plan import BadUsage, Plan
from .printing import Files
from .schedule import Bounds, Schedule
from .stdio import Output, columns_of, tell
from .summary import Times
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
    from .curl import Curl
    from .showing import target_line

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

    :param format: how they are written; ``None`` for that of the plan.
    :param closing_line: gives the line that ends it on standard error; ``None`` for the usual one.
    :raises BadUsage: if the job log cannot be written.
    """

    def __init__(
        self, plan: Plan, format: Format | None = None, closing_line: Callable[[Tally], str] | None = None
    ) -> None:
        self._plan = plan
        self._closing_line = closing_line or '{}\n'.format
        self._asked = asked = plan.asked
        self._format = format or plan.format
        targets = plan.targets
        try:
            self._log = None if asked.joblog is None else JobLog(asked.joblog, plan.done)
        except BadLog as exc:
            raise BadUsage(str(exc)) from exc
        self._for = asked.duration if asked.watch is None else None
        times = Times() if asked.summary or self._for is not None else None
        self._tally = Tally(len(targets), len(targets.hosts), times)
        self._end = None if asked.deadline is None else monotonic() + asked.deadline
        self._late = False
        self._patience: float | None = None
        self._enough = False
        self._failed: dict[str, None] = {}
        enough = None if self._for is None else monotonic() + self._for
        self._schedule = Schedule(
            targets,
            _at_once(asked),
            ordered=asked.ordered,
            bounds=Bounds(asked.rate, self._end, enough, asked.timeout),
            skip=None if plan.done is None else self._skip,
        )
        #: Each of them gets each outcome, in this order.
        self._shows: list[Callable[[Outcome], object]] = []
        self._output = self._begin_output()
        if asked.output is not None:
            self._shows.append(Files(asked.output, targets).write)
        self._shows.append(self._show)

    def _begin_output(self) -> Output:
        """The output; on a terminal it has a table."""
        if self._asked.verbose:
            self._schedule.tells.append(self._tell_request)
            self._shows.append(self._tell_answer)
        if self._asked.quiet or not sys.stderr.isatty() or os.environ.get('TERM', 'dumb') == 'dumb':
            return Output()
        # What only few runs need is imported by those: a start takes a fifth of a second as it is.
        from .live import Board, Live

        board = Board(self._schedule, self._tally, self._for)
        self._schedule.tells.append(board.began)
        self._shows.append(board.ended)
        return Live(board)

    def go(self) -> int:
        """Send all requests, close the pool, and return the exit code."""
        signals.raise_exit(self._tell_who_is_pending)
        return self.send(close=True)

    def send(self, close: bool = False) -> int:
        """Send all requests and return the exit code.

        :param close: close the pool too, before what is known is shown.
        """
        with ExitStack() as stack:
            if self._log is not None:
                stack.callback(self._log.close)
            stack.callback(self._close)
            if close:
                stack.callback(self._plan.pool.close)
            try:
                if text := self._format.begin():
                    self._output.put(text)
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

    def _show(self, outcome: Outcome) -> None:
        if text := self._format.show(outcome):
            self._output.put(text)
        if isinstance(outcome, HTTPError) and (note := self._format.note(outcome)):
            self._output.note(note)

    def _tell_request(self, request: Request) -> None:
        from .showing import request_lines

        pool = self._plan.pool
        defaults = pool.settings.headers if isinstance(pool, ClientPool) else None
        lines = request_lines(request, self._plan.authenticator, defaults, self._asked.verbose > 1)
        self._output.note(''.join(f'{line}\n' for line in lines))

    def _tell_answer(self, outcome: Outcome) -> None:
        from .showing import answer_lines

        self._output.note(''.join(f'{line}\n' for line in answer_lines(outcome, self._asked.verbose > 1)))

    def _tell_who_is_pending(self) -> None:
        hosts = self._schedule.unfinished()
        self._output.note(
            f'napix: waiting for {len(hosts)} of {self._tally.hosts}: {fold(hosts)} (Ctrl-C again to stop)\n'
        )

    # -- the end ---------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        """Show and write what is known, whatever ended the run."""
        if self._for is not None:  # what was begun is all that was asked for
            self._tally.asked = self._schedule.asked + self._tally.done
        if self._asked.failed_out is not None:
            self._write_failed(self._asked.failed_out)
        try:
            for line in self._format.end():
                self._output.put(f'{line}\n')
        finally:
            self._output.close(self._patience)
        if self._tally.times is not None:
            tell(''.join(f'{line}\n' for line in self._tally.summary(columns_of(sys.stderr))))
        elif not self._asked.quiet:
            tell(self._closing_line(self._tally))

    def _write_failed(self, path: str) -> None:
        """Write the hosts that failed, and those whose answers were still wanted when the run ended."""
        left = [] if self._enough or self._for is not None else self._schedule.unfinished()
        with open(path, 'w') as file:
            if failed := dict.fromkeys([*self._failed, *left]):
                file.write(f'{fold(failed)}\n')


def _at_once(asked: Asked) -> int:
    """How many requests to one host may be handed out at once."""
    if asked.via is not None:
        return _AHEAD
    return _AUTO if asked.simultaneous == 'auto' else int(asked.simultaneous or 2)
