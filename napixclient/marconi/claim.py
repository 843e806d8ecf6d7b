"""Claims as users hold them: messages that are nobody else's for a while."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from types import TracebackType

from .api import check_limit
from .errors import ErrorBase
from .lease import Lease, Renewal
from .messages import Message, Messages
from .pending import asks, lists

__all__ = ['Claim']

logger: logging.Logger = logging.getLogger('napixclient.marconi')


class Claim:
    """Messages that were claimed together. With nothing left to claim it is empty, false, and its ``id`` is ``None``.

    Iterating over it gives its messages, as they were handed out. As a context manager it releases at the end what was
    not deleted by then::

        with queue.claim(limit=10) as claim:
            for message in claim:
                work(message.body)
                message.delete()
    """

    def __init__(self, lease: Lease, messages: Messages, claimed: list[Message], renew: bool = False) -> None:
        #: Its id, ``None`` for an empty one.
        self.id: str | None = lease.id
        # By this its queue renews, releases and reads it.
        self.lease = lease
        self._messages, self._claimed = messages, claimed
        self._api = messages.api
        self._renews = renew and lease.id is not None
        self._renewal: Renewal | None = None

    @property
    def ttl(self) -> int:
        """How many seconds it lives, counted from when it was made or last renewed."""
        return self.lease.ttl

    @property
    def grace(self) -> int:
        """How many seconds its messages outlive it, at least."""
        return self.lease.grace

    @property
    def age(self) -> int:
        """Seconds since it was made or last renewed, by our own clock."""
        return self.lease.age

    @lists
    def messages(
        self,
        ids: Iterable[str] | str | None = None,
        limit: int | None = None,
        marker: str | None = None,
        echo: bool = False,
        include_claimed: bool = False,
    ) -> Iterator[Message]:
        """Its messages as the server has them now: :meth:`Queue.get_messages` for this claim.

        :param ids: only these.
        :raises NotFound: when it is over.
        """
        if self.id is None:
            return iter(())
        check_limit(limit)
        wanted = None if ids is None else {ids} if isinstance(ids, str) else set(ids)
        return self.lease.read(self._messages, wanted)

    @asks
    def patch(self, ttl: int | None = None, grace: int | None = None) -> None:
        """Renew it: it lives for ``ttl`` seconds from now on, by default for as long as before.

        :raises NotFound: when it is over.
        """
        self.lease.renew(ttl, grace)

    @asks
    def delete(self) -> None:
        """Release it: its messages are free again. Nothing happens if it is empty or gone."""
        self.lease.release()

    def __iter__(self) -> Iterator[Message]:
        return iter(self._claimed)

    def __len__(self) -> int:
        return len(self._claimed)

    def __bool__(self) -> bool:
        return self.id is not None

    def __enter__(self) -> Claim:
        if self._renews:
            self._renewal = Renewal(self.lease)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._renewal is not None:
            self._renewal.stop()
        try:
            # Also if nothing is left of it: one that is left to expire costs the queue its statistics.
            self.lease.release()
        except ErrorBase as error:
            if exc is None and not all(message.deleted for message in self._claimed):
                raise
            logger.warning('a claim could not be released, and lasts %d s at most: %s', self.ttl, error)

    def __repr__(self) -> str:
        return f'<MarconiClaim [{self.id}] {len(self)} messages>'
