"""Outcomes as they travel back from a worker, and as their callers get them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgpack

from .. import errors
from ..errors import HTTPError, RemoteError
from ..messages import Request, Response, error_of, is_coded, read_later
from ..peer import AnyPeer, Peer, Route

__all__ = ['BEGAN', 'OUTCOME', 'REFUSED', 'UNSURE', 'pack_outcome', 'packed', 'response_of', 'restored', 'unpacked']

#: What a worker says: a batch has begun; a batch that was delivered once more was not; a batch is refused; an outcome.
BEGAN, UNSURE, REFUSED, OUTCOME = range(4)
#: The errors that travel by their names.
_KINDS: dict[str, type[HTTPError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, HTTPError) and name in errors.__all__
}


class AskedResponse(Response):
    """An answer that a worker got."""

    __slots__ = ('answering_url', 'worker')
    answering_url: str | None  # what answered, where it is not the request's own URL

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self.request.full_url if self.answering_url is None else self.answering_url


def pack_outcome(number: int, outcome: Response | HTTPError) -> list[Any]:
    """An outcome as an entry of a message."""
    if isinstance(outcome, Response):
        return [OUTCOME, number, None, _packed(outcome)]
    response = outcome.response
    # The text of an answer is made of the answer, when somebody asks.
    message = None if type(outcome) is RemoteError and response is not None else outcome.message
    kind = type(outcome).__name__
    while kind not in _KINDS:
        kind = next(base.__name__ for base in type(outcome).__mro__ if base.__name__ in _KINDS)
    error = [kind, message, outcome.phase, outcome.elapsed, outcome.attempts, outcome.route, outcome.unprocessed]
    return [OUTCOME, number, error, None if response is None else _packed(response)]


def _packed(response: Response) -> list[Any]:
    trailers, coded = getattr(response, 'trailer_block', b''), is_coded(response)
    return [
        *(response.status, response.head, response.data, response.elapsed, response.attempts, response.route),
        *((coded, trailers) if trailers else (True,) if coded else ()),
    ]


def packed(worker: str, entries: list[list[object]]) -> bytes:
    """What a worker says in one message."""
    data: bytes = msgpack.packb([worker, entries], use_bin_type=True)
    return data


def unpacked(data: bytes) -> tuple[str, tuple[tuple[Any, ...], ...]]:
    """Who says it, and what.

    :raises ValueError: for what makes no sense.
    """
    try:
        worker, entries = msgpack.unpackb(data, raw=False, use_list=False)
    except (TypeError, msgpack.UnpackException) as exc:
        raise ValueError(f'a reply makes no sense: {exc}') from exc
    return worker, entries


def response_of(packed: tuple[Any, ...], request: Request, worker: str, url: str | None = None) -> AskedResponse:
    """The answer that was packed.

    :param url: what answered, where it is not the request's own URL.
    """
    status, head, data, elapsed, attempts, route, *rare = packed
    response = AskedResponse(request, status, head, data, elapsed, attempts)
    response.worker, response.answering_url, response.route = worker, url, _route(route)
    if rare and rare[0]:
        response.keep_coded()
    if len(rare) > 1:
        response.trailer_block = rare[1]
    return response


def restored(
    error: tuple[Any, ...] | None, response: AskedResponse | None, request: Request, worker: str
) -> Response | HTTPError:
    """The outcome that was packed, of the caller's own request."""
    if error is None:
        assert response is not None
        return response
    kind, message, phase, elapsed, attempts, route, unprocessed = error
    made: HTTPError
    if message is None and response is not None:
        made = error_of(response)
    else:
        made = _KINDS.get(kind, HTTPError)(
            message or '', request=request, response=response, phase=phase, elapsed=elapsed
        )
        if response is not None:
            read_later(made)
    made.request, made.phase, made.elapsed, made.attempts, made.worker = request, phase, elapsed, attempts, worker
    made.route, made.unprocessed = _route(route), unprocessed
    return made


@lru_cache(4096)
def _route(packed: tuple[Any, ...] | None) -> Route | None:
    """The route that was packed: named tuples travel as tuples. The answers of an origin share theirs."""
    return None if packed is None else Route(_peer(packed[0]), tuple(map(_peer, packed[1])))


def _peer(packed: str | tuple[Any, ...]) -> AnyPeer:
    return packed if isinstance(packed, str) else Peer(*packed)
