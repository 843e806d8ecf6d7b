"""A Flask application that asks another server.

python examples/flask_front.py --port 8001 --storage 127.0.0.1:8002
gunicorn -k gevent --chdir examples 'flask_front:make_app("127.0.0.1:8002")'
"""

from __future__ import annotations

if __name__ == '__main__':  # under gunicorn, its worker has done it
    from gevent import monkey

    monkey.patch_all()

from flask import Flask, request

from napixclient import Client
from napixclient.wsgi import flask_handler


def make_app(storage: str) -> Flask:
    """The application; `storage` is who it asks for volumes."""
    app = Flask(__name__)
    client = Client(storage, timeout=10)

    @app.post('/vms/')
    def create():
        volume = client.request('POST', '/volumes/', {'size': request.get_json()['size']}).body
        return {'vm': 'vm17', 'volume': volume['name']}, 201

    # Sets PROPAGATE_EXCEPTIONS, without which Flask answers "Internal Server Error" before anybody sees the exception.
    return flask_handler(app)


if __name__ == '__main__':
    from serving import options, serve

    given = options(__doc__, storage='127.0.0.1:8002')
    serve(make_app(given.storage), given.port)
