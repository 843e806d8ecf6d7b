"""Starts the real servers that `install.py` installed: each on a free port, each stopped by its process id.

`python -m tests.zaqar.servers` starts them all, says where they listen, and stops them at Ctrl-C.

keystone        Keystone 30: identity v3, on sqlite
v2, v2_keystone Zaqar 23: v2 of the API
v1, v1_keystone Zaqar 19: v1, the API of 2013, beside v1.1 and v2
v2_short, v1_short      the same without Keystone, where messages and claims may live for a second, not for 60 at least
redis           where the messages of all of them are, in a database each
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from subprocess import STDOUT
from typing import Any

import gevent
from gevent.subprocess import DEVNULL, Popen, run

from tests.zaqar import install

#: Seconds for one server to begin to answer, or to end.
SECONDS = 60
PARTS = ('redis', 'keystone', 'v2', 'v2_keystone', 'v1', 'v1_keystone', 'v2_short', 'v1_short')
#: What the accounts of Keystone are called: user and project have one name.
ACCOUNTS = {'demo': 'demopw', 'admin': 's3cret', 'zaqar': 'zaqarpw'}

GUNICORN = """
wsgi_app = {app!r}
bind = 'fd://{descriptor}'
workers, threads, keepalive, preload_app = 1, 4, 30, True
worker_tmp_dir = {directory!r}
control_socket_disable = True
"""

KEYSTONE = """
[DEFAULT]
log_file = {directory}/keystone.log
use_stderr = false
[database]
connection = sqlite:///{directory}/keystone.db
[token]
provider = fernet
expiration = {token_seconds}
[fernet_tokens]
key_repository = {directory}/fernet-keys
[credential]
key_repository = {directory}/credential-keys
[cache]
# Else each call of Zaqar takes a third of a second. A token that was revoked is refused at once all the same.
enabled = true
backend = dogpile.cache.memory
[identity]
# As cheap as it can be: nobody attacks these passwords.
password_hash_rounds = 4
"""

ZAQAR = """
[DEFAULT]
admin_mode = true
pooling = false
# One Redis that keeps nothing on disk is what Zaqar calls so.
unreliable = true
auth_strategy = {strategy}
enable_deprecated_api_versions = {deprecated}
log_file = {directory}/zaqar.log
[drivers]
transport = wsgi
message_store = redis
management_store = sqlalchemy
[drivers:message_store:redis]
uri = redis:{redis}?dbid={database}
max_reconnect_attempts = 2
reconnect_sleep = 0.2
[drivers:management_store:sqlalchemy]
uri = sqlite:///{directory}/zaqar.db
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
username = zaqar
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
# No cache: a token that was revoked or has expired is refused at once.
token_cache_time = -1
service_token_roles_required = false
[signed_url]
secret_key = of-the-tests
[cache]
enabled = false
"""

#: Zaqar's own migration of the management store does not run on sqlite.
TABLES = """
import sys, sqlalchemy
from zaqar.storage.sqlalchemy import tables
tables.metadata.create_all(sqlalchemy.create_engine('sqlite:///' + sys.argv[1]))
"""

#: The application of a Zaqar whose messages and claims may be as short as a test wants them. Zaqar has no setting for it.
SHORT = """
from zaqar.transport import validation
validation.MIN_MESSAGE_TTL = validation.MIN_CLAIM_TTL = validation.MIN_CLAIM_GRACE = 1
from zaqar.transport.wsgi.app import app
"""


class Failed(Exception):
    """A server did not start; the text has the end of its log."""


class Process:
    """One server: what it was started with, and its process."""

    def __init__(
        self, directory: Path, command: list[Any], environment: dict[str, str], pass_fds: tuple[int, ...] = ()
    ):
        self.log = directory / 'out.txt'
        with self.log.open('ab') as out:
            self._process = Popen(
                [*map(str, command)],
                cwd=directory,
                env=environment,
                pass_fds=pass_fds,
                stdin=DEVNULL,
                stdout=out,
                stderr=STDOUT,
            )
        self.pid = self._process.pid

    def wait_for(self, ready: Any) -> None:
        """Wait until `ready()`."""
        end = time.monotonic() + SECONDS
        while not ready():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise Failed(f'{self.log} ends with:\n{self.log.read_text(errors="replace")[-3000:]}')
            gevent.sleep(0.05)

    def stop(self) -> None:
        """End it by its process id, at once if it does not want to."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except Exception:
                self._process.kill()
        self._process.wait()


class Servers:
    """The servers that are named, each with a fresh state; a context manager.

    :param parts: of `PARTS`.
    :param token_seconds: how long the tokens of Keystone live.
    :param messaging: the part whose endpoint is in Keystone's catalogue.
    """

    def __init__(self, *parts: str, token_seconds: int = 3600, messaging: str = 'v2_keystone') -> None:
        install.install()
        self.directory = Path(tempfile.mkdtemp(prefix='zaqar-'))
        self.urls: dict[str, str] = {}
        self._processes: dict[str, Process] = {}
        self._listeners = {part: socket.create_server(('127.0.0.1', 0)) for part in parts if part != 'redis'}
        for part, listener in self._listeners.items():
            self.urls[part] = f'http://127.0.0.1:{listener.getsockname()[1]}'
        try:
            for part in parts:
                self._start(part, token_seconds, messaging)
        except BaseException:
            self.stop()
            raise

    def _start(self, part: str, token_seconds: int, messaging: str) -> None:
        (self.directory / part).mkdir()
        if part == 'redis':
            self.start_redis()
        elif part == 'keystone':
            self._start_keystone(token_seconds, messaging)
        else:
            self._start_zaqar(part)

    # -- Redis -----------------------------------------------------------------------------------------------------

    @property
    def _redis_socket(self) -> Path:
        return self.directory / 'redis' / 'socket'

    def start_redis(self) -> None:
        """Start it; it knows nothing of what it had before."""
        program, libraries = install.redis()
        process = Process(
            self.directory / 'redis',
            [program, '--port', 0, '--unixsocket', self._redis_socket, '--save', '', '--appendonly', 'no'],
            {**environment(), 'LD_LIBRARY_PATH': libraries},
        )
        process.wait_for(self._redis_answers)
        self._processes['redis'] = process

    def _redis_answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self._redis_socket))
                client.sendall(b'PING\r\n')
                return client.recv(7) == b'+PONG\r\n'
        except OSError:
            return False

    # -- Keystone --------------------------------------------------------------------------------------------------

    def _start_keystone(self, token_seconds: int, messaging: str) -> None:
        directory, url = self.directory / 'keystone', f'{self.urls["keystone"]}/v3'
        (directory / 'keystone.conf').write_text(KEYSTONE.format(directory=directory, token_seconds=token_seconds))
        for name in 'fernet-keys', 'credential-keys':
            (directory / name).mkdir(0o700)
        who = ['--keystone-user', os.getuid(), '--keystone-group', os.getgid()]
        self._manage('db_sync')
        self._manage('fernet_setup', *who)
        self._manage('credential_setup', *who)
        self._manage(
            'bootstrap',
            '--bootstrap-password',
            ACCOUNTS['admin'],
            '--bootstrap-region-id',
            'RegionOne',
            *(word for kind in ('admin', 'public', 'internal') for word in (f'--bootstrap-{kind}-url', url)),
        )
        self._serve(
            'keystone',
            'keystone.wsgi.api:application',
            {'OS_KEYSTONE_CONFIG_FILES': str(directory / 'keystone.conf')},
            ready='/v3',
        )
        Accounts(url).make(self.urls.get(messaging, 'http://127.0.0.1:9'))

    def _manage(self, *arguments: object) -> None:
        directory = self.directory / 'keystone'
        command = [install.PYTHON.parent / 'keystone-manage', '--config-file', directory / 'keystone.conf', *arguments]
        done = run([*map(str, command)], env=environment(), stdout=-1, stderr=STDOUT, text=True)
        if done.returncode:
            raise Failed(f'keystone-manage {arguments[0]}: {done.stdout}')

    # -- Zaqar -----------------------------------------------------------------------------------------------------

    def _start_zaqar(self, part: str) -> None:
        directory, old = self.directory / part, part.startswith('v1')
        more = {'PYTHONPATH': str(install.OLD)} if old else {}
        # Where it looks for its configuration.
        (directory / '.zaqar').mkdir()
        (directory / '.zaqar/zaqar.conf').write_text(
            ZAQAR.format(
                directory=directory,
                strategy='keystone' if part.endswith('keystone') else '',
                deprecated='1,1.1' if old else '',
                redis=self._redis_socket,
                database=PARTS.index(part),
                keystone=f'{self.urls.get("keystone")}/v3',
                password=ACCOUNTS['zaqar'],
            )
        )
        made = run(
            [install.PYTHON, '-c', TABLES, directory / 'zaqar.db'],
            env=environment(**more),
            stdout=-1,
            stderr=STDOUT,
            text=True,
        )
        if made.returncode:
            raise Failed(made.stdout)
        (directory / 'short.py').write_text(SHORT)  # beside the server's own directory, so it can be imported
        app = 'short:app' if part.endswith('short') else 'zaqar.transport.wsgi.app:app'
        self._serve(part, app, {'HOME': str(directory), **more}, ready='/')

    def _serve(self, part: str, app: str, more: dict[str, str], ready: str) -> None:
        """Run a WSGI application on the socket that listens already: no port is free today and taken tomorrow."""
        directory, listener = self.directory / part, self._listeners.pop(part)
        settings = directory / 'gunicorn.py'
        settings.write_text(GUNICORN.format(app=app, descriptor=listener.fileno(), directory=str(directory)))
        with listener:
            # Not as arguments: the applications would read those as theirs.
            process = Process(
                directory,
                [install.PYTHON.parent / 'gunicorn'],
                environment(GUNICORN_CMD_ARGS=f'-c {settings}', **more),
                (listener.fileno(),),
            )
        self._processes[part] = process
        process.wait_for(lambda: answers(self.urls[part] + ready))

    # -- ends ------------------------------------------------------------------------------------------------------

    def stop(self, *parts: str) -> None:
        """Stop these, or all; what they leave behind is removed with the last."""
        stopping = [gevent.spawn(self._processes.pop(part).stop) for part in parts or list(self._processes)]
        gevent.joinall(stopping, raise_error=True)  # each takes seconds to let go of its threads
        if not parts:
            for listener in self._listeners.values():
                listener.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Accounts:
    """Makes users, projects and the catalogue, through Keystone's own API."""

    def __init__(self, url: str) -> None:
        self._url, self._token = url, ''
        user = {'name': 'admin', 'password': ACCOUNTS['admin'], 'domain': {'id': 'default'}}
        scope = {'project': {'name': 'admin', 'domain': {'id': 'default'}}}
        _, self._token = self._ask(
            'POST',
            '/auth/tokens',
            {'auth': {'identity': {'methods': ['password'], 'password': {'user': user}}, 'scope': scope}},
        )

    def make(self, messaging: str) -> None:
        """`demo` in the project demo, the account of Zaqar itself, and where messaging is served."""
        service, demo = (self._new('project', name, domain_id='default') for name in ('service', 'demo'))
        zaqar = self._new('user', 'zaqar', domain_id='default', password=ACCOUNTS['zaqar'])
        user = self._new('user', 'demo', domain_id='default', password=ACCOUNTS['demo'], default_project_id=demo)
        listed, _ = self._ask('GET', '/roles')
        roles = {role['name']: role['id'] for role in listed['roles']}
        for project, who, role in (service, zaqar, 'admin'), (service, zaqar, 'service'), (demo, user, 'member'):
            self._ask('PUT', f'/projects/{project}/users/{who}/roles/{roles[role]}')
        kind = self._new('service', 'zaqar', type='messaging')
        for interface in 'public', 'internal':
            self._ask(
                'POST',
                '/endpoints',
                {'endpoint': {'service_id': kind, 'interface': interface, 'region_id': 'RegionOne', 'url': messaging}},
            )

    def _new(self, kind: str, name: str, **fields: str) -> str:
        made, _ = self._ask('POST', f'/{kind}s', {kind: {'name': name, **fields}})
        return str(made[kind]['id'])

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[Any, str]:
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=body and json.dumps(body).encode(),
            headers={'Content-Type': 'application/json', 'X-Auth-Token': self._token},
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            data = response.read()
            return json.loads(data) if data else None, response.headers.get('X-Subject-Token', '')


def environment(**more: str) -> dict[str, str]:
    """Of the servers: nothing that was meant for this process."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(('PYTHON', 'COVERAGE', 'COV_', 'OS_', 'GEVENT', 'GUNICORN'))
    }
    return {**kept, **more}


def answers(url: str) -> bool:
    """Whether somebody answers there, whatever it is."""
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def main() -> None:
    """Start them all, and wait."""
    import argparse

    parser = argparse.ArgumentParser(prog='python -m tests.zaqar.servers', description=__doc__.partition('\n')[0])
    parser.add_argument('parts', nargs='*', default=PARTS, help=' '.join(PARTS))
    parser.add_argument('--token-seconds', type=int, default=3600)
    parser.add_argument('--messaging', default='v2_keystone', help='the part that is in the catalogue of Keystone')
    given = parser.parse_args()
    for number in signal.SIGINT, signal.SIGTERM:  # a shell has background jobs ignore the first
        signal.signal(number, signal.default_int_handler)
    with Servers(*given.parts, token_seconds=given.token_seconds, messaging=given.messaging) as servers:
        print(
            json.dumps({**servers.urls, 'accounts': ACCOUNTS, 'directory': str(servers.directory)}, indent=2),
            flush=True,
        )
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == '__main__':
    main()
