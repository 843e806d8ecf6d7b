"""What is logged of a call, and what never is."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from napixclient import Request
from napixclient.authenticators import AnonAuthenticator, BasicAuth, BearerToken, LoginAuthenticator, TokenIdentifier
from napixclient.rest import Client, ClientError
from tests import kit

SECRETS = [
    'tok-1234/é'.encode().decode('latin-1'),
    's3cr3t-key',
    'p4ssw0rd',
    'de7245-token',
    'b34rer~token',
    'own-s3cret',
    'caf3babe',
    'se55ion-id',
    'subj3ct-token',
]


def own(request: Request) -> Request:
    """An authenticator of the user's own."""
    return request.replace(
        headers={**request.headers, 'Authorization': 'Own own-s3cret', 'Cookie': 'session=se55ion-id'}
    )


AUTHENTICATORS = [
    None,
    AnonAuthenticator(),
    {'login': 'root', 'key': 's3cr3t-key'},
    LoginAuthenticator('root', 's3cr3t-key'),
    BasicAuth('root', 'p4ssw0rd'),
    TokenIdentifier('de7245-token'),
    TokenIdentifier('de7245-token', 'key&name'),
    BearerToken('b34rer~token'),
    own,
]


class Records(logging.Handler):
    """Keeps what every handler gets."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.kept.append(record)

    def of(self, name: str) -> list[str]:
        """The texts of one logger."""
        return [record.getMessage() for record in self.kept if record.name == f'napixclient.{name}']


@pytest.fixture
def records(tidy: None) -> Iterator[Records]:
    """All records below ``napixclient``."""
    records, logger = Records(), logging.getLogger('napixclient')
    before = logger.level, logger.propagate
    logger.addHandler(records)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield records
    logger.removeHandler(records)
    logger.setLevel(before[0])
    logger.propagate = before[1]


def echo(method: str, path: str, headers: Any, body: bytes) -> Any:
    """An answer that repeats all that it was told: in a field, and in the body."""
    fields = dict(headers)
    told = {
        'path': path,
        'headers': fields,
        'body': body.decode('latin-1'),
        'token': headers.get('x-auth-token'),
        'cookie': headers.get('cookie'),
        'new': 'subj3ct-token',
    }
    return (
        (500 if 'fails' in path else 200),
        {
            'Content-Type': 'application/json',
            'X-Subject-Token': 'subj3ct-token',
            'Set-Cookie': 'session=se55ion-id',
            'X-Target': path,
        },
        json.dumps(told),
    )


@pytest.mark.parametrize('bodies', [False, True])
@pytest.mark.parametrize('authenticator', AUTHENTICATORS, ids=lambda given: type(given).__name__)
def test_no_record_has_a_secret(records: Records, authenticator: Any, bodies: bool) -> None:
    """Neither its text nor any part of it, with any authenticator, a server that echoes, and bodies shown."""
    with (
        kit.serve(echo) as server,
        Client(server.url, SECRETS[0], authenticator=authenticator, log_bodies=bodies) as rest,
    ):
        rest.post('x', json={'a': 1}, headers={'Cookie': 'id=caf3babe'}, params={'token': 'de7245-token'})
        rest.get('y', headers={'X-Auth-Token': 'own-s3cret', 'Authorization': 'Basic own-s3cret'}, success=None).text  # noqa: B018 - it waits
        with pytest.raises(ClientError):
            rest.get('fails')
        kit.wait_until(lambda: len(records.of('recv')) == 3)
    assert len(records.of('send')) == 3
    for record in records.kept:
        parts = ' '.join(f'{value!r} {value}' for value in (*vars(record).values(), *(record.args or ())))
        assert [secret for secret in SECRETS if secret in parts] == []
    assert '***' in records.of('send')[0]


def test_what_is_shown(records: Records) -> None:
    """Method, URL, fields and sizes, of what is sent and of what comes back; the rest of a masked line stays readable."""
    with (
        kit.serve(echo) as server,
        Client(
            f'{server.url}/api', 'tok-1234', authenticator=BearerToken('b34rer~token'), base_headers={'X-Mine': '1'}
        ) as rest,
    ):
        rest.post('x', json={'a': 1}, params={'q': 'é'}, headers={'X-Call': '2', 'x-mine': '3'})
    [sent], [received] = records.of('send'), records.of('recv')
    lines = sent.split('\n')
    assert lines[0] == f'POST {server.url}/api/x?q=%C3%A9: 7 bytes'
    assert {
        '  X-Auth-Token: ***',
        '  X-Call: 2',
        '  x-mine: 3',
        '  Content-Type: application/json',
        '  Accept: application/json',
        '  proof: BearerToken(***)',
    } <= set(lines)
    assert '  X-Mine: 1' not in lines
    first, *fields = received.split('\n')
    assert (
        first.startswith(f'POST {server.url}/api/x?q=%C3%A9: 200 OK, ')
        and ' bytes in ' in first
        and first.endswith(' ms')
    )
    assert {'  X-Subject-Token: ***', '  Set-Cookie: ***', '  Content-Type: application/json'} <= set(fields)
    assert all(record.levelno == logging.DEBUG for record in records.kept)


def test_the_coding_that_is_offered(records: Records) -> None:
    """What is shown of it is what is sent, with a range and without one."""
    with kit.serve(echo) as server, Client(server.url) as rest:
        for fields in {}, {'Range': 'bytes=0-1'}:
            rest.get('x', headers=fields)
            assert f'  Accept-Encoding: {server.requests[-1].headers["accept-encoding"]}' in records.of('send')[
                -1
            ].split('\n')


def test_bodies_only_on_request(records: Records) -> None:
    """They are shown with ``log_bodies``, cut where they are long, without what a terminal would obey."""

    def answer(method: str, path: str, headers: Any, body: bytes) -> Any:
        return f'line 1\nline\x1b[31m {"x" * 20_000}' if path == '/long' else 'the answer'

    with kit.serve(answer) as server:
        with Client(server.url) as rest:
            rest.post('x', data='the question')
        assert not any('the ' in text for text in records.of('send') + records.of('recv'))
        records.kept.clear()
        with Client(server.url, log_bodies=True) as rest:
            rest.post('x', data='the question')
            rest.post('x', data=iter([b'a', b'b']))
            rest.get('long')
    assert records.of('send')[0].endswith('\n\nthe question') and records.of('recv')[0].endswith('\n\nthe answer')
    assert records.of('send')[1].split('\n')[0].endswith('/x: a stream of bytes')
    long = records.of('recv')[2]
    assert 'line 1\nline\\x1b[31m xxx' in long and len(long) < 12_000 and long.endswith('…')


def test_a_secret_at_the_end_of_what_is_shown(records: Records) -> None:
    """Not even the half of it."""
    with (
        kit.serve(lambda method, path, headers, body: 'x' * (10_000 - 8) + 'sup3r-long-s3cret') as server,
        Client(server.url, 'sup3r-long-s3cret', log_bodies=True) as rest,
    ):
        rest.get()
    assert 'sup3r' not in records.of('recv')[0] and 'xxx' in records.of('recv')[0]


def test_secret_members_of_bodies(records: Records) -> None:
    """What JSON names a password, a secret or a signature is not shown, be it short, or told by the server first."""
    gc.collect()  # what another test hid is no secret here
    with (
        kit.serve(lambda method, path, headers, body: {'signature': 'from "there" 5678', 'to': 'see'}) as server,
        Client(server.url, log_bodies=True) as rest,
    ):
        rest.post(json={'password': 'pw', 'secret': 'k\\y', 'password_of': 'nobody', 'user': {'password': {'a': 1}}})
    assert records.of('send')[0].endswith(
        '{"password":"***","secret":"***","password_of":"nobody","user":{"password":{"a":1}}}'
    )
    assert '"signature": "***"' in records.of('recv')[0].replace('":"', '": "') and 'there' not in records.of('recv')[0]
    assert 'see' in records.of('recv')[0]


def test_failures(records: Records) -> None:
    """Why there was no answer is told, too."""
    with kit.Mute(listening=False) as dead, Client(dead.url) as rest, pytest.raises(ClientError):
        rest.get('x')
    assert records.of('recv') == [f'GET {dead.url}/x: <RefusedError GET {dead.url}/x: connection refused>']


@pytest.mark.parametrize('reads', [True, False])
def test_lazy_ones(records: Records, reads: bool) -> None:
    """They are told when they are there, once, whether or not anybody reads them."""
    with kit.serve(echo) as server, Client(server.url) as rest:
        response = rest.get('x', success=None)
        assert len(records.of('send')) == 1 and records.of('recv') == []
        if reads:
            assert response.status_code == 200
        kit.wait_until(lambda: records.of('recv'))
        kit.turn()
        assert len(records.of('recv')) == 1


def test_a_call_that_is_killed(records: Records) -> None:
    """It is told as cancelled."""
    with kit.serve(echo, kit.Gate()) as server, Client(server.url) as rest:
        caller = gevent.spawn(rest.get, 'x')
        server.gate.wait_for(1)
        caller.kill()
    [text] = records.of('recv')
    assert 'Cancelled' in text


def test_a_handler_that_blocks(records: Records) -> None:
    """Records are made in greenlets, where a handler may wait."""

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            """Wait."""
            gevent.sleep(0.001)
            told.append(gevent.getcurrent() is gevent.get_hub())

    told: list[bool] = []
    slow, loggers = Slow(), [logging.getLogger(f'napixclient.{name}') for name in ('send', 'recv')]
    for logger in loggers:
        logger.addHandler(slow)
    try:
        with kit.serve(echo) as server, Client(server.url) as rest:
            rest.get('x')
            rest.get('y', success=None)
            kit.wait_until(lambda: len(told) >= 4)
    finally:
        for logger in loggers:
            logger.removeHandler(slow)
    assert not any(told)


def test_whatever_is_logged_there_is_masked(records: Records) -> None:
    """The filter belongs to the loggers: a client's own records pass it, too."""
    with Client('http://server.example', 'tok-1234'):
        logging.getLogger('napixclient.send').debug('with %s, and %r', 'tok-1234', {'Authorization': 'x y'})
    assert records.kept[-1].msg == "with ***, and {'Authorization': ***}" and not records.kept[-1].args


def test_nothing_is_done_where_logging_is_off(tidy: None, caplog: pytest.LogCaptureFixture) -> None:
    """No record, and no text of one: what would be told is never asked for its text."""

    class Untold(BearerToken):
        def __repr__(self) -> str:
            raise AssertionError('nobody should ask')

    caplog.set_level(logging.INFO, 'napixclient')
    with kit.serve(echo) as server, Client(server.url, authenticator=Untold('b34rer~token')) as rest:
        rest.get('x')
        rest.get('x', success=None).text  # noqa: B018 - it waits
    assert caplog.records == []
