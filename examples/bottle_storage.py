"""A Bottle application that asks another server.

python examples/bottle_storage.py --port 8002 --disk 127.0.0.1:8003
gunicorn -k gevent --chdir examples 'bottle_storage:make_app("127.0.0.1:8003")'
"""

from __future__ import annotations

if __name__ == '__main__':  # Bottle keeps its request in a threading.local: one for each greenlet, patched
    from gevent import monkey

    monkey.patch_all()

from bottle import Bottle, request, response

from napixclient import Client
from napixclient.wsgi import ExceptionsCatcher


def make_app(disk: str) -> ExceptionsCatcher:
    """The application; `disk` is who it asks for room."""
    app = Bottle()
    # Without this, Bottle answers with a page of its own before anybody sees the exception.
    app.config['catchall'] = False
    client = Client(disk, timeout=5)

    @app.post('/volumes/')
    def create():
        room = client.request('POST', '/room/', {'size': request.json['size']}).body
        response.status = 201
        return {'name': 'volume17', 'left': room['free']}

    return ExceptionsCatcher(app)


if __name__ == '__main__':
    from serving import options, serve

    given = options(__doc__, disk='127.0.0.1:8003')
    serve(make_app(given.disk), given.port)
