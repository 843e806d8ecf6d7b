"""What follows a streamed answer, as those know it who ask for it: protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from ..errors import HTTPError
from ..messages import Headers, Request

__all__ = ['Continuing', 'Fields', 'Follower', 'Streamed']

#: Header fields instead of the request's own of these names; ``None`` for none.
Fields = Mapping[str, str | bytes | None]


class Streamed(Protocol):
    """An answer that is read in pieces."""

    status: int

    @property
    def request(self) -> Request:
        """What was asked."""

    @property
    def headers(self) -> Headers:
        """The header fields."""

    @property
    def coded(self) -> bool:
        """Whether the body is in a content coding that is not undone."""

    def iter_bytes(self) -> Iterator[bytes]:
        """The body as it arrives."""

    def close(self) -> None:
        """Give the slot back, and end what follows."""

    def release(self) -> None:
        """Give the slot back; what follows this answer goes on."""

    def on_collected(self) -> None:
        """Nobody reads it any more; called in whatever greenlet or thread."""

    def break_off(self, error: Exception) -> None:
        """Abort the body with an error."""


class Follower(Protocol):
    """Reads an answer, and those that follow it."""

    def close(self) -> None:
        """End it: its reader gets Cancelled."""

    def break_off(self, error: HTTPError) -> None:
        """End it, from whatever greenlet: its reader gets the error."""


class Continuing(Protocol):
    """Asks once more what a streamed answer was asked with."""

    @property
    def max_body(self) -> int | None:
        """The bound of a body, in bytes."""

    def ask(self, fields: Fields, after: HTTPError | None, seconds: float) -> Streamed:
        """Ask, and wait for the answer.

        :param after: what broke the answer before, if that is why: then its retries say whether, and when.
        :param seconds: to wait first, otherwise.
        :raises HTTPError: that, where it may not be tried again, or what came of asking.
        """

    def stop(self, error: HTTPError) -> None:
        """End what is being asked, or what is waited for before it is."""
