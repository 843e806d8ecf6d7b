"""What those who watch a run are sent: the fields of its lines, of its server-sent events, of its WebSocket messages.

All read the results in sequence, at their own pace; none holds the run or another watcher back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from time import monotonic
from typing import Any, NamedTuple

import gevent

from ..messages import load_json
from .database import StoreError
from .following import Feed, Feeds, Watcher
from .segments import Form, written
from .sender import Sender
from .websocket import LINGER_SECONDS, Gone, GuardedSocket, Violation, frame

__all__ = ['EVENTS', 'FRAMES', 'LINES', 'Heartbeat', 'body', 'page', 'socket_session', 'stream_session']

#: Characters of a message of a client's: the only one that is known is short, and a long one takes long to be decoded.
LONGEST_MESSAGE = 4096
#: Bytes of results that are read at once for who only wants those that there are.
PAGE_BYTES = 256 << 10
LATER = 'the service ends, or its store fails: more results come later'


class Heartbeat(NamedTuple):
    """Seconds between two pings, and of silence after which a peer is taken for gone."""

    every: float = 20.0
    silence: float = 40.0


def _nothing(progress: str) -> bytes:
    return b''


def _line(seq: int, line: str) -> bytes:
    return line.encode('ascii') + b'\n'


def _event(seq: int, line: str) -> bytes:
    return f'id: {seq}\nevent: result\ndata: {line}\n\n'.encode('ascii')


def _progress_event(progress: str) -> bytes:
    return f'event: progress\ndata: {progress}\n\n'.encode('ascii')


def _end_event(progress: str) -> bytes:
    return f'event: end\ndata: {progress}\n\n'.encode('ascii')


def _message(seq: int, line: str) -> bytes:
    return frame(1, f'{{"type":"result","result":{line}}}'.encode('ascii'))


def _progress_message(progress: str) -> bytes:
    return frame(1, f'{{"type":"progress",{progress[1:]}'.encode('ascii'))


def _chunk(data: bytes) -> bytes:
    """RFC 9112 §7.1."""
    return b'%x\r\n%b\r\n' % (len(data), data)


#: NDJSON. While there is no result, now and then a blank is sent before the next line, which JSON allows.
LINES = Form('lines', b'', _line, _nothing, _nothing, b' ')
#: Server-sent events (HTML §9.2), each with its number in the sequence as its id.
EVENTS = Form('events', b'retry: 1000\n\n', _event, _progress_event, _end_event, b': still here\n\n')
#: Messages of a WebSocket; pings are sent apart.
FRAMES = Form('frames', b'', _message, _progress_message, _progress_message, b'')


# Lines and events -----------------------------------------------------------------------------------------------------


def page(feeds: Feeds, id: str, seq: int, form: Form = LINES) -> Iterator[bytes]:
    """The results that there are, a piece at a time, while all others have their turn."""
    with feeds.watching(id, 'reading') as feed:
        if form.head:
            yield form.head
        while (reached := feed.gather(seq, feed.committed(), PAGE_BYTES))[0]:
            first, (found, seq) = seq, reached
            yield written(form, found, first, seq)
            gevent.sleep(0)


def stream_session(feeds: Feeds, id: str, seq: int, form: Form, every: float) -> Callable[[Sender, bool], bool]:
    """Sends the results until the run ends; returns whether it came to its end.

    :param every: seconds after which something is sent, so that who has left is found out.
    """

    def session(sender: Sender, chunked: bool) -> bool:
        with feeds.watching(id, form.name) as feed:
            watcher = Watcher(feed, seq, form._replace(wrap=_chunk) if chunked else form, sender)
            try:
                for data in watcher.pieces(every, _total(feed, form)):
                    sender.send(data)
            except StoreError:
                return False
            return not feed.broken

    return session


def body(feeds: Feeds, id: str, seq: int, form: Form, every: float) -> Iterator[bytes]:
    """The same for a server that iterates a body.

    :raises GreenletExit: when the service ends, or its store fails, before the run does: the answer then breaks off.
        It is an exception that no middleware takes for an error of the application's.
    """
    outlet = _Kept()
    with feeds.watching(id, form.name) as feed:
        if form is LINES and seq < _total(feed, form):
            yield form.idle  # the head is held back until there is something
        for data in Watcher(feed, seq, form, outlet).pieces(every, _total(feed, form)):
            yield outlet.take() + data
        if feed.broken:
            raise gevent.GreenletExit(LATER)


def _total(feed: Feed, form: Form) -> float:
    """How many results there will be, for lines: a blank belongs to the line after it."""
    return feed.total if form.name == LINES.name else inf


class _Kept:
    """Sends nothing by itself."""

    def __init__(self) -> None:
        self._data = b''

    def send_now(self, data: bytes) -> bool:
        """Keep it."""
        self._data += data
        return False

    def take(self) -> bytes:
        """What was kept."""
        data, self._data = self._data, b''
        return data


# WebSocket ------------------------------------------------------------------------------------------------------------


def socket_session(feeds: Feeds, id: str, seq: int, heartbeat: Heartbeat) -> Callable[[GuardedSocket], None]:
    """What is run on a WebSocket: one greenlet writes, one reads, and both are gone when it returns."""

    def session(websocket: GuardedSocket) -> None:
        with feeds.watching(id, 'websocket') as feed:
            writer: Any = gevent.spawn(_write, websocket, Watcher(feed, seq, FRAMES, websocket), feed)
            reader: Any = gevent.spawn(_read, websocket, lambda: feeds.runs.cancel(id))
            try:
                _beat(websocket, [reader, writer], heartbeat)
                if writer.ready():
                    reader.join(LINGER_SECONDS)  # for the peer's Close
            except Gone:
                pass
            finally:
                gevent.killall([reader, writer])

    return session


def _beat(websocket: GuardedSocket, greenlets: list[Any], heartbeat: Heartbeat) -> None:
    """Ping the peer until one of them has ended, or the peer is silent for too long."""
    ping_at = monotonic() + heartbeat.every
    while True:
        seconds = min(ping_at, websocket.heard + heartbeat.silence) - monotonic()
        if gevent.wait(greenlets, max(seconds, 0), count=1):
            return
        if monotonic() >= websocket.heard + heartbeat.silence:
            return
        if monotonic() >= ping_at:
            ping_at = monotonic() + heartbeat.every
            websocket.ping()


def _write(websocket: GuardedSocket, watcher: Watcher, feed: Feed) -> None:
    try:
        for data in watcher.pieces():
            websocket.send_frames(data)
        if feed.broken:
            websocket.close(1001, LATER)
        else:
            websocket.close(1000)
    except Gone:
        websocket.gone = True
    except StoreError:
        websocket.close(1001, LATER)


def _read(websocket: GuardedSocket, cancel: Callable[[], object]) -> None:
    try:
        while (message := websocket.receive()) is not None:
            if _is_cancel(message):
                cancel()
        websocket.close(1000 if websocket.code in (None, 1005) else websocket.code)
    except Violation as exc:
        websocket.close(exc.code, exc.reason)
        websocket.drain()


def _is_cancel(message: str | bytes) -> bool:
    """:raises Violation: for what nobody understands."""
    if isinstance(message, bytes):
        raise Violation(1003, 'texts only')
    try:
        document = load_json(message) if len(message) <= LONGEST_MESSAGE else None
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get('type') != 'cancel':
        raise Violation(1008, 'the only message known is {"type": "cancel"}')
    return True
