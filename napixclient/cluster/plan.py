"""What all requests of a pool have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..authenticators.travelling import Description
from ..messages import Headers, Request
from .broker import Broker
from .keys import Keyring
from .lanes import Zone

__all__ = ['LONGEST_SECONDS', 'Plan', 'total_of']

#: Seconds of a request without a timeout: the broker takes a delivery back after half an hour.
LONGEST_SECONDS = 25 * 60.0


class Plan(NamedTuple):
    """What all requests of a pool have in common.

    :param signer: what signs the requests.
    :param defaults: a request that carries the pool's own options.
    :param headers: fields for each request that does not set them.
    :param fence: of a run that outlives its process: how many had it before this one. ``None`` for any other.
    """

    broker: Broker
    keys: Keyring
    zone: Zone
    run: str
    cap: int
    signer: Description | None
    batch: int
    window: int
    defaults: Request
    headers: Headers
    fence: int | None = None

    @property
    def total(self) -> float:
        """Seconds that a request has unless it says otherwise."""
        return total_of(self.defaults.timeout, LONGEST_SECONDS)


def total_of(timeout: Any, default: float) -> float:
    """The seconds in all that a timeout says, and never more than the broker has patience for."""
    total = timeout if timeout is None or isinstance(timeout, (int, float)) else timeout.total
    return min(total, LONGEST_SECONDS) if isinstance(total, (int, float)) else default
