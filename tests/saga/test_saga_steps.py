"""Steps: when they are sent, in what order they are undone, how a block ends."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest

from napixclient import ClientPool, DeadlineExceeded, PendingResponse, QueueTimeout, Response
from napixclient.saga import Saga, SagaFailed, Step
from napixclient.testing import Gate, wait_until
from tests.saga.world import LOCATION, World, caught, located

pytestmark = pytest.mark.usefixtures('oracle')


def test_a_block_left_in_peace_commits() -> None:
    """The answers come in the order asked, and nothing is undone."""
    with World() as world, ClientPool() as pool:
        with Saga(pool) as saga:
            steps = [saga.request(world.host, 'POST', f'/{name}', undo=located) for name in 'abc']
            answers = saga.wait()
            saga.request(world.host, 'POST', '/unwaited', undo=LOCATION)
        assert [answer.headers['location'].split('/')[1] for answer in answers] == ['a', 'b', 'c']
        assert [step.state for step in steps] == ['done'] * 3 and len(world.things) == 4
        assert world.deleted == [] and saga.undone == [] and pool.wait() == []
        with pytest.raises(RuntimeError, match='committed'):
            saga.request(world.host, 'POST', '/later', undo=None)


def test_a_failed_step_undoes_what_succeeded_in_the_reverse_order_of_the_waits() -> None:
    """`wait` and `call` are waits; a `call` that begins before a `wait` is undone after it."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
            saga.request(world.host, 'POST', '/first', undo=located)
            saga.wait()
            saga.request(world.host, 'POST', '/third', undo=located)
            saga.call(world.host, 'POST', '/second', undo=located)
            saga.wait()
            saga.call(world.host, 'POST', '/fail', undo=located)
        assert [path.split('/')[1] for path in world.deleted] == ['third', 'second', 'first'] and not world.things
        error = failed.value
        assert error.status == 500 and error.failed == [error.__cause__] and error.request.url == '/fail'
        assert [step.request.url for step in error.undone] == ['/first', '/third', '/second']
        assert error.not_undone == [] and error.unknown == []


def test_undos_of_one_wait_go_side_by_side() -> None:
    """As the steps did."""
    gate = Gate(opened=True)
    with World(gate) as world, ClientPool(simultaneous=3) as pool:
        with Saga(pool) as saga:
            for name in 'abc':
                saga.request(world.host, 'POST', f'/{name}', undo=located)
            saga.wait()
            gate.shut()
            aborting = gevent.spawn(saga.abort, 'enough')
            ending = gevent.spawn(lambda: pytest.raises(SagaFailed, saga.wait))
            held = gate.wait_for(3)
            assert {request.method for request in held} == {'DELETE'}
            gate.open()
            gevent.joinall([aborting, ending])
        assert not world.things


@pytest.mark.parametrize('kept', [False, True])
@pytest.mark.parametrize('simultaneous', [1, 2])
def test_queued_steps_are_not_sent_behind_a_failure(tmp_path: Any, kept: bool, simultaneous: int) -> None:
    """What is queued when a step fails is not sent, not even by the connection that the failure has made free."""
    gate = Gate()
    with World(gate) as world, ClientPool(simultaneous=simultaneous) as pool:
        with pytest.raises(SagaFailed) as failed, Saga(pool, tmp_path / 'j' if kept else None) as saga:
            steps = [saga.request(world.host, 'POST', '/fail', undo=None)]
            steps += [saga.request(world.host, 'POST', f'/{n}', undo=located) for n in range(8)]
            waiting = caught(saga.wait)
            gate.wait_for(simultaneous)
            held = [request for request in gate.held() if 'fail' in request.path]
            held[0].release()
            wait_until(lambda: saga.failed)
            gate.open()
            raise waiting.get()
        assert len(world.asked('POST')) == simultaneous and not world.things
        assert len(failed.value.failed) == 1 and len(failed.value.undone) == simultaneous - 1
        assert [step.state for step in steps].count('dropped') == 9 - simultaneous


def test_steps_in_flight_are_waited_for_and_undone() -> None:
    """What is in flight when another one fails is done, and then undone."""
    gate = Gate()
    with World(gate) as world, ClientPool() as pool:

        def run() -> SagaFailed:
            with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
                saga.request(world.host, 'POST', '/fail', undo=None)
                saga.request(world.host, 'POST', '/slow', undo=located)
                saga.wait()
            return failed.value

        running = gevent.spawn(run)
        one, other = sorted(gate.wait_for(2), key=lambda request: request.path)
        one.release()
        gevent.sleep(0)
        gate.opened = True
        assert not running.ready()
        other.release()
        error = running.get()
        assert [step.request.url for step in error.undone] == ['/slow'] and not world.things


def test_cancel_on_failure_ends_what_is_in_flight() -> None:
    """It is unknown then, and undone where its undo needs no answer."""
    gate = Gate()
    with World(gate) as world, ClientPool(simultaneous=3) as pool:

        def run() -> SagaFailed:
            with pytest.raises(SagaFailed) as failed, Saga(pool, cancel_on_failure=True) as saga:
                saga.request(world.host, 'POST', '/fail', undo=None)
                saga.request(world.host, 'PUT', '/named', undo=('DELETE', '/named'))
                saga.request(world.host, 'POST', '/nameless', undo=located)
                saga.wait()
            return failed.value

        running = gevent.spawn(run)
        held = gate.wait_for(3)
        gate.opened = True
        next(request for request in held if 'fail' in request.path).release()
        error = running.get()
        assert [step.request.url for step in error.undone] == ['/named']
        assert [step.request.url for step in error.unknown] == ['/nameless']
        assert [type(one).__name__ for one in error.failed] == ['RemoteError', 'Cancelled', 'Cancelled']
        assert len(error.__cause__.exceptions) == 3  # type: ignore[union-attr]


def test_a_step_is_sent_when_its_caller_gives_way() -> None:
    """Not before, and without a wait."""
    with World() as world, ClientPool() as pool, Saga(pool) as saga:
        step = saga.request(world.host, 'POST', '/a', undo=None)
        assert step.state == 'queued' and not world.requests
        wait_until(lambda: world.requests)
        assert step.get().status == 201


def test_a_handle_has_the_interface_of_a_pending_response() -> None:
    """`gevent.wait` takes it, `get` returns or raises, links are called."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed), Saga(pool) as saga:
            good = saga.request(world.host, 'POST', '/a', undo=None)
            bad = saga.request(world.host, 'POST', '/fail', undo=None)
            told: list[Step] = []
            bad.rawlink(told.append)
            assert not good.ready() and good.value is None and good.exception is None
            assert set(gevent.wait([good, bad])) == {good, bad}
            assert good.successful() and isinstance(good.value, Response) and good.get().status == 201
            assert bad.exception is not None and bad.exception.status == 500 and not bad.successful()
            with pytest.raises(Exception, match='500'):
                bad.get()
            wait_until(lambda: told == [bad])
        wanted = {name for name in dir(PendingResponse) if name[0] != '_'} - {
            *(
                'asked',
                'current',
                'end',
                'finish',
                'holder',
                'last_route',
                'propagated',
                'redirect',
                'retry',
                'route',
                'sent',
                'signed',
                'tries',
            )
        }
        assert wanted <= set(dir(good))


def test_the_failure_of_a_step_that_get_raises_is_the_sagas() -> None:
    """It leaves the block as SagaFailed."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            saga.request(world.host, 'POST', '/fail', undo=None).get()
        assert not world.things and len(failed.value.undone) == 1


def test_an_exception_of_the_block_goes_on_as_it_is_after_all_is_undone() -> None:
    """The lists are on the saga."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(ZeroDivisionError), Saga(pool) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            raise ZeroDivisionError
        assert not world.things and [step.request.url for step in saga.undone] == ['/a'] and saga.failed == []


def test_a_foreign_timeout_goes_on_as_it_is_after_all_is_undone() -> None:
    """Also one that is thrown into a wait; what is in flight is waited for."""
    gate = Gate()
    with World(gate) as world, ClientPool() as pool:
        clock = gevent.Timeout()
        with pytest.raises(gevent.Timeout) as raised, Saga(pool) as saga:
            saga.request(world.host, 'POST', '/a', undo=located)

            def fire() -> None:
                gate.wait_for(1)
                gevent.kill(main, clock)
                gevent.sleep(0)
                gate.open()

            main = gevent.getcurrent()
            gevent.spawn(fire)
            saga.wait()
        assert raised.value is clock and not world.things and len(saga.undone) == 1


def test_an_interrupted_wait_may_be_repeated() -> None:
    """The next one returns the same answers, and those asked for since."""
    gate = Gate()
    with World(gate) as world, ClientPool() as pool, Saga(pool) as saga:
        saga.request(world.host, 'POST', '/a', undo=located)
        with gevent.Timeout(0.02, False):
            saga.wait()
        saga.request(world.host, 'POST', '/b', undo=located)
        gate.open()
        assert [answer.headers['location'].split('/')[1] for answer in saga.wait()] == ['a', 'b']


def test_a_killed_greenlet_undoes_in_another_one() -> None:
    """Killing it waits for the undos, and the pool is closed behind them."""
    gate = Gate()
    with World(gate) as world:
        begun = gevent.event.Event()

        def run() -> None:
            with ClientPool() as pool, Saga(pool) as saga:
                saga.call(world.host, 'POST', '/a', undo=located)
                begun.set()
                gevent.sleep(30)

        greenlet = gevent.spawn(run)
        gate.wait_for(1)[0].release()
        begun.wait()
        greenlet.kill(block=False)
        held = gate.wait_for(1)
        assert held[0].method == 'DELETE' and not greenlet.dead
        greenlet.kill(block=False)
        gevent.sleep(0)
        gate.open()
        greenlet.join()
        assert not world.things


def test_after_a_failure_no_further_step_is_taken() -> None:
    """Each call raises the same error again; the block ends without committing, and raises nothing new."""
    with World() as world, ClientPool() as pool:
        with Saga(pool) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            with pytest.raises(SagaFailed) as first:
                saga.call(world.host, 'POST', '/fail', undo=None)
            assert not world.things
            for again in (saga.wait, lambda: saga.request(world.host, 'POST', '/b', undo=None), saga.abort):
                with pytest.raises(SagaFailed) as other:
                    again()
                assert other.value is first.value
        assert world.asked('POST') == ['/a', '/fail']


def test_several_failures_are_a_group() -> None:
    """`failed` has them in the order asked."""
    with World() as world, ClientPool(simultaneous=2) as pool:
        gate = world.gate
        gate.shut()

        def run() -> SagaFailed:
            with pytest.raises(SagaFailed) as failed, Saga(pool) as saga:
                saga.request(world.host, 'POST', '/fail/1', undo=None)
                saga.request(world.host, 'POST', '/fail/2', undo=None)
                saga.wait()
            return failed.value

        running = gevent.spawn(run)
        for request in sorted(gate.wait_for(2), key=lambda request: request.path, reverse=True):
            request.release()
        error = running.get()
        assert [one.request.url for one in error.failed] == ['/fail/1', '/fail/2']
        assert error.__cause__ is not None and list(error.__cause__.exceptions) == error.failed  # type: ignore[attr-defined]
        assert error.request.url == '/fail/1' and 'also failed' in str(error)


def test_abort_undoes_and_raises_also_where_another_greenlet_waits() -> None:
    """In the saga's own greenlet at once."""
    gate = Gate(opened=True)
    with World(gate) as world, ClientPool() as pool:
        with pytest.raises(SagaFailed, match='changed my mind') as failed, Saga(pool) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            saga.abort('changed my mind')
            raise AssertionError('not reached')
        assert not world.things and failed.value.failed == [] and failed.value.request is None
        gate.shut()

        def run() -> None:
            with Saga(pool) as saga:
                sagas.append(saga)
                saga.request(world.host, 'POST', '/b', undo=located)
                saga.wait()

        sagas: list[Saga] = []
        running = caught(run)
        gate.wait_for(1)
        sagas[0].abort('from outside')
        gate.open()
        assert isinstance(running.get(), SagaFailed) and 'from outside' in str(running.get())
        assert not world.things


def test_a_timeout_fails_the_saga() -> None:
    """With DeadlineExceeded where something was sent; what was in flight is unknown."""
    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed) as failed, Saga(pool, timeout=0.2) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            saga.call(world.host, 'POST', '/mute', undo=located)
        error = failed.value
        assert isinstance(error.__cause__, DeadlineExceeded) and not [p for p in world.things if 'mute' not in p]
        assert [step.request.url for step in error.unknown] == ['/mute']
        with pytest.raises(SagaFailed) as failed, Saga(pool, timeout=0.05) as saga:
            gevent.sleep(0.1)
        assert isinstance(failed.value.__cause__, QueueTimeout)


def test_an_undo_has_to_be_said() -> None:
    """A step without one is a TypeError, and nothing is sent."""
    with World() as world, ClientPool() as pool, Saga(pool) as saga:
        for ask in saga.request, saga.call:
            with pytest.raises(TypeError, match='undo'):
                ask(world.host, 'POST', '/a')  # type: ignore[call-arg]
        assert not world.requests and saga.stats()['steps'] == 0


def test_hooks_are_told_of_each_change_of_state() -> None:
    """What they raise changes nothing."""
    seen: list[tuple[str, str]] = []

    def on_step(step: Step) -> None:
        seen.append((step.request.url, step.state))
        raise ValueError('a fault of the hook')

    with World() as world, ClientPool() as pool:
        with pytest.raises(SagaFailed), Saga(pool, on_step=on_step) as saga:
            saga.call(world.host, 'POST', '/a', undo=located)
            saga.call(world.host, 'POST', '/fail', undo=None)
        assert [state for url, state in seen if url == '/a'] == ['running', 'done', 'undoing', 'undone']
        assert [state for url, state in seen if url == '/fail'] == ['running', 'failed']
        stats = saga.stats()
        assert stats['steps'] == 2 and stats['undone'] == 1 and stats['failed'] == 1


def test_bad_options_are_refused() -> None:
    """With an error that names them, before anything is sent."""
    with World() as world, ClientPool() as pool:
        for options in (
            {'undo_timeout': 0},
            {'timeout': 'soon'},
            {'undone_on': [99]},
            {'cancel_on_failure': 1},
            {'idempotency_header': 'no field'},
            {'on_step': 3},
        ):
            with pytest.raises(ValueError):
                Saga(pool, **options)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Saga('pool')  # type: ignore[arg-type]
        with Saga(pool) as saga:
            with pytest.raises(TypeError, match="Saga.request.*'idempotency'"):
                saga.request(world.host, 'POST', '/', undo=None, idempotenz=True)  # type: ignore[call-arg]
            with pytest.raises(ValueError, match='idempotency'):
                saga.request(world.host, 'POST', '/', undo=None, idempotency=1)  # type: ignore[arg-type]
            with pytest.raises(ValueError):
                saga.request(world.host, 'POST', 'no path', undo=None)
        assert not world.requests
