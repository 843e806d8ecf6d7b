"""The client with a real Keystone, whose tokens live 15 s; Zaqar asks it at each call whether a token is good."""

from __future__ import annotations

import json
import urllib.request
from datetime import datetime, timezone
from typing import Any

import gevent
import pytest

from napixclient.marconi import Client, Connection, ErrorBase, Unauthorized
from tests.marconi import scenarios
from tests.zaqar import tokens
from tests.zaqar.conftest import TOKEN_SECONDS
from tests.zaqar.servers import ACCOUNTS, Servers

#: In `make test-zaqar`; `python -m tests.zaqar.tokens` is the full minute.
SECONDS = 33


@pytest.fixture(scope='module')
def at_work(keystone: Servers) -> dict[str, Any]:
    """What came of working while tokens expire. Not in a test: those are shorter."""
    return tokens.measure(keystone, SECONDS)


def test_no_call_fails_while_tokens_expire(at_work: dict[str, Any]) -> None:
    """With tokens of 15 s nothing fails in more than two of their lives, and Keystone is asked once for each."""
    print(json.dumps(at_work))
    assert at_work['failed'] == [] and at_work['calls'] > 10 * (1 + at_work['unavailable'])
    assert at_work['renewed'] and 2 <= at_work['tokens'] <= 1 + SECONDS // (0.9 * TOKEN_SECONDS - 1)


@pytest.mark.parametrize('part', ['v1_keystone', 'v2_keystone'])
def test_the_session_of_the_seed_runs(part: str, keystone: Servers) -> None:
    """The session of the seed runs with authentication: version 1 by the catalogue, version 2 by its endpoint."""
    more = {'version': 1} if part == 'v1_keystone' else {'endpoint': keystone.urls[part]}
    with Connection('demo', apikey=ACCOUNTS['demo'], auth_url=keystone.urls['keystone'], **more) as conn:
        assert conn.host.startswith(keystone.urls[part]) and conn.username == 'demo'
        scenarios.seed_session(conn)


def test_ways_to_prove_who_asks(keystone: Servers) -> None:
    """A token and an application credential do as well as a password; what is wrong is refused with Keystone's words."""
    url = keystone.urls['keystone']
    with Connection('demo', password=ACCOUNTS['demo'], auth_url=f'{url}/v3/', tenant='demo', version=1) as conn:
        project = conn.tenant
        with Connection(token=conn.token, auth_url=url, tenant='demo', version=1) as other:
            assert (other.tenant, other.username) == (project, 'demo') and other.token != conn.token
            assert Client(other).ping()
        secret = application_credential(url, str(conn.token))
        with Connection(application_credential=secret, auth_url=url, region='RegionOne', version=1) as other:
            assert (other.tenant, other.username) == (project, 'demo')
            assert Client(other).ping()
    for wrong in {'password': 'no'}, {'password': ACCOUNTS['demo'], 'tenant': 'nobodys'}:
        with pytest.raises(Unauthorized, match='requires authentication'):
            Connection('demo', auth_url=url, **wrong)
    with pytest.raises(Unauthorized):
        Connection(application_credential=(secret[0], 'wrong secret'), auth_url=url)
    with pytest.raises(ErrorBase, match='RegionNine.*messaging .public, RegionOne'):
        Connection('demo', password=ACCOUNTS['demo'], auth_url=url, region='RegionNine')


def test_a_token_that_cannot_be_renewed_ends(keystone: Servers) -> None:
    """A token that somebody else has got is good until it expires, and is refused then."""
    with Connection('demo', password=ACCOUNTS['demo'], auth_url=keystone.urls['keystone'], version=1) as conn:
        given, expires = conn.token, conn.expires
    with Connection(token=given, endpoint=keystone.urls['v1_keystone'], version=1) as conn:
        assert Client(conn).ping() and conn.token == given and conn.expires is None
        assert expires is not None
        gevent.sleep((expires - datetime.now(timezone.utc)).total_seconds() + 1)
        with pytest.raises(Unauthorized, match=r'Unauthorized \(401\)'):
            Client(conn).ping()


def test_a_token_that_was_revoked_is_replaced(keystone: Servers) -> None:
    """Greenlets that meet a revoked token go on with another one, for which Keystone is asked once."""
    with (
        tokens.Counting(int(keystone.urls['keystone'].rpartition(':')[2])) as proxy,
        Connection('demo', password=ACCOUNTS['demo'], auth_url=proxy.url, version=1) as conn,
    ):
        client, before = Client(conn), proxy.tokens
        ask(f'{proxy.url}/v3/auth/tokens', 'DELETE', str(conn.token), {'X-Subject-Token': conn.token})
        revoked = conn.token
        assert [each.get() for each in gevent.joinall([gevent.spawn(client.ping) for _ in range(4)])] == [True] * 4
        assert conn.token != revoked and proxy.tokens == before + 1


def application_credential(url: str, token: str) -> tuple[str, str]:
    """A new one of the user whose token it is."""
    user = ask(f'{url}/v3/auth/tokens', 'GET', token, {'X-Subject-Token': token})['token']['user']['id']
    made = ask(
        f'{url}/v3/users/{user}/application_credentials',
        'POST',
        token,
        {},
        {'application_credential': {'name': scenarios.a_name(), 'secret': 'a secret of the tests'}},
    )
    return made['application_credential']['id'], 'a secret of the tests'


def ask(url: str, method: str, token: str, headers: dict[str, Any], body: Any = None) -> Any:
    """Ask Keystone for something that the client does not do, in gevent's thread pool: this process may be unpatched."""
    request = urllib.request.Request(
        url,
        method=method,
        data=body and json.dumps(body).encode(),
        headers={'X-Auth-Token': token, 'Content-Type': 'application/json', **headers},
    )

    def work() -> Any:
        with urllib.request.urlopen(request, timeout=30) as response:
            data = response.read()
            return json.loads(data) if data else None

    return gevent.get_hub().threadpool.apply(work)
