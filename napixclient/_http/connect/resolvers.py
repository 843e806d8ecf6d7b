"""Our own resolvers, c-ares on the loop and ``getaddrinfo`` in a thread; a new one goes here, with or without TTLs.

c-ares comes with gevent. A channel of it is retired soon, because it caches an empty answer for an hour, never reads
resolv.conf again, does not survive a fork, and has one port and one buffer for all look-ups that are under way.
"""

from __future__ import annotations

import _socket
import os
import re
from collections.abc import Callable, Iterable
from functools import cache, partial
from time import monotonic
from types import BuiltinFunctionType
from typing import Any

from gevent import socket
from gevent.hub import Hub, get_hub
from gevent.monkey import get_original

from ...errors import NameResolutionError
from .happy_eyeballs import Found
from .nss import Watch
from .threads import Threads

__all__ = ['Done', 'Lookups', 'cares', 'encoded', 'lookups']

#: Told of the end of a look-up: what was found, or why nothing was.
Done = Callable[['list[Found]', 'BaseException | None'], object]

#: A channel serves so many names, and so many seconds. Much less, and a first server that is silent costs each anew.
CHANNEL_NAMES = 100
CHANNEL_SECONDS = 30.0
_has_control = re.compile(r'[\x00-\x20\x7f]').search
#: Most names; all others are looked at more closely.
_is_plain = re.compile(r'[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*').fullmatch


@cache
def cares() -> Any:
    """The class of c-ares's channels; ``None`` where gevent was built without it. Loaded when a name is looked up."""
    try:
        from gevent.resolver.cares import channel
    except ImportError:  # pragma: no cover
        return None
    return channel


def encoded(name: str) -> bytes:
    """Encode a name for a resolver, in ASCII.

    :raises ValueError: for a blank or a control character in it.
    :raises NameResolutionError: for what cannot be a name (RFC 1035 §2.3.4).
    """
    if len(name) < 254 and _is_plain(name):
        return name.encode('ascii')
    if _has_control(name):
        raise ValueError(f'a name has no blanks and no control characters: {name!r}')
    try:
        raw = name.encode('ascii')
        if b':' in raw:  # an address with the scope of its link
            return raw
        if raw == b'.' or not all(0 < len(label) < 64 for label in raw.removesuffix(b'.').split(b'.')):
            raise UnicodeError('a label, what is between two dots, has 1 to 63 bytes')
        if len(raw.removesuffix(b'.')) > 253:
            raise UnicodeError('it has more than 253 bytes')
        return raw
    except UnicodeEncodeError:
        try:
            return encoded(name.encode('idna').decode())
        except UnicodeError as exc:
            why = exc
    except UnicodeError as exc:
        why = exc
    raise NameResolutionError(f'cannot resolve {name}: not a name: {why}', phase='connect')


def _listed(found: Iterable[Any]) -> list[Found]:
    return list(found)


def _family_turn(found: Found) -> bool:
    return bool(found[0] != socket.AF_INET6)


class Lookups:
    """The look-ups of one hub."""

    def __init__(self, hub: Hub) -> None:
        self.threads = Threads(hub)
        self.hub = hub
        self._watch = Watch()
        self._channel: _Channel | None = None
        self._channels: set[_Channel] = set()  # those with look-ups under way, and that one
        self._judged: tuple[object, object] | None = None
        self._replaced = False
        self._closer: Any = None

    def start(self, host: str, port: int, done: Done) -> bool:
        """Ask DNS on the loop, where it has the last word of a name; false where it has not: ``find`` knows.

        :param done: called in a later turn of the loop; a failure is mostly ``gaierror``, of c-ares's numbers.
        :raises OSError: when the process may open no more files.
        :raises NameResolutionError: for what cannot be a name.
        """
        name = encoded(host)
        if (
            cares() is None
            or type(_socket.getaddrinfo) is not BuiltinFunctionType
            or self._is_replaced()
            or self._watch.rules().need_system(name.decode(), os.environ)
        ):
            return False
        self._ask_dns(name, port, done)
        return True

    def find(self, host: str, port: int) -> list[Found]:
        """What the system's ``getaddrinfo`` says of a name, or what has replaced it; blocks the calling greenlet.

        :raises OSError: when it is not found, or nobody answers: mostly ``gaierror``.
        :raises NameResolutionError: for what cannot be a name.
        """
        name = encoded(host)
        if self._is_replaced():
            return _listed(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        return _listed(self.threads.call(_socket.getaddrinfo, name, port, 0, socket.SOCK_STREAM))

    def _is_replaced(self) -> bool:
        """Whether somebody has replaced gevent's resolver: then theirs is asked."""
        asked = socket.getaddrinfo, type(self.hub.resolver)
        if asked != self._judged:
            self._judged = asked
            self._replaced = not all(str(getattr(one, '__module__', '')).startswith('gevent.') for one in asked)
        return self._replaced

    def _ask_dns(self, name: bytes, port: int, done: Done) -> None:
        channel = self._channel
        if channel is None or channel.version != self._watch.version or monotonic() >= channel.expires:
            self._retire()
            channel = self._open()
        channel.ask(name, partial(self._answered, channel, port, done))
        channel.busy += 1
        channel.left -= 1
        if not channel.left:
            self._channel = None

    def _answered(self, channel: _Channel, port: int, done: Done, result: Any) -> None:
        """By c-ares, which nothing may be asked of here: all else is for the loop's next turn."""
        if not channel.left_to_parent:
            self.hub.loop.run_callback(self._end, channel, port, done, result)

    def _end(self, channel: _Channel, port: int, done: Done, result: Any) -> None:
        channel.busy -= 1
        self._close(channel)
        # gevent has IPv4 first, the C library IPv6 (RFC 6724 §2.1); where there is none, that fails at once.
        found: list[Found] = [
            (family, kind, protocol, '', (address[0], port, *address[2:]))
            for family, kind, protocol, _, address in sorted(result.value or (), key=_family_turn)
        ]
        failure = result.exception
        if not found and failure is None:
            failure = socket.gaierror(socket.EAI_NODATA, 'No address associated with hostname')
        done(found, failure)

    def _open(self) -> _Channel:
        os.close(os.open(os.devnull, os.O_RDONLY))  # without descriptors it would ask servers nobody has named
        channel = self._channel = _Channel(self._new_channel(), self._watch.version)
        self._channels.add(channel)
        if self._closer is None:
            self._closer = self.hub.loop.timer(CHANNEL_SECONDS, CHANNEL_SECONDS, ref=False)
        self._closer.again(self._retire, update=True)  # start() would not start one anew that has fired
        return channel

    def _new_channel(self) -> Any:
        return cares()(self.hub.loop)  # not by a resolver of gevent's, whose settings are not for us

    def _retire(self) -> None:
        """Give the channel up; it is closed with its last look-up."""
        channel, self._channel = self._channel, None
        if channel is not None:
            self._close(channel)

    def _close(self, channel: _Channel) -> None:
        if channel is not self._channel and not channel.busy and channel in self._channels:
            self._channels.discard(channel)
            channel.close()
            if self._channel is None:
                self._closer.stop()

    def leave_to_parent(self) -> None:
        """In the child of a fork: the channels are the parent's, whose answers they would take."""
        self.threads.leave_to_parent()
        for channel in self._channels:
            channel.left_to_parent = True
            self.hub.loop.run_callback(channel.close)
        if self._closer is not None:
            self._closer.stop()


class _Channel:
    """One of c-ares's, and what it may still do."""

    __slots__ = ('_channel', 'busy', 'expires', 'left', 'left_to_parent', 'version')

    def __init__(self, channel: Any, version: int) -> None:
        self._channel = channel
        self.version = version  # of the system's files
        self.expires = monotonic() + CHANNEL_SECONDS
        self.left = CHANNEL_NAMES
        self.busy = 0
        self.left_to_parent = False

    def ask(self, name: bytes, done: Callable[[Any], object]) -> None:
        """Look a name up, without a port: c-ares would read the system's list of services for it."""
        self._channel.getaddrinfo(done, name, None, 0, socket.SOCK_STREAM, 0, 0)

    def close(self) -> None:
        """Give back its sockets; look-ups that are under way fail."""
        self._channel.destroy()


# Of a native thread, also in a process that gevent has patched: a thread has one hub.
_thread: Any = get_original('threading', 'local')()


def lookups() -> Lookups:
    """Those of this thread's hub."""
    hub = get_hub()
    found: Lookups | None = getattr(_thread, 'lookups', None)
    if found is None or found.hub is not hub:
        found = _thread.lookups = Lookups(hub)
    return found


def _after_fork() -> None:
    found: Lookups | None = getattr(_thread, 'lookups', None)
    _thread.lookups = None
    if found is not None:
        found.leave_to_parent()


os.register_at_fork(after_in_child=_after_fork)
