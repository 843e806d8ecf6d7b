"""Starts three servers in a row, Flask, Bottle and one without a framework, and asks the first until the last fails.

python examples/chain.py
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from napixclient import Client, HTTPError

HERE = Path(__file__).parent


def start(stack: ExitStack, program: str, *arguments: str) -> str:
    """Start a program, to be ended with the stack; where it listens is the first line that it prints.

    What it logs is not shown: the caller reads the story from the error.
    """
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, HERE / program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    )
    stack.callback(process.terminate)
    address = process.stdout.readline().strip()
    if not address:
        sys.exit(f'{program} does not start; perhaps what it needs is not there: pip install ".[examples]"')
    return address


if __name__ == '__main__':
    with ExitStack() as stack:
        disk = start(stack, 'bare_disk.py')
        storage = start(stack, 'bottle_storage.py', '--disk', disk)
        front = start(stack, 'flask_front.py', '--storage', storage)
        with Client(front) as client:
            for size in 600_000_000, 600_000_000:
                try:
                    print(client.request('POST', '/vms/', {'size': size}).body)
                except HTTPError as error:
                    print(error)
