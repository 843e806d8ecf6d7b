"""What a reader's hands do between two blocks: type, run commands, save files. Imported by the pasted file; needs nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import traceback
import urllib.request
from pathlib import Path
from typing import Any

MARK = '\x1e'
_kept: set[str] = set()
SECONDS = 30
#: Programs that serve until they are ended: what they say when they are up, and what has them listen on a free port.
SERVING = {
    'gunicorn': (r'Listening at: (http\S+)', {'GUNICORN_CMD_ARGS': '--bind 127.0.0.1:0 --graceful-timeout 1'}),
    'uvicorn': (r'running on (http\S+)', {'UVICORN_PORT': '0'}),
}


def mark(number: int) -> None:
    """Here begins what a block prints."""
    print(f'{MARK}{number}', flush=True)


def typed(names: dict[str, Any], page: str, line: int, source: str) -> None:
    """An input at the prompt: its value is shown, and what it raises."""
    try:
        exec(compile('\n' * (line - 1) + source, page, 'single'), names)
    except Exception as exc:
        print('Traceback (most recent call last):', *traceback.format_exception_only(exc), sep='\n', end='')


def keep(name: str, source: str) -> None:
    """Save a block in the file that its caption names, behind what the page has put there before."""
    with Path(name).open('a' if name in _kept else 'w') as file:
        file.write(f'{source}\n')
    _kept.add(name)


def run(command: str) -> None:
    """A command in another window, in the same directory. One that serves is asked once, and ended."""
    sys.stdout.flush()
    program = next(word for word in command.split() if '=' not in word)
    if program in SERVING:
        return serve(command, *SERVING[program])
    done = subprocess.run(
        ['bash', '-c', command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        check=False,
    )
    print(done.stdout.decode(), end='', flush=True)
    return None


def serve(command: str, announcement: str, environment: dict[str, str]) -> None:
    """Start a server, ask it for `/`, and end it."""
    process = subprocess.Popen(
        ['bash', '-c', f'exec {command}'],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    late = threading.Timer(SECONDS, process.kill)
    late.start()
    said = ''
    try:
        for line in process.stdout or ():
            said += line
            if found := re.search(announcement, line):
                with urllib.request.urlopen(found[1], timeout=SECONDS) as answer:
                    assert answer.status == 200 and answer.read()
                return
        raise AssertionError(f'{command} did not come up:\n{said}')
    finally:
        process.send_signal(signal.SIGINT)  # as Ctrl-C does
        process.communicate()
        late.cancel()
