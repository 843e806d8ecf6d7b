"""The whole client over real sockets, against what was sent to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from napixclient import Client, HTTPError, RemoteError, Response, Timeout
from napixclient.testing import Peer, Server
from tests import kit
from tests.fuzz import reference
from tests.fuzz.fuzz_wire import assert_fair
from tests.fuzz.reference import Answer
from tests.fuzz.strategies import BEGUN, CUTS, GARBAGE, Made, answers, coded, examples, in_pieces, spoilt

GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood'
SIZES = st.none() | st.integers(1, 100) | st.integers(1, 100_000)  # None reads the body whole
MEMORY = 256 * 2**20  # bytes: to make the examples takes some fifty million


class Player(Server):
    """Answers each path with the bytes that are to be sent for it, whatever connection it comes over."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.turns: dict[str, tuple[list[bytes], bool]] = {}
        self.played = Event()

    def answer_with(self, path: str, pieces: list[bytes], closes: bool) -> None:
        """Send these pieces, a turn of the loop apart, then perhaps close."""
        self.turns[path] = pieces, closes
        self.played.clear()

    def talk(self, peer: Peer) -> None:
        """A good answer to what is not known, and to what was answered before."""
        while True:
            pieces, closes = self.turns.pop(self.read(peer).path, ([GOOD], False))
            try:
                for piece in pieces:
                    peer.send(piece)
                    kit.turn()
                if closes:
                    peer.close()
                    return
            finally:
                self.played.set()


@pytest.fixture(params=['http', 'https'])
def player(request: pytest.FixtureRequest, authority: kit.Authority, tidy: None) -> Iterator[Player]:
    """The server of a test, after which everything is given back and memory has not grown much."""
    before = kit.rss()
    with Player(tls=authority.server() if request.param == 'https' else None) as player:
        yield player
        player.requests.clear()
    assert kit.rss() - before < MEMORY


def ask(client: Client, made_method: str, path: str, size: int | None) -> Answer:
    """The answer, read whole or in pieces of that size."""
    try:
        response = client.request(made_method, path, stream=size is not None)
    except RemoteError as error:
        assert error.response is not None
        response = error.response
    assert isinstance(response, Response)
    body = response.data if size is None or response.status >= 400 else b''.join(response.iter_bytes(size))
    return Answer(response.status, response.reason, response.headers.multi_items(), body, False, None)


def assert_answered(found: Answer, expected: Answer) -> None:
    """It is what was sent, but for what only a connection can tell."""
    assert found == expected._replace(keeps=False, ends=None, doubtful=False)


def client_of(player: Player, authority: kit.Authority, simultaneous: int = 1) -> Client:
    """A client without connections yet, for which ten seconds are a hang."""
    return Client(player.host, simultaneous=simultaneous, ca_certs=authority.ca_certs, timeout=10)


VALID = st.tuples(answers() | coded(), CUTS, SIZES)


@examples(60, shrinking=False)
@given(all_made=st.lists(VALID, min_size=1, max_size=4))
def test_valid(player: Player, authority: kit.Authority, all_made: list[tuple[Made, list[Any], int | None]]) -> None:
    """Valid answers, one after the other, are what was sent, and their connection is used again just when it may be."""
    connections = player.accepted
    keeps = False
    with client_of(player, authority) as client:
        for number, (made, cuts, size) in enumerate(all_made):
            if b'content-encoding' not in made.data.lower():
                assert_fair(made)
            player.answer_with(f'/{number}', in_pieces(made.wire, cuts), made.expected.ends is None)
            assert_answered(ask(client, made.method, f'/{number}', size), made.expected)
            connections += not keeps
            assert player.accepted == connections
            keeps = made.expected.keeps


@examples(40, shrinking=False)
@given(all_made=st.lists(VALID, min_size=2, max_size=6), simultaneous=st.integers(1, 3))
def test_side_by_side(
    player: Player, authority: kit.Authority, all_made: list[tuple[Made, list[Any], int | None]], simultaneous: int
) -> None:
    """Answers that arrive at the same time, or right after one another, reach those who asked for them."""
    with client_of(player, authority, simultaneous) as client:
        asking = []
        for number, (made, cuts, size) in enumerate(all_made):
            player.answer_with(f'/{number}', in_pieces(made.wire, cuts), made.expected.ends is None)
            asking.append(gevent.spawn(ask, client, made.method, f'/{number}', size))
        gevent.joinall(asking, raise_error=True)
        for greenlet, (made, _, _) in zip(asking, all_made, strict=True):
            assert_answered(greenlet.value, made.expected)


@examples(40, shrinking=False)
@given(
    made=answers(large=False),
    cuts=CUTS,
    surplus=answers(large=False).map(lambda made: made.wire) | st.binary(min_size=1, max_size=50),
    late=st.booleans(),
)
def test_surplus(
    player: Player, authority: kit.Authority, made: Made, cuts: list[Any], surplus: bytes, late: bool
) -> None:
    """Bytes that nobody asked for, behind an answer or after it, do not reach the next request."""
    if made.expected.ends is None:
        return
    *pieces, last = in_pieces(made.wire, cuts)
    player.answer_with('/0', [*pieces, last, surplus] if late else [*pieces, last + surplus], False)
    with client_of(player, authority) as client:
        assert_answered(ask(client, made.method, '/0', None), made.expected)
        player.played.wait()
        assert client.request('GET', '/1').data == b'good'


@examples(150, shrinking=False)
@given(given_=spoilt(), cuts=CUTS, size=SIZES, closes=st.booleans())
def test_spoilt(
    player: Player, authority: kit.Authority, given_: tuple[bytes, str], cuts: list[Any], size: int | None, closes: bool
) -> None:
    """Of bytes that nearly are an answer comes one, or a typed error, and the next request is right."""
    assert_judged(player, authority, *given_, cuts, size, closes)


@examples(150, shrinking=False)
@given(
    data=GARBAGE | BEGUN, method=st.sampled_from(['GET', 'GET', 'HEAD']), cuts=CUTS, size=SIZES, closes=st.booleans()
)
def test_garbage(
    player: Player, authority: kit.Authority, data: bytes, method: str, cuts: list[Any], size: int | None, closes: bool
) -> None:
    """So too of any bytes."""
    assert_judged(player, authority, data, method, cuts, size, closes)


def assert_judged(
    player: Player, authority: kit.Authority, data: bytes, method: str, cuts: list[Any], size: int | None, closes: bool
) -> None:
    """The strict reader decides; where it doubts, there may be an error, but no other answer."""
    try:
        expected: Answer | None = reference.read(data, method)
    except reference.Refused:
        expected = None
    closes = closes or expected is None or expected.ends is None
    player.answer_with('/0', in_pieces(data, cuts), closes)
    with client_of(player, authority) as client:
        try:
            found = ask(client, method, '/0', size)
        except HTTPError as error:
            assert not isinstance(error, Timeout), repr(error)
            assert expected is None or expected.doubtful or reference.values(expected.fields, 'content-encoding')
        else:
            if expected is None:  # of an error that breaks off the status is told all the same
                assert found.status >= 400, found
            elif found.status < 400 or not reference.values(expected.fields, 'content-encoding'):
                assert_answered(found, expected)
        player.played.wait()
        kit.turn()
        assert client.request('GET', '/1').data == b'good'
