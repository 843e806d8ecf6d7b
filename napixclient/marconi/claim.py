"""Claims: messages that are nobody else's for a while.

Zaqar's store on Redis (23.0.1, 19.0.0) answers 503 for a claim that has expired, where the API has 404
(``zaqar/storage/redis/claims.py``: ``_exists`` compares what is no longer there). So a claim has a clock of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import gevent

from .errors import ErrorBase, NotFound, ServiceUnavailable
from .forking import Staying
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

    def __init__(
        self,
        queue: Queue,
        id: str | None,
        ttl: int,
        grace: int,
        told: Iterable[Any] = (),
        renew: bool = False,
        since: float | None = None,
    ) -> None:
        #: Its id, ``None`` for an empty one.
        self.id = id
        self._queue = queue
        self._client = queue._client
        self._ttl, self._grace = ttl, grace
        # Of a claim that is known by its id alone nobody knows since when it lives, and so when it is over.
        self._since = since
        self._renewed = False
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
        return 0 if self._since is None else int(monotonic() - self._since)

    @property
    def _left(self) -> float:
        """Seconds until its end, by our own clock. The server counts whole ones, and may end it up to one earlier."""
        return float('inf') if self._since is None else self._since + self._ttl - monotonic()

    @contextmanager
    def _known_when_over(self) -> Iterator[None]:
        """For what is asked about it: once its time is over, a 503 means what a 404 does.

        :raises NotFound: when it is over.
        """
        try:
            yield
        except ServiceUnavailable as error:
            if self._left > 0:
                raise
            raise NotFound(
                'the claim is over',
                404,
                f'The server answers {error.code}, as Zaqar on Redis does for a '
                f'claim that has expired, and the {self._ttl} s of this one have passed.',
            ) from error

    @property
    def _path(self) -> str:
        if self.id is None:
            raise ValueError('nothing was claimed: this claim is empty, and there is nothing to renew')
        return f'{self._queue._path}/claims/{quote(self.id, safe="")}'

    def messages(
        self,
        ids: Any = None,
        limit: int | None = None,
        marker: str | None = None,
        echo: bool = False,
        include_claimed: bool = False,
    ) -> Any:
        """Its messages as the server has them now: :meth:`Queue.get_messages` for this claim."""
        if self.id is None:
            return self._queue._nothing()
        return self._queue.get_messages(ids, self, limit, marker, echo, include_claimed)

    def _patch(self, ttl: int | None = None, grace: int | None = None) -> None:
        ttl, grace = self._ttl if ttl is None else ttl, self._grace if grace is None else grace
        asked = monotonic()
        with self._known_when_over():
            self._client._ask('PATCH', self._path, {'ttl': ttl, 'grace': grace})
        self._ttl, self._grace, self._since, self._renewed = ttl, grace, asked, True

    @asks
    def patch(self, ttl: int | None = None, grace: int | None = None) -> None:
        """Renew it: it lives for ``ttl`` seconds from now on, by default for as long as it was to live before.

        :raises NotFound: when it is over.
        """
        self._patch(ttl, grace)

    @asks
    def delete(self) -> None:
        """Release it: its messages are free again. Nothing happens if it is empty or gone."""
        self._release()

    def _release(self) -> None:
        if self.id is None:
            return
        try:
            with self._known_when_over():
                self._client._ask('DELETE', self._path)
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
        try:
            # Also if nothing is left of it: one that is left to expire costs the queue its statistics.
            self._release()
        except ErrorBase as error:
            if exc is None and not all(message.deleted for message in self._messages):
                raise
            logger.warning('a claim could not be released, and lasts %d s at most: %s', self._ttl, error)

    def __repr__(self) -> str:
        return f'<MarconiClaim [{self.id}] {len(self)} messages>'


class Renewal:
    """Renews a claim when half of its life is over, until it is stopped or the claim is lost.

    :param on_lost: called with what was the answer to the last renewal when the claim is lost.
    """

    def __init__(self, claim: Claim, on_lost: Callable[[ErrorBase], object] | None = None) -> None:
        #: Whether the claim is over: its messages may be somebody else's by now.
        self.lost = False
        self._claim, self._on_lost = claim, on_lost
        self._greenlet = Staying.spawn(self._run)

    def _run(self) -> None:
        claim = self._claim
        wait = min(_half(claim) if claim._renewed else _again(claim), claim._left)
        while True:
            gevent.sleep(max(wait, 0))
            try:
                claim._patch()
                wait = _half(claim)
            except ErrorBase as error:
                # Whoever did not hear from the server for the whole life of a claim has lost it, too.
                if isinstance(error, NotFound) or claim._left <= 0:
                    self._lose(error)
                    return
                wait = _again(claim)
                logger.warning('a claim of the queue %s could not be renewed yet: %s', claim._queue.name, error)

    def _lose(self, error: ErrorBase) -> None:
        self.lost = True
        logger.warning(
            'the claim %s of the queue %s was over before it could be renewed', self._claim.id, self._claim._queue.name
        )
        if self._on_lost is not None:
            self._on_lost(error)

    def stop(self) -> None:
        """Stop; may be repeated."""
        self._greenlet.kill(block=False)


def _half(claim: Claim) -> float:
    """Seconds: half of what it lives for sure, as the server counts whole seconds."""
    return max((claim.ttl - 1) / 2, claim.ttl / 4)


def _again(claim: Claim) -> float:
    """Seconds after which a renewal that has failed is tried again."""
    return min(max(claim.ttl / 20, 0.1), 5.0)
