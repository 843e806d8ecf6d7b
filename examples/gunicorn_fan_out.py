"""A fan-out in gunicorn's gevent worker: asks several servers at once, and tells which of them failed.

    python examples/gunicorn_fan_out.py --port 8005 --hosts 127.0.0.1:8001,127.0.0.1:8004

is the same as

    gunicorn -k gevent -w 2 --bind 127.0.0.1:8005 --chdir examples \
        'gunicorn_fan_out:make_app("127.0.0.1:8001,127.0.0.1:8004")'
"""

from __future__ import annotations

import json
import logging
import os
import sys

from napixclient import ClientPool
from napixclient.wsgi import ExceptionsCatcher


def make_app(hosts: str) -> ExceptionsCatcher:
    """The application; `hosts` are asked for a virtual machine each."""
    logging.basicConfig()  # what the catcher logs goes to standard error, as gunicorn's own log does

    def app(environ, start_response):
        with ClientPool(timeout=10) as pool:  # of its own, because `wait` hands out everything of a pool
            for host in hosts.split(','):
                pool.request(host, 'POST', '/vms/', {'size': 6 * 10**8})
            made = [answer.body for answer in pool.wait(raise_errors=True)]
        start_response('201 Created', [('Content-Type', 'application/json')])
        return [json.dumps(made).encode()]

    return ExceptionsCatcher(app)


if __name__ == '__main__':
    from serving import options

    given = options(__doc__, hosts='127.0.0.1:8001,127.0.0.1:8004')
    # The process becomes gunicorn's. Its workers patch themselves, and then import this file.
    os.execv(
        sys.executable,
        [
            sys.executable,
            '-m',
            'gunicorn',
            '-k',
            'gevent',
            '-w',
            '2',
            '--bind',
            f'127.0.0.1:{given.port}',
            '--chdir',
            os.path.dirname(os.path.abspath(__file__)),
            f'gunicorn_fan_out:make_app({given.hosts!r})',
        ],
    )
