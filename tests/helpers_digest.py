"""Servers that want a digest: a strict one of our own, written from RFC 7616 alone, and programs that are used as such."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gevent.subprocess

from tests.helpers_proxy import on_some_port, path_of

#: The user of RFC 7616 §3.9.1.
ME = 'Mufasa', 'Circle of Life'
KINDS = {'MD5': 'md5', 'SHA-256': 'sha256', 'SHA-512-256': 'sha512_256'}


def told_by(field: str) -> dict[str, str]:
    """The parameters of a field, without their quotes."""
    return {
        name: re.sub(r'\\(.)', r'\1', quoted) if quoted or not token else token
        for name, quoted, token in re.findall(r'([\w*]+)=(?:"((?:[^"\\]|\\.)*)"|([^ ,]*))', field)
    }


def digest_of(method: str, told: dict[str, str], username: str, password: str, body: bytes = b'') -> str:
    """RFC 7616 §3.4.1."""
    algorithm = told.get('algorithm', 'MD5')

    def hashed(*parts: str) -> str:
        return hashlib.new(KINDS[algorithm.removesuffix('-sess')], ':'.join(parts).encode()).hexdigest()

    a1 = hashed(username, told['realm'], password)
    if algorithm.endswith('-sess'):
        a1 = hashed(a1, told['nonce'], told['cnonce'])
    a2 = [method, told['uri']]
    if told.get('qop') == 'auth-int':
        a2.append(hashlib.new(KINDS[algorithm.removesuffix('-sess')], body).hexdigest())
    if 'qop' not in told:  # RFC 2069 §2.1.2
        return hashed(a1, told['nonce'], hashed(*a2))
    return hashed(a1, told['nonce'], told['nc'], told['cnonce'], told['qop'], hashed(*a2))


class Guard:
    """The handler of a server, or of a proxy that forwards, that wants a digest, and takes no count of a nonce twice.

    :param algorithm: of its challenge; empty for one that names none.
    :param options: others of the attributes below.
    """

    qop: str | None = 'auth-int,auth'
    realm = 'a "quoted", realm'
    #: How many requests a nonce is good for; more are told that it is stale.
    uses = 10**9
    #: Its only nonce, where it has no others.
    nonce = ''
    #: What else its challenge says.
    more = 'opaque="o,p=q"'
    #: Challenges of other kinds, before its own.
    before = 'Basic realm="not this", '
    username = ME[0]
    #: Whether it tells the next nonce at the last use of one.
    announces = False
    #: Whether it is a proxy.
    proxy = False

    def __init__(self, algorithm: str = 'SHA-256', **options: Any) -> None:
        assert all(hasattr(self, name) for name in options)
        vars(self).update(options)
        self.prefix = 'proxy-' if self.proxy else ''
        self.status = 407 if self.proxy else 401
        quoted = self.realm.replace('"', r'\"')
        algorithms = f', algorithm={algorithm}' if algorithm else ''
        qops = '' if self.qop is None else f', qop="{self.qop}"'
        self.challenge = f'{self.before}Digest realm="{quoted}"{qops}{algorithms}{self.more and ", "}{self.more}'
        self.wanted = {'algorithm': algorithm} if algorithm else {}
        self.used: dict[str, set[str]] = {}
        self.verdicts: list[str] = []
        #: What was told in each request that proved it.
        self.told: list[dict[str, str]] = []

    def new_nonce(self) -> str:
        """A nonce that nobody has used."""
        nonce = self.nonce or os.urandom(8).hex()
        self.used.setdefault(nonce, set())
        return nonce

    def __call__(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        """Let in who proves it, and challenge all others."""
        verdict = self.judge(method, path, headers.get(f'{self.prefix}authorization', ''), body)
        self.verdicts.append(verdict)
        if verdict == 'right':
            info = {}
            told = self.told[-1]
            if self.announces and len(self.used[told['nonce']]) == self.uses:
                info = {f'{self.prefix}authentication-info': f'qop=auth, nextnonce="{self.new_nonce()}"'}
            return 200, {'Content-Type': 'text/plain', **info}, body or path
        stale = ', stale=TRUE' if verdict == 'stale' else ''
        name = 'Proxy-Authenticate' if self.prefix else 'WWW-Authenticate'
        return self.status, {name: f'{self.challenge}, nonce="{self.new_nonce()}"{stale}'}, None

    def judge(self, method: str, path: str, field: str, body: bytes) -> str:
        """What a request proves."""
        scheme, _, rest = field.partition(' ')
        if scheme != 'Digest':
            return 'unsigned'
        told = told_by(rest)
        self.told.append(told)
        if told['realm'] != self.realm:
            return 'of another realm'
        assert told['uri'] == path, told
        assert {name: told.get(name) for name in self.wanted} == self.wanted
        if 'username*' in told:
            assert 'username' not in told
            username = unquote(told['username*'].removeprefix("UTF-8''"))
        else:
            username = told['username'].encode('latin-1').decode()
            if told.get('userhash') == 'true':
                kind = KINDS[told.get('algorithm', 'MD5').removesuffix('-sess')]
                assert username == hashlib.new(kind, f'{self.username}:{self.realm}'.encode()).hexdigest()
                username = self.username
        if username != self.username or told['response'] != digest_of(method, told, self.username, ME[1], body):
            return 'wrong'
        if 'qop' not in told:
            assert 'nc' not in told
            return 'right'
        used = self.used[told['nonce']]
        assert told['nc'] not in used, 'RFC 7616 §3.4: a count is told once'
        used.add(told['nc'])
        return 'stale' if len(used) > self.uses else 'right'


# Programs ------------------------------------------------------------------------------------------------------------

_MODULES = Path('/usr/lib/apache2/modules')


@contextmanager
def apache(directory: Path, lines: str = '', modules: tuple[str, ...] = ()) -> Iterator[str]:
    """Apache's httpd with mod_auth_digest; its host. ``DIGEST`` in the lines stands for what has it ask for a digest."""
    program = path_of('apache2')
    directory.mkdir(exist_ok=True)
    (directory / 'index.html').write_text('let in')
    hashed = hashlib.md5(':'.join([ME[0], 'pride', ME[1]]).encode()).hexdigest()
    (directory / 'users').write_text(f'{ME[0]}:pride:{hashed}\n')
    asks = f'AuthType Digest\nAuthName pride\nAuthUserFile "{directory}/users"\nRequire valid-user'
    lines = lines or '<Location "/">\nDIGEST\n</Location>'
    needed = ['mpm_event', 'authn_core', 'authn_file', 'authz_core', 'authz_user', 'auth_digest', *modules]
    loads = '\n'.join(f'LoadModule {name}_module {_MODULES}/mod_{name}.so' for name in needed)

    def command(port: int) -> list[str]:
        (directory / 'conf').write_text(
            f"""{loads}
            ServerName localhost
            ServerRoot "{directory}"
            DefaultRuntimeDir "{directory}"
            Mutex sem
            PidFile "{directory}/pid"
            ErrorLog "{directory}/log"
            Listen 127.0.0.1:{port}
            DocumentRoot "{directory}"
            {lines.replace('DIGEST', asks)}
            """
        )
        return [program, '-X', '-f', str(directory / 'conf')]

    with on_some_port(command) as port:
        yield f'127.0.0.1:{port}'


@contextmanager
def squid(directory: Path) -> Iterator[str]:
    """squid, which forwards and makes tunnels for who proves it by a digest; its host."""
    program = path_of('squid')
    helper = '/usr/lib/squid/digest_file_auth'
    hashed = hashlib.md5(':'.join([ME[0], 'pride', ME[1]]).encode()).hexdigest()
    for place in (directory, *directory.parents[:2]):
        place.chmod(0o755)  # it gives up the rights of root
    logs = directory / 'logs'
    logs.mkdir()
    logs.chmod(0o777)
    (directory / 'users').write_text(f'{ME[0]}:pride:{hashed}\n')

    def command(port: int) -> list[str]:
        (directory / 'conf').write_text(
            f"""
            http_port 127.0.0.1:{port}
            auth_param digest program {helper} -c {directory}/users
            auth_param digest realm pride
            auth_param digest children 1
            auth_param digest nonce_max_count 5
            acl known proxy_auth REQUIRED
            http_access allow known
            http_access deny all
            cache deny all
            cache_log {logs}/log
            access_log none
            pid_filename none
            coredump_dir {logs}
            shutdown_lifetime 0 seconds
            """
        )
        # A name of its own, or it would share its memory with another of this machine.
        return [program, '-n', f'digest{port}', '-N', '-f', str(directory / 'conf')]

    with on_some_port(command) as port:
        yield f'127.0.0.1:{port}'


def curl(*arguments: str) -> str:
    """What curl prints."""
    done = gevent.subprocess.run(
        [path_of('curl'), '-sS', '-m', '20', *arguments], stdout=gevent.subprocess.PIPE, stderr=gevent.subprocess.STDOUT
    )
    return str(done.stdout.decode())
