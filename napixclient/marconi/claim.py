"""Claims: messages that are nobody else's for a while. Imports messages, pending, errors."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import gevent

from .errors import ErrorBase, NotFound
from .messages import Message
from .pending import asks

if TYPE_CHECKING:
    from .queue import Queue

__all__ = ['Claim', 'Renewal']

logger = logging.getLogger('napixclient.marconi')


class Claim:
    """Messages that were claimed together. With nothing left to claim it is empty, false, and its ``id`` is ``None``.

    It is iterated for its messages, as they were handed out. As a context manager it releases at the end what was not
    deleted by then::

        with queue.claim(limit=10) as claim:
            for message in claim:
                work(message.body)
                message.delete()
    """

    def __init__(self, queue: Queue, id: str | None, ttl: int, grace: int, told: Iterable[Any] = (),
                 renew: bool = False) -> None:
        #: Its id, ``None`` for an empty one.
        self.id = id
        self._queue = queue
        self._client = queue._client
        self._ttl, self._grace = ttl, grace
        self._since = monotonic()
        self._messages = [Message(queue, each, id) for each in told]
        self._renews = renew and id is not None
        self._renewal: Renewal | None = None

    @property
    def ttl(self) -> int:
        """How many seconds it lives, from when it was made or last renewed."""
        return self._ttl

    @property
    def grace(self) -> int:
        """How many seconds its messages live longer than it, at least."""
        return self._grace

    @property
    def age(self) -> int:
        """Seconds since it was made or last renewed, by our own clock."""
        return int(monotonic() - self._since)

    @property
    def _path(self) -> str:
        if self.id is None:
            raise ValueError('nothing was claimed: this claim is empty, and there is nothing to renew')
        return f'{self._queue._path}/claims/{quote(self.id, safe="")}'

    def messages(self, ids: Any = None, limit: int | None = None, marker: str | None = None, echo: bool = False,
                 include_claimed: bool = False) -> Any:
        """Its messages as the server has them now: :meth:`Queue.get_messages` for this claim."""
        if self.id is None:
            return self._queue._nothing()
        return self._queue.get_messages(ids, self, limit, marker, echo, include_claimed)

    def _patch(self, ttl: int | None = None, grace: int | None = None) -> None:
        ttl, grace = self._ttl if ttl is None else ttl, self._grace if grace is None else grace
        asked = monotonic()
        self._client._ask('PATCH', self._path, {'ttl': ttl, 'grace': grace})
        self._ttl, self._grace, self._since = ttl, grace, asked

    @asks
    def patch(self, ttl: int | None = None, grace: int | None = None) -> None:
        """Renew it: it lives for ``ttl`` seconds from now on, by default for as long as it was to live before.

        :raises NotFound: when it is over.
        """
        self._patch(ttl, grace)

    def _delete(self) -> None:
        if self.id is not None:
            self._client._ask('DELETE', self._path)

    @asks
    def delete(self) -> None:
        """Release it: its messages are free again. Nothing happens if it is empty or gone."""
        self._release()

    def _release(self) -> None:
        try:
            self._delete()
        except NotFound:
            pass

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def __bool__(self) -> bool:
        return self.id is not None

    def __enter__(self) -> Claim:
        if self._renews:
            self._renewal = Renewal(self)
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: Any) -> None:
        if self._renewal is not None:
            self._renewal.stop()
        if all(message.deleted for message in self._messages):
            return                              # nothing is left of it
        try:
            self._release()
        except ErrorBase as error:
            if exc is None:
                raise
            logger.warning('a claim could not be released, and lasts %d s at most: %s', self._ttl, error)

    def __repr__(self) -> str:
        return f'<MarconiClaim [{self.id}] {len(self)} messages>'


class Renewal:
    """Renews a claim when half of its life is over, until it is stopped or the claim is lost."""

    def __init__(self, claim: Claim) -> None:
        #: Whether the server no longer knows the claim: its messages may be somebody else's by now.
        self.lost = False
        self._claim = claim
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        claim = self._claim
        wait = claim.ttl / 2
        while True:
            gevent.sleep(wait)
            try:
                claim._patch()
                wait = claim.ttl / 2
            except NotFound:
                self.lost = True
                logger.warning('the claim %s of the queue %s was over before it could be renewed', claim.id,
                               claim._queue.name)
                return
            except ErrorBase as error:
                wait = min(max(claim.ttl / 20, 0.1), 5)
                logger.warning('a claim of the queue %s could not be renewed yet: %s', claim._queue.name, error)

    def stop(self) -> None:
        """Stop; may be repeated."""
        self._greenlet.kill(block=False)
