"""Calls as spans of OpenTelemetry, where the program has loaded ``opentelemetry``. Nothing of it is imported here.

Samplers and processors of spans are not ours: what they raise is logged, and they never run in the hub.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from time import time_ns
from types import ModuleType
from typing import Any

from greenlet import greenlet

from ._log import log
from ._version import __version__
from .call_context import CallContext
from .errors import HTTPError
from .masking import mask
from .messages import Origin, Request, Response

__all__ = ['OuterSpan', 'Span', 'Tracing', 'tracing']

#: Methods that a span names; others are ``_OTHER``.
_METHODS = frozenset(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH', 'CONNECT', 'QUERY'])


@lru_cache(maxsize=1)
def tracing() -> Tracing | None:
    """What makes spans, ``None`` where OpenTelemetry is not installed."""
    try:
        return None if find_spec('opentelemetry') is None else Tracing()
    except Exception as exc:  # half an installation
        log.debug('no spans: %s: %s', type(exc).__name__, exc)
        return None


class Span:
    """The span of one call.

    :param api: the module ``opentelemetry.trace``.
    :param span: what OpenTelemetry made.
    :raises Exception: whatever a span that is none raises.
    """

    def __init__(self, api: ModuleType, span: Any) -> None:
        self._api: Any = api
        self._span = span
        made = span.get_span_context()
        #: Whether anybody can refer to it.
        self.is_valid: bool = made.is_valid
        #: The ``traceparent`` and the ``tracestate`` of the call.
        self.fields: tuple[str, str] = (
            f'00-{made.trace_id:032x}-{made.span_id:016x}-{made.trace_flags:02x}',
            made.trace_state.to_header(),
        )

    def end(self, outcome: Response | HTTPError) -> None:
        """End it, as its call has ended."""
        # In a greenlet, for a processor may block; at once, so that the span has ended when its caller goes on.
        greenlet(self._end).switch(outcome, time_ns())

    def _end(self, outcome: Response | HTTPError, when: int) -> None:
        span = self._span
        try:
            if outcome.status is not None:
                span.set_attribute('http.response.status_code', outcome.status)
            if outcome.attempts > 1:
                span.set_attribute('http.request.resend_count', outcome.attempts - 1)
            for name, value in _peer_attributes(outcome):
                span.set_attribute(name, value)
            if isinstance(outcome, HTTPError):
                span.set_attribute('error.type', str(outcome.status or type(outcome).__name__))
                span.set_status(self._api.StatusCode.ERROR, '' if outcome.status else outcome.message)
            span.end(when)
        except Exception as exc:
            log.warning('a span was lost: %s', mask(f'{type(exc).__name__}: {exc}'))


def _peer_attributes(outcome: Response | HTTPError) -> Iterator[tuple[str, str | int]]:
    """What there is to say of the other end of the connection."""
    peer = outcome.peer
    if isinstance(peer, str):
        yield 'network.transport', 'unix'
        yield 'network.peer.address', peer
    elif peer is not None:
        yield 'network.peer.address', peer.address
        yield 'network.peer.port', peer.port


class OuterSpan:
    """A span around several calls, which are its children while it is the current one.

    :param api: the module ``opentelemetry.trace``.
    :raises Exception: whatever a span that is none raises.
    """

    def __init__(self, api: ModuleType, span: Any) -> None:
        self._api: Any = api
        self._span = span
        self._contexts: Any = import_module('opentelemetry.context')
        self._token = self._contexts.attach(self._api.set_span_in_context(span))

    def end(self, attributes: Mapping[str, str | int], error: str | None) -> None:
        """End it, in the context that it was begun in.

        :param error: what failed, ``None`` where nothing did.
        """
        try:
            self._contexts.detach(self._token)
            for name, value in attributes.items():
                self._span.set_attribute(name, value)
            if error is not None:
                self._span.set_status(self._api.StatusCode.ERROR, error)
            self._span.end()
        except Exception as exc:
            log.warning('a span was lost: %s', mask(f'{type(exc).__name__}: {exc}'))


class Tracing:
    """Makes a span of each call where there is a provider; where there is the API alone, nobody wants spans.

    Names and attributes are those of the semantic conventions for HTTP client spans.
    """

    def __init__(self) -> None:
        self._api: Any = None
        self._tracer: Any = None

    def begin(self, request: Request, origin: Origin, call_context: CallContext | None) -> Span | None:
        """Make a span of the call: a child of the span it is made in, or of the caller's own.

        :return: the span, which is to be ended with the outcome; ``None`` where there is none.
        """
        api = self._provided()
        if api is None:
            return None
        try:
            span = Span(api, self._start(request, origin, call_context))
        except Exception as exc:
            log.warning('no span: %s', mask(f'{type(exc).__name__}: {exc}'))
            return None
        return span if span.is_valid else None

    def begin_outer(self, name: str) -> OuterSpan | None:
        """Make a span around the calls that are made until it is ended; ``None`` where nobody wants spans."""
        api = self._provided()
        if api is None:
            return None
        try:
            return OuterSpan(api, self._tracer.start_span(name, kind=api.SpanKind.INTERNAL))
        except Exception as exc:
            log.warning('no span: %s', mask(f'{type(exc).__name__}: {exc}'))
            return None

    def _provided(self) -> Any:
        """The module ``opentelemetry.trace``, where somebody has set a provider; the tracer is there then."""
        api: Any = sys.modules.get('opentelemetry.trace')  # which whoever set a provider has loaded
        # What the function below looks at, in a tenth of a request's time.
        if getattr(api, '_TRACER_PROVIDER', api) is None:
            return None
        try:
            if self._tracer is None:
                self._api, self._tracer = api, api.get_tracer('napixclient', __version__)
            return None if isinstance(api.get_tracer_provider(), api.ProxyTracerProvider) else api
        except Exception as exc:
            log.warning('no span: %s', mask(f'{type(exc).__name__}: {exc}'))
            return None

    def _start(self, request: Request, origin: Origin, call_context: CallContext | None) -> Any:
        method = request.method if request.method in _METHODS else '_OTHER'
        attributes: dict[str, str | int] = {
            'http.request.method': method,
            'server.address': origin.host,
            'url.full': mask(request.full_url),
        }
        if origin.socket_path is None:
            attributes['server.port'] = origin.port
        if method == '_OTHER':
            attributes['http.request.method_original'] = request.method
        return self._tracer.start_span(
            'HTTP' if method == '_OTHER' else method, self._parent(call_context), self._api.SpanKind.CLIENT, attributes
        )

    def _parent(self, call_context: CallContext | None) -> Any:
        """The context of the span's parent; ``None`` is the current one."""
        api = self._api
        if call_context is None or call_context.parent_id is None or api.get_current_span().get_span_context().is_valid:
            return None
        remote = api.SpanContext(
            int(call_context.trace_id, 16),
            int(call_context.parent_id, 16),
            True,
            api.TraceFlags(int(call_context.flags, 16)),
            api.TraceState.from_header([call_context.tracestate or '']),
        )
        return api.set_span_in_context(api.NonRecordingSpan(remote))
