"""A claim as the server holds it: renews, releases and reads it, and knows by a clock of its own when it is over.

Zaqar's store on Redis (23.0.1, 19.0.0) answers 503 for a claim that has expired, where the API has 404
(``zaqar/storage/redis/claims.py``: ``_exists`` compares what is no longer there). Hence the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from urllib.parse import quote

import gevent

from .api import QueueApi, json_of, object_of
from .errors import ErrorBase, NotFound, ServiceUnavailable
from .forking import Staying
from .messages import Message, Messages

__all__ = ['Claims', 'Lease', 'Renewal']

logger: logging.Logger = logging.getLogger('napixclient.marconi')


class Lease:
    """A claim in the eyes of the server, and the API's calls about it. Each waits for its answer.

    :param id: ``None`` for a claim of nothing.
    :param since: when it began to live, by ``time.monotonic()``; ``None`` if nobody knows, as of a bare id.
    """

    ttl: int
    grace: int

    def __init__(self, queue: QueueApi, id: str | None, ttl: int, grace: int, since: float | None = None) -> None:
        self.id = id
        #: The name of the queue.
        self.queue: str = queue.name
        self.ttl, self.grace = ttl, grace
        self._since = since
        #: Whether it was renewed since it was made.
        self.renewed: bool = False
        self._queue = queue

    @property
    def age(self) -> int:
        """Seconds since it was made or last renewed, by our own clock."""
        return 0 if self._since is None else int(monotonic() - self._since)

    @property
    def left(self) -> float:
        """Seconds until its end, by our own clock. The server counts whole ones, and may end it up to one earlier."""
        return float('inf') if self._since is None else self._since + self.ttl - monotonic()

    @property
    def _path(self) -> str:
        if self.id is None:
            raise ValueError('nothing was claimed: this claim is empty, and there is nothing to renew')
        return f'/claims/{quote(self.id, safe="")}'

    @contextmanager
    def _known_when_over(self) -> Iterator[None]:
        """Once its time is over, a 503 means what a 404 does.

        :raises NotFound: when it is over.
        """
        try:
            yield
        except ServiceUnavailable as error:
            if self.left > 0:
                raise
            raise NotFound(
                'the claim is over',
                404,
                f'The server answers {error.code}, as Zaqar on Redis does for a '
                f'claim that has expired, and the {self.ttl} s of this one have passed.',
            ) from error

    def read(self, messages: Messages, ids: set[str] | None = None) -> Iterator[Message]:
        """The messages that it holds now, or those with these ids; asks the server when the first is wanted.

        :raises NotFound: when it is over.
        """
        with self._known_when_over():
            document = object_of(self._queue.ask('GET', self._path))
        for message in messages.parse(document, self.id):
            if ids is None or message.id in ids:
                yield message

    def renew(self, ttl: int | None = None, grace: int | None = None) -> None:
        """Have it live for ``ttl`` seconds from now on, by default as long as before.

        :raises NotFound: when it is over.
        """
        ttl, grace = self.ttl if ttl is None else ttl, self.grace if grace is None else grace
        asked = monotonic()
        with self._known_when_over():
            self._queue.ask('PATCH', self._path, {'ttl': ttl, 'grace': grace})
        self.ttl, self.grace, self._since, self.renewed = ttl, grace, asked, True

    def release(self) -> None:
        """End it; a lease of nothing, or one that is over, counts as released."""
        if self.id is None:
            return
        try:
            with self._known_when_over():
                self._queue.ask('DELETE', self._path)
        except NotFound:
            pass


class Claims:
    """Makes the leases of one queue."""

    def __init__(self, queue: QueueApi, messages: Messages) -> None:
        self._queue, self._messages = queue, messages

    def create(self, limit: int, ttl: int, grace: int) -> tuple[Lease, list[Message]]:
        """Claim at most ``limit`` messages; with nothing left to claim the lease has no id."""
        asked = monotonic()
        answer = self._queue.ask('POST', f'/claims?limit={limit}', {'ttl': ttl, 'grace': grace})
        if answer.status_code == 204:
            return Lease(self._queue, None, ttl, grace), []
        id = answer.headers.get('location', '').rstrip('/').rpartition('/')[2] or None
        lease = Lease(self._queue, id, ttl, grace, asked)
        messages = self._messages.parse(json_of(answer), id)
        self._renew_at_once(lease)
        return lease, messages

    def of_id(self, id: str) -> Lease:
        """The lease of a claim of which only the id is known; it is taken to live for 60 s."""
        return Lease(self._queue, id, 60, 60)

    def _renew_at_once(self, lease: Lease) -> None:
        """Before anything else, or messages with less time left than the claim die under it.

        On Redis a claim lengthens their lives on paper only, its renewal does so in the store; and a claim with a dead
        message can neither be renewed nor be released (zaqar 23.0.1, ``ClaimController.create`` and ``update``).
        """
        if lease.id is not None:
            try:
                lease.renew()
            except ErrorBase as error:  # it may live all the same, for as long as it was asked for
                logger.warning('a claim of the queue %s could not be renewed yet: %s', lease.queue, error)


class Renewal:
    """Renews a lease when half of its life is over, until it is stopped or the lease is lost.

    :param on_lost: called with the error of the last renewal when the lease is lost.
    """

    def __init__(self, lease: Lease, on_lost: Callable[[ErrorBase], object] | None = None) -> None:
        #: Whether the lease is over: its messages may be somebody else's by now.
        self.lost: bool = False
        self._lease, self._on_lost = lease, on_lost
        self._greenlet = Staying.spawn(self._run)

    def _run(self) -> None:
        lease = self._lease
        wait = min(_half(lease) if lease.renewed else _again(lease), lease.left)
        while True:
            gevent.sleep(max(wait, 0))
            try:
                lease.renew()
                wait = _half(lease)
            except ErrorBase as error:
                # Whoever has not heard from the server for the whole life of a claim has lost it, too.
                if isinstance(error, NotFound) or lease.left <= 0:
                    self._lose(error)
                    return
                wait = _again(lease)
                logger.warning('a claim of the queue %s could not be renewed yet: %s', lease.queue, error)

    def _lose(self, error: ErrorBase) -> None:
        self.lost = True
        logger.warning(
            'the claim %s of the queue %s was over before it could be renewed', self._lease.id, self._lease.queue
        )
        if self._on_lost is not None:
            self._on_lost(error)

    def stop(self) -> None:
        """Stop; may be repeated."""
        self._greenlet.kill(block=False)


def _half(lease: Lease) -> float:
    """Seconds: half of its guaranteed life, as the server counts whole seconds."""
    return max((lease.ttl - 1) / 2, lease.ttl / 4)


def _again(lease: Lease) -> float:
    """Seconds after which a renewal that has failed is tried again."""
    return min(max(lease.ttl / 20, 0.1), 5.0)
