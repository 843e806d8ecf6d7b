"""Run suites side by side, then those that want the machine for themselves; what failed is run once more, alone.

`python tests/together.py SUITE... [--alone SUITE...]`, each SUITE the command line of a pytest. Most tests wait more than
they work, so that two suites share a machine well; `BESIDE` in their environment tells them that they do. What they print
is shown as it comes, a line at a time, with the number of the suite before it. A machine that is busy can make a test late
that has a clock, so the failures of all suites are asked again when nothing else of ours runs: a test that fails twice has
failed. What was asked again is named at the end. Ctrl-C and SIGTERM end the suites and what they have started.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

#: Failed tests of a suite that are run again; where more failed, it was no accident.
MOST_AGAIN = 20
#: Seconds for a suite to end in when it was interrupted, and for the last that it wrote when it has ended.
ENDING = 10
TESTS_FAILED = 1  # pytest.ExitCode.TESTS_FAILED; any other is no test's failure
ENDS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP

_printing = threading.Lock()


def say(line: str) -> None:
    """One line, whole and at once."""
    with _printing:
        print(line, flush=True)


class Suite:
    """A pytest with a cache of its own, in which it keeps the names of the tests that failed."""

    def __init__(self, number: int, line: str, folder: str, beside: bool) -> None:
        self.name = f'[{number}]'
        self.cache = Path(folder, str(number))
        self.command = [*shlex.split(line), '-o', f'cache_dir={self.cache}']
        self.environment = {**os.environ, 'BESIDE': '1'} if beside else dict(os.environ)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """In a process group of its own, so that it is interrupted once, and its children can be found."""
        self.process = subprocess.Popen(
            [*self.command, *more],
            env=self.environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.reader = threading.Thread(target=self._show, args=(self.process.stdout,), daemon=True)
        self.reader.start()

    def _show(self, output: Any) -> None:
        try:
            for line in output:
                say(f'{self.name} {line.decode(errors="replace").rstrip()}')
        except OSError:  # nobody reads it any more: as when a terminal is closed
            os.kill(os.getpid(), signal.SIGHUP)

    def passed(self) -> bool:
        """Wait for its end. A process that it left behind may hold the pipe for longer."""
        assert self.process is not None
        self.process.wait()
        self.reader.join(ENDING)
        return self.process.returncode == 0

    def failed(self) -> list[str]:
        """The tests that failed, or nothing if something else went wrong."""
        assert self.process is not None
        found = self.cache / 'v' / 'cache' / 'lastfailed'
        return list(json.loads(found.read_text())) if self.process.returncode == TESTS_FAILED and found.exists() else []

    def end(self) -> None:
        """Interrupt it, as Ctrl-C would, if it is still running; then what is left of its group is killed."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(ENDING)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.reader.join(1)


def ask_again(suite: Suite) -> list[str]:
    """Run what failed in a suite once more, and say what came of it, in sentences for the end."""
    assert suite.process is not None
    names = suite.failed()
    if not names:
        return [f'{suite.name} ended with exit code {suite.process.returncode}']
    if len(names) > MOST_AGAIN:
        return [f'{suite.name} {len(names)} tests failed: too many to be run again']
    say(f'== once more, alone: {" ".join(names)}')
    suite.start('--last-failed', '--last-failed-no-failures=none')
    if suite.passed():
        return [f'{suite.name} passed when it was run again: {name}' for name in names]
    twice = suite.failed() or names
    return [
        f'{suite.name} {"FAILED AGAIN" if name in twice else "passed"} when it was run again: {name}' for name in names
    ]


def run(beside: list[Suite], alone: list[Suite]) -> bool:
    """Whether all passed, at least at the second time."""
    for suite in beside:
        suite.start()
    broken = [suite for suite in beside if not suite.passed()]
    for suite in alone:
        say(f'== {suite.name} alone: {shlex.join(suite.command)}')
        suite.start()
        if not suite.passed():
            broken.append(suite)
    told = [sentence for suite in broken for sentence in ask_again(suite)]
    for sentence in told:
        say(f'== {sentence}')
    good = all(suite.process is not None and suite.process.returncode == 0 for suite in [*beside, *alone])
    say('== all passed' if good and told else '== all passed at once' if good else '== failed')
    return good


def main(arguments: list[str]) -> int:
    """The exit code."""

    def stop(number: int, _: Any) -> None:
        sys.exit(128 + number)

    for number in ENDS:
        signal.signal(number, stop)
    at = arguments.index('--alone') if '--alone' in arguments else len(arguments)
    with tempfile.TemporaryDirectory() as folder:
        suites = [
            Suite(number + 1, line, folder, len(arguments[:at]) > 1 and number < at)
            for number, line in enumerate(arguments[:at] + arguments[at + 1 :])
        ]
        try:
            return not run(suites[:at], suites[at:])
        finally:
            for number in ENDS:
                signal.signal(number, signal.SIG_IGN)
            for suite in suites:
                suite.end()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
