"""Outcomes as they travel back from a worker, and as their callers get them.

Most are answers of a few servers: those of one message share heads and routes, each of which is packed once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import msgpack

from .. import errors
from ..errors import HTTPError, RemoteError
from ..messages import Request, Response, error_of, is_coded, new_response, read_later
from ..peer import AnyPeer, Peer, Route

__all__ = [
    'BEGAN',
    'HAS',
    'OUTCOME',
    'REFUSED',
    'UNSURE',
    'AskedResponse',
    'Word',
    'Said',
    'pack_outcome',
    'packed',
    'response_of',
    'restored',
    'unpacked',
]

#: What a worker says: a batch has begun; a batch that was delivered once more was not; a batch is refused; an outcome
#: that is no plain answer; which batches of the run it has, to one who asks by an empty batch.
BEGAN, UNSURE, REFUSED, OUTCOME, HAS = range(5)
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


#: What a worker says of a request or of a lot; an answer as it is, until the message is packed.
Word = list[Any] | tuple[int, Response]


class Said(NamedTuple):
    """One message of a worker.

    :param heads: the heads of the answers.
    :param routes: their routes.
    :param answers: the number of each request, the status, the place of the head, the body, the seconds, the attempts
        and the place of the route.
    :param words: all else.
    """

    worker: str
    heads: tuple[bytes, ...]
    routes: tuple[Route | None, ...]
    answers: tuple[tuple[int, int, int, bytes, float, int, int], ...]
    words: tuple[tuple[Any, ...], ...]


def pack_outcome(number: int, outcome: Response | HTTPError) -> Word:
    """An outcome as an entry of a message."""
    if isinstance(outcome, Response):
        if is_coded(outcome) or hasattr(outcome, 'trailer_block'):
            return [OUTCOME, number, None, _packed(outcome)]
        return number, outcome
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


def packed(worker: str, words: list[Word]) -> bytes:
    """What a worker says in one message."""
    heads: dict[bytes, int] = {}
    routes: dict[int, int] = {}  # by their identity: the answers of a connection have one route
    known: list[Route | None] = []
    answers, others = [], []
    for word in words:
        if isinstance(word, list):
            others.append(word)
            continue
        number, answer = word
        head, route = answer.head, answer.route
        place = routes.get(id(route))
        if place is None:
            place = routes[id(route)] = len(known)
            known.append(route)
        at = heads.setdefault(head, len(heads))
        answers.append((number, answer.status, at, answer.payload, answer.elapsed, answer.attempts, place))
    data: bytes = msgpack.packb([worker, list(heads), known, answers, others], use_bin_type=True)
    return data


def unpacked(data: bytes) -> Said:
    """Who says it, and what.

    :raises ValueError: for what makes no sense.
    """
    try:
        worker, heads, routes, answers, words = msgpack.unpackb(data, raw=False, use_list=False)
        return Said(worker, heads, tuple(map(_route, routes)), answers, words)
    except (TypeError, ValueError, msgpack.UnpackException) as exc:
        raise ValueError(f'a reply makes no sense: {exc}') from exc


def response_of(packed: tuple[Any, ...], request: Request, worker: str) -> AskedResponse:
    """The answer that was packed on its own."""
    status, head, data, elapsed, attempts, route, *rare = packed
    response: AskedResponse = new_response(request, status, head, data, elapsed, _route(route), AskedResponse)
    response.attempts, response.worker, response.answering_url = attempts, worker, None
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
