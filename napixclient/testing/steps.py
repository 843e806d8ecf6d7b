"""The steps of scripts: what a server does on one connection."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from gevent.event import Event

__all__ = [
    'ANSWER',
    'CLOSE',
    'Drip',
    'FIN',
    'Forever',
    'LATER',
    'Pause',
    'READ',
    'RST',
    'SILENCE',
    'Script',
    'Step',
    'Wait',
    'checked',
]


class Step(enum.Enum):
    """A step without arguments: :data:`READ`, :data:`ANSWER` and so on."""

    READ = 'Read one whole request, and add it to the ``requests`` of the server.'
    ANSWER = 'Answer the request that was read last, as the server usually does.'
    CLOSE = 'Close the connection, over TLS with a goodbye. It ends the script.'
    RST = 'Reset the connection. It ends the script.'
    FIN = 'Send no more (over TLS without a goodbye), but go on reading.'
    LATER = 'Wait until the test calls ``server.later.set()``.'
    SILENCE = 'Send nothing until the client is gone. It ends the script.'

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __repr__(self) -> str:
        return self.name


READ, ANSWER, CLOSE, RST, FIN, LATER, SILENCE = Step


class Wait(NamedTuple):
    """Wait until the test sets an event."""

    event: Event


class Pause(NamedTuple):
    """Do nothing for so many seconds."""

    seconds: float


class Drip(NamedTuple):
    """Send bytes one by one, so many seconds apart."""

    data: bytes
    every: float


class Forever(NamedTuple):
    """Send the same bytes again and again until the client is gone."""

    data: bytes


Script = Iterable[bytes | Step | Wait | Pause | Drip | Forever]


def checked(script: Script) -> Script:
    """Check a script, and return its steps.

    :raises TypeError: if it is not a list of steps.
    """
    if isinstance(script, (bytes, str, Step, Wait, Pause, Drip, Forever)):
        raise TypeError(f'a script is a list of steps, such as [READ, CLOSE], not {script!r}')
    steps = list(script)
    for step in steps:
        if not isinstance(step, (bytes, Step, Wait, Pause, Drip, Forever)):
            raise TypeError(f'a step of a script is bytes, READ, Pause(seconds) or the like, not {step!r}')
    return steps
