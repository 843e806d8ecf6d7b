"""`python -m tests.fuzz`: rounds of the fuzzers, each from a fresh seed, until the time is up or one has failed.

The rounds take turns to run in an unpatched and in a patched process. Each seed is printed, and written to fuzz.log,
before its round begins, so that whatever ends it, it can be had again. With FUZZ_SEED=N in the environment they are the
same seeds each time. What is not known here goes to pytest.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

LOG = Path('fuzz.log')
ROUND_SECONDS = 900
OPTIONS = [
    '-o',
    'python_files=fuzz_*.py',
    '-o',
    'testpaths=tests/fuzz',
    '-o',
    f'faulthandler_timeout={ROUND_SECONDS}',
    '-W',
    'ignore::hypothesis.errors.HypothesisWarning',  # an example may be large
    '-p',
    'no:cacheprovider',
    '--quiet',
]
#: What has no I/O is the same in a patched process.
WITHOUT_IO = ['--ignore=tests/fuzz/fuzz_wire.py', '--ignore=tests/fuzz/fuzz_decoding.py']


def say(text: str) -> None:
    """Print a line and keep it in the log."""
    print(text, flush=True)
    with LOG.open('a') as log:
        log.write(f'{time.strftime("%Y-%m-%d %H:%M:%S")} {text}\n')


def play(seed: int, patched: bool, more: list[str]) -> bool:
    """One round; whether all passed."""
    again = f"make fuzz ARGS='{' '.join([f'--hypothesis-seed={seed}', *['--patched'][:patched], *more])}'"
    say(f'fuzz: {again}')
    began = time.monotonic()
    start = ['tests/patched.py', *([] if more else WITHOUT_IO)] if patched else ['-m', 'pytest']
    ended = subprocess.run(
        [sys.executable, *start, *OPTIONS, f'--hypothesis-seed={seed}', *more], check=False, timeout=ROUND_SECONDS
    )
    took = f'{time.monotonic() - began:.0f} s'
    say(f'fuzz: passed in {took}' if ended.returncode == 0 else f'fuzz: FAILED after {took}; to repeat it: {again}')
    return ended.returncode == 0


def main() -> int:
    """Play rounds for so many seconds, or the one that was asked for."""
    parser = argparse.ArgumentParser(prog='python -m tests.fuzz', description='All else goes to pytest.')
    parser.add_argument('--seconds', type=float, default=60, help='begin no two rounds after so many seconds')
    parser.add_argument('--hypothesis-seed', type=int, help='play the one round with this seed')
    parser.add_argument('--patched', action='store_true', help='play it in a patched process')
    given, more = parser.parse_known_args()
    if given.hypothesis_seed is not None:
        return not play(given.hypothesis_seed, given.patched, more)
    seeds = random.Random(os.environ['FUZZ_SEED']) if 'FUZZ_SEED' in os.environ else random.SystemRandom()
    end = time.monotonic() + given.seconds
    while True:
        for patched in False, True:
            if not play(seeds.getrandbits(32), patched, more):
                return 1
        if time.monotonic() >= end:
            return 0


if __name__ == '__main__':
    sys.exit(main())
