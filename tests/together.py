"""Run suites side by side; what failed there is run once more, alone.

`python tests/together.py SUITE...`, each SUITE the command line of a pytest. Most tests wait more than they work, so that
two suites share a machine well; but a machine that is busy with both can make a test late that has a clock. So a few
failures are asked again when nothing else runs: a test that fails twice has failed. Both runs are printed.
"""
from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

#: Failed tests that are run again; where more failed, it was no accident.
MOST_AGAIN = 5
TESTS_FAILED = 1                            # pytest.ExitCode.TESTS_FAILED; any other is no test's failure


class Suite:
    """One pytest, with a cache of its own, in which it keeps the names of the tests that failed."""

    def __init__(self, line: str, cache: Path) -> None:
        self.command = [*shlex.split(line), '-o', f'cache_dir={cache}']
        self.cache = cache
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, stdout=self.output, stderr=subprocess.STDOUT)

    def passed(self) -> bool:
        """Wait for it and show what it printed."""
        code = self.process.wait()
        self.output.seek(0)
        sys.stdout.buffer.write(self.output.read())
        sys.stdout.flush()
        return code == 0

    def failed(self) -> list[str]:
        """The tests that failed, or nothing if something else went wrong."""
        found = self.cache / 'v' / 'cache' / 'lastfailed'
        return list(json.loads(found.read_text())) if self.process.returncode == TESTS_FAILED and found.exists() else []

    def again(self) -> bool:
        """Run what failed once more."""
        return subprocess.run([*self.command, '--last-failed', '--last-failed-no-failures=none']).returncode == 0


def main(lines: list[str]) -> bool:
    """Whether all suites passed, at least at the second time."""
    with tempfile.TemporaryDirectory() as folder:
        suites = [Suite(line, Path(folder, str(number))) for number, line in enumerate(lines)]
        broken = [suite for suite in suites if not suite.passed()]
        failed = [suite.failed() for suite in broken]
        if not all(failed) or sum(map(len, failed)) > MOST_AGAIN:
            return False
        for suite, names in zip(broken, failed, strict=True):
            print(f'== once more, alone: {" ".join(names)}', flush=True)
            if not suite.again():
                return False
    return True


if __name__ == '__main__':
    sys.exit(not main(sys.argv[1:]))
