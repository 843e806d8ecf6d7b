"""The sentences of the document of lupyne's client, in its order: each holds, against real servers.

Those on shards are in test_shards.py.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import gevent
import pytest

from napixclient import ConnectError, HTTPError, RefusedError, RemoteError, Timeout
from napixclient.resources import NoHostAvailable, Resource, Resources, Response
from tests import kit
from tests.kit import CLOSE, READ, FaultServer, Gate, serve, wait_until
from tests.resources.replicas import counts, replicas, replicated, told

pytestmark = pytest.mark.usefixtures('oracle')


# "Restful json clients."


def test_restful_json_clients() -> None:
    """What is sent is JSON, and what comes back is what the JSON says, for each of the methods of REST."""
    documents: dict[str, Any] = {}

    def store(method: str, path: str, headers: Any, body: bytes) -> Any:
        import json

        if body:
            assert headers['content-type'] == 'application/json'
        match method:
            case 'PUT':
                documents[path] = json.loads(body)
            case 'POST':
                path = f'/{len(documents)}'
                documents[path] = json.loads(body)
            case 'DELETE':
                return 200, None, [documents.pop(path)]
            case 'GET' if path not in documents:
                return 404, None, {'error': path}
        return 200, None, {'path': path, **documents[path]}

    with serve(store) as server, Resource(server.host) as resource:
        assert resource.put('/a', name='Nemo', crew=[1, None]) == {'path': '/a', 'name': 'Nemo', 'crew': [1, None]}
        assert resource.post('/', name='Ahab') == {'path': '/1', 'name': 'Ahab'}
        assert resource.get('/1') == {'path': '/1', 'name': 'Ahab'}
        assert resource.delete('/1') == [{'name': 'Ahab'}]
        with pytest.raises(RemoteError) as caught:
            resource.get('/1')
        assert caught.value.remote_error == {'error': '/1'}


# "Use Resource for a single host. Use Resources for multiple hosts with simple partitioning or redundancy."


def test_resource_is_for_a_single_host_and_resources_for_several() -> None:
    """Redundancy: any of the hosts. Partitioning: those of them that are named."""
    with replicated(4) as (servers, resources):
        assert resources[servers[0].host].get('/')['path'] == '/'
        even, odd = [[server.host for server in servers[start::2]] for start in (0, 1)]
        assert {resources.unicast('GET', '/', hosts=even).request.host for _ in range(30)} == set(even)
        assert {answer.request.host for answer in resources.broadcast('GET', '/', hosts=odd)} == set(odd)


# "Resources optionally reuse connections, handling request timeouts."


@pytest.mark.parametrize(('limit', 'accepted'), [(0, 6), (1, 1)])
def test_resources_optionally_reuse_connections(limit: int, accepted: int) -> None:
    """With a limit connections are reused, without one they are not."""
    with replicated(1, limit=limit) as (servers, resources):
        for _ in range(6):
            assert resources.unicast('GET', '/')
        assert servers[0].accepted == accepted


def test_a_connection_that_timed_out_is_not_noticed() -> None:
    """A server that closes connections which it finds idle, or at the next request, is asked over a fresh one."""
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
    with (
        FaultServer([READ, answer, CLOSE], [READ, answer, READ, CLOSE], handler=told) as server,
        Resources([server.host], 1) as resources,
    ):
        for _ in range(4):
            assert resources.unicast('GET', '/')
        assert server.accepted == 3


def test_a_request_that_timed_out_is_an_error_and_the_next_one_is_good() -> None:
    """Its connection is not reused: the late answer reaches nobody."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], 1) as resources:
        with pytest.raises(Timeout):
            resources.unicast('GET', '/1', timeout=0.1)
        gate.open()
        assert resources.unicast('GET', '/2').body['path'] == '/2'
        assert server.accepted == 2


# "Broadcasting to multiple resources is parallelized with asynchronous requests and responses."


def test_broadcasting_is_parallelized() -> None:
    """All have the request before the first has answered, and answer in any order."""
    gate = Gate()
    with replicas(6, gate=gate) as servers, Resources([server.host for server in servers]) as resources:
        asking = gevent.spawn(resources.broadcast, 'GET', '/')
        for request in random.sample(gate.wait_for(6), 6):
            request.release()
        assert [answer.request.host for answer in asking.get()] == list(resources)


# "The load balancing strategy is randomized, biased by the number of cached connections available."


def test_the_strategy_is_randomized_and_biased_by_cached_connections() -> None:
    """All hosts have their share, those with connections cached a larger one."""
    with replicated(3, limit=1) as (servers, resources):
        resources.broadcast('GET', '/', hosts=[servers[0].host])
        wait_until(lambda: resources.priority(servers[0].host) == -1, 'a cached connection')
        random.seed(3)
        chosen = Counter(resources.choice(resources) for _ in range(1500))
        assert set(chosen) == set(resources)
        assert 1.5 < chosen[servers[0].host] / chosen[servers[1].host] < 2.6
        assert 0.7 < chosen[servers[2].host] / chosen[servers[1].host] < 1.4


# "This inherently provides limited failover support, but applications must still handle exceptions as desired."


def test_failover_is_by_the_bias_and_limited() -> None:
    """A host whose connections are gone is chosen less often; who asks it nevertheless handles the exception."""
    with serve(told) as good, serve(told, listening=False) as dead, Resources([dead.host, good.host], 2) as resources:
        errors = []
        for _ in range(30):
            try:
                resources.unicast('GET', '/')
            except ConnectError as error:
                errors.append(error)
        assert len(good.requests) == 30 - len(errors) >= 20
        resources.broadcast('GET', '/')
        assert {resources.choice([good.host]) for _ in range(9)} == {good.host}
        with pytest.raises(RefusedError):
            resources.request(dead.host, 'GET', '/')


def test_failover_by_random_choice_biased_by_cached_connections() -> None:
    """A host that lost its connections gets little of the traffic, though nobody set it aside."""
    with replicated(2, limit=3) as (servers, resources):
        for server in servers:
            held = [resources.request(server.host, 'GET', '/') for _ in range(2)]
            for resource in held:
                resources.getresponse(server.host, resource)
        wait_until(lambda: sum(resources.priority(host) or 0 for host in resources) == -4, 'four cached connections')
        for peer in list(servers[0].peers.values()):
            peer.close()
        wait_until(lambda: resources.priority(servers[0].host) == 0, 'it lost its connections')
        random.seed(3)
        chosen = Counter(resources.choice(resources) for _ in range(1000))
        assert 0.15 < chosen[servers[0].host] / 1000 < 0.35


# class Response: "A completed response which handles json and caches its body."


def test_a_response_is_completed_handles_json_and_caches_its_body() -> None:
    """When it is there it is whole; its body is decoded once."""
    with (
        serve(lambda method, path, headers, body: (200, None, ['x' * 1000] * 100)) as server,
        Resources([server.host]) as resources,
    ):
        response = resources.unicast('GET', '/')
        server.close()
        assert isinstance(response, Response) and response.body == ['x' * 1000] * 100
        assert response.body is response.body is response()


def test_the_parts_of_a_response() -> None:
    """ "status: HTTP status code"; "reason: HTTP status message"; "body"; whether it is successful; evaluated or raised."""
    with replicated(1) as (servers, resources):
        good, bad = resources.unicast('GET', '/202'), resources.unicast('GET', '/410')
        assert (good.status, good.reason, good.body['path']) == (202, 'Accepted', '/202')
        assert (bad.status, bad.reason, bad.body['path']) == (410, 'Gone', '/410')
        assert bool(good) is True and bool(bad) is False
        assert good() == good.body
        with pytest.raises(HTTPError, match='410'):
            bad()


# class Resource: "Synchronous connection which handles json responses."


def test_a_resource_is_synchronous() -> None:
    """The call returns when the answer is there; host and port may be given apart, and a timeout."""
    gate = Gate()
    with serve(told, gate) as server, Resource('127.0.0.1', server.port, timeout=0.2) as resource:
        with pytest.raises(Timeout):
            resource.get('/')
        gate.open()
        assert resource.get('/')['method'] == 'GET'


def test_the_methods_of_a_resource() -> None:
    """`__call__`, `getresponse`, `delete`, `get`, `post`, `put`, `request` and `response_class` are as they were."""
    with serve(told) as server, Resource(server.host) as resource:
        assert resource('GET', '/1', None)['path'] == '/1'
        assert resource.delete('/2', all=1)['path'] == '/2?all=1'
        assert resource.get('/3', q='a b')['path'] == '/3?q=a+b'
        assert resource.post('/4', a=1)['sent'] == resource.put('/4', a=1)['sent'] == '{"a":1}'
        resource.request('POST', '/5', {'b': [2]})
        assert resource.getresponse()()['sent'] == '{"b":[2]}'
        assert resource.response_class is Response


# class Resources: "Thread-safe mapping of hosts to optionally persistent resources."


def test_a_mapping_that_is_safe_to_share() -> None:
    """Any number of greenlets ask at once; each has the answer to its own question, and the caps hold."""
    gate = Gate(opened=True)
    with replicas(3, gate=gate) as servers, Resources([server.host for server in servers], 2) as resources:
        assert dict(resources).keys() == {server.host for server in servers}

        def ask(number: int) -> None:
            path = f'/n{number}'
            if number % 3:
                assert resources.unicast('POST', path, {'n': number})()['sent'] == f'{{"n":{number}}}'
            else:
                assert [answer()['path'] for answer in resources.broadcast('GET', path)] == [path] * 3

        gevent.joinall([gevent.spawn(ask, number) for number in range(90)], raise_error=True)
        assert sum(counts(servers)) == 60 + 3 * 30 and max(gate.peaks.values()) <= 2


# "hosts – host[:port] strings; limit – maximum number of cached connections per host. Manager: Queue of prioritized resources."


def test_the_connection_that_was_used_last_is_used_next() -> None:
    """Of the cached connections of a host the freshest goes first."""
    gate = Gate()
    with serve(told, gate) as server, Resources([server.host], 2) as resources:
        held = [resources.request(server.host, 'GET', '/') for _ in range(2)]
        gate.wait_for(2)[0].release()
        resources.getresponse(server.host, held[0])
        gate.open()
        resources.getresponse(server.host, held[1])
        wait_until(lambda: resources.priority(server.host) == -2, 'both are cached')
        freshest = server.requests[1].peer
        for _ in range(3):
            assert resources.unicast('GET', '/')
        assert [request.peer for request in server.requests[2:]] == [freshest] * 3


# The methods of Resources.


def test_broadcast_and_unicast_optionally_from_a_given_subset() -> None:
    """ "Send requests and return responses from all hosts", "from any host", "optionally from given subset"."""
    with replicated(3) as (servers, resources):
        hosts = list(resources)
        assert [answer.request.host for answer in resources.broadcast('GET', '/', None)] == hosts
        assert [answer.request.host for answer in resources.broadcast('GET', '/', None, hosts[1:])] == hosts[1:]
        assert resources.unicast('GET', '/', None).request.host in hosts
        assert resources.unicast('GET', '/', None, hosts[2:]).request.host == hosts[2]


def test_choice_according_to_priority() -> None:
    """ "Return chosen host according to priority"; "None may be used to eliminate from consideration"."""

    class Ranked(Resources):
        ranks: dict[str, float | None] = {}

        def priority(self, host: str) -> float | None:
            return self.ranks[host]

    with replicas(3) as servers, Ranked([server.host for server in servers]) as resources:
        first, second, third = resources
        resources.ranks = {first: 0, second: -1, third: None}
        assert {resources.choice(resources) for _ in range(20)} == {second}
        resources.ranks[second] = None
        assert {resources.choice(resources) for _ in range(20)} == {first}
        resources.ranks[first] = None
        with pytest.raises(NoHostAvailable):
            resources.choice(resources)


def test_request_and_getresponse_of_an_exclusive_resource() -> None:
    """ "Send request to given host and return exclusive resource"; "Return response and release resource"."""
    with replicated(1, simultaneous=1) as (servers, resources):
        host = servers[0].host
        resource = resources.request(host, 'POST', '/', {'a': 1})
        other = gevent.spawn(resources.request, host, 'GET', '/')
        gevent.sleep(0.02)
        assert not other.ready()
        assert resources.getresponse(host, resource)()['sent'] == '{"a":1}'
        assert resources.getresponse(host, other.get(timeout=kit.LONG)).status == 200
