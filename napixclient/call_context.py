"""The call context: the ids, the servers passed and the deadline that each call hands on along a chain of servers.

While a middleware serves a request, the :class:`CallContext` of the request is in a context variable, and every call
made meanwhile carries it on in its propagated fields. A call outside any request begins a trace of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic
from typing import NamedTuple

__all__ = [
    'CallContext',
    'current',
    'current_span',
    'extract',
    'is_id',
    'prepare_fields',
    'prepared_fields',
    'propagated_fields',
]

#: Servers that a call may pass; one more is taken for a loop.
MAX_VIA = 8

# W3C Trace Context §3.2.2; a version above 00 may carry more fields behind.
_FLAGS = 0x03  # sampled, random; unknown ones are not passed on (§3.2.2.5)
_traceparent = re.compile(r'([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?').fullmatch
# No comma: two values of a field come as one with a comma in it.
is_id: Callable[[str], re.Match[str] | None] = re.compile(r'[A-Za-z0-9._~:+/=@-]{1,128}').fullmatch
_is_tracestate = re.compile(r'[ -~]{1,512}').fullmatch


class CallContext(NamedTuple):
    """What a call hands on, read from the request that is being served.

    :param trace_id: 32 hex digits, the same along the chain (W3C Trace Context).
    :param parent_id: 16 hex digits, the caller's own part in it; ``None`` when the trace begins here.
    :param flags: the two hex digits of the caller's ``traceparent``, of which the bits are kept that mean something.
    :param tracestate: the caller's, or ``None``.
    :param request_id: the value of ``X-Request-ID``, the same along the chain.
    :param via: ids of the servers passed, the one that serves it now last.
    :param deadline: of ``time.monotonic()``, when its caller has left; infinite where that is not known.
    """

    trace_id: str
    parent_id: str | None
    flags: str
    tracestate: str | None
    request_id: str
    via: tuple[str, ...]
    deadline: float

    @property
    def remaining(self) -> float:
        """Seconds until the caller has left."""
        return self.deadline - monotonic()

    def without_deadline(self) -> CallContext:
        """The same call context for a call that other callers may wait for longer than this one."""
        return self._replace(deadline=float('inf'))


#: The call context of the request that is being served; ``None`` outside any.
current: ContextVar[CallContext | None] = ContextVar('napixclient_call_context', default=None)
#: The ``traceparent`` and the ``tracestate`` of the span that a call is, in the context of that call.
current_span: ContextVar[tuple[str, str] | None] = ContextVar('napixclient_span', default=None)


def extract(header: Callable[[str], str | None], server_id: str) -> tuple[CallContext, bool]:
    """The call context of an incoming request, and whether the request loops: it was here, or at too many servers.

    :param header: gives the value of a field by its name, ``None`` where the request has none.
    :param server_id: the id of the server that serves it.
    """
    trace = _traceparent(header('traceparent') or '')
    if (
        trace is None
        or trace[1] == 'ff'
        or (trace[1] == '00' and trace[5])
        or not (trace[2].strip('0') and trace[3].strip('0'))
    ):
        trace = None
    state = header('tracestate') if trace is not None else None
    request_id = header('X-Request-ID')
    passed = tuple(one for part in (header('X-Napix-Via') or '').split(',') if is_id(one := part.strip()))[
        : MAX_VIA + 1
    ]
    new = _random()
    call_context = CallContext(
        trace[2] if trace else new,
        trace[3] if trace else None,
        f'{int(trace[4], 16) & _FLAGS:02x}' if trace else '00',
        state if state and _is_tracestate(state) else None,
        request_id if request_id and is_id(request_id) else trace[2] if trace else new,
        (*passed, server_id),
        _deadline(header('X-Napix-Timeout')),
    )
    return call_context, server_id in passed or len(passed) > MAX_VIA


def _deadline(value: str | None) -> float:
    """What ``X-Napix-Timeout`` says, whole milliseconds; nonsense is ignored."""
    text = (value or '').strip()
    if not re.fullmatch(r'-?[0-9]{1,12}', text):
        return float('inf')
    return monotonic() + int(text) / 1000


def propagated_fields(
    call_context: CallContext | None, before: str | None, deadline: float, span: tuple[str, str] | None = None
) -> str:
    """The fields that carry the call context in one attempt, as they are written.

    :param call_context: of the request that is being served, if any.
    :param before: those of the attempt before, whose ids are kept; each attempt has a parent id of its own.
    :param deadline: of ``time.monotonic()``, when the call ends; infinite where it has no end.
    :param span: ``traceparent`` and ``tracestate`` of the span that the call is, where calls are spans.
    """
    state: str | None = None
    if span is not None:
        parent, state = span
    elif call_context is not None:
        parent, state = f'00-{call_context.trace_id}-{_random()[:16]}-{call_context.flags}', call_context.tracestate
    else:
        parent = f'00-{before[_TRACE_ID] if before else _random()}-{_random()[:16]}-00'
    fields = _FIELDS % (parent, parent[3:35] if call_context is None else call_context.request_id)
    if state and _is_tracestate(state):
        fields += f'\r\ntracestate: {state}'
    if call_context is not None:
        fields += f'\r\nX-Napix-Via: {",".join(call_context.via)}'
    if deadline != float('inf'):
        fields += f'\r\nX-Napix-Timeout: {max(int((deadline - monotonic()) * 1000), 0)}'
    return fields


_FIELDS = '\r\ntraceparent: %s\r\nX-Request-ID: %s'
_TRACE_ID = slice(18, 50)

#: Fields for calls that begin a trace and have no deadline, by far the most frequent: many are made at a time.
prepared_fields: list[str] = []
_SPREAD = [f'{number:04x}' for number in range(0, 65536, 64)]


def prepare_fields() -> str:
    """Fill ``prepared_fields`` and return one of them.

    Of each id 16 bits differ from those made with it, the highest of the lower half, by which tracers sample.
    """
    drawn = os.urandom(20).hex()
    first, last, parent = drawn[:16], drawn[16:28], drawn[28:]
    head, between, rest = f'\r\ntraceparent: 00-{first}', f'{last}-', f'{parent}-00\r\nX-Request-ID: {first}'
    made = [f'{head}{part}{between}{part}{rest}{part}{last}' for part in _SPREAD]
    prepared_fields.extend(made[1:])  # of which another thread may take all at once
    return made[0]


def _random() -> str:
    return os.urandom(16).hex()


os.register_at_fork(after_in_child=prepared_fields.clear)  # what is left is the parent's
