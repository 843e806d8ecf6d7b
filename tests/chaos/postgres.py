"""A PostgreSQL of our own, in a temporary folder, for as long as the tests run."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

#: Where Debian has the programs that only an administrator calls.
FOLDERS = [*sorted(map(str, Path('/usr/lib/postgresql').glob('*/bin')), reverse=True), *os.environ['PATH'].split(':')]


def missing() -> str:
    """Why there can be none; empty where there can."""
    if shutil.which('initdb', path=':'.join(FOLDERS)) is None:
        return 'PostgreSQL is not installed (apt-get install postgresql)'
    if os.getuid() == 0 and (shutil.which('runuser') is None or not _user()):
        return 'PostgreSQL does not run as root, and there is no user postgres'
    if importlib.util.find_spec('psycopg') is None:
        return "psycopg is not installed (pip install 'napixclient[postgresql]')"
    tried = subprocess.run(
        _command('initdb', '--version'), cwd='/', stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    return tried.stderr.strip()


def _user() -> bool:
    try:
        return bool(pwd.getpwnam('postgres'))
    except KeyError:
        return False


def _command(program: str, *arguments: str) -> list[str]:
    """One of its programs, run as a user that it does not refuse."""
    found = shutil.which(program, path=':'.join(FOLDERS))
    assert found is not None, program
    return [*(['runuser', '-u', 'postgres', '--'] if os.getuid() == 0 else []), found, *arguments]


class PostgreSQL:
    """A server on loopback, which trusts everybody."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with closing(socket.socket()) as free:
            free.bind(('127.0.0.1', 0))
            self.port: int = free.getsockname()[1]
        self._run('initdb', '-D', str(folder / 'data'), '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync')
        self.start()

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            _command(program, *arguments),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run(
            'pg_ctl',
            '-D',
            str(self.folder / 'data'),
            '-w',
            '-l',
            str(self.folder / 'log'),
            '-o',
            f'-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off -c max_connections=200',
            'start',
        )

    def stop(self, how: str = 'fast') -> None:
        """Stop it; `immediate` is as a crash would."""
        self._run('pg_ctl', '-D', str(self.folder / 'data'), '-w', '-m', how, 'stop')

    def processes(self) -> list[int]:
        """The server and what it has forked."""
        first = int((self.folder / 'data' / 'postmaster.pid').read_text().split()[0])
        return [first, *map(int, Path(f'/proc/{first}/task/{first}/children').read_text().split())]

    def freeze(self) -> None:
        """Stop all of its processes."""
        for process in self.processes():
            os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for process in self.processes():
            os.kill(process, signal.SIGCONT)

    def connect(self, database: str = 'postgres') -> Any:
        """A connection to it."""
        import psycopg

        return psycopg.connect(host='127.0.0.1', port=self.port, user='postgres', dbname=database, autocommit=True)

    def create(self, database: str) -> str:
        """Make an empty database; its URL."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE {database}')
        return self.url(database)

    def url(self, database: str, port: int = 0) -> str:
        """The URL of a database, perhaps by way of another port."""
        return f'postgresql://postgres@127.0.0.1:{port or self.port}/{database}'


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A server, gone at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o700)
        if os.getuid() == 0:
            os.chown(folder, *pwd.getpwnam('postgres')[2:4])
        server = PostgreSQL(folder)
        try:
            yield server
        finally:
            for _ in range(3):
                try:
                    server.thaw()
                    server.stop('immediate')
                    break
                except (AssertionError, OSError):
                    time.sleep(1)
