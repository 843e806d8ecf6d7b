"""The span of a request: begun when it is asked for, ended by its outcome."""

from __future__ import annotations

import contextvars

from ..call_context import CallContext, current_span
from ..messages import Origin
from ..tracing import Tracing
from .pending import PendingResponse

__all__ = ['begin_span']


def begin_span(tracing: Tracing | None, pending: PendingResponse, origin: Origin, call: CallContext | None) -> None:
    """Have the context of the call carry the span of a request, where there is one."""
    # What was asked may stand for several alike: to look at one of them would make it.
    span = None if tracing is None else tracing.begin(pending.asked, origin, call)
    if span is not None:
        context = pending.context = pending.context or contextvars.copy_context()
        context.run(current_span.set, span.fields)
        pending.rawlink(lambda done: None if done.outcome is None else span.end(done.outcome))
