"""Sentences of ours, of OpenSSL and of the system: they are made of words, any of which is somebody's password."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from napixclient import Client, ClientPool, HTTPError, rest
from napixclient.error_documents import document_of, encode
from napixclient.masking import MASK
from napixclient.wsgi import ExceptionsCatcher
from napixclient.wsgi.catcher import LoopDetected
from napixclient.wsgi.refusals import denied
from tests import kit
from tests.helpers_pool import failure
from tests.test_masking import hidden

OK = b'HTTP/1.1 200 OK\r\n'


def plays(*script: Any, **options: Any) -> Callable[[], HTTPError]:
    """How a call fails whose server plays this."""

    def ask() -> HTTPError:
        with kit.FaultServer([kit.READ, *script]) as server, Client(server.host, timeout=5, **options) as client:
            return failure(client, 'GET', '/')

    return ask


def no_tls() -> HTTPError:
    """An origin that answers TLS in plain HTTP."""
    with kit.FaultServer([b'HTTP/1.1 400 Bad Request\r\n\r\n', kit.SILENCE]) as server:
        with Client(f'https://{server.authority}', timeout=5, verify=False) as client:
            return failure(client, 'GET', '/')


def refused() -> HTTPError:
    """Nobody listens."""
    with kit.FaultServer(listening=False) as server, Client(server.host, timeout=5) as client:
        return failure(client, 'GET', '/')


def no_proxy() -> HTTPError:
    """A proxy that speaks no HTTP."""
    with kit.FaultServer([kit.READ, b'what?\r\n\r\n', kit.CLOSE]) as proxy:
        with Client('https://server.example', proxy=proxy.url, timeout=5, verify=False) as client:
            return failure(client, 'GET', '/')


def unresolved() -> HTTPError:
    """A name without an address."""

    def resolve(host: str, port: int) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, 'Temporary failure in name resolution')

    with Client('server.example', timeout=5, resolver=resolve) as client:
        return failure(client, 'GET', '/')


def cancelled() -> HTTPError:
    """A request that is cancelled."""
    with kit.serve(gate=kit.Gate()) as server, ClientPool() as pool:
        pending = pool.request(server.host, 'GET', '/')
        pending.cancel()
        assert pending.exception is not None
        return pending.exception


def late() -> HTTPError:
    """A request whose time is up."""
    with kit.FaultServer([kit.READ, kit.SILENCE]) as server, Client(server.host, timeout=0.1) as client:
        return failure(client, 'GET', '/')


FAILURES = {
    'no TLS': no_tls,
    'refused': refused,
    'no proxy': no_proxy,
    'unresolved': unresolved,
    'cancelled': cancelled,
    'late': late,
    'closed': plays(kit.CLOSE),
    'reset': plays(kit.RST),
    'cut': plays(OK + b'Content-Length: 9\r\n\r\nx', kit.CLOSE),
    'no HTTP': plays(b'what?\r\n\r\n', kit.CLOSE),
    'no colon': plays(OK + b'no\r\n\r\n', kit.CLOSE),
    'HTTP/2.0': plays(b'HTTP/2.0 200 OK\r\n\r\n', kit.CLOSE),
    'a coding': plays(OK + b'Transfer-Encoding: gzip, chunked\r\n\r\n', kit.CLOSE),
    'a chunk': plays(OK + b'Transfer-Encoding: chunked\r\n\r\nwhat?\r\n', kit.CLOSE),
    'a fold': plays(OK + b' a: b\r\n\r\n', kit.CLOSE),
    '101': plays(b'HTTP/1.1 101 S\r\n\r\n', kit.CLOSE),
    'too large': plays(OK + b'Content-Length: 99\r\n\r\n', kit.CLOSE, max_body=9),
    'no gzip': plays(OK + b'Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno'),
    'redirects': plays(*[b'HTTP/1.1 302 F\r\nLocation: /\r\nContent-Length: 0\r\n\r\n', kit.READ] * 11, redirect=True),
}
#: What a sentence quotes of others, and what is another in each run.
without_quotes = re.compile(r"b?'[^']*'|https?://\S+(?=:| )|[0-9.]+ m?s\b|\(_ssl.*").sub


def words_of(error: HTTPError) -> set[str]:
    """The words that a failure is told with, also two in a row."""
    told = without_quotes('', f'{error.message} Internal Server Error {type(error).__name__}')
    return {
        word
        for pattern in (r'\w{4,}', r'[^\W\d_]{4,}', r'(?=\b([^\W\d_]{2,} [^\W\d_]{2,})\b)')
        for word in re.findall(pattern, told)
    }


def raising(error: HTTPError) -> Any:
    """An application that fails so."""

    def app(environ: Any, start_response: Any) -> Any:
        raise error

    return app


@pytest.mark.parametrize('how', FAILURES)
def test_sentences_stay(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever words somebody has for passwords, a sentence is told as it is: in errors, chains, documents and logs."""
    with hidden():
        told = FAILURES[how]()
    with hidden(*words_of(told)):
        error = FAILURES[how]()
        document = json.loads(encode(document_of(error, 500, 'GET', '/')))
        b''.join(ExceptionsCatcher(raising(error))({'REQUEST_METHOD': 'GET'}, lambda *_: None))
    assert without_quotes('', error.message) == without_quotes('', told.message)
    assert all(error.message in text for text in (str(error), repr(error), caplog.text))
    assert error.root.error_text == document['error_text'] == error.message
    assert error.root.error_class == document['error_class'] == type(error).__name__
    assert document['title'] == 'Internal Server Error'


def test_sentences_of_a_fan_out_and_of_a_loop_stay() -> None:
    """So do those that are about several calls, and about one that nobody made."""
    with (
        hidden('requests', 'failed', 'call', 'circle', 'this call', 'Denied', 'Access'),
        kit.FaultServer(listening=False) as server,
    ):
        with ClientPool(timeout=5) as pool:
            pool.request(server.host, 'GET', '/')
            with pytest.raises(Exception, match='1 of 1 requests failed') as caught:
                pool.wait(raise_errors=True)
        for exc, told in (
            (caught.value, '1 of 1 requests failed'),
            (denied('x'), 'Access Denied'),
            (LoopDetected('this call goes in a circle'), 'this call goes in a circle'),
        ):
            found = json.loads(encode(document_of(exc, 502, 'GET', '/')))
            assert found['error_text'] == told


def test_sentences_stay_in_the_log_of_calls(caplog: pytest.LogCaptureFixture) -> None:
    """What is logged of a call that failed tells how."""
    caplog.set_level(logging.DEBUG, 'napixclient.recv')
    with hidden('connection', 'refused', 'secretpath'), kit.FaultServer(listening=False) as server:
        with rest.Client(f'http://{server.authority}') as client, pytest.raises(rest.ClientError) as caught:
            client.get('/secretpath', success=200)
        told = str(caught.value)
    assert 'connection refused' in caplog.text and 'connection refused' in told
    assert 'secretpath' not in caplog.text + told


def test_the_version_number_is_wrong() -> None:
    """The password of another client takes nothing out of what OpenSSL says."""
    with hidden('wrong', 'version', 'handshake', 'wrong version number'):
        error = no_tls()
        assert 'TLS handshake failed: ' in error.message and 'wrong version number' in str(error)


@pytest.mark.parametrize('secret', ['wrong', 'handshake', 'connection', 'refused by', 'tlsv13', '4711081'])
def test_what_others_say_does_not_stay(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    """The same words are masked in what a server, a URL, a header or the caller's own exception says."""

    def answer(method: str, path: str, headers: Any, body: bytes) -> Any:
        if path.startswith('/moved'):
            return 302, {'Location': f'ftp://server.example/{secret}'.replace(' ', '%20')}, ''
        return 400, {}, {'error_text': f'no {secret} here', secret: [secret], 'a': f'"{secret}"'}

    def failing(value: Any) -> Any:
        raise ValueError(f'no {secret} here')

    caplog.set_level(logging.INFO)
    url = f'/moved?q={secret}'.replace(' ', '%20')
    errors = []
    with hidden(secret), kit.serve(answer) as server:
        with ClientPool(redirect=True, on_error=failing) as pool:
            pool.request(server.host, 'GET', url)
            pool.request(server.host, 'GET', url.replace('moved', 'x'))
            pool.request(server.host, 'POST', '/', iter(map(failing, 'x')))
            errors += pool.wait()
        with Client(server.host, failing) as client:
            errors.append(failure(client, 'GET', '/'))
        gevent.sleep(0)  # the last hook
        shown = [caplog.text, *documents(errors)]
        for error in errors:
            shown += [str(error), repr(error), error.message, str(error.remote_call), *map(repr, error.chain)]
    assert 'a hook failed' in caplog.text and len(errors) == 4
    assert all(MASK in str(error) for error in errors)
    for text in shown:
        assert secret not in text and secret.replace(' ', '%20') not in text, text


def documents(errors: list[Any]) -> Iterator[str]:
    """What is told to a caller."""
    for error in errors:
        yield encode(document_of(error, 502, 'GET', '/')).decode()
    yield encode(document_of(ExceptionGroupLike(errors), 502, 'GET', '/')).decode()


class ExceptionGroupLike(Exception):
    """Several failures in one."""

    def __init__(self, errors: list[Any]) -> None:
        super().__init__('several')
        self.exceptions = tuple(errors)
