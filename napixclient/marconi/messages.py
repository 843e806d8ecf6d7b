"""Messages of a queue: what the server says of one, and how they are listed, popped and deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, TypedDict
from urllib.parse import parse_qs, quote

from ..messages import split_reference
from .api import Api, QueueApi, json_of, parsed, query_of
from .errors import NotFound, ServiceUnavailable
from .paging import Page, follow, marker_of
from .pending import asks

__all__ = ['Message', 'MessageStatus', 'Messages']

#: A marker before all messages: with ``include_claimed`` and without any marker Zaqar fails on Redis.
_BEGINNING = '00000000-0000-0000-0000-000000000000'


class _Content(TypedDict):
    """What every message has."""

    ttl: int
    age: int
    body: Any


class MessageDocument(_Content, total=False):
    """A message in an answer: version 1 gives the id in ``href`` only, and popped messages have no ``href``."""

    id: str
    href: str


class MessageStatus(Enum):
    """Whether somebody has claimed a message."""

    Free = 1
    Claimed = 2

    def __repr__(self) -> str:
        return f'<EnumValue: Message.{self.name} [value={self.value}]>'


class Message:
    """A message as the server described it: a snapshot.

    ``id``; ``ttl``, how many seconds it lives; ``age`` in seconds; ``body``, any JSON value; ``claim_id``, the id of
    the claim that it was handed out with, or ``None``.
    """

    Free = MessageStatus.Free
    Claimed = MessageStatus.Claimed

    def __init__(self, messages: Messages, document: MessageDocument, claim_id: str | None = None) -> None:
        href = split_reference(document.get('href', ''))
        self.id: str = document.get('id') or href.path.rpartition('/')[2]
        self.ttl: int = document['ttl']
        self.age: int = document['age']
        self.body: Any = document['body']
        self.claim_id: str | None = claim_id or parse_qs(href.query or '').get('claim_id', [None])[0]
        #: Whether this object has deleted it.
        self.deleted = False
        self._messages = messages
        self._api = messages.api

    @property
    def status(self) -> MessageStatus:
        """``Message.Claimed`` if the server says so, else ``Message.Free``.

        Version 1 says it of the messages of a claim only.
        """
        return MessageStatus.Free if self.claim_id is None else MessageStatus.Claimed

    @asks
    def delete(self) -> None:
        """Delete it, with the id of its claim; a message that is gone already counts as deleted.

        :raises Forbidden: for a message that somebody has claimed, if this object does not know the claim.
        :raises MalformedRequest: when its claim is over, on the versions that check it.
        """
        self._messages.delete(self, self.claim_id)

    def __repr__(self) -> str:
        return f'<MarconiMessage [{self.id}] {self.status.name}>'


class Messages:
    """The API's calls about the messages of one queue. Each waits for its answer."""

    def __init__(self, queue: QueueApi) -> None:
        self._queue = queue
        self.api: Api = queue.api

    def parse(
        self, document: list[MessageDocument] | dict[str, list[MessageDocument]], claim_id: str | None = None
    ) -> list[Message]:
        """The messages in an answer: a list by itself (version 1), or under ``messages``.

        :raises ErrorBase: for any other document.
        """
        listed = document.get('messages', []) if isinstance(document, dict) else document
        return parsed(lambda: [Message(self, each, claim_id) for each in listed])

    def by_ids(self, ids: list[str], size: int) -> Iterator[Message]:
        """The messages with these ids, as far as they exist; ``size`` ids in a request."""
        for start in range(0, len(ids), size):
            try:
                answer = self._queue.ask('GET', f'/messages?ids={_listed(ids[start : start + size])}')
            except NotFound:  # version 2, when there is none of them
                continue
            yield from self.parse(json_of(answer) or [])

    def listed(self, limit: int | None, marker: str | None, echo: bool, include_claimed: bool) -> Iterator[Message]:
        """All messages, oldest first, page by page."""
        # A page of one repeats for ever on Redis.
        size = None if limit is None else max(limit, 2)

        def fetch(marker: str | None) -> Page[Message]:
            page = self.page(size, marker, echo, include_claimed)
            if page.items or (echo and include_claimed):
                return page
            # The server cuts the page before it leaves out what was not asked for: more may follow an empty one. Asked
            # for everything, it names the next page.
            return Page([], self.page(size, marker, True, True).following)

        return follow(fetch, marker)

    def page(
        self, size: int | None, marker: str | None, echo: bool, include_claimed: bool, include_delayed: bool = False
    ) -> Page[Message]:
        """One page of them."""
        query = {
            'limit': size,
            'marker': marker,
            'echo': 'true' if echo else None,
            'include_claimed': 'true' if include_claimed else None,
            'include_delayed': 'true' if include_delayed else None,
        }
        try:
            document = json_of(self._queue.ask('GET', f'/messages{query_of(query)}')) or {}
        except ServiceUnavailable:
            if marker is not None or not include_claimed:
                raise
            return self.page(size, _BEGINNING, echo, include_claimed, include_delayed)
        found = [(message.id, message) for message in self.parse(document)]
        return Page(found, parsed(lambda: marker_of(document.get('links') or ())) if found else None)

    def pop(self, limit: int) -> list[Message]:
        """Take at most ``limit`` out of the queue."""
        return self.parse(json_of(self._queue.ask('DELETE', f'/messages?pop={limit}')) or [])

    def delete(self, message: Message, claim_id: str | None) -> None:
        """Delete one, naming the claim that holds it, or as a free one.

        :raises Forbidden: when another claim holds it.
        """
        claim = '' if claim_id is None else f'?claim_id={quote(claim_id, safe="")}'
        self._queue.ask('DELETE', f'/messages/{quote(message.id, safe="")}{claim}')
        message.deleted = True

    def delete_all(self, messages: list[Message], claim_ids: Iterable[str] = ()) -> None:
        """Delete at most ``MAX_ITEMS`` with one request, whether they are claimed or not.

        :param claim_ids: a Zaqar that is configured with ``message_delete_with_claim_id`` refuses to delete what none
            of these claims holds; any other ignores them.
        """
        claims = _listed(claim_ids)
        path = f'/messages?ids={_listed(message.id for message in messages)}'
        self._queue.ask('DELETE', f'{path}&claim_ids={claims}' if claims else path)
        for message in messages:
            message.deleted = True


def _listed(ids: Iterable[str]) -> str:
    """Ids in a query. The comma between them is no data: Zaqar splits before it decodes."""
    return ','.join(quote(id, safe='') for id in ids)
