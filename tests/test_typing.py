"""The types that a user sees: those of the documentation's code, of calls that are wrong, and of what comes back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import gevent.subprocess
import pytest

from tests.reader.pages import PAGES, ROOT, blocks_of

#: Of packages without types that the pages import, nobody asks for some.
CONFIG = """\
[mypy]
strict = {strict}
[mypy-aiohttp.*,bottle.*,django.*,httpx.*,requests.*]
ignore_missing_imports = True
"""
USER = """\
from collections.abc import AsyncIterator
from typing import Any
from urllib3 import Retry, Timeout

import napixclient
from napixclient import Client, ClientPool, HTTPError, Options, Phase, RemoteError, Request, RequestOptions, Response
from napixclient import StreamedResponse, marconi, resources, rest
from napixclient.aio import AsyncPool, AsyncStreamedResponse
from napixclient.threads import SharedPool

client = Client('server.example', {'login': 'root', 'key': b'toor'}, 'auto', timeout=5)
pool = ClientPool({'login': 'root', 'key': 'toor'}, headers={'X-Number': 1, 'X-Text': 'a'}, retries=Retry(3))

# What comes back.
reveal_type(client.request('GET', '/'))  # Response
reveal_type(client.request('GET', '/', stream=False, timeout=Timeout(3)))  # Response
reveal_type(client.request('GET', '/', stream=True, tag=object()))  # StreamedResponse
reveal_type(client.submit('GET', '/').get())  # Response
reveal_type(pool.wait(raise_errors=True))  # list[Response]
reveal_type(pool.wait(5, True))  # list[Response]
for outcome in pool.wait():
    reveal_type(outcome)  # Response | HTTPError
    reveal_type(outcome.request)  # Request
    reveal_type(outcome.request.tag)  # Any
    if isinstance(outcome, HTTPError):
        reveal_type(outcome.phase)  # Literal['queue'] | Literal['connect'] | Literal['authenticate'] | Literal['send'] | Literal['expect'] | Literal['read'] | Literal['backoff'] | None
        reveal_type(outcome.response)  # Response | None
    if isinstance(outcome, RemoteError):
        reveal_type(outcome.response)  # Response
    if isinstance(outcome, StreamedResponse):
        outcome.save('body')
shared = SharedPool(auth := {'login': 'root', 'key': 'toor'}, retries=3)
reveal_type(shared.request('server.example', 'GET', '/').result())  # Response | HTTPError
reveal_type(shared.request('server.example', 'GET', '/', stream=True).result())  # StreamedResponse | HTTPError
reveal_type(shared.wait())  # list[Response | HTTPError]
reveal_type(shared.wait(raise_errors=True))  # list[Response]


async def on_asyncio() -> None:
    async def sign(request: Request) -> Request:
        return request

    async def pieces() -> AsyncIterator[bytes]:
        yield b''

    other = AsyncPool(sign, 'auto', timeout=3)
    async with AsyncPool(shared) as own:
        reveal_type(await own.request('server.example', 'POST', '/', pieces()))  # Response | HTTPError
        response = await own.request('server.example', 'GET', '/', stream=True, timeout=3)
        reveal_type(response)  # AsyncStreamedResponse | HTTPError
        if isinstance(response, AsyncStreamedResponse):
            reveal_type([piece async for piece in response])  # list[bytes]
        reveal_type(await own.wait(timeout=3))  # list[Response | HTTPError]
        reveal_type(await own.wait(3, True))  # list[Response]
        reveal_type([outcome async for outcome in own.wait_unordered()])  # list[Response | HTTPError]
        reveal_type([outcome async for outcome in own.stream([('server.example', 'GET', '/')])])  # list[Response | HTTPError]
    own.request('server.example', 'GET', '/', timout=3)  # error
    AsyncPool(timout=3)  # error
    AsyncPool(shared, timeout=3)  # error

# What may be given.
client.request('POST', '/', {'a': 1, 'b': 'x'}, {'X-Number': 1, 'X-Text': 'a'}, params={'a': 1, 'b': ['x']})
client.request('POST', '/', ['a', 1], [('X-Number', 1), ('X-Text', 'a')], params=[('a', 1), ('b', 'x')])
client.request('POST', '/', open('body', 'rb'), multipart=None, retries=False)
client.request('POST', '/', multipart={'note': 'a text', 'file': ('a.txt', b'bytes')})
fields = {'X-Number': 1, 'X-Text': 'a'}
client.request('POST', '/', iter([b'a', 'b']), fields)
auth = {'login': 'root', 'key': 'toor'}
ClientPool(auth, on_error=lambda error: print(error.phase), on_request=lambda request: print(request.host))
options: Options = {'timeout': 3, 'verify': False}
asked: RequestOptions = {'stream': True, 'timeout': 3}
ClientPool(**options).request('server.example', 'GET', '/', **asked)
Request('server.example', 'GET', '/', **asked).replace(timeout=4, headers={})
resources.Resource('server.example', timeout=3, simultaneous=4)('GET', '/', headers=fields)
resources.Resources(['server.example'], policy='p2c', rate=3).unicast('GET', '/', attempts=2, params={'a': 1})
resources.Shards([('server.example', 'key')], timeout=3, zones={'server.example': 1}).broadcast('key', 'GET', '/', need=1)
resources.Shards(**{'server.example:8002': ['east', 7]})
rest.Client('http://server.example', verify=False, rate=3).get('/', params={'a': 1}, success=range(200, 300))
marconi.Connection(endpoint='http://server.example', max_concurrency=3, timeout=3)

# What may not.
ClientPool(timout=3)  # error
Client('server.example', timeout='3')  # error
client.request('GET', '/', timout=3)  # error
client.request('GET', '/', 7)  # error
pool.request('server.example', 'GET', '/', strem=True)  # error
shared.request('server.example', 'GET', '/', strem=True)  # error
SharedPool(timout=3)  # error
Request('server.example', 'GET', '/', timout=3)  # error
resources.Resource('server.example', timout=3)  # error
resources.Resources(['server.example']).unicast('GET', '/', stream=True)  # error
resources.Shards([('server.example', 'key')], timout=3)  # error
rest.Client('http://server.example', headers={})  # error
rest.Client('http://server.example').get('/', jsn={})  # error
marconi.Connection(endpoint='http://server.example', timout=3)  # error
"""


def mypy(directory: Path, strict: bool, *files: str) -> str:
    """What mypy says of a user's files, in an empty project."""
    (directory / 'mypy.ini').write_text(CONFIG.format(strict=strict))
    cache = ROOT / '.mypy_cache' / f'users-{"strict" if strict else "plain"}'
    done = gevent.subprocess.run(
        [sys.executable, '-m', 'mypy', '--no-pretty', '--no-error-summary', '--cache-dir', str(cache), *files],
        cwd=directory,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'MYPYPATH': ''},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=400,
        check=False,
    )
    return str(done.stdout)


def program_of(page: Path) -> str:
    """The code of a page, line for line where it stands in it."""
    lines: list[str] = []
    for block in blocks_of(page):
        source = block.source.split('\n')
        if block.language == 'pycon':
            source = [line[4:] if line.startswith(('>>> ', '... ')) else '' for line in source]
        if block.language in ('python', 'pycon'):
            lines += [''] * (block.line - 1 - len(lines)) + source
    return '\n'.join(lines)


@pytest.mark.parametrize('strict', [False, True])
def test_the_code_of_the_pages_has_no_fault_for_a_type_checker(strict: bool, tmp_path: Path) -> None:
    """README, tutorial and how-tos pass mypy as a user runs it, strict or not."""
    names = {re.sub(r'\W', '_', str(page.relative_to(ROOT))): page for page in PAGES}
    for name, page in names.items():
        (tmp_path / f'{name}.py').write_text(program_of(page))
    assert mypy(tmp_path, strict, *(f'{name}.py' for name in names)) == ''


def test_a_type_checker_knows_what_is_given_and_what_comes_back(tmp_path: Path) -> None:
    """What the comments of a user's program say is what mypy says, and it finds no other fault."""
    (tmp_path / 'user.py').write_text(USER)
    told = mypy(tmp_path, True, 'user.py')
    found = dict.fromkeys(int(line) for line in re.findall(r'^user\.py:(\d+): error: ', told, re.MULTILINE))
    revealed = {
        int(line): kind for line, kind in re.findall(r'^user\.py:(\d+): note: Revealed type is "(.*)"', told, re.M)
    }
    for number, line in enumerate(USER.split('\n'), 1):
        code, _, comment = line.partition('  # ')
        assert (number in found) == (comment == 'error'), (line, told)
        if code.strip().startswith('reveal_type('):
            kind = re.sub(r'\b(napixclient|builtins)\.[\w.]*?(\w+)\b(?![.\w])', r'\2', revealed[number])
            assert kind == comment, line
