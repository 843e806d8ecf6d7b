"""Messages of a queue, and what is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from ..messages import split_reference
from .pending import asks

if TYPE_CHECKING:
    from .queue import Queue

__all__ = ['Message', 'MessageStatus']


class MessageStatus(Enum):
    """Whether somebody has claimed a message."""

    Free = 1
    Claimed = 2

    def __repr__(self) -> str:
        return f'<EnumValue: Message.{self.name} [value={self.value}]>'


class Message:
    """A message as the server told of it: a snapshot.

    ``id``; ``ttl``, the seconds that it lives; ``age`` in seconds; ``body``, what JSON can hold; ``claim_id``, the id
    of the claim that it was handed out with, or ``None``.
    """

    Free = MessageStatus.Free
    Claimed = MessageStatus.Claimed

    def __init__(self, queue: Queue, told: Mapping[str, Any], claim_id: str | None = None) -> None:
        href = split_reference(told.get('href', ''))
        # Version 1 tells the id in the address only; popped messages have no address.
        self.id: str = told.get('id') or href.path.rpartition('/')[2]
        self.ttl: int = told['ttl']
        self.age: int = told['age']
        self.body: Any = told['body']
        self.claim_id: str | None = claim_id or parse_qs(href.query or '').get('claim_id', [None])[0]
        #: Whether it was deleted by this object.
        self.deleted = False
        self._queue = queue
        self._client = queue._client

    @property
    def status(self) -> MessageStatus:
        """``Message.Claimed`` where the server said so, else ``Message.Free``.

        Version 1 says it of the messages of a claim only.
        """
        return MessageStatus.Free if self.claim_id is None else MessageStatus.Claimed

    def _delete(self, claim_id: str | None) -> None:
        claim = '' if claim_id is None else f'?claim_id={quote(claim_id, safe="")}'
        self._client._ask('DELETE', f'{self._queue._path}/messages/{quote(self.id, safe="")}{claim}')
        self.deleted = True

    @asks
    def delete(self) -> None:
        """Delete it, with the id of its claim; one that is gone already counts as deleted.

        :raises Forbidden: for a message that somebody has claimed, if this object does not know the claim.
        :raises MalformedRequest: when its claim is over, on the versions that check it.
        """
        self._delete(self.claim_id)

    def __repr__(self) -> str:
        return f'<MarconiMessage [{self.id}] {self.status.name}>'
