"""Makes a virtual machine of three servers, or nothing: a saga whose journal undoes it after a crash.

python examples/provisioning.py --allocator HOST --filer HOST --xen HOST --journal vm-17.saga
"""

from __future__ import annotations

import argparse
import sys

from napixclient import ClientPool
from napixclient.saga import JournalUnfinished, Saga, SagaFailed, Step


def provision(pool: ClientPool, hosts: argparse.Namespace) -> str:
    """The address of the new machine."""
    with Saga(pool, hosts.journal, timeout=60, on_step=progress) as saga:
        # What the allocator and the filer have made is named by their answers.
        undo = ('DELETE', '{header:location}')
        saga.request(hosts.allocator, 'POST', '/vm-ip/', {'size': 1}, undo=undo)
        saga.request(hosts.filer, 'POST', '/storage/', {'size': 10**9}, undo=undo)
        ip, disk = (answer.headers['location'] for answer in saga.wait())
        # The machine has a name of ours: it can be deleted, and looked for, without an answer.
        machine = {'ip': ip, 'disk': disk}
        saga.call(hosts.xen, 'PUT', '/vm/vm-17', machine, undo=('DELETE', '/vm/vm-17'), find=('GET', '/vm/vm-17'))
    return ip


def progress(step: Step) -> None:
    """A line for each change of a step."""
    print(f'{step.state:<10} {step.name}', file=sys.stderr)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in 'allocator', 'filer', 'xen', 'journal':
        parser.add_argument(f'--{name}', required=True)
    given = parser.parse_args()
    with ClientPool(timeout=10) as pool:
        try:
            print(provision(pool, given))
        except JournalUnfinished:  # the last one was killed
            print('undone first:', [step.name for step in Saga.recover(given.journal, pool).undone], file=sys.stderr)
            print(provision(pool, given))
        except SagaFailed as failed:
            print(failed, file=sys.stderr)
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
