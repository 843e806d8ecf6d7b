"""What outcomes of both kinds have: `ok`, `raise_for_status`, `body`, and `as_dict`, which is the command's JSON."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from urllib3 import Retry

from napixclient import Client, ClientPool, HTTPError, ReadTimeout, RefusedError, RemoteError, Response, TruncatedBody
from napixclient.aio import AsyncPool
from napixclient.error_documents import document_of
from napixclient.resources import Resources
from napixclient.rest import Client as RestClient
from napixclient.rest import ClientError
from napixclient.testing import CLOSE, READ, FaultServer
from napixclient.threads import SharedPool
from tests import kit
from tests.cli.programs import napix
from tests.cli.servers import answering, objects
from tests.helpers_native import in_loop, in_thread

CHAINED = {
    'error_class': 'RemoteError',
    'error_text': 'vg-13 is offline',
    'remote_call': 'GET http://storage.example/volumes?token=hunter2',
    'remote_status': 500,
    'remote_elapsed': 0.0041234,
    'remote_error': {'error_class': 'OSError', 'error_text': 'vg-13 is offline'},
}
MEMBERS = ['host', 'method', 'url', 'status', 'ms', 'attempts', 'peer', 'tried', 'body', 'error']


def by_path(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
    """Answers with the status that the path ends in."""
    status = int(path.partition('?')[0].rpartition('/')[2])
    return status, {'Content-Type': 'application/json'}, json.dumps(CHAINED if status >= 500 else {'a': status})


@pytest.fixture
def server() -> Iterator[kit.Server]:
    """Answers with the status that the path ends in."""
    with kit.serve(by_path) as server:
        yield server


def outcome_of(host: str, url: str, **options: Any) -> Any:
    """The outcome of a GET."""
    with ClientPool(retries=False) as pool:
        pool.get(host, url, **options)
        (outcome,) = pool.wait()
        return outcome


# Whether it is good --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('status', [200, 204, 299, 304, 399, 400, 404, 503, 700])
def test_ok_is_a_status_below_400(server: kit.Server, status: int) -> None:
    """Then `raise_for_status` returns the response; else it raises the error that the outcome is."""
    outcome = outcome_of(server.host, f'/{status}')
    assert outcome.ok is (status < 400)
    if outcome.ok:
        assert outcome.raise_for_status() is outcome
    else:
        with pytest.raises(RemoteError) as caught:
            outcome.raise_for_status()
        assert caught.value is outcome


def test_an_error_without_an_answer_is_raised_as_well() -> None:
    """Nobody has to ask which kind of outcome it is."""
    error = outcome_of('127.0.0.1:1', '/')
    assert error.ok is False and error.body is None
    for _ in range(2):  # its traceback does not grow
        with pytest.raises(RefusedError) as caught:
            error.raise_for_status()
        assert caught.value is error and len(caught.traceback) == 2


def test_the_answer_of_an_error_can_be_asked_too(server: kit.Server) -> None:
    """`error.response` is not ok, and raises an error that says the same."""
    error = outcome_of(server.host, '/500')
    assert error.response.ok is False
    with pytest.raises(RemoteError) as caught:
        error.response.raise_for_status()
    assert str(caught.value) == str(error) and caught.value.chain == error.chain
    assert caught.value.response is error.response


def test_answers_of_replicas_and_rest_clients_have_them(server: kit.Server) -> None:
    """An answer of any status, as these hand them out, raises its error when it is asked to."""
    with Resources([server.host]) as resources:
        good = resources.unicast('GET', '/200')
        assert good.ok and good.raise_for_status() is good and good.as_dict()['body'] == {'a': 200}
        (bad,) = resources.broadcast('GET', '/404')
        assert not bad.ok and bad.as_dict()['status'] == 404
        with pytest.raises(RemoteError) as caught:
            bad.raise_for_status()
        assert caught.value is bad.error
    with RestClient(server.url) as client:
        good = client.get('/302', success=range(600))
        assert good.ok and good.raise_for_status() is good and good.as_dict()['status'] == 302
        bad = client.get('/404', success=None)
        assert not bad.ok and bad.as_dict()['body'] == {'a': 404}
        with pytest.raises(ClientError, match='404') as refused:
            bad.raise_for_status()
        assert refused.value.body == {'a': 404} and refused.value.as_dict()['body'] == {'a': 404}
        with RestClient('http://127.0.0.1:1') as nobody, pytest.raises(ClientError) as failed:
            nobody.get()
        assert failed.value.as_dict()['status'] is None and failed.value.body is None and not failed.value.ok


# Bodies --------------------------------------------------------------------------------------------------------------


def test_the_body_of_an_error_is_that_of_its_answer(server: kit.Server) -> None:
    """Decoded as that of any answer."""
    assert outcome_of(server.host, '/404').body == {'a': 404}
    with answering('sorry', 503) as texts, answering('', 500) as empty:
        assert outcome_of(texts.host, '/').body == 'sorry' and outcome_of(empty.host, '/').body is None


def test_a_body_that_broke_off_is_not_read_again() -> None:
    """An error of a streamed answer, and the answer, have no body in their members; to ask for it reads nothing."""
    head = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'
    with kit.FaultServer([kit.READ, head + b'abc', kit.CLOSE]) as server, Client(server.host, retries=False) as client:
        answer = client.get('/', stream=True)
        assert answer.as_dict()['body'] is None
        with pytest.raises(TruncatedBody) as caught:
            answer.read()
        assert caught.value.body is None and caught.value.as_dict()['body'] is None and not caught.value.ok


# The command's JSON --------------------------------------------------------------------------------------------------

BODIES = {
    'JSON': (b'{"a":1.50,\n "b":["\xc3\xa9"]}', 200, 'application/json'),
    'text': (b'h\xc3\xa9', 200, 'text/plain'),
    'Latin-1': (b'h\xe9', 200, 'text/plain; charset=latin-1'),
    'no text': (b'\xff\x00', 200, 'application/octet-stream'),
    'nothing': (b'', 200, 'text/plain'),
    'null': (b'null', 200, 'application/json'),
    'no JSON': (b'{', 200, 'application/json'),
    'an error': (b'sorry', 404, 'text/plain'),
    'a chain': (json.dumps(CHAINED).encode(), 502, 'application/json'),
    'an empty error': (b'', 503, 'text/plain'),
}


def untimed(found: Any) -> Any:
    """Without what differs from one request to the next: its number, and the time of our own call."""
    members = {**json.loads(json.dumps(found)), 'ms': None}
    members.pop('index', None)
    for hop in (members['error'] or {'chain': []})['chain'][:1]:
        hop['ms'] = None
    return members


@pytest.mark.parametrize('name', BODIES)
def test_as_dict_is_the_line_of_the_command(name: str) -> None:
    """The same members in the same order with the same values; secrets are masked, and it can be written as JSON."""
    body, status, kind = BODIES[name]
    with answering(body, status, kind) as server:
        outcome = outcome_of(server.host, '/x?token=hunter2')
        (line,) = objects(napix('get', server.host, '/x?token=hunter2', '--json').out)
    found = outcome.as_dict()
    assert list(found) == MEMBERS and ['index', *found] == list(line)
    assert isinstance(found['ms'], float) and found['ms'] > 0
    assert untimed(found) == untimed(line) and 'hunter2' not in repr({**found, 'body': None})


def test_without_an_answer_it_is_the_line_of_the_command() -> None:
    """Likewise; where nothing was sent there is no time, for which the command says how long it waited."""
    error = outcome_of('127.0.0.1:1', '/')
    (line,) = objects(napix('get', '127.0.0.1:1', '/', '--json').out)
    assert untimed(error.as_dict()) == untimed(line)
    assert error.as_dict()['ms'] is None and line['ms'] > 0
    assert error.as_dict()['error']['class'] == 'RefusedError'


def test_an_error_of_ones_own_has_members(server: kit.Server) -> None:
    """Without a request there is no host; after a retry and after pickle the members are the same."""
    found = HTTPError('no').as_dict()
    assert [found[name] for name in MEMBERS[:-1]] == [None, None, None, None, None, 1, None, [], None]
    assert (found['error']['class'], found['error']['text']) == ('HTTPError', 'no')
    tried = outcome_of(server.host, '/503', retries=Retry(1, status_forcelist=[503]))
    assert tried.as_dict()['attempts'] == 2
    assert pickle.loads(pickle.dumps(tried)).as_dict() == tried.as_dict()


def test_a_timeout_tells_how_long_it_took() -> None:
    """Milliseconds from the first byte sent, as `elapsed` has the seconds."""
    with kit.Mute() as mute:
        error = outcome_of(mute.host, '/', timeout=0.1)
    assert not isinstance(error, (Response, ReadTimeout)) and error.as_dict()['ms'] == round(error.elapsed * 1000, 3)


@pytest.mark.parametrize(
    'through', [lambda it: it, copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]
)
def test_who_waits_no_longer_is_told_a_kind_that_is_known(through: Callable[[Any], Any]) -> None:
    """What ``get`` raises is a Timeout, or DeadlineExceeded where the request was sent, in all that names it."""
    with kit.Mute() as mute, ClientPool(simultaneous=1) as pool:
        sent, queued = pool.request(mute.host, 'GET', '/'), pool.request(mute.host, 'GET', '/')
        kit.wait_until(lambda: sent.sent, 'it is sent')
        for pending, kind in (sent, 'DeadlineExceeded'), (queued, 'Timeout'):
            with pytest.raises(HTTPError) as caught:
                pending.get(timeout=0)
            error = through(caught.value)
            assert isinstance(error, gevent.Timeout) and repr(error).startswith(f'<{kind} GET ')
            assert error.as_dict()['error']['class'] == error.chain[0].error_class == kind
            assert document_of(error, 504, 'GET', '/')['error_class'] == kind
        pool.cancel()


@in_thread
def test_outcomes_of_a_shared_pool_have_them(server: kit.Server) -> None:
    """They are the same objects."""
    with SharedPool() as pool:
        good, bad = pool.get(server.host, '/200').result(), pool.get(server.host, '/500').result()
        assert good.ok and good.raise_for_status() is good and not bad.ok and bad.as_dict()['status'] == 500
        assert good.body == {'a': 200} and bad.body == CHAINED


@in_loop
async def test_outcomes_of_an_async_pool_have_them(server: kit.Server) -> None:
    """Likewise, and a streamed answer reads nothing for it."""
    async with AsyncPool() as pool:
        good, bad = await pool.get(server.host, '/200', stream=True), await pool.get(server.host, '/500')
        assert good.ok and good.as_dict()['body'] is None and await good.read() == b'{"a": 200}'
        assert bad.body == CHAINED
        with pytest.raises(RemoteError):
            bad.raise_for_status()


# Copies of what is streamed ------------------------------------------------------------------------------------------

COPIES = [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))]


@pytest.fixture
def breaking() -> Iterator[kit.Server]:
    """Breaks off in its first answer."""
    with FaultServer([READ, b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc', CLOSE]) as server:
        yield server


def check_broken(error: TruncatedBody, through: Callable[[Any], Any]) -> None:
    """A copy of an error says the same."""
    same = through(error)
    assert type(same) is TruncatedBody and (same.as_dict(), str(same)) == (error.as_dict(), str(error))
    assert same.status == 200 and same.response.headers == {'Content-Length': '10'} and same.peer == error.peer


@pytest.mark.parametrize('through', COPIES)
def test_an_error_of_a_streamed_answer_can_be_copied(breaking: kit.Server, through: Callable[[Any], Any]) -> None:
    """It goes to another process as any other does, with the head of its answer."""
    with Client(breaking.host, retries=False) as client, client.get('/', stream=True) as answer:
        with pytest.raises(TruncatedBody) as caught:
            answer.read()
        check_broken(caught.value, through)


@in_thread
def test_a_thread_copies_an_error_of_a_streamed_answer(breaking: kit.Server) -> None:
    """Likewise."""
    with SharedPool(retries=False) as pool, pool.get(breaking.host, '/', stream=True).result() as answer:
        with pytest.raises(TruncatedBody) as caught:
            answer.read()
        for through in COPIES:
            check_broken(caught.value, through)


@in_loop
async def test_a_task_copies_an_error_of_a_streamed_answer(breaking: kit.Server) -> None:
    """Likewise."""
    async with AsyncPool(retries=False) as pool, await pool.get(breaking.host, '/', stream=True) as answer:
        with pytest.raises(TypeError, match='can be neither copied nor pickled'):
            copy.copy(answer)
        with pytest.raises(TruncatedBody) as caught:
            await answer.read()
        for through in COPIES:
            check_broken(caught.value, through)


@pytest.mark.parametrize('through', COPIES)
def test_a_streamed_answer_is_copied_when_it_is_over(server: kit.Server, through: Callable[[Any], Any]) -> None:
    """As long as it is read a copy is refused, and takes nothing away; then it is an answer with what was read."""
    with Client(server.host) as client, client.get('/200', stream=True) as answer:
        with pytest.raises(TypeError, match='can be neither copied nor pickled: read or close it'):
            through(answer)
        assert answer.body == {'a': 200}
        same = through(answer)
        assert type(same) is Response and (same.body, same.as_dict()['peer']) == (answer.body, list(answer.peer))
