"""What the examples share: gevent's server, and the options of their command lines."""

from __future__ import annotations

import argparse
import logging
import socket

from gevent.pywsgi import WSGIServer

from napixclient.wsgi import RawURIHandler


def options(about: str, **others: str) -> argparse.Namespace:
    """Read `--port`, and an option for each of the others, whose values are the defaults."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--port', type=int, default=0, help='where to listen; without it any port that is free')
    for name, default in others.items():
        parser.add_argument(f'--{name}', default=default, metavar='HOST', help=f'who to ask (default: {default})')
    return parser.parse_args()


def serve(app, port: int) -> None:
    """Serve a WSGI application until Ctrl-C; print where."""
    logging.basicConfig()  # what the catcher logs goes to standard error
    listener = socket.create_server(('127.0.0.1', port), backlog=128)
    # gevent's server sends head and body apart. Without this, the body waits up to 40 ms for the head to be confirmed.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    print(f'http://127.0.0.1:{listener.getsockname()[1]}', flush=True)
    try:
        WSGIServer(listener, app, handler_class=RawURIHandler, log=None).serve_forever()
    except KeyboardInterrupt:
        pass
