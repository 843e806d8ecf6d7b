"""The states of a connection, and what leads from one to the next.

=========  =======================================================================================
idle       it is free
reserved   its next request is with an authenticator that may block
sending    part of a request is still to go out
expecting  the head is out, and the body waits for the server's 100 (RFC 9110 §10.1.1)
reading    the request is out
streaming  the head of the answer was handed out, its body is being read
duplex     the same, while part of the request is still to go out
refused    the same, and the body of the request stays where it is: the server did not want it
closed     the end
=========  =======================================================================================
"""

from __future__ import annotations

from typing import Literal

from ...errors import Phase

__all__ = ['PHASES', 'TRANSITIONS', 'Event', 'State', 'may']

State = Literal['idle', 'reserved', 'sending', 'expecting', 'reading', 'streaming', 'duplex', 'refused', 'closed']
Event = Literal['reserve', 'release', 'start', 'block', 'hold', 'agree', 'sent', 'head', 'end', 'close']

#: What the phase of a failure is called in each.
PHASES: dict[State, Phase] = {
    'idle': 'read',
    'reserved': 'authenticate',
    'sending': 'send',
    'expecting': 'expect',
    'reading': 'read',
    'streaming': 'read',
    'duplex': 'send',
    'refused': 'expect',
    'closed': 'read',
}

TRANSITIONS: dict[tuple[State, Event], State] = {
    ('idle', 'reserve'): 'reserved',
    ('reserved', 'release'): 'idle',
    # The head goes out at once, and with it a small body.
    ('idle', 'start'): 'reading',
    # It does not go out at once, or its body is large.
    ('reading', 'block'): 'sending',
    # The body waits for a 100.
    ('reading', 'hold'): 'expecting',
    ('sending', 'hold'): 'expecting',
    ('expecting', 'agree'): 'sending',
    ('sending', 'sent'): 'reading',
    ('duplex', 'sent'): 'streaming',
    # The head of an answer that is handed out in pieces.
    ('reading', 'head'): 'streaming',
    ('sending', 'head'): 'duplex',
    ('expecting', 'head'): 'refused',
    # The answer is whole, and the whole request is out: else the connection cannot go on.
    ('reading', 'end'): 'idle',
    ('streaming', 'end'): 'idle',
    **{
        (state, 'close'): 'closed'
        for state in ('idle', 'reserved', 'sending', 'expecting', 'reading', 'streaming', 'duplex', 'refused')
    },
}


def may(event: Event) -> frozenset[State]:
    """The states in which something can happen."""
    return frozenset(state for state, what in TRANSITIONS if what == event)
