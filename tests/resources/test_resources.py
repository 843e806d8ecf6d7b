"""Many hosts: the mapping, one request to one host, to any, to all; what is kept, what is given back."""

from __future__ import annotations

import gc
import itertools
import random
import threading
from collections import Counter
from typing import Any

import gevent
import pytest
from urllib3 import Timeout as Timeouts

from napixclient import Cancelled, ConnectError, HTTPError, QueueTimeout, RefusedError, Timeout
from napixclient.resources import NoHostAvailable, Resource, Resources, Response, UnknownHost
from tests import kit
from tests.kit import CLOSE, READ, RST, FaultServer, Gate, Leaks, serve, wait_until
from tests.resources.replicas import counts, is_back, replicas, replicated, told

pytestmark = pytest.mark.usefixtures('oracle')


def ending(ask: Any, *given: Any, **how: Any) -> gevent.Greenlet:
    """A greenlet that ends with what was returned or raised of ours."""

    def run() -> Any:
        try:
            return ask(*given, **how)
        except HTTPError as error:
            return error

    return gevent.spawn(run)


# The mapping ---------------------------------------------------------------------------------------------------------


def test_a_mapping_of_hosts_to_resources() -> None:
    """Hosts in the order given; each is a resource, which may be asked by itself."""
    with replicated(3) as (servers, resources):
        assert list(resources) == [server.host for server in servers] and len(resources) == 3
        assert isinstance(resources[servers[1].host], Resource)
        assert resources[servers[1].host].get('/x')['path'] == '/x'
        assert counts(servers) == [0, 1, 0]
        assert servers[0].host in resources and 'nowhere' not in resources and 'not a host' not in resources
        assert resources.get('nowhere') is None
        with resources[servers[0].host] as resource:  # its end is not that of the mapping's connections
            resource.request('GET', '/')
        with pytest.raises(Cancelled):
            resource.getresponse()
        assert resources.unicast('GET', '/', hosts=[servers[0].host])
        assert repr(resources) == '<Resources 3 hosts: 3 up>'


def test_hosts_in_any_form(authority: kit.Authority) -> None:
    """Names, addresses, URLs and TLS beside each other; each is known by any of its spellings."""
    with serve(told) as plain, serve(told, address='::1') as six, serve(told, tls=authority.server()) as secure:
        hosts = [f'http://127.0.0.1:{plain.port}/', six.host, secure.host]
        with Resources(hosts, ca_certs=authority.ca_certs) as resources:
            assert [answer.status for answer in resources.broadcast('GET', '/')] == [200] * 3
            assert resources.unicast('GET', '/', hosts=[plain.host]).request.host == hosts[0]
            assert plain.host in resources and resources.priority(plain.host) == 0
            assert [bool(answer) for answer in resources.broadcast('GET', '/', hosts=[secure.host])] == [True]


@pytest.mark.parametrize(
    'ask',
    [
        lambda resources: resources['nowhere'],
        lambda resources: resources.unicast('GET', '/', hosts=['nowhere']),
        lambda resources: resources.broadcast('GET', '/', hosts=['nowhere']),
        lambda resources: resources.choice(['nowhere']),
        lambda resources: resources.request('nowhere', 'GET', '/'),
        lambda resources: resources.priority('nowhere'),
        lambda resources: resources.rolling([('nowhere', 'GET', '/')]),
        lambda resources: resources[3],
        lambda resources: resources.unicast('GET', '/', hosts=['a b']),
    ],
)
def test_an_unknown_host_is_named(ask: Any) -> None:
    """A host that is none of these is an error that names it, and nothing is sent."""
    with replicated(2) as (servers, resources):
        for kind in KeyError, ValueError, UnknownHost:
            with pytest.raises(kind, match='unknown host .nowhere.; these resources have|not a host|a host is'):
                ask(resources)
        assert counts(servers) == [0, 0]


@pytest.mark.parametrize(
    ('given', 'why'),
    [
        ({'hosts': 'name'}, 'hosts are several'),
        ({'hosts': ['a', 'A']}, "'a' and 'A' are the same host"),
        ({'hosts': ['a', 'http://a:80']}, 'same host'),
        ({'hosts': ['a b']}, 'not a host'),
        ({'limit': -1}, 'limit is'),
        ({'limit': True}, 'limit is'),
        ({'policy': 'best'}, "policy is 'p2c'"),
        ({'singleflight': 1}, 'singleflight is'),
        ({'hedge_budget': 2}, 'hedge_budget is'),
        ({'zones': ['a']}, 'zones is a mapping'),
        ({'zones': {'z': 1}}, 'unknown host'),
        ({'simultaneous': 0}, 'simultaneous is'),
        ({'timeout': -1}, 'timeout is'),
        ({'authenticator': 3}, 'authenticator is'),
    ],
)
def test_options_that_make_no_sense(given: Any, why: str) -> None:
    """Bad input says what is wrong with it."""
    with pytest.raises(ValueError, match=why):
        Resources(**{'hosts': ['name'], **given})


@pytest.mark.parametrize(
    ('ask', 'why'),
    [
        (lambda resources: resources.unicast('GET', '/', attempts=0), 'attempts is'),
        (lambda resources: resources.unicast('GET', '/', attempts=True), 'attempts is'),
        (lambda resources: resources.unicast('GET', '/', hedge=1), 'hedge is'),
        (lambda resources: resources.unicast('GET', '/', hedge=True), 'hedge is'),
        (lambda resources: resources.unicast('GET', 'x'), 'begins with'),
        (lambda resources: resources.unicast('GET', '/', timeout=0), 'timeout is'),
        (lambda resources: resources.unicast('GET', '/', stream=True), 'read whole'),
        (lambda resources: resources.unicast('GET', '/', hosts='name'), 'hosts are several'),
        (lambda resources: resources.unicast('PUT', '/', iter([b'x']), attempts=2), 'read the file first'),
        (lambda resources: resources.broadcast('PUT', '/', iter([b'x'])), 'read the file first'),
        (lambda resources: resources.broadcast('GET', '/', hosts=[*resources, *resources]), 'named twice'),
        (lambda resources: resources.broadcast('GET', '/', stream=True), 'read whole'),
        (lambda resources: resources.request(next(iter(resources)), 'GE T', '/'), 'not a method'),
    ],
)
def test_requests_that_make_no_sense(ask: Any, why: str) -> None:
    """They are refused before anything is sent."""
    with replicated(2) as (servers, resources):
        with pytest.raises(ValueError, match=why):
            ask(resources)
        assert counts(servers) == [0, 0]


# Any of them ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('status', [200, 302, 404, 500, 502, 503])
def test_unicast_returns_a_response_of_any_status(status: int) -> None:
    """No answer is an error; a bad one is an answer, time and again."""
    with replicated(1) as (servers, resources):
        for _ in range(4):
            assert resources.unicast('GET', f'/{status}').status == status
        assert counts(servers) == [4]


def test_unicast_sends_what_it_is_given() -> None:
    """Body, headers and parameters go with it; of the hosts only those named are asked."""
    with replicated(3) as (servers, resources):
        for _ in range(8):
            answer = resources.unicast(
                'POST',
                '/x',
                {'a': 1},
                hosts=[servers[0].host, servers[2].host],
                headers={'X-A': 'b'},
                params={'c': 2},
                tag='mine',
            )
            assert answer()['path'] == '/x?c=2' and answer()['sent'] == '{"a":1}' and answer.request.tag == 'mine'
        assert counts(servers)[1] == 0
        assert all(one.headers['x-a'] == 'b' for server in servers for one in server.requests)
        assert resources.unicast('PUT', '/x', iter([b'ab', b'c'])).body['sent'] == 'abc'


def test_unicast_raises_where_there_is_no_answer() -> None:
    """By default one host is asked, once; what it does not answer is for the caller to handle."""
    with serve(told, listening=False) as dead, Resources([dead.host]) as resources:
        with pytest.raises(RefusedError):
            resources.unicast('GET', '/')
        with pytest.raises(NoHostAvailable) as caught:
            resources.unicast('GET', '/')
        assert isinstance(caught.value, ConnectError) and dead.host in str(caught.value)
    with Resources([]) as nobody:
        with pytest.raises(NoHostAvailable):
            nobody.unicast('GET', '/')
        assert nobody.broadcast('GET', '/') == [] and repr(nobody) == '<Resources 0 hosts: none>'


def test_priority_none_takes_a_host_out() -> None:
    """A host without a priority is never chosen, not even as the last."""

    class Some(Resources):
        out: set[str] = set()

        def priority(self, host: str) -> float | None:
            return None if host in self.out else super().priority(host)

    with replicas(3) as servers, Some([server.host for server in servers]) as resources:
        resources.out = {servers[0].host}
        for _ in range(40):
            resources.unicast('GET', '/')
        assert counts(servers)[0] == 0 and min(counts(servers)[1:]) > 0
        resources.out = set(resources)
        with pytest.raises(NoHostAvailable):
            resources.unicast('GET', '/')
        with pytest.raises(NoHostAvailable):
            resources.choice(resources)
        assert len(resources.broadcast('GET', '/')) == 3  # who asks all asks all


def test_the_smallest_priority_wins() -> None:
    """Numbers of one's own are ranks: the smallest one only, and among equals a random one."""

    class Near(Resources):
        distance: dict[str, int] = {}

        def priority(self, host: str) -> float | None:
            return self.distance[host]

    with replicas(4) as servers, Near([server.host for server in servers]) as resources:
        resources.distance = dict(zip(resources, [2, 1, 1, -0.5 + 2], strict=True))
        for _ in range(40):
            resources.unicast('GET', '/')
        assert counts(servers)[0] == counts(servers)[3] == 0 and min(counts(servers)[1:3]) > 0
        assert {resources.choice([servers[0].host, servers[3].host]) for _ in range(20)} == {servers[3].host}


def test_choice_can_be_overridden() -> None:
    """It is asked among the hosts that may be; `None` is as good as no host, and a foreign host an error."""

    class Last(Resources):
        chosen: Any = staticmethod(lambda hosts: hosts[-1])

        def choice(self, hosts: Any) -> Any:
            return self.chosen(list(hosts))

    with replicas(3) as servers, Last([server.host for server in servers]) as resources:
        assert resources.unicast('GET', '/').request.host == servers[2].host
        assert resources.unicast('GET', '/503', attempts=3).status == 503
        assert counts(servers) == [1, 1, 2]
        resources.chosen = lambda hosts: None
        with pytest.raises(NoHostAvailable):
            resources.unicast('GET', '/')
        resources.chosen = lambda hosts: servers[0].host
        with pytest.raises(ValueError, match='none of those that it was given'):
            resources.unicast('GET', '/', hosts=[servers[1].host])


def test_the_bias_to_ready_connections_is_a_weight() -> None:
    """By default the priority is minus the number of ready connections; with two a host is chosen three times as often."""
    gate = Gate()
    with replicas(2, gate=gate) as servers, Resources([server.host for server in servers], limit=2) as resources:
        held = [resources.request(servers[0].host, 'GET', '/') for _ in range(2)]
        gate.open()
        for resource in held:
            resources.getresponse(servers[0].host, resource)
        wait_until(lambda: resources.priority(servers[0].host) == -2, 'two ready connections')
        assert resources.priority(servers[1].host) == 0
        random.seed(5)
        chosen = Counter(resources.choice(resources) for _ in range(2000))
        assert 2.4 < chosen[servers[0].host] / chosen[servers[1].host] < 3.8

        class Marked(Resources):
            def priority(self, host: str) -> float | None:
                return 1 if host == servers[0].host else super().priority(host)

        with Marked(resources) as marked:  # beside numbers of one's own the default is a 0
            assert {marked.choice(marked) for _ in range(20)} == {servers[1].host}


# Connections ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('limit', 'first', 'second'), [(0, 4, 8), (1, 4, 7), (2, 4, 6), (9, 4, 4)])
def test_limit_is_what_is_kept(limit: int, first: int, second: int) -> None:
    """So many connections are kept open for each host; 0 keeps none."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], limit, simultaneous=4) as resources:
        for accepted in first, second:
            gate.shut()
            held = [resources.request(server.host, 'GET', '/') for _ in range(4)]
            gate.wait_for(4)
            assert server.accepted == accepted
            gate.open()
            for resource in held:
                assert resources.getresponse(server.host, resource)
            wait_until(lambda: len(server.peers) == min(limit, 4), f'{limit} connections are kept')
            assert resources.priority(server.host) == -min(limit, 4)


def test_without_a_limit_each_request_has_a_connection_of_its_own() -> None:
    """`limit=0` keeps no connection, whatever sends the requests."""
    with replicated(2) as (servers, resources):
        for _ in range(3):
            resources.broadcast('GET', '/')
            resources.unicast('GET', '/')
            resources[servers[0].host].get('/')
        assert sum(server.accepted for server in servers) == sum(counts(servers)) == 12
        wait_until(lambda: not servers[0].peers and not servers[1].peers, 'all connections are closed')


def test_a_resource_outlives_its_mapping() -> None:
    """A resource that was taken out of the mapping keeps its connection; it is closed when nobody holds either."""
    with replicas(1) as (server,):
        resource = Resources([server.host], limit=1)[server.host]
        for _ in range(3):
            gevent.sleep(0)
            assert resource.get('/')
        assert (server.accepted, len(server.peers)) == (1, 1)
        del resource
        wait_until(lambda: not server.peers)


def test_simultaneous_holds_for_everything() -> None:
    """No more requests than that are in flight to one host, whoever sends them."""
    gate = Gate()
    with (
        replicas(2, gate=gate) as servers,
        Resources([server.host for server in servers], 1, simultaneous=3) as resources,
    ):
        asking = [
            gevent.spawn(ask)
            for ask in itertools.islice(
                itertools.cycle(
                    [
                        lambda: resources.broadcast('GET', '/'),
                        lambda: resources.unicast('GET', '/'),
                        lambda: resources[servers[0].host].get('/'),
                        lambda: resources.request(servers[1].host, 'GET', '/').getresponse(),
                    ]
                ),
                40,
            )
        ]
        gate.wait_for(6)
        gate.open()
        gevent.joinall(asking, raise_error=True)
        assert gate.peaks == {server.port: 3 for server in servers}


# An exclusive resource -----------------------------------------------------------------------------------------------


def test_request_and_getresponse() -> None:
    """`request` returns a resource with the request sent, `getresponse` a response of any status."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host]) as resources:
        resource = resources.request(server.host, 'POST', '/404', {'a': 1})
        assert isinstance(resource, Resource)
        gate.wait_for(1)
        gate.open()
        answer = resources.getresponse(server.host, resource)
        assert isinstance(answer, Response) and answer.status == 404 and answer.body['sent'] == '{"a":1}'
        with pytest.raises(RuntimeError, match='released'):
            resources.getresponse(server.host, resource)
        with pytest.raises(RuntimeError, match='its one request'):
            resource.request('GET', '/')


def test_a_resource_is_its_callers_own_until_its_answer_is_taken() -> None:
    """Beyond `simultaneous` a request waits for its turn, and is late after its timeout; an answer changes nothing."""
    with serve(told) as server, Resources([server.host], simultaneous=2) as resources:
        first, second = (resources.request(server.host, 'GET', f'/{number}') for number in (1, 2))
        gevent.sleep(0.02)
        with pytest.raises(QueueTimeout) as caught:
            resources.request(server.host, 'GET', '/3', timeout=0.1)
        assert caught.value.remote_call == f'GET {server.url}/3' and caught.value.phase == 'queue'
        waiting = gevent.spawn(resources.request, server.host, 'GET', '/4')
        gevent.sleep(0.02)
        assert not waiting.ready()
        assert resources.getresponse(server.host, second).body['path'] == '/2'
        assert resources.getresponse(server.host, waiting.get(timeout=kit.LONG)).body['path'] == '/4'
        assert resources.getresponse(server.host, first).body['path'] == '/1'
        assert [request.path for request in server.requests] == ['/1', '/2', '/4']


def test_other_traffic_is_waited_for_as_well() -> None:
    """A request that cannot go out, because others are in flight, is late after its timeout and never sent."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], timeout=Timeouts(read=0.2), simultaneous=1) as resources:
        asking = gevent.spawn(resources.unicast, 'GET', '/1', timeout=Timeouts(read=kit.LONG))
        gate.wait_for(1)
        with pytest.raises(QueueTimeout):
            resources.request(server.host, 'GET', '/2', timeout=0.1)
        with pytest.raises(QueueTimeout):  # where nothing bounds it, the read timeout does
            resources.request(server.host, 'GET', '/3')
        gate.open()
        asking.get()
        is_back(resources, server, 1)
        assert [request.path for request in server.requests] == ['/1', '/back']


def test_a_request_that_could_not_be_sent_is_reported_at_once() -> None:
    """`request` raises when there is no connection, `getresponse` when there is no answer."""
    with (
        serve(told, listening=False) as dead,
        FaultServer([READ, RST]) as broken,
        Resources([dead.host, broken.host]) as resources,
    ):
        for _ in range(3):  # no slot is lost
            with pytest.raises(RefusedError):
                resources.request(dead.host, 'GET', '/')
        resource = resources.request(broken.host, 'GET', '/')
        with pytest.raises(HTTPError) as caught:
            resources.getresponse(broken.host, resource)
        assert not isinstance(caught.value, ConnectError)
        is_back(resources, broken)


def test_a_resource_that_is_dropped_or_closed_is_released() -> None:
    """Its request is cancelled, and its slot is there again."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], simultaneous=1) as resources:
        resource = resources.request(server.host, 'GET', '/1')
        gate.wait_for(1)
        del resource
        gc.collect()
        gevent.spawn(lambda: resources.request(server.host, 'GET', '/dropped') and None).get()
        gc.collect()
        resource = resources.request(server.host, 'GET', '/2', timeout=kit.LONG)
        gate.wait_for(1)
        resource.close()
        resource.close()
        with resources.request(server.host, 'GET', '/3', timeout=kit.LONG):
            gate.wait_for(1)
        gate.open()
        is_back(resources, server, 1)


@pytest.mark.parametrize('end', ['kill', 'error'])
def test_a_resource_whose_asker_is_dead_is_released(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed or failed between the two steps, a greenlet leaves nothing behind, even if somebody keeps it."""
    monkeypatch.setattr(gevent.get_hub(), 'exception_stream', None)
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], simultaneous=1) as resources:

        def ask() -> None:
            resource = resources.request(server.host, 'GET', '/1')
            try:
                gevent.sleep(kit.LONG if end == 'kill' else 0.01)
                raise OSError('of the caller')
            finally:
                kept.append(resource)  # as the frames of a traceback would

        kept: list[Any] = []
        caller = gevent.spawn(ask)
        gate.wait_for(1)
        if end == 'kill':
            caller.kill()
        gevent.wait([caller])
        gate.open()
        is_back(resources, server, 1)
        with pytest.raises(RuntimeError, match='released'):
            resources.getresponse(server.host, kept[0])


def test_a_resource_may_be_handed_on() -> None:
    """Who asked for it may end well, or even be killed while another one waits for the answer."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], simultaneous=2) as resources:
        first = gevent.spawn(resources.request, server.host, 'GET', '/1').get()
        handed: list[Any] = []

        def ask() -> None:
            handed.append(resources.request(server.host, 'GET', '/2'))
            gevent.sleep(kit.LONG)

        asker = gevent.spawn(ask)
        gate.wait_for(2)
        taker = gevent.spawn(resources.getresponse, server.host, handed[0])
        gevent.sleep(0)
        asker.kill()
        gate.open()
        assert taker.get().body['path'] == '/2'
        assert resources.getresponse(server.host, first).body['path'] == '/1'
        is_back(resources, server)


def test_a_resource_goes_back_to_its_own_host() -> None:
    """`getresponse` wants the host that was asked."""
    with replicated(2) as (servers, resources):
        resource = resources.request(servers[0].host, 'GET', '/')
        with pytest.raises(ValueError, match='no resource of the host'):
            resources.getresponse(servers[1].host, resource)
        assert resources.getresponse(f'http://{servers[0].host}', resource)


# All of them ---------------------------------------------------------------------------------------------------------


def test_broadcast_is_parallel_and_in_order() -> None:
    """All hosts have the request at the same time; answers come in the order of the hosts, however they arrive."""
    gate = Gate()
    with replicas(4, gate=gate) as servers, Resources([server.host for server in servers]) as resources:
        order = [servers[2].host, servers[0].host, servers[3].host]
        asking = gevent.spawn(resources.broadcast, 'GET', '/', hosts=order)
        for request in reversed(gate.wait_for(3)):
            request.release()
        assert [answer.request.host for answer in asking.get()] == order
        asking = gevent.spawn(resources.broadcast, 'GET', '/')
        gate.wait_for(4)
        gate.open()
        assert [answer.request.host for answer in asking.get()] == list(resources)


def test_a_failing_host_never_loses_the_answers_of_others() -> None:
    """Each outcome is a value: a response of any status, or an error that is falsy and raises itself when called."""
    with (
        serve(told) as good,
        serve(told, listening=False) as dead,
        FaultServer([READ, CLOSE]) as broken,
        serve(lambda *_: (503, None, 'busy')) as busy,
        Resources([dead.host, good.host, broken.host, busy.host]) as resources,
    ):
        answers = resources.broadcast('POST', '/', {'a': 1})
        assert [answer.status for answer in answers] == [None, 200, None, 503]
        assert [bool(answer) for answer in answers] == [False, True, False, False]
        assert isinstance(answers[0], RefusedError)
        for answer in answers[0], answers[2], answers[3]:
            with pytest.raises(HTTPError) as caught:
                answer()
            assert caught.value.remote_call == f'POST http://{answer.request.host}/'
        assert [answer()['sent'] for answer in answers if answer] == ['{"a":1}']


def test_a_broadcast_has_one_deadline() -> None:
    """When the time is up, those that did not answer are errors, and the others are not lost."""
    gate = Gate()
    with serve(told) as good, serve(told, gate) as slow, Resources([slow.host, good.host]) as resources:
        answers = resources.broadcast('GET', '/', timeout=1)
        assert isinstance(answers[0], Timeout) and answers[1].status == 200
        gate.open()
        is_back(resources, slow)


# Kills, threads, ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'ask',
    [
        lambda resources, host: resources.unicast('GET', '/held', attempts=2, hedge=0.5),
        lambda resources, host: resources.broadcast('GET', '/held'),
        lambda resources, host: resources.broadcast('GET', '/held', need=1),
        lambda resources, host: resources.rolling([(host, 'GET', '/held')] * 4, serial=4),
        lambda resources, host: resources.getresponse(host, resources.request(host, 'GET', '/held')),
    ],
)
@pytest.mark.parametrize('singleflight', [False, True])
def test_who_is_killed_gives_everything_back(ask: Any, singleflight: bool) -> None:
    """Whatever a caller waits for when it is killed, or its own clock fires: no slot and no request is left."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], singleflight=singleflight) as resources:
        for number in range(12):
            callers = [gevent.spawn(ask, resources, server.host) for _ in range(4)]
            gate.wait_for(1)
            if number % 3:
                gevent.sleep(random.random() / 100)
            gevent.killall(callers)
            assert all(isinstance(caller.value, gevent.GreenletExit) for caller in callers)
            wait_until(lambda: not gate.in_flight, 'all requests have ended')
        with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.05) as clock:
            ask(resources, server.host)
        assert caught.value is clock
        gate.open()
        is_back(resources, server)
        assert resources.health() == {server.host: 'up'}
        assert resources.replicas[server.host].load.in_flight == 0


def test_kills_while_waiting_for_a_turn() -> None:
    """With two slots and a hundred kills the cap holds, and no slot is lost or won."""
    gate = Gate()
    rng = random.Random(3)
    with serve(told, gate) as server, Resources([server.host], simultaneous=2) as resources:

        def ask() -> None:
            resources.request(server.host, 'GET', '/').getresponse()

        callers = [gevent.spawn(ask) for _ in range(150)]
        gate.wait_for(2)
        rng.shuffle(callers)
        for caller in callers[:100]:
            caller.kill(block=rng.random() < 0.5)
            if gate.held() and rng.random() < 0.3:
                gate.held()[0].release()
        gate.open()
        gevent.joinall(callers, raise_error=True)
        assert gate.peak == 2
        is_back(resources, server)
        held = [resources.request(server.host, 'GET', '/') for _ in range(2)]
        with pytest.raises(QueueTimeout):
            resources.request(server.host, 'GET', '/', timeout=0.05)
        del held


def test_close_cancels_what_is_under_way() -> None:
    """Whoever waits hears of it, and nothing is sent afterwards."""
    before = Leaks.now()
    gate = Gate()
    with replicas(2, gate=gate) as servers:
        resources = Resources([server.host for server in servers], 2)
        asking = [ending(resources.unicast, 'GET', '/', attempts=2, hedge=0.5), ending(resources.broadcast, 'GET', '/')]
        gate.wait_for(3)
        resources.close()
        resources.close()
        assert isinstance(asking[0].get(), Cancelled)
        assert [type(answer).__name__ for answer in asking[1].get()] == ['Cancelled'] * 2
        with pytest.raises(RuntimeError, match='closed'):
            resources.unicast('GET', '/')
        assert set(resources.health().values()) == {'up'}
    before.assert_back()


def test_resources_that_nobody_holds_are_collected() -> None:
    """Without `close` their connections end with them."""
    before = Leaks.now()
    with serve(told) as server:
        resources = Resources([server.host], 2)
        assert resources.unicast('GET', '/')
        assert len(server.peers) == 1
        del resources
        kit.turn()  # the hub is through with the last answer
        gc.collect()
        wait_until(lambda: not server.peers, 'the connection is closed')
    before.assert_back()


def test_resources_belong_to_their_thread() -> None:
    """Greenlets share them; another thread is told that it cannot, where threads are not greenlets."""
    with replicated(1) as (servers, resources):
        ended: list[Any] = []

        def ask() -> None:
            try:
                ended.append(resources.unicast('GET', '/'))
            except BaseException as exc:
                ended.append(exc)

        thread = threading.Thread(target=ask)
        thread.start()
        if kit.is_patched():
            thread.join()
            assert isinstance(ended[0], Response)
        else:
            gevent.get_hub().threadpool.apply(thread.join)
            assert isinstance(ended[0], RuntimeError) and 'thread' in str(ended[0])
        assert resources.unicast('GET', '/')


def test_redirects_lead_to_the_same_slots() -> None:
    """A redirect from one replica to another goes over the connections of that one; a stranger has its own."""
    with serve(told) as other, serve(told) as stranger:

        def elsewhere(method: str, path: str, headers: Any, body: bytes) -> Any:
            return 302, {'Location': f'{(stranger if path == "/far" else other).url}/x'}, None

        with serve(elsewhere) as server, Resources([server.host, other.host], 2, redirect=True) as resources:
            assert resources.unicast('GET', '/', hosts=[server.host]).url == f'{other.url}/x'
            assert resources.priority(other.host) == -1
            assert resources.unicast('GET', '/far', hosts=[server.host]).url == f'{stranger.url}/x'
