"""Streamed answers, read at the other side of the border: pulled piece by piece, so that nobody reads ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..errors import Cancelled, HTTPError
from ..masking import mask
from .ports import Port, Pull

__all__ = ['Pieces', 'Pulled']


class Pieces:
    """What has arrived of a body and was not read. The side that reads is the only one that uses it."""

    __slots__ = ('_rest', 'ended', 'error')

    def __init__(self) -> None:
        self._rest: deque[bytes | memoryview] = deque()
        #: Whether nothing more comes.
        self.ended: bool = False
        #: Why nothing more comes, where it broke off.
        self.error: HTTPError | None = None

    @property
    def over(self) -> bool:
        """Whether nothing is left to read."""
        return self.ended and (self.error is not None or not self._rest)

    def put(self, piece: bytes | HTTPError) -> None:
        """Something has come: ``b''`` is the end."""
        if self.ended:
            return  # it was broken off meanwhile
        if isinstance(piece, HTTPError):
            self.break_off(piece)
        elif piece:
            self._rest.append(piece)
        else:
            self.ended = True

    def break_off(self, error: HTTPError) -> None:
        """Nothing more is to be read; a body that was read to its end is not concerned."""
        if not self.ended or self._rest:
            self._rest.clear()
            self.ended, self.error = True, self.error or error

    def has_some(self) -> bool:
        """Whether there is something to read; false where more must be pulled first.

        :raises HTTPError: when it broke off.
        """
        if self._rest:
            return True
        if self.error is not None:
            raise self.error.with_traceback(None)
        return False

    def take(self, most: int = -1) -> bytes:
        """The first piece, or the first bytes of it."""
        piece = self._rest.popleft()
        if 0 < most < len(piece):
            piece = memoryview(piece)  # its rest is not copied each time
            self._rest.appendleft(piece[most:])
            piece = piece[:most]
        return bytes(piece)

    def take_cut(self, cut: Callable[[bytes | memoryview], list[bytes]]) -> bytes:
        """The first piece, up to the first of the places at which ``cut`` cuts it."""
        parts = cut(self._rest[0])
        if len(parts) > 1:
            self._rest.popleft()
            self._rest.extendleft(reversed(parts))
        return self.take()

    def put_back(self, parts: Sequence[bytes | memoryview]) -> None:
        """Who reads on reads these first."""
        if self.error is None:
            self._rest.extendleft(reversed(parts))


T = TypeVar('T')


class Pulled(Pull, Generic[T]):
    """One thing, such as a piece of a body, that a greenlet of the hub waits for.

    :param wait: gives it.
    :param arrived: called with it at the destination, or with the error where there is none.
    """

    __slots__ = ('_arrived', '_port', '_wait')

    def __init__(self, port: Port, wait: Callable[[], T], arrived: Callable[[T | HTTPError], object]) -> None:
        self._port = port
        self._wait = wait
        self._arrived = arrived

    def run(self) -> None:
        """Wait for it."""
        try:
            found: T | HTTPError = self._wait()
        except HTTPError as error:
            found = error
        except Exception as exc:
            found = HTTPError(f'the body could not be read: {type(exc).__name__}: {mask(str(exc))}')
            found.__cause__ = exc
        self._port.post(lambda: self._arrived(found))

    def refuse(self) -> None:
        """The hub has ended."""
        self._port.post(lambda: self._arrived(Cancelled('the pool is closed')))
