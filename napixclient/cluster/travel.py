"""Requests as they travel to a worker: packed with msgpack, many together, before they are sealed.

What many of a batch have in common, but for their bodies and deadlines, is packed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic, time
from typing import Any, NamedTuple

import msgpack
from urllib3 import Retry
from urllib3 import Timeout as Timeouts

from ..authenticators.travelling import Description
from ..call_context import CallContext
from ..messages import NO_OPTIONS, Headers, Request, Source, plain_request

__all__ = ['Batch', 'Parcel', 'check', 'new_parcel', 'pack', 'unpack']

#: Seconds to the deadline from which on only the submitter keeps it: a clock costs the worker an eighth of its time.
FAR_SECONDS = 300.0
#: What a ``urllib3.Retry`` is made of.
_RETRY = (
    *('total', 'connect', 'read', 'redirect', 'status', 'other', 'allowed_methods', 'status_forcelist'),
    *('backoff_factor', 'backoff_max', 'backoff_jitter', 'raise_on_status', 'respect_retry_after_header'),
)
#: The field that goes with a body that was given as a mapping or a list.
_OF_JSON = Headers({'Content-Type': 'application/json'})


class Parcel(NamedTuple):
    """One request on its way.

    :param number: of this run; it is never given twice.
    :param deadline: of ``time.time()``, when nobody waits for the outcome any more.
    :param foreign: whether a redirect has led it to another origin, where credentials do not follow.
    """

    number: int
    request: Request
    deadline: float
    foreign: bool
    context: CallContext | None


def new_parcel(number: int, request: Request, deadline: float, foreign: bool, context: CallContext | None) -> Parcel:
    """``Parcel(…)``; a function, because to call a named tuple costs Python twice as much."""
    return _new_tuple(Parcel, (number, request, deadline, foreign, context))


_new_tuple = tuple.__new__


class Batch(NamedTuple):
    """What one message to a worker holds.

    :param cap: how many requests may be in flight to one origin, as the submitter has it.
    :param signer: what signs the requests.
    """

    cap: int
    signer: Description | None
    parcels: list[Parcel]

    @property
    def numbers(self) -> list[int]:
        """The numbers of all its requests."""
        return [parcel.number for parcel in self.parcels]


def check(request: Request) -> None:
    """:raises ValueError: for a request that cannot travel."""
    if isinstance(request.payload, Source):
        raise ValueError('a body from a file or an iterable cannot travel to a worker: give it as bytes')
    if request.options is NO_OPTIONS:
        return
    if request.stream:
        raise ValueError('stream=True: an answer that is read in pieces cannot travel from a worker')
    if request.retry_on is not None:
        raise ValueError('retry_on cannot travel to a worker: say by retries= which statuses are tried again')
    if request.retries is not None and type(request.retries) is not Retry:
        raise ValueError('retries that travel to a worker are a number or a urllib3.Retry, not a class of its own')


def pack(batch: Batch, defaults: Request, headers: Headers) -> bytes:
    """The batch in bytes.

    :param defaults: a request that carries the pool's own options.
    :param headers: fields for each request that does not set them.
    """
    kinds: list[list[Any]] = []
    shapes: dict[tuple[Any, ...], int] = {}
    requests: list[tuple[Any, ...]] = []
    plain, has_general = _kind(defaults, defaults, False, None), bool(headers)
    for number, request, deadline, foreign, context in batch.parcels:
        is_plain = request.options is NO_OPTIONS and not foreign and context is None
        kind = plain if is_plain else _kind(request, defaults, foreign, context)
        if not kinds or kinds[-1] != kind:
            kinds.append(kind)
        fields = _merged(request.headers, headers) if has_general else request.headers
        if request.payload is not None and isinstance(request.body, (Mapping, list)):
            fields = _merged(fields, _OF_JSON)  # what the bytes were made of does not travel
        shape = request.host, request.method, request.url, fields.block, len(kinds) - 1
        requests.append((number, shapes.setdefault(shape, len(shapes)), request.payload, deadline))
    data: bytes = msgpack.packb([batch.cap, batch.signer, kinds, list(shapes), requests], use_bin_type=True)
    return data


def unpack(data: bytes) -> Batch:
    """The batch that was packed. Each request has as its ``tag`` what signs it, and as its ``timeout`` what is left.

    :raises ValueError: for what is none.
    """
    try:
        cap, described, kinds, shapes, requests = msgpack.unpackb(data, raw=False)
        signer = None if described is None else (described[0], tuple(described[1]))
        options = [(_options(kind), kind[5], _context(kind[6])) for kind in kinds]
        tags = [None if kind[5] else signer for kind in kinds]
        now = time()
        far = now + FAR_SECONDS
        # What differs in nothing but its number is one request here.
        alike = [None if options[shape[4]][0] else _plain(shape, None, tags[shape[4]]) for shape in shapes]
        parcels = []
        for number, place, body, deadline in requests:
            shape = shapes[place]
            given, foreign, context = options[shape[4]]
            request = alike[place]
            if request is None or deadline <= far:
                request = _clocked(shape, body, tags[shape[4]], given, max(deadline - now, 0.001))
            elif body is not None:
                request = _plain(shape, body, tags[shape[4]])
            parcels.append(new_parcel(number, request, deadline, foreign, context))
        return Batch(cap, signer, parcels)
    except (TypeError, KeyError, IndexError, ValueError, msgpack.UnpackException) as exc:
        raise ValueError(f'a batch makes no sense: {exc}') from exc


def _plain(shape: list[Any], body: bytes | None, tag: Description | None) -> Request:
    host, method, url, block, _ = shape
    return plain_request(host, method, url, body, Headers.of_block(block) if block else None, tag)


def _clocked(
    shape: list[Any], body: bytes | None, tag: Description | None, given: dict[str, Any], left: float
) -> Request:
    host, method, url, block, _ = shape
    clocks = given.get('timeout')
    timeout = left if clocks is None else Timeouts(total=left, connect=clocks[0], read=clocks[1])
    headers = Headers.of_block(block) if block else None
    return Request(host, method, url, body, headers, **{**given, 'timeout': timeout, 'tag': tag})


# Options -------------------------------------------------------------------------------------------------------------


def _kind(request: Request, defaults: Request, foreign: bool, context: CallContext | None) -> list[Any]:
    """What many requests of a batch have in common."""
    own, general = request.options, defaults.options
    timeout = general.timeout if own.timeout is None else own.timeout
    clocks = [_seconds(timeout._connect), _seconds(timeout._read)] if isinstance(timeout, Timeouts) else None
    return [
        clocks,
        _retry(general.retries if own.retries is None else own.retries),
        general.max_body if own.max_body is None else own.max_body,
        own.expect,
        general.decode if own.decode is None else own.decode,
        foreign,
        None if context is None else [*context[:-1], context.deadline - monotonic()],
    ]


def _options(kind: list[Any]) -> dict[str, Any]:
    clocks, retry, max_body, expect, decode = kind[:5]
    options: dict[str, Any] = {'expect': True} if expect else {}
    if clocks is not None:
        options['timeout'] = _clock(clocks[0]), _clock(clocks[1])
    if retry is not None:
        options['retries'] = _retry_of(retry)
    if max_body is not None:
        options['max_body'] = max_body
    if decode is False:
        options['decode'] = decode
    return options


def _seconds(value: Any) -> Any:
    """One clock of a ``urllib3.Timeout``: a number, ``None`` for no bound, or ``False`` for the default."""
    return False if value is Timeouts.DEFAULT_TIMEOUT else value


def _clock(value: Any) -> Any:
    return Timeouts.DEFAULT_TIMEOUT if value is False else value


def _retry(retry: Retry | None) -> dict[str, Any] | None:
    if retry is None:
        return None
    values = {name: getattr(retry, name) for name in _RETRY}
    return {name: sorted(value) if isinstance(value, (set, frozenset)) else value for name, value in values.items()}


def _retry_of(values: dict[str, Any]) -> Retry:
    listed = ('allowed_methods', 'status_forcelist')
    given: dict[str, Any] = {
        name: frozenset(value) if name in listed and value else value for name, value in values.items()
    }
    return Retry(**given)


def _context(packed: list[Any] | None) -> CallContext | None:
    if packed is None:
        return None
    trace_id, parent_id, flags, state, request_id, via, left = packed
    return CallContext(trace_id, parent_id, flags, state, request_id, tuple(via), monotonic() + left)


def _merged(own: Headers, general: Headers) -> Headers:
    names = {name.lower() for name, _ in own.multi_items()}
    pairs: Iterable[tuple[str, str]] = [pair for pair in general.multi_items() if pair[0].lower() not in names]
    return Headers([*own.multi_items(), *pairs])
