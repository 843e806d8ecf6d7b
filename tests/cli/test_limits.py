"""Caps, clocks, retries, and what ends a run before its last request."""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack
from time import monotonic

import gevent
import gevent.os
import pytest

from tests import kit
from tests.cli.programs import napix, readable, started
from tests.cli.servers import answering, fields, hosts_of, objects, several

F_SETPIPE_SZ = 1031


def release_one_by_one(gate: kit.Gate, peak: int, count: int) -> None:
    """Let the held requests go, each when as many as may be in flight together have arrived."""
    for left in range(count, 0, -1):
        held = gate.wait_for(min(peak, left))[0]
        held.release()
        kit.wait_until(lambda held=held: held not in gate.held())


# Caps ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('flag', ['-f', '--max-connections'])
def test_max_connections(flag: str) -> None:
    """--max-connections holds over all hosts, counted by the servers."""
    gate = kit.Gate()
    with several(*'abcdef', gate=gate) as servers:
        with started('get', hosts_of(servers), '/', flag, 2) as process:
            release_one_by_one(gate, 2, len(servers))
            out, _ = process.communicate(timeout=30)
        assert len(out.splitlines()) == 6
    assert gate.peak == 2


@pytest.mark.parametrize(
    ('flags', 'peak'),
    [((), 2), (('--simultaneous', 1), 1), (('--simultaneous', 3), 3), (('--simultaneous', 'auto'), 2)],
)
def test_simultaneous(flags: tuple[object, ...], peak: int) -> None:
    """--simultaneous holds for one server, however its name is spelled; "auto" begins with two."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        at = f'127.0.0.1:{server.port}'
        with started('get', f'{at},http://{at},http://{at}/,HTTP://{at}', '/', *flags) as process:
            gate.wait_for(peak)
            if 'auto' not in flags:
                release_one_by_one(gate, peak, 4)
            gate.open()
            out, _ = process.communicate(timeout=30)
    assert (process.returncode, len(out.splitlines())) == (0, 4)
    assert gate.peak == peak or 'auto' in flags


def test_rates() -> None:
    """--rate is for the whole run, --rate-per-host for each host."""
    with several(*'abc') as servers:
        for flags in (('--rate', 20, '--repeat', 4), ('--rate-per-host', 10, '--repeat', 14)):
            began = monotonic()
            code, out, _ = napix('get', hosts_of(servers), '/', *flags)
            assert (code, len(out.splitlines())) == (0, 3 * flags[-1])
            # 12 at 20 a second; 14 to each at 10 a second, of which the first 10 may be saved up.
            assert monotonic() - began > 0.3


def test_serial() -> None:
    """--serial asks so many hosts, all their requests, and the next when those are done."""
    gate = kit.Gate()
    with several(*'abcde', gate=gate) as servers:
        with started('get', hosts_of(servers), '/', '--serial', 2, '--repeat', 2, '--json') as process:
            for batch in servers[:2], servers[2:4], servers[4:]:
                held = gate.wait_for(2 * len(batch))
                assert {request.peer.server for request in held} == set(batch)
                for request in held:
                    request.release()
                kit.wait_until(lambda held=held: not set(held) & set(gate.held()))
            out, _ = process.communicate(timeout=30)
    assert [said['host'] for said in objects(out.decode())] == [
        servers[place].host for place in (0, 1, 0, 1, 2, 3, 2, 3, 4, 4)
    ]


def test_a_slow_host_holds_nobody_up() -> None:
    """While one host answers nothing, the others are asked for all that they are to be asked."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow, answering() as quick:
        with started('get', f'{slow.host},{quick.host}', '/', '--repeat', 50, '-f', 8) as process:
            lines = [process.stdout.readline() for _ in range(50)]
            assert all(line.startswith(quick.host.encode()) for line in lines)
            gate.open()
            out, _ = process.communicate(timeout=30)
            assert len(out.splitlines()) == 50


# Clocks --------------------------------------------------------------------------------------------------------------


@pytest.mark.timed
def test_timeouts() -> None:
    """--timeout ends a request that takes longer, --connect-timeout one that is not connected; the others answer."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as silent, answering() as good, kit.FullServer() as full:
        code, out, _ = napix(
            'get', f'{silent.host},{good.host},{full.host}', '/', '--timeout', 3, '--connect-timeout', 1
        )
    found = fields(out)
    assert (code, {host: rest[0] for host, rest in found.items()}) == (
        1,
        {silent.host: 'DeadlineExceeded', good.host: '200', full.host: 'ConnectTimeout'},
    )
    assert 2900 <= float(found[silent.host][1]) <= kit.limit(5000)
    assert 900 <= float(found[full.host][1]) <= kit.limit(5000)


def test_timeout_is_that_of_one_request() -> None:
    """Its clock does not run while a request waits for its turn, at the pool or at its own host."""
    with ExitStack() as stack:
        hosts = [stack.enter_context(kit.FaultServer([kit.READ, kit.Pause(0.25), kit.ANSWER])).host for _ in range(5)]
        code, out, err = napix('get', ','.join(hosts), '/', '--timeout', 1.2, '-f', 1)
        assert code == 0, (out, err)
    with kit.serve(lambda *_: gevent.sleep(0.1)) as server:
        code, out, err = napix('get', server.host, '/', '--timeout', 1.4, '--repeat', 30)
        assert code == 0, (out, err)


@pytest.mark.timed
def test_deadline() -> None:
    """--deadline ends the run with 124: what was under way has failed, what was not begun has no line."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as silent, answering() as good:
        began = monotonic()
        code, out, err = napix('get', f'{silent.host},{good.host}', '/', '--deadline', 2, '--repeat', 3, '--json')
        assert 1.9 < monotonic() - began < kit.limit(8)
        said = objects(out)
        assert code == 124
        assert [one['error'] and one['error']['class'] for one in said if one['host'] == silent.host] == [
            'DeadlineExceeded'
        ] * 2
        assert [one['status'] for one in said if one['host'] == good.host] == [200] * 3
        assert err.endswith('1 not waited for\n')
        # Enough of them is enough; and a run that is over in time has not been ended.
        assert napix('get', f'{silent.host},{good.host}', '/', '--deadline', 2, '--min-ok', 1).code == 0
        assert napix('get', good.host, '/', '--deadline', 20, '--timeout', 10).code == 0
        assert napix('get', silent.host, '/', '--deadline', 0.3).code == 124
        assert napix('get', good.host, '/', '--deadline', 0.3, '--rate', 0.5, '--repeat', 9).code == 124


def test_slow_reader_costs_nobody_his_time() -> None:
    """While the reader of our output takes nothing, requests go on: what is answered in time is an answer."""
    gate = kit.Gate()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, F_SETPIPE_SZ, 4096)
    with ExitStack() as stack:
        quick = stack.enter_context(answering('x' * 20_000))
        slow = stack.enter_context(kit.serve(gate=gate))
        process = stack.enter_context(
            started(
                'get',
                f'{slow.host},{quick.host}',
                '/000099',
                '--timeout',
                1.5,
                '--repeat',
                20,
                '--simultaneous',
                20,
                stdout=writing,
            )
        )
        os.close(writing)
        stack.callback(os.close, reading)
        kit.wait_until(lambda: readable(reading))
        gate.wait_for(20)
        gate.open()
        kit.wait_until(lambda: not gate.in_flight)
        gevent.sleep(1.7)  # longer than the timeout, with nobody reading
        out = b''
        while data := gevent.os.tp_read(reading, 65536):
            out += data
        assert process.wait(timeout=30) == 0
    lines = [line.split('\t') for line in out.decode().splitlines()]
    assert sorted(line[0] for line in lines) == sorted([slow.host, quick.host] * 20)
    assert all(line[1] == '200' for line in lines)


# Retries -------------------------------------------------------------------------------------------------------------


def failing(times: int, status: int) -> kit.HandlerServer:
    """A server that answers well after it has failed so often."""
    left = [times]

    def handler(*_: object) -> tuple[int, dict[str, str], object]:
        left[0] -= 1
        return (status, {}, None) if left[0] >= 0 else (200, {}, 'fine')

    return kit.serve(handler)


@pytest.mark.parametrize(
    ('status', 'method', 'flags', 'attempts'),
    [
        (503, 'get', ('--retries', 2), 3),
        (429, 'put', ('--retries', 2), 3),
        (502, 'delete', ('--retries', 5), 3),
        (504, 'get', ('--retries', 1), 2),
        (503, 'post', ('--retries', 2), 1),
        (500, 'get', ('--retries', 2), 1),
        (503, 'get', (), 1),
        (503, 'get', ('--retries', 0), 1),
    ],
)
def test_retries(status: int, method: str, flags: tuple[object, ...], attempts: int) -> None:
    """--retries tries 429, 502, 503 and 504 again, of methods that may be repeated; `attempts` tells how often."""
    with failing(2, status) as server:
        code, out, _ = napix(method, server.host, '/', '--json', *flags)
    (said,) = objects(out)
    assert (said['attempts'], len(server.requests), code) == (attempts, attempts, 0 if attempts == 3 else 1)


def test_retries_of_connections(refused: str) -> None:
    """A connection that fails is tried again, for all hosts, however many they are."""
    with ExitStack() as stack:
        hosts = [stack.enter_context(kit.FaultServer(listening=False)).host for _ in range(20)]
        code, out, _ = napix('get', ','.join(hosts), '/', '--retries', 1, '--json')
    assert (code, [said['attempts'] for said in objects(out)]) == (3, [2] * 20)


# What ends a run -----------------------------------------------------------------------------------------------------


def test_fail_fast() -> None:
    """--fail-fast ends the run at the first failure: nobody is waited for."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as silent, answering('no', 500) as bad:
        code, out, err = napix('get', f'{silent.host},{bad.host}', '/', '--fail-fast')
        assert (code, list(fields(out))) == (1, [bad.host])
        assert '1 not waited for' in err


def test_max_fail() -> None:
    """--max-fail begins nothing more after so many failures; what is under way is waited for."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow, answering('no', 500) as bad, answering() as later:
        with started(
            'get',
            f'{slow.host},{bad.host},{later.host}',
            '/',
            '--max-fail',
            2,
            '--serial',
            2,
            '--repeat',
            2,
            '--simultaneous',
            1,
        ) as process:
            for _ in range(2):
                assert process.stdout.readline().split(b'\t')[:2] == [bad.host.encode(), b'500']
            gate.open()
            out, err = process.communicate(timeout=30)
            assert [line.split(b'\t')[0] for line in out.splitlines()] == [slow.host.encode()]
            assert (process.returncode, b'3 not waited for' in err, later.requests) == (1, True, [])


def test_need() -> None:
    """--need ends the run well as soon as so many have answered well; less is a failure."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as silent, several(*'abc', (500, 'no')) as servers:
        hosts = f'{silent.host},{hosts_of(servers)}'
        code, out, _ = napix('get', hosts, '/', '--need', 3)
        assert code == 0
        assert [rest[0] for rest in fields(out).values()].count('200') == 3
        assert silent.host not in out
        gate.open()
        assert napix('get', hosts_of(servers), '/', '--need', 4).code == 1


@pytest.mark.parametrize(('given', 'code'), [('3', 0), ('4', 1), ('75%', 0), ('75.1%', 1), ('0', 0), ('100%', 1)])
def test_min_ok(given: str, code: int) -> None:
    """--min-ok says how many good answers, or what share of them, are enough."""
    with several('a', 'b', 'c', (500, 'no')) as servers:
        assert napix('get', hosts_of(servers), '/', '--min-ok', given).code == code
