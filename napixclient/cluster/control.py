"""What is said to all workers at once, and what they say of themselves: remote control, as Celery has it.

It goes in plain, and nothing secret is part of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kombu.pidbox import Mailbox

from .broker import Broker, leave

__all__ = ['CANCEL', 'EXCHANGE', 'RECALL', 'WHO', 'mailbox', 'ranges_of', 'withdraw', 'workers']

#: The exchange of the cluster's remote control.
EXCHANGE = 'napix'
#: Drop requests, also those in flight; drop what is not sent, and say so.
CANCEL, RECALL = 'napix_cancel', 'napix_recall'
WHO = 'napix_who'
#: Seconds that workers have to answer.
ANSWER_SECONDS = 1.0


def mailbox(connection: Any) -> Any:
    """Where it is said, over this connection."""
    kombu: Any = Mailbox
    return kombu(EXCHANGE, type='fanout', accept=['json'], serializer='json')(connection)


def withdraw(broker: Broker, run: str, numbers: dict[str, list[int]]) -> None:
    """Have workers drop requests of a run.

    :param numbers: theirs, by ``CANCEL`` and ``RECALL``.
    :raises OSError, AMQPError: when the broker cannot be reached.
    """
    connection = broker.connect()
    try:
        said = mailbox(connection)
        for what, which in numbers.items():
            said._broadcast(what, {'run': run, 'ranges': ranges_of(which)}, reply=False)
    finally:
        leave(connection)


def workers(broker: Broker, zone: str | None = None, seconds: float = ANSWER_SECONDS) -> list[dict[str, Any]]:
    """What each worker says of itself.

    :raises OSError, AMQPError: when the broker cannot be reached.
    """
    connection = broker.connect()
    try:
        replies = mailbox(connection)._broadcast(WHO, {}, reply=True, timeout=seconds) or []
    finally:
        leave(connection)
    found = [one for reply in replies if isinstance(reply, dict) for one in reply.values() if isinstance(one, dict)]
    return [one for one in found if 'zone' in one and (zone is None or one['zone'] == zone)]


def ranges_of(numbers: Iterable[int]) -> list[list[int]]:
    """The numbers as ranges, both ends included."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
