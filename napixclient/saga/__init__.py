"""Steps on many servers that are undone when a later one fails, whatever crashes.

saga          a saga, and the parts of one
block         what both have in common: steps, waits, how they end
scope         the scope of a failure: steps that are done together or undone together
options       the options of sagas and steps
core          what the blocks of one saga share
steps         a step, as its caller holds it
runner        sends steps in their turn, and settles their outcomes
arrivals      outcomes, told of at once
resolving     makes the requests that undo a step
lanes         whose turn it is
judging       what an outcome says about its step
fan_out       steps to replicas: all at once, or batch by batch
compensation  undoes steps
recovery      undoes what a journal tells of, after a crash
shield        waits that nothing interrupts
undos         what undoes a step
templates     what stands for parts of an answer
idempotency   keys by which servers know a request again
journal       the file
history       what a journal tells
lines         how it is written
records       requests without secrets
errors        SagaFailed, and what is wrong with a journal

A part is loaded on first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._lazy import lazy

if TYPE_CHECKING:
    from .errors import JournalError, JournalLocked, JournalUnfinished, SagaFailed
    from .options import SagaStats, StepOptions
    from .recovery import Report
    from .saga import Saga, SubSaga
    from .steps import Step

__all__ = [
    'JournalError',
    'JournalLocked',
    'JournalUnfinished',
    'Report',
    'Saga',
    'SagaFailed',
    'SagaStats',
    'Step',
    'StepOptions',
    'SubSaga',
]

_HOMES = {
    'Report': 'recovery',
    'Saga': 'saga',
    'SagaStats': 'options',
    'Step': 'steps',
    'StepOptions': 'options',
    'SubSaga': 'saga',
}

__getattr__: Callable[[str], object]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, __all__, _HOMES, 'errors')
