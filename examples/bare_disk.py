"""A WSGI application without a framework: the last of the chain, whose disk is soon full.

python examples/bare_disk.py --port 8003
gunicorn -k gevent --chdir examples 'bare_disk:make_app()'
"""

from __future__ import annotations

import json

from napixclient.wsgi import ExceptionsCatcher


class DiskFull(Exception):
    """There is less room than was asked for."""


def make_app(free: int = 10**9) -> ExceptionsCatcher:
    """The application of a disk with so many bytes."""

    def app(environ, start_response):
        nonlocal free
        size = json.loads(environ['wsgi.input'].read(int(environ['CONTENT_LENGTH'])))['size']
        if size > free:
            raise DiskFull(f'{size:,} bytes were asked for, {free:,} are free')
        free -= size
        start_response('201 Created', [('Content-Type', 'application/json')])
        return [json.dumps({'free': free}).encode()]

    return ExceptionsCatcher(app)


if __name__ == '__main__':
    from serving import options, serve

    serve(make_app(), options(__doc__).port)
