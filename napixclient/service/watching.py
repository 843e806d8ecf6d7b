"""A run, watched: as lines, as events, over a WebSocket.

All read the results in sequence, at their own pace; none holds the run or another watcher back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, NamedTuple

import gevent

from ..messages import load_json
from .following import Follower
from .runs import Runs
from .segments import Segment
from .websocket import LINGER_SECONDS, Gone, GuardedSocket, Violation, frame

__all__ = ['Heartbeat', 'events', 'lines', 'socket_session']

#: Seconds between two messages of progress, at least.
PROGRESS_SECONDS = 0.25
#: Seconds between two messages while a run is under way: its own requests come before those who watch.
BREATH_SECONDS = 0.05
#: Characters of a message of a client's: the only one that is known is short, and a long one takes long to be decoded.
LONGEST_MESSAGE = 4096


class Heartbeat(NamedTuple):
    """Seconds between two pings, and of silence after which a peer is taken for gone."""

    every: float = 20.0
    silence: float = 40.0


class _Progress:
    """Tells how a run stands, when that has changed, and not too often."""

    def __init__(self, runs: Runs, id: str) -> None:
        self._runs = runs
        self._id = id
        self._next = 0.0
        self._last = ''

    def due(self, last: bool = False) -> str | None:
        """What to tell now, if anything."""
        if not last and monotonic() < self._next:
            return None
        self._next = monotonic() + PROGRESS_SECONDS
        document = self._runs.document(self._id)
        if document is None:
            return None
        text = json.dumps(
            {name: document[name] for name in ('state', 'reason', 'counts', 'latency', 'results', 'finished')},
            separators=(',', ':'),
        )
        if text == self._last and not last:
            return None
        self._last = text
        return text


# Lines ----------------------------------------------------------------------------------------------------------------


def lines(runs: Runs, id: str, seq: int, follow: bool, every: float) -> Iterator[bytes]:
    """The results as NDJSON; those that are there, or all until the run ends.

    While there is none, now and then a blank is sent before the next line, which JSON allows: so the head of the answer
    is not held back, and who has left is found out.

    :param every: seconds after which something is sent, if only a blank.
    :raises GreenletExit: when the service ends, or its store fails, before the run does: the answer then breaks off.
        It is an exception that no middleware takes for an error of the application's.
    """
    with runs.metrics.watching('lines' if follow else 'reading'):
        yield from _lines(runs, id, seq, follow, every)


def _lines(runs: Runs, id: str, seq: int, follow: bool, every: float) -> Iterator[bytes]:
    follower = Follower(runs, id, seq)
    document = runs.document(id)
    total = 0 if document is None else document['counts']['total']
    blank_at = 0.0
    while True:
        segment = follower.take()
        if segment is not None:
            blank_at = monotonic() + every
            yield _made(segment, 'lines', _as_lines)
        elif follower.over or not follow:
            if follower.broken and follow:
                if not blank_at:
                    yield b' '  # so that it is an answer which breaks off, and no error of ours
                raise gevent.GreenletExit('the service ends, or its store fails: more results come later')
            return
        elif monotonic() >= blank_at and follower.seq < total:  # so that a line must follow
            blank_at = monotonic() + every
            yield b' '
        else:
            follower.wait(every)


def _made(segment: Segment, how: str, make: Callable[[Segment], bytes]) -> bytes:
    """What is sent of a segment; all who watch send the same."""
    made = segment.made.get(how)
    if made is None:
        made = segment.made[how] = make(segment)
    return made


def _as_lines(segment: Segment) -> bytes:
    return ('\n'.join(segment.lines) + '\n').encode('ascii')


# Events ---------------------------------------------------------------------------------------------------------------


def events(runs: Runs, id: str, seq: int, every: float) -> Iterator[bytes]:
    """The results as server-sent events (HTML §9.2), each with its place in the sequence as its id.

    :param every: seconds after which something is sent, if only a comment.
    """
    with runs.metrics.watching('events'):
        yield from _events(runs, id, seq, every)


def _events(runs: Runs, id: str, seq: int, every: float) -> Iterator[bytes]:
    follower = Follower(runs, id, seq)
    progress = _Progress(runs, id)
    comment_at = monotonic() + every
    yield b'retry: 1000\n\n'
    while True:
        segment = follower.take()
        if segment is not None:
            yield _made(segment, 'events', _as_events)
        elif follower.over:
            break
        told = progress.due()
        if told is not None:
            yield f'event: progress\ndata: {told}\n\n'.encode('ascii')
        if segment is not None or told is not None:
            comment_at = monotonic() + every
            continue
        if monotonic() >= comment_at:
            comment_at = monotonic() + every
            yield b': still here\n\n'
        follower.wait(PROGRESS_SECONDS)
    if not follower.broken:
        yield f'event: end\ndata: {progress.due(last=True)}\n\n'.encode('ascii')


def _as_events(segment: Segment) -> bytes:
    return ''.join(
        f'id: {seq}\nevent: result\ndata: {line}\n\n' for seq, line in enumerate(segment.lines, segment.first)
    ).encode('ascii')


# WebSocket ------------------------------------------------------------------------------------------------------------


def socket_session(runs: Runs, id: str, seq: int, heartbeat: Heartbeat) -> Callable[[GuardedSocket], None]:
    """What is run on a WebSocket: one greenlet writes, one reads, and both are gone when it returns."""

    def session(websocket: GuardedSocket) -> None:
        writer: Any = gevent.spawn(_write, websocket, runs, id, seq, heartbeat)
        reader: Any = gevent.spawn(_read, websocket, runs, id)
        with runs.metrics.watching('websocket'):
            try:
                gevent.wait([reader, writer], count=1)
                if writer.ready():
                    reader.join(LINGER_SECONDS)  # for the peer's Close
            finally:
                gevent.killall([reader, writer])

    return session


def _write(websocket: GuardedSocket, runs: Runs, id: str, seq: int, heartbeat: Heartbeat) -> None:
    follower = Follower(runs, id, seq)
    progress = _Progress(runs, id)
    ping_at = monotonic() + heartbeat.every
    try:
        while True:
            segment = follower.take()
            if segment is not None:
                websocket.send_frames(_made(segment, 'frames', _as_frames))
                gevent.sleep(BREATH_SECONDS if follower.live else 0)
            told = progress.due(last=follower.over)
            if told is not None:
                websocket.send_frames(_message('progress', told))
            if follower.over:
                break
            now = monotonic()
            if now - websocket.heard > heartbeat.silence:
                return
            if now >= ping_at:
                ping_at = now + heartbeat.every
                websocket.ping()
            if segment is None:
                follower.wait(min(ping_at - now, PROGRESS_SECONDS))
        if follower.broken:
            websocket.close(1001, 'the service ends, or its store fails: more results come later')
        else:
            websocket.close(1000)
    except Gone:
        websocket.gone = True


def _read(websocket: GuardedSocket, runs: Runs, id: str) -> None:
    try:
        while (message := websocket.receive()) is not None:
            if _is_cancel(message):
                runs.cancel(id)
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


def _as_frames(segment: Segment) -> bytes:
    return b''.join(_message('result', line) for line in segment.lines)


def _message(kind: str, text: str) -> bytes:
    if kind == 'progress':
        return frame(1, f'{{"type":"progress",{text[1:]}'.encode('ascii'))
    return frame(1, f'{{"type":"result","result":{text}}}'.encode('ascii'))
