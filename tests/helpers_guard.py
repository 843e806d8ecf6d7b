"""A guarded application for the tests, and the servers that it runs on, each in a process of its own.

`python tests/helpers_guard.py werkzeug` (or `wsgiref`) serves it on port 0 and prints the port; gunicorn loads `app`.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote_plus
from wsgiref import simple_server, validate

from napixclient.wsgi import SignatureGuard

KEYS: dict[str, str | bytes] = {'root': 'toor', 'ünï cödé €': b'\x00\xff' * 50, 'bob': 'builder'}
TOKENS = {'abc': 'carol', 'é€ &=+%41': 'ünï cödé €'}


def whoami(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answers with who asked, and with what it sees of the request."""
    size = environ.get('CONTENT_LENGTH')
    left = int(size) if size else 10**9 if environ.get('wsgi.input_terminated') else 0
    body = 0
    while body < left and (part := environ['wsgi.input'].read(min(left - body, 65536))):
        body += len(part)
    seen = {
        'login': environ.get('napix.login'),
        'user': environ.get('REMOTE_USER'),
        'query': environ['QUERY_STRING'],
        'path': environ['PATH_INFO'],
        'size': body,
    }
    data = json.dumps(seen).encode()
    start_response('200 OK', [('Content-Type', 'application/json'), ('Content-Length', str(len(data)))])
    return [] if environ['REQUEST_METHOD'] == 'HEAD' else [data]


app = SignatureGuard(whoami, KEYS, tokens=TOKENS)
validated: Any = validate.validator(app)


def checked(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The same under the eyes of `wsgiref.validate`, but where the server itself breaks PEP 3333.

    For a target such as `*` or `http://host/` the path does not begin with a slash.
    """
    return (validated if environ['PATH_INFO'].startswith('/') else app)(environ, start_response)  # type: ignore[no-any-return]


def message_of(pairs: Iterable[tuple[str, str | bytes]]) -> bytes:
    """An urlencoded form."""
    return '&'.join(f'{quote_plus(name)}={quote_plus(value)}' for name, value in pairs).encode()


def signed(message: bytes, key: bytes = b'toor') -> str:
    """The value of ``Authorization``, written from the protocol alone."""
    return f'{message.decode("latin-1")}:{hmac.new(key, message, "sha256").hexdigest()}'


def fields(**changed: Any) -> dict[str, Any]:
    """What a signed request says of itself."""
    return {
        'login': 'root',
        'nonce': os.urandom(8).hex(),
        'path': '/',
        'host': 'server.example',
        'method': 'GET',
        'timestamp': repr(time.time()),
        **changed,
    }


def authorization(**changed: Any) -> str:
    """A signed request of root's, in `Authorization`."""
    return signed(message_of(fields(**changed).items()))


@contextmanager
def program(*arguments: str, listener: Any = None) -> Iterator[int]:
    """A server in a process of its own: yields its port. The listener, if there is one, is handed on.

    What it tells of hostile requests is nobody's business.
    """
    import gevent.subprocess

    from tests import kit

    process = gevent.subprocess.Popen(
        [sys.executable, *arguments],
        env=kit.environment(),
        cwd=kit.ROOT,
        stdin=gevent.subprocess.DEVNULL,
        stdout=gevent.subprocess.PIPE,
        stderr=gevent.subprocess.DEVNULL,
        pass_fds=[listener.fileno()] if listener else [],
    )
    try:
        yield listener.getsockname()[1] if listener else int(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


if __name__ == '__main__':

    class Quiet(simple_server.WSGIRequestHandler):
        """Tells nobody of its requests."""

        def log_message(self, *args: object) -> None:
            """Nothing."""

    if sys.argv[1] == 'werkzeug':
        from werkzeug.serving import make_server

        logging.getLogger('werkzeug').setLevel('ERROR')
        server: Any = make_server('127.0.0.1', 0, app, threaded=True)
    else:
        server = simple_server.make_server('127.0.0.1', 0, checked, handler_class=Quiet)
    print(server.server_address[1], flush=True)
    server.serve_forever()
