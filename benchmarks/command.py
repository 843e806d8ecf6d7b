"""`napix` against `ClientPool` and `curl -Z`, each a process that is started for it: `python -m benchmarks.command`.

10,000 GETs over 100 origins on loopback; nginx has a core of its own. Ratios are medians over the rounds; on a machine
that has other work, those of processor time count. What a start costs is the case `command` of `python -m benchmarks`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from statistics import median

from benchmarks.nginx import NginxMissing, nginx
from benchmarks.processes import pinned

POOL = """
from gevent import monkey; monkey.patch_all()
from napixclient import ClientPool
with ClientPool() as pool:
    for _ in range({each}):
        for number in range(1, 101):
            pool.request(f'127.0.0.{{number}}:{port}', 'GET', '/')
    assert all(answer.status == 200 and answer.body for answer in pool.wait_unordered())
"""


def commands(port: int, each: int) -> dict[str, list[str]]:
    """Who takes part, and how each is started."""
    napix = [sys.executable, '-m', 'napixclient', 'get', f'127.0.0.[1-100]:{port}', '/', '--repeat', str(each)]
    found = {
        'pool': [sys.executable, '-c', POOL.format(port=port, each=each)],
        'napix': napix,
        'napix --json': [*napix, '--json'],
        'napix --fold': [*napix, '--fold'],
    }
    if curl := shutil.which('curl'):
        url = f'http://127.0.0.[1-100]:{port}/?[1-{each}]'
        found['curl -Z'] = [curl, '-s', '-Z', '--parallel-max', '200', url, '-o', os.devnull]
    return found


def starts(port: int) -> dict[str, list[str]]:
    """Who takes part where the start is most of the work: one GET to each of 1,000 addresses, and no GET at all."""
    hosts = f'127.0.[0-3].[1-250]:{port}'
    napix = [sys.executable, '-m', 'napixclient']
    found = {
        'python -c pass': [sys.executable, '-c', 'pass'],
        'napix --version': [*napix, '--version'],
        'napix get': [*napix, 'get', hosts, '/'],
    }
    if curl := shutil.which('curl'):
        found['curl -Z'] = [curl, '-s', '-Z', '--parallel-max', '200', f'http://{hosts}/', '-o', os.devnull]
    return found


def least(commands: dict[str, list[str]], rounds: int) -> dict[str, float]:
    """Seconds of the processor that each took at least, started in turns: other work only ever adds to them."""
    measured = [{name: run(command)[1] for name, command in commands.items()} for _ in range(rounds)]
    return {name: min(one[name] for one in measured) for name in commands}


def run(command: list[str]) -> tuple[float, float, float]:
    """Seconds that it took, those of the processor's, and megabytes that it had at most."""
    began = time.monotonic()
    # Compiled modules are kept, as those of an installed package are.
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> int:
    """Measure in turns, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--each', type=int, default=100, help='requests to each of the 100 origins')
    asked = parser.parse_args()
    try:
        with nginx(100, max(os.sched_getaffinity(0))) as server, pinned(min(os.sched_getaffinity(0))):
            known = commands(server.port, asked.each)
            rounds = [{name: run(command) for name, command in known.items()} for _ in range(asked.rounds)]
    except NginxMissing as exc:
        print(exc, file=sys.stderr)
        return 2
    for name in known:
        wall, cpu = (median(one[name][part] for one in rounds) for part in (0, 1))
        ratios = [median(one[name][part] / one['pool'][part] for one in rounds) for part in (0, 1)]
        print(
            f'{name:13} {wall:6.2f} s {ratios[0]:5.2f} x pool   processor {cpu:6.2f} s {ratios[1]:5.2f} x pool   '
            f'{max(one[name][2] for one in rounds):4.0f} MB'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
