"""What a saga is to do, how its servers fail, and where its process is killed; drawn by hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Plan = dict[str, Any]

#: What servers do with a step: `gateway` and `reset` after it was done, `lost` before; `mute` does it and is silent.
ENDS = ['ok'] * 8 + ['fail', 'gateway', 'reset', 'lost', 'mute']

steps = st.fixed_dictionaries(
    {
        'method': st.sampled_from(['PUT', 'POST']),
        'host': st.integers(0, 1),
        'undo': st.sampled_from(['data', 'data', 'template', 'template', 'callable', 'list', 'post']),
        'find': st.booleans(),
        'idempotency': st.booleans(),
        'end': st.sampled_from(ENDS),
        'undo_fails': st.sampled_from([0, 0, 0, 1, 2]),
    }
)
#: The n-th event of a kind that the servers see, and milliseconds after it.
points = st.tuples(
    st.sampled_from(['read', 'read', 'done', 'answered', 'undo', 'start']),
    st.integers(1, 12),
    st.sampled_from([0, 0, 0, 1, 5, 30]),
)
plans = st.fixed_dictionaries(
    {
        'waits': st.lists(st.lists(steps, min_size=1, max_size=5), min_size=1, max_size=4),
        'raises': st.sampled_from([False, False, True]),
        'cancel': st.booleans(),
        'point': points,
        #: And where the first recovery is killed, if anywhere.
        'again': st.one_of(st.none(), st.tuples(st.sampled_from(['read', 'undo']), st.integers(1, 4), st.just(0))),
    }
)


def numbered(plan: Plan) -> Plan:
    """The plan with a path for each step, by which the servers know it."""
    number = 0
    for wait in plan['waits']:
        for step in wait:
            step['path'] = f'/s{number}'
            number += 1
    return plan
