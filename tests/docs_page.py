"""Runs the code blocks of one page of the documentation, from top to bottom and in one namespace.

A process of its own for each page: `python -m tests.docs_page PAGE patched|unpatched`, the blocks as JSON on standard
input. The hosts of the pages (`server.example`) are looked up by `Names`, a resolver of gevent, so the code runs as it
is printed and nothing of napixclient is touched; the programs that a page starts look them up in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import doctest
import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from gevent import monkey
from gevent.resolver.blocking import Resolver

ROOT = Path(__file__).parent.parent
#: In this variable: {name: port}. A name leads to that port of 127.0.0.1, whatever port is asked for.
VARIABLE = 'NAMES_OF_THE_DOCS'
SECONDS = 20
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Names(Resolver):
    """A resolver of gevent that knows the hosts of the documentation, and no others."""

    def __init__(self, hub: object = None) -> None:
        self._ports: dict[str, int] = json.loads(os.environ[VARIABLE])

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """The address of a known name or of a literal; any other name does not exist."""
        name = host.decode() if isinstance(host, bytes) else host
        if name in self._ports:
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', ('127.0.0.1', self._ports[name]))]
        return super().getaddrinfo(name, port, family, type, proto, flags | socket.AI_NUMERICHOST)


class Checker(doctest.OutputChecker):
    """Times and ports differ from run to run: 0.31, 12.5 ms and 160 ms are all the same. What shows no output may have some."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        """Compare, with `...` for anything, and any white space as good as another."""
        return not want or super().check_output(_timeless(want), _timeless(got), optionflags)


def _timeless(text: str) -> str:
    return re.sub(r'\b127\.0\.0\.1:\d+|\b\d+(\.\d+)? ms\b|\b\d+\.\d+\b', '0', text)


def run(page: str, blocks: list[dict[str, Any]]) -> None:
    """Run them all; an AssertionError, or the block's own exception, tells what does not hold."""
    namespace: dict[str, Any] = {'__name__': '__main__'}
    printed = ''
    for block in blocks:
        line, source = block['line'], block['source']
        match block['language']:
            case 'python':
                # The lines before it are empty, so that a traceback shows the lines of the page.
                code = compile('\n' * (line - 1) + source, page, 'exec')
                known = set(namespace)
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(code, namespace)
                    for name in sorted(set(namespace) - known):
                        if name.startswith('test_'):  # as pytest would
                            namespace[name]()
                printed = out.getvalue()
            case 'pycon':
                session(page, line, source, namespace)
            case 'console':
                console(page, line, source, namespace)
            case 'text':
                compare(page, line, source, printed)
            case other:
                raise AssertionError(f'{page}:{line}: nobody checks blocks of {other!r}')


def session(page: str, line: int, source: str, namespace: dict[str, Any]) -> None:
    """A block with prompts, as doctest has it."""
    examples = doctest.DocTestParser().get_doctest(source, namespace, page, page, line - 1)
    examples.globs = namespace  # not a copy: the blocks that follow go on with it
    out = io.StringIO()
    runner = doctest.DocTestRunner(Checker(), verbose=False, optionflags=FLAGS)
    runner.run(examples, out=out.write, clear_globs=False)
    assert not runner.failures, out.getvalue()


def compare(page: str, line: int, want: str, got: str) -> None:
    """What a page says is printed is printed."""
    assert Checker().check_output(want, got, FLAGS), f'{page}:{line}: expected\n{want}\nbut got\n{got}'


def console(page: str, line: int, source: str, namespace: dict[str, Any]) -> None:
    """Each line that begins with `$ ` is a command; what follows is its output, standard error included."""
    for part in re.split(r'^\$ ', source, flags=re.MULTILINE)[1:]:
        command, _, want = re.sub(r'\\\n\s*', '', part).partition('\n')
        words = shlex.split(command, comments=True)
        program = next(word for word in words if '=' not in word)
        if program in CHECKED:
            CHECKED[program](words, namespace)
            continue
        assert program in RUN, f'{page}:{line}: nobody checks the command {program!r}'
        done = subprocess.run(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
            cwd=ROOT if program == 'python' else None,
        )
        if 'napix get' in command and '--fold' not in command:  # a line per answer as it arrives: any order
            want, done.stdout = by_host(want), by_host(done.stdout)
        compare(page, line, want, done.stdout)


def by_host(text: str) -> str:
    """The lines in the order of their hosts, the summary at the end."""
    return '\n'.join(sorted(text.splitlines(), key=lambda text: (text[:1].isdigit(), text.split()[:1])))


def make(words: list[str], namespace: dict[str, Any]) -> None:
    """There is such a target."""
    targets = re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    for word in words[1:]:
        assert word in targets or '=' in word, f'the Makefile has no target {word!r}'


def pip(words: list[str], namespace: dict[str, Any]) -> None:
    """There are such extras of ours."""
    metadata = (ROOT / 'setup.cfg').read_text().partition('[options.extras_require]')[2]
    for extra in re.findall(r'\w+', ''.join(re.findall(r'(?:\.|napixclient)\[(.*?)\]', ' '.join(words)))):
        assert f'\n{extra} =' in metadata, f'setup.cfg has no extra {extra!r}'


def gunicorn(words: list[str], namespace: dict[str, Any]) -> None:
    """The application that it is to serve answers a request."""
    answers: list[str] = []
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    body = b''.join(namespace[words[-1].partition(':')[2]](environ, lambda status, headers: answers.append(status)))
    assert body and answers == ['200 OK'], (answers, body)


def uvicorn(words: list[str], namespace: dict[str, Any]) -> None:
    """The application that it is to serve begins, answers a request, and ends."""
    app = namespace[words[-1].partition(':')[2]]
    sent: list[dict[str, Any]] = []

    async def asked(scope: dict[str, Any], *messages: str) -> None:
        received = iter(messages)

        async def receive() -> dict[str, Any]:
            return {'type': next(received), 'body': b'', 'more_body': False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await app(scope, receive, send)

    async def main() -> None:
        http = {'method': 'GET', 'path': '/', 'raw_path': b'/', 'query_string': b'', 'headers': []}
        await asked({'type': 'http', 'http_version': '1.1', 'scheme': 'http', **http}, 'http.request')
        await asked({'type': 'lifespan', 'state': {}}, 'lifespan.startup', 'lifespan.shutdown')

    asyncio.run(main())
    assert sent[0]['status'] == 200 and sent[1]['body'], sent


#: Programs whose commands are run, and those whose commands are checked in another way.
RUN = {'napix', 'cat', 'echo', 'python'}
CHECKED = {'make': make, 'pip': pip, 'gunicorn': gunicorn, 'uvicorn': uvicorn, 'apt': lambda words, namespace: None}


if __name__ == '__main__':
    if sys.argv[2] == 'patched':
        monkey.patch_all()
    run(sys.argv[1], json.load(sys.stdin))
