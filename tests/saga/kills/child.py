"""The process that runs sagas, and is killed: forked for each from one that has imported all that it needs.

It reads a line of JSON for each, prints the number of the process that it has forked for it, and then how that ended.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any


def run(order: dict[str, Any]) -> None:
    """Run a saga, or recover one."""
    from napixclient import ClientPool
    from napixclient.saga import Saga, SagaFailed

    plan, hosts = order['plan'], order['hosts']
    with ClientPool(timeout=0.3) as pool:
        if order['recover']:
            Saga.recover(order['journal'], pool)
            return
        try:
            with Saga(pool, order['journal'], undo_timeout=3, cancel_on_failure=plan['cancel']) as saga:
                for wait in plan['waits']:
                    for step in wait:
                        ask(saga, step, hosts[step['host']])
                    saga.wait()
                if plan['raises']:
                    raise ZeroDivisionError
        except (SagaFailed, ZeroDivisionError):
            pass


def ask(saga: Any, step: dict[str, Any], host: str) -> None:
    """Ask for one step."""
    path = step['path']
    undo: Any = {
        'data': ('DELETE', path),
        'template': ('DELETE', '/{json.id}'),
        'callable': lambda answer: ('DELETE', answer.headers['location']),
        'list': [('DELETE', path), ('DELETE', '{header:location}')],
        'post': ('POST', f'{path}/undo'),
    }[step['undo']]
    more: dict[str, Any] = {'find': ('GET', path)} if step['find'] else {}
    saga.request(host, step['method'], path, {'a': 1}, undo=undo, idempotency=step['idempotency'], **more)


def main() -> None:
    """Fork a process for each line."""
    import napixclient.pool
    import napixclient.saga.saga  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            try:
                run(order)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)


if __name__ == '__main__':
    main()
