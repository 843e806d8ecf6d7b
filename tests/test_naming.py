"""What a server is called by default: the same in all its workers, another for each server of a machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.pywsgi import WSGIServer

from napixclient import Client
from napixclient.call_context import current
from napixclient.wsgi import ExceptionsCatcher
from napixclient.wsgi.naming import default_id
from tests import kit
from tests.helpers_pool import failure
from tests.helpers_wsgi import Environ, Handler, Programs, says, served

app = ExceptionsCatcher(says(lambda environ: current.get().via[-1]))  # type: ignore[union-attr]

PROGRAM = """
import sys, threading
from tests.test_naming import app
kind, *places = sys.argv[1:]
if kind == 'wsgiref':
    from wsgiref.simple_server import make_server
else:
    from werkzeug.serving import make_server
port = 0
for place in places:
    server = make_server(place, port, app)
    port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(port, flush=True)
threading.Event().wait()
"""


def name_at(family: int, address: Any, host: str = 'server.example') -> str:
    """What the server there calls itself."""
    with socket.socket(family) as sock:
        sock.settimeout(kit.LONG)
        kit.wait_until(lambda: sock.connect_ex(address) in (0, 106))
        sock.sendall(f'GET / HTTP/1.0\r\nHost: {host}\r\n\r\n'.encode())
        data = b''
        while piece := sock.recv(65536):
            data += piece
    assert b' 200 ' in data.partition(b'\r\n')[0], data
    name: str = json.loads(data.rpartition(b'\r\n\r\n')[2])
    return name


@contextmanager
def gevents(family: int, address: Any) -> Iterator[Any]:
    """gevent's server there; yields the address."""
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(16)
        server = WSGIServer(listener, app, handler_class=Handler, log=None)
        server.start()
        try:
            yield listener.getsockname()
        finally:
            server.stop(timeout=0)


@pytest.mark.parametrize('kind', ['wsgiref', 'werkzeug', 'gevent'])
def test_two_addresses_are_two_servers(kind: str) -> None:
    """Though name, directory and port are the same; each is called the same by whatever name it is asked."""
    with Programs() as programs, ExitStack() as stack:
        if kind == 'gevent':
            port = stack.enter_context(gevents(socket.AF_INET, ('127.0.0.1', 0)))[1]
            stack.enter_context(gevents(socket.AF_INET, ('127.0.0.2', port)))
        else:
            port = int(programs.python('-c', PROGRAM, kind, '127.0.0.1', '127.0.0.2').stdout.readline())
        names = [
            [name_at(socket.AF_INET, (place, port), host) for host in ('a.example', 'b.example:80', place)]
            for place in ('127.0.0.1', '127.0.0.2')
        ]
    assert [len(set(each)) for each in names] == [1, 1] and names[0][0] != names[1][0]


@pytest.mark.parametrize('kind', ['gunicorn', 'gevent'])
def test_two_unix_sockets_are_two_servers(kind: str) -> None:
    """In one directory, where no port tells them apart; all workers of one are the same server."""
    with tempfile.TemporaryDirectory() as folder, Programs() as programs, ExitStack() as stack:
        paths = [str(Path(folder, name)) for name in ('a.sock', 'b.sock')]
        for path in paths:
            if kind == 'gevent':
                stack.enter_context(gevents(socket.AF_UNIX, path))
            else:
                programs.python(
                    '-m',
                    'gunicorn',
                    '--workers',
                    2,
                    '--bind',
                    f'unix:{path}',
                    '--log-level',
                    'critical',
                    '--graceful-timeout',
                    1,
                    'tests.test_naming:app',
                )
        names = [
            {name_at(socket.AF_UNIX, path, f'host{number}.example:{number}') for number in range(1, 9)}
            for path in paths
        ]
    assert [len(each) for each in names] == [1, 1] and names[0] != names[1]


def test_a_loop_through_a_proxy() -> None:
    """A server that asks itself by way of a proxy is found out, as the proxy hands on the fields that travel."""
    hosts: list[str] = []
    ran: list[str] = []

    def view(environ: Environ) -> Any:
        ran.append(environ['PATH_INFO'])
        with Client(hosts[0]) as client:
            return client.request('GET', '/again').status

    def hand_on(method: str, path: str, headers: Any, body: bytes) -> Any:
        propagated = {name: value for name, value in headers.items() if name.lower().startswith(('x-', 'trace'))}
        with Client(behind) as client:
            answer = client.submit(method, path, headers=propagated)
            gevent.wait([answer])
            found = answer.value or answer.exception.response  # type: ignore[union-attr]
        return found.status, {'Content-Type': found.headers['content-type']}, found.data

    with (
        served(ExceptionsCatcher(says(view))) as behind,
        kit.serve(hand_on) as proxy,
        Client(behind, timeout=20) as client,
    ):
        hosts.append(proxy.host)
        error = failure(client, 'GET', '/first')
    assert error.status == 508 and error.root.error_class == 'LoopDetected' and ran == ['/first']
    assert 'server_id=' in (error.root.error_text or '')


class Odd:
    """What is no socket and no file, though it looks like one."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


@pytest.mark.parametrize('odd', [Odd(), None, 5, 'text', open('/dev/null'), [], socket.socket], ids=range(7))
@pytest.mark.parametrize('key', ['wsgi.input', 'gunicorn.socket', 'werkzeug.socket', 'waitress.client_disconnected'])
def test_what_an_environ_may_have_instead(key: str, odd: Any) -> None:
    """What does not lead to a socket changes nothing."""
    environ = {'SERVER_NAME': 'server.example', 'SERVER_PORT': '80'}
    assert default_id({**environ, key: odd}) == default_id(environ)


def test_what_else_tells_servers_apart() -> None:
    """Address, port and mount point; of servers that share a name, the address that the caller came to."""

    def end(place: str) -> Any:
        listener = stack.enter_context(socket.create_server((place, 0)))
        sock = stack.enter_context(socket.create_connection(listener.getsockname()))
        taken = listener.accept()[0]
        stack.callback(taken.close)
        stack.callback(sock.close)
        return taken

    class Channel:
        """Waitress tells of its socket in this way."""

        def __init__(self, sock: Any) -> None:
            self.socket = sock

        def gone(self) -> bool:
            """Whether the client has left."""
            return False

    base = {'SERVER_NAME': 'server.example', 'SERVER_PORT': '80', 'SCRIPT_NAME': ''}
    with ExitStack() as stack:
        one, two = end('127.0.0.1'), end('127.0.0.2')
        environs = [
            base,
            {**base, 'SERVER_PORT': '81'},
            {**base, 'SCRIPT_NAME': '/a'},
            {**base, 'SERVER_ADDR': '10.0.0.1'},
            {**base, 'SERVER_NAME': '10.0.0.2'},
            {**base, 'werkzeug.socket': one},
            {**base, 'werkzeug.socket': two},
        ]
        assert len({default_id(environ) for environ in environs}) == len(environs)
        assert default_id({**base, 'waitress.client_disconnected': Channel(one).gone}) == default_id(environs[-2])
        # A server that listens on all addresses and says so is one.
        assert default_id({**base, 'SERVER_NAME': '0.0.0.0', 'gunicorn.socket': one}) == default_id(
            {**base, 'SERVER_NAME': '0.0.0.0', 'gunicorn.socket': two}
        )
        one.close()
        assert default_id({**base, 'werkzeug.socket': one}) == default_id(base)
