"""How much may be sent to one origin, and when: with a clock that stands still, and a loop that never runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from napixclient import Request, Response
from napixclient._http.throttle import SHORTEST_WAIT, Throttle
from napixclient.testing import FakeClock


class Timer:
    """A timer that the test rings."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.callback: Callable[[], None] | None = None
        self.closed = False

    def start(self, callback: Callable[[], None]) -> None:
        """Begin."""
        self.callback = callback

    def stop(self) -> None:
        """End."""
        self.callback = None

    def close(self) -> None:
        """Give it back."""
        self.closed = True


class Scene:
    """A throttle at 1000 s, with so many requests that wait and others that are promised."""

    def __init__(self, simultaneous: int | str = 4, rate: float | None = None) -> None:
        self.now = FakeClock(1000)
        self.timers: list[Timer] = []
        self.woken = 0
        self.promised = 0
        self.waiting = 1
        self.throttle = Throttle(
            simultaneous, rate, self, self.wake, lambda: self.waiting, lambda: self.promised, self.now
        )

    def timer(self, seconds: float) -> Timer:
        """As of a loop."""
        self.timers.append(Timer(seconds))
        return self.timers[-1]

    def wake(self) -> None:
        """More may be sent."""
        self.woken += 1

    def may_send(self) -> bool:
        """Whether one more may be sent."""
        return self.throttle.may_send()

    def send_all(self) -> int:
        """Send what may be sent now."""
        count = 0
        while self.may_send():
            self.throttle.sent()
            count += 1
        return count

    def ring(self) -> None:
        """Let the one timer that runs go off, at its time."""
        [timer] = [timer for timer in self.timers if not timer.closed]
        self.now.advance(timer.seconds)
        assert timer.callback is not None
        timer.callback()


def answer(status: int = 200, fields: str = '', elapsed: float = 0.1) -> Response:
    """An answer."""
    head = f'HTTP/1.1 {status} Reason\r\n{fields}'.rstrip('\r\n').encode()
    return Response(Request('server.example', 'GET', '/'), status, head, b'', elapsed)


def test_without_a_rate() -> None:
    """A fixed number and no rate: there is nothing to ask, to learn or to wait for."""
    scene = Scene(7)
    throttle = scene.throttle
    assert throttle.fixed and throttle.limit == 7 and throttle.at_rest and not throttle.paused
    assert all(scene.may_send() for _ in range(1000)) and not scene.timers
    for status in 200, 429, 503:
        assert throttle.learn(answer(status, 'Retry-After: 60'), lambda: True) == 7
    assert throttle.learn_of_timeout() == 7 and scene.may_send()


def test_a_rate() -> None:
    """One second's worth goes out at once; then a timer comes back for the next, one timer however often it is asked."""
    scene = Scene(rate=10)
    assert not scene.throttle.fixed and scene.throttle.at_rest
    assert scene.send_all() == 10 and not scene.throttle.at_rest
    assert not any(scene.may_send() for _ in range(5))
    [timer] = scene.timers
    assert timer.seconds == pytest.approx(0.1)
    scene.ring()
    assert scene.woken == 1 and timer.closed and scene.send_all() == 1
    scene.now.advance(60)
    assert scene.throttle.at_rest and scene.send_all() == 10


def test_nobody_is_woken_for_nothing() -> None:
    """Where nothing waits there is no timer."""
    scene = Scene(rate=10)
    scene.send_all()
    scene.throttle.silence()
    scene.waiting = 0
    assert not scene.may_send() and all(timer.closed for timer in scene.timers)


def test_a_timer_is_not_too_short() -> None:
    """Tokens that come in fast are taken together."""
    scene = Scene(rate=1e6)
    for _ in range(10**6):
        scene.throttle.sent()
    assert not scene.may_send() and scene.timers[0].seconds == SHORTEST_WAIT


def test_promises() -> None:
    """What has a token coming to it is counted, but does not forbid itself."""
    scene = Scene(rate=3)
    scene.promised = 2
    assert scene.may_send()
    scene.promised = 3
    assert not scene.may_send() and not scene.throttle.paused
    scene.throttle.silence()


def test_a_pause_that_was_asked_for() -> None:
    """After a 429 with Retry-After nothing goes out until then, not even what was promised; then slower."""
    scene = Scene(rate=10)
    scene.throttle.sent()
    scene.throttle.learn(answer(429, 'Retry-After: 5'), lambda: False)
    assert scene.throttle.paused and not scene.may_send()
    [timer] = scene.timers
    assert timer.seconds >= 5
    scene.ring()
    assert not scene.throttle.paused and scene.send_all() == 1
    scene.throttle.silence()


@pytest.mark.parametrize('fields', ['', 'Retry-After: soon', 'Retry-After: -1'])
def test_a_429_that_asks_for_nothing(fields: str) -> None:
    """Without a time that can be read, a 429 changes no rate."""
    scene = Scene(rate=10)
    scene.throttle.learn(answer(429, fields), lambda: False)
    assert not scene.throttle.paused and scene.send_all() == 10
    scene.throttle.silence()


def test_a_hold() -> None:
    """What is held goes out when the time is up, or more is known; without a rate as well."""
    scene = Scene()
    scene.throttle.hold(0.05)
    assert not scene.may_send() and not scene.throttle.paused
    assert scene.timers[0].seconds == pytest.approx(0.05)
    scene.ring()
    assert scene.woken == 1 and scene.may_send() and not scene.throttle.held_until
    scene.throttle.hold(-1)  # it has been long enough: a moment all the same, for who comes back
    assert not scene.may_send()
    scene.throttle.held_until = 0.0
    assert scene.may_send()
    scene.throttle.silence()


def test_a_hold_and_a_rate() -> None:
    """Whichever is longer."""
    scene = Scene(rate=1)
    scene.throttle.sent()
    scene.throttle.hold(0.05)
    assert not scene.may_send() and scene.timers[0].seconds == pytest.approx(1.0)
    scene.throttle.silence()


def test_silence() -> None:
    """The timer is given back; may be repeated."""
    scene = Scene(rate=1)
    scene.send_all()
    for _ in range(2):
        scene.throttle.silence()
    assert all(timer.closed and timer.callback is None for timer in scene.timers)


def test_an_adaptive_cap() -> None:
    """It grows while it is what binds, shrinks when the origin is overloaded or late, and is never below 1."""
    scene = Scene('auto')
    throttle = scene.throttle
    first = throttle.limit
    assert not throttle.fixed
    for _ in range(100):
        limit = throttle.learn(answer(), lambda: True)
    assert limit == throttle.cap.limit > first  # type: ignore[union-attr]
    shrunk = [throttle.learn(answer(503), lambda: True) for _ in range(100)]
    assert min(shrunk) >= 1 and shrunk[0] <= limit
    assert throttle.learn_of_timeout() >= 1
