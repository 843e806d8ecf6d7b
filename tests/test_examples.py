"""The programs in `examples/` run, and say of their frameworks what is true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import bottle
import flask
import gevent.socket
import pytest

from napixclient import Client, ClientPool, TruncatedBody
from napixclient.wsgi import ExceptionsCatcher, flask_handler
from tests import kit
from tests.helpers_pool import failure
from tests.helpers_wsgi import App, Programs, host_of, listening, served


@pytest.fixture(scope='module')
def hosts() -> Iterator[dict[str, str]]:
    """The row of the examples, and others that ask its middle: name -> host. There is room for a thousand million."""
    with Programs() as programs:
        found = {'disk': programs.example('bare_disk')}
        found['storage'] = programs.example('bottle_storage', f'--disk={found["disk"]}')
        for name in 'flask_front', 'django_view':
            found[name] = programs.example(name, f'--storage={found["storage"]}')
        found['django in gunicorn'] = programs.gunicorn(
            f'django_view:make_app({found["storage"]!r})', directory='examples'
        )
        with listening() as listener:
            found['fan out'] = host_of(listener)
        programs.python(
            'examples/gunicorn_fan_out.py',
            f'--port={found["fan out"].rpartition(":")[2]}',
            f'--hosts={found["flask_front"]},{found["django_view"]}',
        )
        yield found


@pytest.mark.parametrize('name', ['flask_front', 'django_view', 'django in gunicorn'])
def test_a_framework_in_front(name: str, hosts: dict[str, str]) -> None:
    """It answers, tells of what fails behind it, and its own answers stay its own."""
    with Client(hosts[name], timeout=20) as client:
        assert client.request('POST', '/vms/', {'size': 1}).body == {'vm': 'vm17', 'volume': 'volume17'}
        error = failure(client, 'POST', '/vms/', {'size': 2 * 10**9})
        assert [hop.error_class for hop in error.chain] == ['RemoteError', 'RemoteError', 'DiskFull']
        assert error.remote_error['request'] == {'method': 'POST', 'path': '/vms/'}
        error = failure(client, 'GET', '/vms/')
        assert error.status == 405 and 'error_class' not in error.remote_error


def test_a_fan_out_in_gunicorn(hosts: dict[str, str]) -> None:
    """It makes a machine on each of two servers at once, and tells of those that failed."""
    kit.wait_until(lambda: listens(hosts['fan out']), 'gunicorn')
    with Client(hosts['fan out'], timeout=20) as client:
        errors = [failure(client, 'GET', '/') for _ in range(2)]  # there is room for one machine in all
    assert [error.status for error in errors] == [502, 502]
    assert [error.remote_error['error_text'] for error in errors] == [
        '1 of 2 requests failed',
        '2 of 2 requests failed',
    ]
    assert 'remote_error' in errors[0].remote_error and len(errors[1].remote_error['remote_errors']) == 2
    for number, error in enumerate(errors, 1):
        assert len(error.chain) == 4 and error.root.error_class == 'DiskFull'
        assert len(str(error).splitlines()) == 1 + 3 * number


def test_a_fan_out_from_native_threads_and_from_asyncio() -> None:
    """Django in a gthread worker and FastAPI ask all, many at a time, and tell of the one that is not there."""
    with (
        kit.serve(lambda *_: (201, {}, {})) as server,
        listening() as listener,
        listening() as nobody,
        Programs() as programs,
    ):
        missing = host_of(nobody)
        nobody.close()
        host = host_of(listener)
        port = host.rpartition(':')[2]
        listener.close()
        programs.python('examples/django_threads.py', f'--port={port}', f'--hosts={server.host}')
        kit.wait_until(lambda: listens(host), 'gunicorn')
        fast = programs.example('fastapi_fan_out', f'--hosts={server.host},{missing}')
        with ClientPool(timeout=20, simultaneous=8) as pool:
            for _ in range(8):
                pool.request(host, 'GET', '/')
                pool.request(fast, 'GET', '/')
            answers = pool.wait()
        assert [answer.status for answer in answers] == [201, 502] * 8
        assert answers[0].body == {server.host: 201}
        assert answers[1].remote_error == {server.host: 201, missing: None}


def listens(host: str) -> bool:
    """Whether somebody does."""
    try:
        gevent.socket.create_connection(host.split(':')).close()
    except ConnectionRefusedError:
        return False
    return True


def test_the_chain_prints_its_story() -> None:
    """It starts three servers, asks twice, and prints what the first said and why it failed then."""
    with Programs() as programs:
        process = programs.python('examples/chain.py')
        printed = process.stdout.read().decode()
        assert process.wait(timeout=30) == 0
    lines = re.sub(r'127\.0\.0\.1:\d+', 'host', printed).splitlines()
    assert lines[0] == "{'vm': 'vm17', 'volume': 'volume17'}" and len(lines) == 4
    assert lines[1].startswith('POST http://host/vms/: "502 Bad Gateway" DiskFull: 600,000,000 bytes')
    assert lines[-1].lstrip().startswith('because POST http://host/room/ answered 500')


def test_each_program_says_how_it_is_run() -> None:
    """Its first lines do, which `--help` shows as well."""
    for path in (kit.ROOT / 'examples').glob('*.py'):
        about = path.read_text().split('"""')[1]
        if path.stem not in ('digest_auth', 'serving'):  # which others import
            assert f'python examples/{path.name}' in about
        if path.stem == 'django_threads':
            assert 'gunicorn -k gthread' in about and "'django_threads:make_app(" in about
        elif path.stem not in ('chain', 'digest_auth', 'fastapi_fan_out', 'provisioning', 'serving'):
            assert 'gunicorn -k gevent' in about and f"'{path.stem}:make_app(" in about


# What the frameworks do -----------------------------------------------------------------------------------------------


def flask_app() -> flask.Flask:
    """Fails in several ways."""
    app = flask.Flask('fails')

    @app.get('/boom')
    def boom() -> Any:
        raise KeyError('boom')

    @app.get('/handled')
    def handled() -> Any:
        raise ZeroDivisionError

    @app.errorhandler(ZeroDivisionError)
    def handler(exc: ZeroDivisionError) -> Any:
        return 'handled', 400

    @app.get('/stream/<parts>')
    def stream(parts: str) -> Any:
        def generate() -> Iterator[str]:
            yield from parts if parts != '0' else ''
            raise KeyError('boom')

        return generate()

    return app


def bottle_app() -> bottle.Bottle:
    """The same."""
    app = bottle.Bottle()

    @app.get('/boom')
    def boom() -> Any:
        raise KeyError('boom')

    @app.get('/handled')
    def handled() -> Any:
        bottle.abort(400, 'handled')

    @app.get('/stream/<parts>')
    def stream(parts: str) -> Iterator[str]:
        yield from parts if parts != '0' else ''
        raise KeyError('boom')

    return app


def bottle_handler(app: bottle.Bottle) -> App:
    """As the documentation says."""
    app.config['catchall'] = False
    return ExceptionsCatcher(app)


@pytest.mark.parametrize(('make', 'handler'), [(flask_app, flask_handler), (bottle_app, bottle_handler)])
def test_a_framework_lets_go_of_exceptions_when_configured_to(
    make: Any, handler: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without that, it answers by itself; with it, what it is to handle it still handles."""
    with served(ExceptionsCatcher(make())) as host, Client(host) as client:
        error = failure(client, 'GET', '/boom')
        assert (error.status, error.root.error_class) == (500, None)
    capfd.readouterr()  # what it swallows it prints
    with served(handler(make())) as host, Client(host) as client:
        for path in '/boom', '/stream/0':
            error = failure(client, 'GET', path)
            assert (error.status, error.root.error_class, error.root.error_text) == (500, 'KeyError', "'boom'")
        assert isinstance(failure(client, 'GET', '/stream/half'), TruncatedBody)
        assert failure(client, 'GET', '/handled').status == 400
        assert failure(client, 'GET', '/nowhere').status == 404
    assert capfd.readouterr() == ('', '')


def test_flask_handler_is_the_application() -> None:
    """It gives the application back, whose own test client and server go through the middleware too."""
    app = flask_app()
    told: list[BaseException] = []
    assert flask_handler(app, on_error=lambda exc, environ: told.append(exc)) is app
    answer = app.test_client().get('/boom')
    assert answer.status_code == 500 and answer.get_json()['error_class'] == 'KeyError' and len(told) == 1


DJANGO = """
import io, json, sys
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import StreamingHttpResponse
from django.urls import path
from napixclient.wsgi import ExceptionsCatcher

def boom(request):
    raise KeyError('boom')

def stream(request):
    def generate():
        raise KeyError('boom')
        yield b''
    return StreamingHttpResponse(generate())

urlpatterns = [path('boom', boom), path('stream', stream)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=['*'], DEBUG_PROPAGATE_EXCEPTIONS=sys.argv[1] == 'True',
                   LOGGING={'version': 1, 'disable_existing_loggers': True})
app = ExceptionsCatcher(get_wsgi_application())
for url in '/boom', '/stream', '/nowhere':
    environ = {'REQUEST_METHOD': 'GET', 'PATH_INFO': url, 'SERVER_NAME': 'x', 'SERVER_PORT': '80', 'HTTP_HOST': 'x',
               'SERVER_PROTOCOL': 'HTTP/1.1', 'wsgi.url_scheme': 'http', 'wsgi.input': io.BytesIO(), 'wsgi.errors': sys.stderr}
    statuses = []
    answer = app(environ, lambda status, *rest: statuses.append(int(status[:3])))
    body = b''.join(answer)
    print(statuses, b'KeyError' in body)
    answer.close()
"""


def test_django_lets_go_of_exceptions_when_configured_to() -> None:
    """`DEBUG_PROPAGATE_EXCEPTIONS` is what tells it; pages that are not there stay its own."""
    for setting, boom in (False, '[500] False'), (True, '[500] True'):
        with Programs() as programs:
            printed = programs.python('-c', DJANGO, setting).stdout.read().decode()
        assert printed.splitlines() == [boom, '[500] True', '[404] False']
