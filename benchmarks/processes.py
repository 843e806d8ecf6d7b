"""Starting, pinning and ending the processes of the benchmark. Every one is ended by its own handle, never by name."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@cache
def environment(directory: Path, requirement: str) -> str | None:
    """Make a virtual environment with one package: its interpreter, `None` where that cannot be installed."""
    python = str(directory / 'bin' / 'python')
    for command in ([sys.executable, '-m', 'venv', str(directory)], [python, '-m', 'pip', 'install', requirement]):
        made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if made.returncode:
            return None
    return python


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started inside runs on this core alone (a child inherits its parent's cores)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def output(command: list[str], core: int, timeout: float) -> str:
    """Run a command on one core, in the root of the repository, and return what it printed.

    RuntimeError, with the last line of its stderr, if it fails or takes longer than `timeout` seconds.
    """
    with pinned(core):
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    try:
        printed, complaints = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f'not done after {timeout:.0f} s') from None
    finally:
        end(process)
    if process.returncode != 0:
        reason = complaints.strip().rpartition('\n')[2]
        raise RuntimeError(f'exit code {process.returncode}: {reason}')
    return printed


def end(process: subprocess.Popen[str], patience: float = 5.0) -> None:
    """Terminate a process, kill it if it does not heed, and reap it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def raise_open_files() -> int:
    """Raise our limit on open files, which every child inherits, as far as it goes. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit
