"""Server-sent events as their callers have them: one after the other, over as many connections as it takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import cast

from ..errors import (
    BodyTooLarge,
    Cancelled,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    InvalidResponse,
    ProtocolError,
    ReadTimeout,
    TLSError,
    TruncatedBody,
)
from ..messages import EventParser, Response, ServerSentEvent, what_is_no_stream
from .following import Continuing, Streamed

__all__ = ['EventStream']

#: Seconds to wait before the next connection, where the server says nothing …
_PAUSE = 3.0
#: … and at most, whatever it says.
_LONGEST = 21600.0
#: While it cannot be reached the pause doubles, from this if it is shorter, …
_SHORTEST = 0.1
#: … up to this.
_GROWN = 60.0


class EventStream:
    """The events of a streamed answer, and of those that are asked for when it has ended (WHATWG HTML §9.2.3).

    :param answer: the first one.
    :param continuation: asks for the next; ``None`` where the events end with the first.
    :param max_event: bytes of a line, and of the data of an event, at most.
    :param give_turn: called before each piece of an answer: thousands of its lines may make no event.
    :raises InvalidResponse: when the answer is no stream of events.
    """

    __slots__ = (
        '__weakref__',
        '_answer',
        '_continuation',
        '_due',
        '_ended',
        '_error',
        '_events',
        '_failures',
        '_give_turn',
        '_parser',
    )

    def __init__(
        self, answer: Streamed, continuation: Continuing | None, max_event: int, give_turn: Callable[[], object]
    ) -> None:
        self._answer: Streamed | None = answer
        self._continuation = continuation
        self._give_turn = give_turn
        last_id = answer.request.headers.get('last-event-id', '').encode('latin-1').decode('utf-8', 'replace')
        self._parser = EventParser(last_id, max_event)
        self._events: deque[ServerSentEvent] = deque()
        self._failures = 0  # to reach the server, in a row
        self._due: float | None = None  # of monotonic(): when to connect, once that is known
        self._ended = False
        self._error: HTTPError | None = None  # with which it was ended
        self._check(answer)

    def __iter__(self) -> Iterator[ServerSentEvent]:
        return self

    def __next__(self) -> ServerSentEvent:
        """Who is interrupted meanwhile, as by a ``gevent.Timeout``, may ask again, and misses nothing."""
        try:
            while not self._events:
                if self._ended:
                    raise self._error or StopIteration
                if self._answer is not None:
                    self._read(self._answer)
                else:
                    self._connect()
        except HTTPError:
            self.close()
            self._error = None
            raise
        return self._events.popleft()

    def _read(self, answer: Streamed) -> None:
        self._give_turn()
        try:
            piece = next(answer.iter_bytes(), b'')
            self._events.extend(self._parser.feed(piece))
        except BodyTooLarge as error:
            error.request, error.response, error.phase = answer.request, cast(Response, answer), 'read'
            raise
        except HTTPError as error:
            if self._ended or self._continuation is None or not isinstance(error, (ReadTimeout, TruncatedBody)):
                raise
            piece = b''
        if not piece:
            self._answer = None  # it has given up its slot
            self._ended |= self._continuation is None

    def _connect(self) -> None:
        """Ask for the next stream."""
        assert self._continuation is not None
        parser = self._parser
        fields = {'Last-Event-ID': parser.last_id.encode() or None}
        now = monotonic()
        if self._due is None:  # who was interrupted does not begin the pause anew, which might never end
            self._due = now + self._pause()
        try:
            answer = self._continuation.ask(fields, None, max(self._due - now, 0.0))
        except HTTPError as error:
            if self._ended or not _may_pass(error):
                raise
            self._failures += 1
            self._due = None
            return
        self._failures, self._due = 0, None
        self._answer = answer
        parser.begin()
        if self._ended:  # meanwhile
            answer.close()
        else:
            self._check(answer)

    def _pause(self) -> float:
        """Seconds to wait before the next connection."""
        retry = self._parser.retry
        seconds = _PAUSE if retry is None else min(retry / 1000, _LONGEST)
        if not self._failures:
            return seconds
        return max(seconds, min(max(seconds, _SHORTEST) * 2.0 ** min(self._failures, 16), _GROWN))

    def _check(self, answer: Streamed) -> None:
        if answer.status == 204:  # the server wants no more connections
            self.close()
        elif what := what_is_no_stream(answer.status, answer.headers):
            self.close()
            raise InvalidResponse(
                f'the answer is no stream of events: {what}',
                request=answer.request,
                response=cast(Response, answer),
                phase='read',
            )

    # -- ends ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the slot back; may be repeated."""
        self._end()
        if self._answer is not None:
            self._answer.close()

    def break_off(self, error: HTTPError) -> None:
        """End it, from whatever greenlet: its reader gets the error."""
        self._end(error)
        if self._answer is not None:
            self._answer.break_off(error)

    def __del__(self) -> None:
        # Whoever left the loop may still hold the answer.
        answer = getattr(self, '_answer', None)
        if answer is not None:
            answer.on_collected()

    def _end(self, error: HTTPError | None = None) -> None:
        self._ended = True
        self._error = error
        self._events.clear()
        if self._continuation is not None:
            self._continuation.stop(error or Cancelled('the events were closed'))


def _may_pass(error: HTTPError) -> bool:
    """Whether a server may be reached later: it was the network that failed, not what somebody has answered."""
    if error.response is not None or isinstance(error, TLSError):
        return False
    return isinstance(error, (ConnectError, ConnectTimeout, ReadTimeout)) or type(error) is ProtocolError
