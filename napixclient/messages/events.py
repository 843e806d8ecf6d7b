"""Server-sent events (WHATWG HTML §9.2, text/event-stream), without I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import BodyTooLarge
from .headers import Headers

__all__ = ['MAX_EVENT', 'EventParser', 'ServerSentEvent', 'what_is_no_stream']

#: Bytes of a line, and of the data of an event, at most.
MAX_EVENT = 1 << 20
_split_lines = re.compile(rb'\r\n|\r|\n').split
#: Digits of ``retry`` beyond which it is not read any more: no pause is as long.
_DIGITS = 15


class ServerSentEvent(NamedTuple):
    """One event of a stream.

    ``event`` is its type, ``message`` where the server gives none; ``data`` its lines, joined by a newline; ``id`` the
    last event id that the server has given, with this event or before; ``retry`` the milliseconds that the server asks
    to wait before the next connection, ``None`` where this event says nothing of it.
    """

    event: str
    data: str
    id: str
    retry: int | None


class EventParser:
    """Parses one stream after the other; the last event id and the time to wait outlive them.

    :param last_id: the last event id.
    :param max_event: bytes of a line, and of the data of an event, at most.
    """

    def __init__(self, last_id: str, max_event: int) -> None:
        #: The last event id of all events so far.
        self.last_id: str = last_id
        #: Milliseconds to wait before the next connection, where the server has said so.
        self.retry: int | None = None
        self._max = max_event
        self.begin()

    def begin(self) -> None:
        """Expect another stream; what has come of an event is dropped."""
        self._at_start = True
        self._behind_cr = False  # a LF belongs to the line end before it
        self._begun: list[bytes] = []  # of a line whose end has not come
        self._begun_size = 0
        self._id = self.last_id
        self._clear()

    def _clear(self) -> None:
        self._type = ''
        self._data: list[str] = []
        self._data_size = 0
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Take bytes; return the events that they complete.

        :raises BodyTooLarge: for a line or an event that exceeds its bound.
        """
        if self._behind_cr and data:
            data, self._behind_cr = data.removeprefix(b'\n'), False
        if not data:
            return []
        self._behind_cr = data.endswith(b'\r')
        *lines, rest = _split_lines(data)
        if lines:
            lines[0] = b''.join([*self._begun, lines[0]])
            self._begun, self._begun_size = [], 0
        if rest:
            self._begun.append(rest)
            self._begun_size += len(rest)
            self._check_size(self._begun_size, 'a line of the events')
        return [event for line in lines if (event := self._take(line)) is not None]

    def _check_size(self, size: int, what: str) -> None:
        if size > self._max:
            raise BodyTooLarge(f'{what} is larger than {self._max} bytes (max_event)')

    def _take(self, line: bytes) -> ServerSentEvent | None:
        """Take a line; an empty one completes an event."""
        self._check_size(len(line), 'a line of the events')
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b'\xef\xbb\xbf')
        if not line:
            return self._complete()
        name, _, value = line.partition(b':')
        if name:  # else it is a comment
            self._take_field(name, value.removeprefix(b' '))
        return None

    def _take_field(self, name: bytes, value: bytes) -> None:
        text = value.decode('utf-8', 'replace')
        if name == b'data':
            self._data.append(text)
            self._data_size += len(value) + 1
            self._check_size(self._data_size, 'an event')
        elif name == b'event':
            self._type = text
        elif name == b'id':
            if '\0' not in text:
                self._id = text
        elif name == b'retry' and value.isdigit():  # of bytes: ASCII digits alone
            self.retry = self._retry = int(value[:_DIGITS])

    def _complete(self) -> ServerSentEvent | None:
        self.last_id = self._id
        event = None
        if self._data:
            event = ServerSentEvent(self._type or 'message', '\n'.join(self._data), self.last_id, self._retry)
        self._clear()
        return event


def what_is_no_stream(status: int, headers: Headers) -> str | None:
    """Why an answer is no stream of events; ``None`` where it is one."""
    if status != 200:
        return f'the status is {status}, and not 200'
    kind = headers.get('content-type', '')
    if kind.partition(';')[0].strip(' \t').lower() == 'text/event-stream':
        return None
    return f'its Content-Type is {kind!r}, and not text/event-stream' if kind else 'it has no Content-Type'
