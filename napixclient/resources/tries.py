"""Tries one request on one host after another, and sends it to a second host if the first is slow."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from .._http.pending import NEVER, timeout_of
from ..errors import Cancelled, HTTPError
from ..messages import IDEMPOTENT, Request
from .deadline import Deadline
from .errors import NoHostAvailable
from .flight import Flight, is_failure
from .hedging import Hedging
from .landing import Landing
from .replica import Replica
from .resource import Response
from .sharing import Share

__all__ = ['Tries']


class Tries:
    """The tries of one ``unicast``.

    :param request: the request, for any host.
    :param hosts: the hosts that it may go to.
    :param attempts: tries, the first one included; a hedge does not count.
    :param quantile: the quantile of recent latencies after which the request is hedged, or ``None``.
    :param pick: chooses one of several hosts, or raises :class:`NoHostAvailable`.
    :param send: sends a request to a host.
    """

    def __init__(
        self,
        request: Request,
        deadline: Deadline,
        hosts: list[str],
        attempts: int,
        quantile: float | None,
        hedging: Hedging,
        pick: Callable[[list[str]], Replica],
        send: Callable[[Replica, Request, Deadline], Flight | Share],
    ) -> None:
        self._request = request
        self._deadline = deadline
        self._left = hosts
        self._attempts = attempts
        self._hedging = hedging
        self._pick = pick
        self._send = send
        self._landing = Landing()
        self._tried = False  # whether it was given to a host at all
        self._slow: Flight | Share | None = None  # the flight that was too slow, if a hedge was sent
        self._outcome: Response | HTTPError | None = None
        self._unprocessed = True  # whether that is known of all tries that failed
        self._idempotent = request.method in IDEMPOTENT
        self._delay = hedging.delay(quantile) if quantile is not None and self._idempotent else None
        self._hedge_at = NEVER
        self._cutoff = NEVER  # for flights without a clock of their own

    def run(self) -> Response:
        """Go on until a host answers without failing, or nothing is left to try.

        :raises HTTPError: when no host answered.
        """
        try:
            self._try(self._pick(self._left))
            outcome = self._follow()
        except BaseException:
            self._landing.leave()
            raise
        finally:
            self._hedging.leave(self)
        self._landing.leave(self._slow)
        if isinstance(outcome, HTTPError):
            outcome.unprocessed = self._unprocessed and outcome.unprocessed
            raise outcome.with_traceback(None)
        return outcome

    def _follow(self) -> Response | HTTPError:
        """Wait for the flights, and send the request once more if that may help."""
        landing = self._landing
        while True:
            until = min(self._hedge_at, self._cutoff)
            flight = landing.wait(None if until == NEVER else until)
            if flight is None:
                if monotonic() >= self._cutoff:
                    return self._better(timeout_of(landing.flights[0].pending, 'total'))
                self._hedge(landing.flights[0])
                continue
            flight.account()
            failed = flight.pending.exception
            self._unprocessed = self._unprocessed and failed is not None and failed.unprocessed
            outcome = self._outcome = self._better(flight.outcome)
            if not is_failure(outcome) or not (landing.flights or self._try_again(flight)):
                return outcome

    def _better(self, outcome: Response | HTTPError) -> Response | HTTPError:
        """Of two failures, the one with an answer, which says more; else the later one."""
        before = self._outcome
        return before if isinstance(before, Response) and isinstance(outcome, HTTPError) else outcome

    def _try(self, replica: Replica) -> None:
        """Send the request to a host, which is not asked again."""
        first, self._tried = not self._tried, True
        request = self._request.replace(host=replica.host, timeout=self._deadline.for_one(first))
        self._left = [host for host in self._left if host != replica.host]
        flight = self._send(replica, request, self._deadline)
        self._landing.add(flight)
        if flight.shared:
            self._cutoff = self._deadline.at
        if self._delay is not None and self._left and self._slow is None:
            self._hedge_at = monotonic() + self._delay

    def _try_again(self, failed: Flight | Share) -> bool:
        """Try another host after a failure, if one is left and the request may be sent once more."""
        self._attempts -= 1
        error = failed.pending.exception
        # An authenticator that failed, or a caller that closed everything, is no fault of this host.
        if self._attempts < 1 or type(error) is HTTPError or isinstance(error, Cancelled):
            return False
        if not self._left or self._deadline.left <= 0 or not (self._idempotent or not failed.sent):
            return False
        try:
            self._try(self._pick(self._left))
        except NoHostAvailable:
            return False
        return True

    def _hedge(self, slow: Flight | Share) -> None:
        """Send the request to a second host if the budget allows it; else look again after a while."""
        assert self._delay is not None
        try:
            replica = self._pick(self._left)
        except NoHostAvailable:
            self._hedge_at = NEVER
            self._hedging.leave(self)
            return
        if self._hedging.spend(self):
            self._slow, self._hedge_at = slow, NEVER
            self._try(replica)
        else:
            self._hedge_at = monotonic() + self._delay
