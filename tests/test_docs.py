"""The documentation is true: each block of code in it runs, against real servers that go by the names in it."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import inspect
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args
from urllib.parse import parse_qs

import gevent
import gevent.subprocess
import pytest

import napixclient
from napixclient import Phase, aio, authenticators, cluster, marconi, resources, rest, saga, testing, threads, wsgi
from tests import docs_page, kit
from tests.helpers_proxy import connected, join
from tests.marconi.peer import Keystone, Zaqar

ROOT = Path(__file__).parent.parent
DOCS = ROOT / 'docs'
PAGES = [ROOT / 'README.md', *sorted(path for path in DOCS.rglob('*.rst') if '_build' not in path.parts)]
PUBLIC = (
    [(napixclient, name) for name in napixclient.__all__ if name != '__version__']
    + [(authenticators, name) for name in authenticators.__all__]
    + [(testing, name) for name in testing.__all__]
    + [(wsgi, name) for name in wsgi.__all__]
    + [(resources, name) for name in resources.__all__]
    + [(marconi, name) for name in marconi.__all__]
    + [(rest, name) for name in rest.__all__]
    + [(cluster, name) for name in cluster.__all__]
    + [(saga, name) for name in saga.__all__]
    + [(threads, name) for name in threads.__all__]
    + [(aio, name) for name in aio.__all__]
)
SECONDS = 40


# The servers ---------------------------------------------------------------------------------------------------------

Answer = tuple[int, Any, Any]
JSON_LINES = ''.join(f'{{"line": {number}}}\n' for number in range(3))
DOCUMENT = {  # what a server answers that failed because a server behind it did
    'error_class': 'RemoteError',
    'error_text': '"500 Internal Server Error" OSError: volume group vg-13 is offline',
    'request': {'method': 'GET', 'path': '/capacity/capacity'},
    'remote_call': 'GET http://storage.example/volumes/vg-13',
    'remote_status': 500,
    'remote_elapsed': 0.004,
    'remote_error': {
        'error_class': 'OSError',
        'error_text': 'volume group vg-13 is offline',
        'request': {'method': 'GET', 'path': '/volumes/vg-13'},
    },
}


def slow(seconds: float, answer: Answer) -> Callable[..., Answer]:
    """An answer that takes its time."""

    def wait(*_: object) -> Answer:
        gevent.sleep(seconds)
        return answer

    return wait


def count_bytes(path: str, headers: dict[str, str], body: bytes) -> Answer:
    """Tell what was received."""
    return 201, {}, {'bytes': len(body), 'type': headers.get('content-type', '').partition(';')[0]}


class Busy:
    """Answers 503 every other time."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, *_: object) -> Answer:
        """503, then 200."""
        self.asked += 1
        return (503, {'Retry-After': '0'}, None) if self.asked % 2 else (200, {}, {'state': 'ready'})


class Limited:
    """Answers 429 at first."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, *_: object) -> Answer:
        """429, then 200."""
        self.asked += 1
        return (429, {'Retry-After': '1'}, None) if self.asked == 1 else (200, {}, {'state': 'ready'})


def digest(path: str, headers: dict[str, str], body: bytes) -> Answer:
    """Let in who answers the challenge."""
    if headers.get('authorization', '').startswith('Digest username="nemo"'):
        return 200, {}, ['a pearl']
    return 401, {'WWW-Authenticate': 'Digest realm="vault", nonce="5ea", qop="auth", algorithm=SHA-256'}, None


def who(path: str, headers: dict[str, str], body: bytes) -> Answer:
    """Tell how the caller proved who asks."""
    proof = headers.get('authorization', '').partition(' ')[0] or ('a token' if 'token=' in path else None)
    return 200, {}, {'proof': proof, 'key': headers.get('x-api-key'), 'user': headers.get('x-user')}


def vault(path: str, headers: dict[str, str], body: bytes) -> Answer:
    """For who has today's token."""
    if headers.get('authorization') != 'Bearer de7245':
        return 401, {'WWW-Authenticate': 'Bearer error="invalid_token"'}, None
    return 200, {}, ['a pearl']


def cookies(path: str, headers: dict[str, str], body: bytes) -> Answer:
    """Tell which cookies came."""
    return 200, {}, {'cookie': headers.get('cookie')}


class Building:
    """A machine that is ready when it has been looked at twice."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, *_: object) -> Answer:
        """Its state."""
        self.asked += 1
        return 200, {}, {'state': 'ACTIVE' if self.asked > 2 else 'BUILD'}


def create(path: str, headers: dict[str, str], body: bytes) -> Answer:
    """201 for what was there already, 202 for what is new."""
    return (201 if json.loads(body) == {'name': 'first'} else 202), {}, json.loads(body)


def contents(path: str, headers: dict[str, str], body: bytes) -> Answer:
    """The list of contents."""
    found = [{'name': 'first'}, {'name': 'second'}]
    return 200, {}, found[: int(path.partition('limit=')[2] or 2)]


def disks(path: str, headers: dict[str, str], body: bytes) -> Answer:
    """Two disks, then the third."""
    names = ['vg-3'] if 'marker=vg-2' in path else [] if 'marker=' in path else ['vg-1', 'vg-2']
    return 200, {}, {'disks': [{'id': name} for name in names]}


CLOUD = '/some/api/endpoint'
NOT_FOUND: Answer = 404, {'Content-Type': 'text/plain'}, '10 not found'
ANSWERS: dict[tuple[str, str], Any] = {
    ('server.example', '/'): (200, {}, ['/abc', '/captain']),
    ('server.example', '/captains'): (200, {}, ['/captains/1', '/captains/2']),
    ('server.example', '/captains/1'): (200, {}, {'name': 'Nemo'}),
    ('server.example', '/captains/10'): NOT_FOUND,
    ('server.example', '/whoami'): who,
    ('server.example', '/upload'): count_bytes,
    ('server.example', '/state'): Busy(),
    ('server.example', '/limited'): Limited(),
    ('server.example', '/packed'): (
        200,
        {'Content-Type': 'application/json', 'Content-Encoding': 'gzip'},
        gzip.compress(b'["/captains/1", "/captains/2"]'),
    ),
    ('server.example', '/image'): (200, {'Content-Type': 'application/octet-stream'}, b'\0' * 1_000_000),
    ('server.example', '/log'): (200, {'Content-Type': 'text/plain'}, JSON_LINES),
    ('server.example', '/old'): (301, {'Location': '/captains'}, None),
    ('server.example', '/moved'): (307, {'Location': '/upload'}, None),
    ('server.example', '/elsewhere'): (302, {'Location': 'http://tokens.example/whoami'}, None),
    ('server.example', '/login'): (204, {'Set-Cookie': 'session=de7245'}, None),
    ('server.example', '/session'): cookies,
    ('server.example', '/slow'): slow(60, (200, {}, {})),
    ('alias.example', '/captains'): (200, {}, ['/captains/1', '/captains/2']),
    ('secure.example', '/'): (200, {}, ['/vault']),
    ('vault.example', '/vault'): vault,
    ('vault.example', '/digest'): digest,
    ('tokens.example', '/whoami'): who,
    ('tokens.example', '/oauth2/token'): (200, {}, {'access_token': 'de7245', 'expires_in': 3600}),
    ('tokens.example', '/tokens'): (200, {}, {'token': 'de7245', 'expires_in': 3600}),
    ('ip-allocator.example', '/vm-ip/'): (204, {'Location': '/vm-ip/10.0.0.17'}, None),
    ('filer.example', '/storage/'): (204, {'Location': '/storage/vm-17'}, None),
    ('xen1.example', '/capacity/capacity'): slow(0.1, (200, {}, {'size': 8 * 10**9})),
    ('xen2.example', '/capacity/capacity'): slow(0.3, (200, {}, {'size': 64 * 10**9})),
    ('xen3.example', '/capacity/capacity'): (502, {}, DOCUMENT),
    ('xen4.example', '/capacity/capacity'): slow(60, (200, {}, {'size': 0})),
    **{
        (f'web{number}.example', '/status'): (200, {}, {'name': f'web{number}', 'load': number / 4})
        for number in range(1, 101)
    },
    ('cloud.example', CLOUD): create,
    ('cloud.example', f'{CLOUD}/my/contents'): contents,
    **{
        ('cloud.example', f'{CLOUD}/my/contents/{number}'): (200, {}, {'name': f'content {number}'})
        for number in (1, 2, 3)
    },
    ('cloud.example', f'{CLOUD}/my/contents/none'): (
        404,
        {},
        {'itemNotFound': {'message': 'no such content', 'code': 404, 'details': 'none'}},
    ),
    ('cloud.example', f'{CLOUD}/my/machine'): Building(),
    ('cloud.example', f'{CLOUD}/my/disks'): disks,
    ('web3.example', '/status'): (503, {'Content-Type': 'text/plain'}, 'out of order'),
}


def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """What the server of that name answers; what is signed wrongly is refused, whatever it asks for."""
    host = headers['host'].partition(':')[0]
    if '&nonce=' in headers.get('authorization', '') and not is_signed(method, path, headers):
        return 403, {'Content-Type': 'text/plain'}, 'Access Denied'
    found = ANSWERS.get((host, path.partition('?')[0]), NOT_FOUND)
    return found(path, headers, body) if callable(found) else found


def is_signed(method: str, path: str, headers: dict[str, str]) -> bool:
    """Whether it is signed as napix demands it, by root with the key of the pages."""
    message, _, signature = headers['authorization'].rpartition(':')
    said = {name: values[0] for name, values in parse_qs(message).items()}
    wanted = {'login': 'root', 'method': method, 'path': path, 'host': headers['host']}
    return {name: said.get(name) for name in wanted} == wanted and hmac.compare_digest(
        signature, hmac.new(b'toor', message.encode(), hashlib.sha256).hexdigest()
    )


class Proxy(kit.Server):
    """The proxy of the pages, for who says `user:password`. Behind all its tunnels is one server."""

    def __init__(self, behind: kit.Server) -> None:
        self.behind = behind
        super().__init__(forward)

    def talk(self, peer: kit.Peer) -> None:
        """Answer requests, or make a tunnel."""
        while True:
            request = self.read(peer)
            if request.method == 'CONNECT' and knows(request.headers):
                with connected(self.behind.port) as onward:
                    peer.send(b'HTTP/1.1 200 Connection established\r\n\r\n')
                    return join(peer, onward)
            self.answer(peer)


def knows(headers: Any) -> bool:
    """Whether the proxy knows who asks."""
    return bool(headers.get('proxy-authorization') == 'Basic dXNlcjpwYXNzd29yZA==')


def forward(method: str, path: str, headers: Any, body: bytes) -> Answer:
    """What the proxy answers to a target in absolute form."""
    if not knows(headers):
        return 407, {'Content-Type': 'text/plain'}, 'who are you?'
    return answer(method, f'/{path.split("/", 3)[3]}', headers, body)


@pytest.fixture(scope='module')
def names(authority: kit.Authority) -> Iterator[dict[str, int]]:
    """All servers of the pages: name -> port. Behind `web4.example` nobody listens.

    Other names do not exist; `alias.example` is one that a page resolves itself.
    """
    tls = authority.server('secure.example')
    keystone = Keystone()
    keystone.at('http://zaqar.example')
    with (
        kit.serve(answer) as plain,
        kit.serve(answer, tls=tls) as secure,
        kit.Mute(listening=False) as dead,
        Proxy(secure) as proxy,
        kit.serve(Zaqar(keystone)) as zaqar,
        kit.serve(Zaqar()) as unguarded,
        kit.serve(keystone, tls=authority.server('keystone.example')) as identity,
    ):
        ports = {host: plain.port for host, _ in ANSWERS if host != 'alias.example'}
        yield {
            **ports,
            'secure.example': secure.port,
            'web4.example': dead.port,
            'proxy.example': proxy.port,
            'zaqar.example': zaqar.port,
            'open.example': unguarded.port,
            'keystone.example': identity.port,
        }


# The blocks ----------------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """A block of code of a page. `line` is that of its first line."""

    language: str
    line: int
    source: str


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in its order."""
    return list((fenced if page.suffix == '.md' else indented)(page.read_text().split('\n')))


def fenced(lines: list[str]) -> Iterator[Block]:
    """Those of Markdown."""
    start = language = None
    for number, line in enumerate(lines):
        if line.startswith('```'):
            if start is None:
                start, language = number + 1, line[3:].strip()
            else:
                yield Block(language or '', start + 1, '\n'.join(lines[start:number]) + '\n')
                start = None


def indented(lines: list[str]) -> Iterator[Block]:
    """Those of reStructuredText."""
    for number, line in enumerate(lines):
        found = re.match(r'( *)\.\. (?:code-block|code|sourcecode)::(.*)', line)
        if not found:
            continue
        first = number + 1
        while re.match(r' +:\w', lines[first]):  # options
            first += 1
        end = first
        while end < len(lines) and (not lines[end] or lines[end].startswith(found[1] + ' ')):
            end += 1
        while not lines[first]:
            first += 1
        yield Block(found[2].strip(), first + 1, textwrap.dedent('\n'.join(lines[first:end])).rstrip() + '\n')


def run(page: str, blocks: list[Block], names: dict[str, int], directory: Path) -> None:
    """Run the blocks in a process of the same kind as this one; those on native threads in one that is not patched."""
    kind = 'patched' if kit.is_patched() and not page.endswith('threads.rst') else 'unpatched'
    environ = {
        **os.environ,
        docs_page.VARIABLE: json.dumps(names),
        'GEVENT_RESOLVER': 'tests.docs_page.Names',
        'PYTHONPATH': str(ROOT),
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        'NO_COLOR': '1',
        'COLUMNS': '80',
    }
    done = gevent.subprocess.run(
        [sys.executable, '-W', 'error', '-m', 'tests.docs_page', page, kind],
        input=json.dumps([block._asdict() for block in blocks]),
        cwd=directory,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ''), done.stdout


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_runs_and_prints_what_it_says(
    page: Path, names: dict[str, int], authority: kit.Authority, tmp_path: Path
) -> None:
    """The blocks of a page run from top to bottom, and nothing is said on standard error."""
    shutil.copy(authority.ca_certs, tmp_path / 'ca.pem')
    (tmp_path / 'hosts.txt').write_text(''.join(f'web{number}.example\n' for number in range(1, 101)))
    if blocks := blocks_of(page):
        run(str(page), blocks, names, tmp_path)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_code_only_in_blocks_that_are_run(page: Path) -> None:
    """There is no literal block, no doctest outside a block, no prompt that the block's language does not run."""
    lines = page.read_text().split('\n')
    for block in blocks_of(page):
        assert block.language in ('python', 'pycon', 'console', 'text'), f'{page}:{block.line}'
        assert (block.language == 'pycon') == block.source.startswith('>>> '), f'{page}:{block.line}'
        assert (block.language == 'console') == block.source.startswith('$ '), f'{page}:{block.line}'
        for number in range(block.line - 1, block.line - 1 + block.source.count('\n')):
            lines[number] = ''
    text = '\n'.join(lines)
    assert '>>>' not in text
    if page.suffix == '.rst':
        assert not re.search(r'^(?!\.\. ).*::$', text, re.MULTILINE)


def test_the_examples_of_the_docstrings_run(names: dict[str, int], tmp_path: Path) -> None:
    """Each `>>>` in the docstring of a public name runs, and gives what it shows."""
    shown = [(name, inspect.getdoc(getattr(module, name)) or '') for module, name in PUBLIC]
    blocks = [Block('pycon', 1, f'>>> from napixclient import *\n\n{text}') for _, text in shown if '>>>' in text]
    assert len(blocks) >= 2
    run('docstrings', blocks, names, tmp_path)


# What the pages tell of ----------------------------------------------------------------------------------------------


def test_the_reference_has_every_public_name_and_no_other() -> None:
    """The public surface is what the docs describe."""
    directives = re.findall(r'^\.\. auto\w+:: ([\w.]+)', (DOCS / 'reference.rst').read_text(), re.MULTILINE)
    assert sorted(directives) == sorted(f'{module.__name__}.{name}' for module, name in PUBLIC)


def test_the_page_on_errors_has_every_phase_and_no_other() -> None:
    """The table of phases is that of the type, in its order; the table of failures names only such ones, and all."""
    page = (DOCS / 'howto' / 'errors.rst').read_text()
    table, failures = re.split(r'   :header-rows: 1\n', page.partition('In which phase')[2])[1:3]
    assert re.findall(r'^   \* - `(\w+)`$', table, re.MULTILINE) == list(get_args(Phase))
    rows = re.findall(r'^   \* - .*?(?=^   \* - |\Z)', failures.partition('\n\nAn answer')[0], re.MULTILINE | re.DOTALL)
    told = {phase for row in rows for phase in re.findall(r'`([a-z_]+)`', row.rpartition('     - ')[2])}
    assert told == set(get_args(Phase))


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """Each relative link of the README names a file."""
    for target in re.findall(r'\]\(([^)#]+)', (ROOT / 'README.md').read_text()):
        if '://' not in target:
            assert (ROOT / target).exists(), target


def test_the_table_of_the_readme_is_what_was_measured() -> None:
    """The README shows the figures of docs/benchmark.json, and no others."""
    tables = runpy.run_path(str(DOCS / 'tables.py'))
    if not tables['BENCHMARK'].exists():
        pytest.skip('docs/benchmark.json is missing: nothing was measured yet')
    assert tables['readme'](tables['figures']()) in (ROOT / 'README.md').read_text(), 'see: python docs/tables.py'
