"""Identical GETs that share one answer: which are identical, whose clock it is, what becomes of those who leave."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from napixclient import ConnectError, HTTPError, RemoteError, Timeout
from napixclient.resources import Resources
from tests import kit
from tests.kit import READ, RST, FaultServer, Gate, serve, wait_until
from tests.resources.replicas import counts, is_back, replicas, told

pytestmark = pytest.mark.usefixtures('oracle')


def ask(resources: Resources, *request: Any, **options: Any) -> gevent.Greenlet:
    """A greenlet that ends with the answer, or with the error as a value."""

    def run() -> Any:
        try:
            return resources.unicast(*(request or ('GET', '/')), **options)
        except HTTPError as error:
            return error

    return gevent.spawn(run)


def test_identical_gets_share_one_answer() -> None:
    """While one is under way the others wait for its answer; the next one asks anew."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], singleflight=True) as resources:
        asking = [ask(resources, 'GET', '/x', tag=number) for number in range(10)]
        gate.wait_for(1)
        gevent.sleep(0.02)
        assert counts([server]) == [1]
        gate.open()
        answers = [one.get() for one in asking]
        assert [answer.request.tag for answer in answers] == list(range(10))
        answers[0].body['path'] = 'changed'  # each has a copy of its own
        assert {answer.body['path'] for answer in answers[1:]} == {'/x'} and counts([server]) == [1]
        assert resources.unicast('GET', '/x') and counts([server]) == [2]


@pytest.mark.parametrize(
    'options', [{'headers': {'Accept': 'text/plain'}}, {'params': {'a': 1}}, {'max_body': 9}, {'redirect': True}]
)
def test_what_differs_is_asked_apart(options: Any) -> None:
    """Other fields, parameters or options make another request; so does another method, or a body."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], singleflight=True, simultaneous=9) as resources:
        asking = [
            ask(resources),
            ask(resources, **options),
            ask(resources, 'HEAD', '/'),
            ask(resources, 'HEAD', '/'),
            ask(resources, 'GET', '/', {'a': 1}),
        ]
        gate.wait_for(5)
        gate.open()
        gevent.joinall(asking, raise_error=True)


def test_it_is_off_unless_asked_for_and_for_each_host_apart() -> None:
    """Without it each GET is sent; with it hosts do not share with each other."""
    gate = Gate()
    with replicas(2, gate=gate) as servers:
        hosts = [server.host for server in servers]
        with Resources(hosts) as resources:
            asking = [ask(resources, hosts=hosts[:1]) for _ in range(2)]
            gate.wait_for(2)
            gate.open()
            gevent.joinall(asking, raise_error=True)
        gate.shut()
        with Resources(hosts, singleflight=True) as resources:
            asking = [gevent.spawn(resources.broadcast, 'GET', '/') for _ in range(4)]
            gate.wait_for(2)
            gevent.sleep(0.02)
            assert gate.in_flight == 2
            gate.open()
            for one in asking:
                assert [answer.request.host for answer in one.get()] == hosts


def test_an_error_is_shared_as_well() -> None:
    """Each caller has an error of its own."""
    gate = Gate()
    with (
        serve(lambda method, path, headers, body: (404, None, 'gone'), gate) as server,
        Resources([server.host], singleflight=True) as resources,
    ):
        asking = [ask(resources, tag=number) for number in range(3)]
        gate.wait_for(1)
        gate.open()
        answers = [one.get() for one in asking]
        assert [answer.status for answer in answers] == [404] * 3 and counts([server]) == [1]
        for number, answer in enumerate(answers):
            with pytest.raises(RemoteError, match='gone') as caught:
                answer()
            assert caught.value.request.tag == number and caught.value is answer.error
    with FaultServer([READ, RST], handler=told) as broken, Resources([broken.host], singleflight=True) as resources:
        asking = [ask(resources, tag=number) for number in range(3)]
        errors = [one.get() for one in asking]
        assert len({id(error) for error in errors}) == 3 and [error.request.tag for error in errors] == [0, 1, 2]
        assert len({str(error) for error in errors}) == 1 and errors[0].__cause__ is errors[1].__cause__
        assert counts([broken]) == [1]


def test_who_leaves_does_not_take_the_answer_along() -> None:
    """The first may be killed: the others still have their answer. When all have left, the request is cancelled."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], singleflight=True) as resources:
        asking = [ask(resources) for _ in range(4)]
        gate.wait_for(1)
        gevent.killall(asking[:2])
        gate.open()
        assert [one.get().status for one in asking[2:]] == [200, 200] and counts([server]) == [1]
        gate.shut()
        asking = [ask(resources) for _ in range(4)]
        gate.wait_for(1)
        gevent.killall(asking)
        wait_until(lambda: not gate.in_flight, 'it is cancelled')
        assert resources.health() == {server.host: 'up'}
        gate.open()
        assert resources.unicast('GET', '/').status == 200
        is_back(resources, server)


def test_each_has_its_own_clock() -> None:
    """Who has less time leaves earlier, whoever came first; who has more gets the answer."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], singleflight=True) as resources:
        asking = [ask(resources, timeout=seconds) for seconds in (0.1, kit.LONG, 0.2)]
        asking += [gevent.spawn(resources.broadcast, 'GET', '/', timeout=0.15)]
        gate.wait_for(1)
        assert isinstance(asking[0].get(), Timeout) and asking[0].value.remote_call == f'GET {server.url}/'
        assert isinstance(asking[2].get(), Timeout)
        assert [type(answer).__name__ for answer in asking[3].get()] == ['DeadlineExceeded']
        gate.open()
        assert asking[1].get().status == 200 and counts([server]) == [1]


def test_a_shared_request_to_a_host_that_was_down_is_one_probe() -> None:
    """All who ask the same wait for the probe's answer, or go elsewhere."""
    gate = Gate()
    with serve(told, gate, listening=False) as server, Resources([server.host], singleflight=True) as resources:
        assert isinstance(ask(resources).get(), ConnectError)
        server.listen()
        wait_until(lambda: resources.priority(server.host) is not None, 'its pause is over')
        asking = [ask(resources) for _ in range(3)]
        gate.wait_for(1)
        gate.open()
        assert {getattr(one.get(), 'status', None) for one in asking} <= {200, None}
        assert counts([server]) == [1] and resources.health() == {server.host: 'up'}
