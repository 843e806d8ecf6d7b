"""One queue, as users have it: its messages, claims, subscriptions, metadata and workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from . import calls
from .api import MAX_ITEMS, Api, QueueApi, check_limit
from .claim import Claim
from .consuming import Consumer, Terms
from .lease import Claims, Lease
from .messages import Message, Messages
from .models import Presigned, QueueStats
from .pending import asks, lists
from .posting import post
from .purging import purge
from .subscription import Subscription, Subscriptions

__all__ = ['Queue']


class Queue:
    """A queue, by its name. Making one sends no request.

    Its client's ``async_`` decides whether the operations return their result or a
    :class:`~napixclient.marconi.PendingResult`.
    """

    def __init__(self, api: Api, name: str, listed: Mapping[str, object] | None = None) -> None:
        self._queue = QueueApi(api, name)
        #: Its name.
        self.name = name
        #: What the listing that it comes from says of it: ``metadata`` if that was ``detailed``.
        self.listed: dict[str, Any] = dict(listed or {})
        self._api = api
        self._messages = Messages(self._queue)
        self._claims = Claims(self._queue, self._messages)
        self._subscriptions = Subscriptions(self._queue)

    # -- the queue itself ------------------------------------------------------------------------------------------

    @property
    @asks
    def stats(self) -> QueueStats:
        """How many messages it has: :class:`QueueStats`; each access asks the server.

        :raises ServiceUnavailable: when the store is down; and on Redis, as long as the queue has messages, once a
            claim has expired instead of being released (zaqar 23.0.1, ``ClaimController._count_messages``).
        """
        return calls.stats(self._queue)

    @property
    @asks
    def metadata(self) -> dict[str, Any]:
        """What is stored with it; each access asks the server. Version 2 adds the queue's settings, as ``_…``."""
        return calls.read_metadata(self._queue)

    @asks
    def set_metadata(self, metadata: Mapping[str, object] | str) -> None:
        """Replace what is stored with it; keys that begin with ``_`` and are not given stay as they are.

        Version 1 has no such keys: its server refuses them, and drops those that another version has stored.

        :param metadata: a mapping, or one as JSON.
        :raises NotFound: when there is no such queue.
        :raises Conflict: when somebody else removed a key at the same time.
        :raises Unsupported: on version 1.1, where the metadata of a queue that exists cannot be changed.
        """
        calls.replace_metadata(self._queue, calls.metadata_of(metadata))

    @asks
    def exists(self) -> bool:
        """Whether it was created.

        :raises Unsupported: on versions 1.1 and 2: their servers answer alike for queues that exist and others.
        """
        return calls.exists(self._queue)

    @asks
    def delete(self) -> None:
        """Delete it with all that is in it; one that does not exist counts as deleted."""
        self._queue.ask('DELETE')

    # -- messages --------------------------------------------------------------------------------------------------

    @asks
    def post_messages(self, messages: Iterable[Mapping[str, object]] | Mapping[str, object]) -> list[str]:
        """Post messages, in as many requests as the limits of the server demand, and return their ids.

        A request that failed is never repeated: what was answered 500 or above may have been stored all the same.

        :param messages: mappings with ``body`` and perhaps ``ttl`` in seconds (an hour by default); also a single one.
        :raises ValueError: for what is no message; then nothing has been posted.
        :raises ErrorBase: whose ``posted``, ``uncertain`` and ``unposted`` say what became of the messages.
        """
        return post(self._queue, messages)

    @lists
    def get_messages(
        self,
        ids: Iterable[str] | str | None = None,
        claim: Claim | str | None = None,
        limit: int | None = None,
        marker: str | None = None,
        echo: bool = False,
        include_claimed: bool = False,
    ) -> Iterator[Message]:
        """Its messages, oldest first, page by page: a lazy iterator. No message comes twice.

        :param ids: only these.
        :param claim: only those of this claim, or of the claim with this id.
        :param limit: messages in a page; by default the server's 10. The server takes at most 20.
        :param marker: where to begin: behind the message with this id; on Redis at the beginning, if that was deleted.
        :param echo: also those that this client has posted.
        :param include_claimed: also those that somebody has claimed.
        :raises NotFound: for a claim that is over, and on version 1 for a queue that does not exist.
        """
        check_limit(limit)
        if isinstance(ids, str):
            ids = [ids]
        if claim is not None:
            _id_of(claim)  # refuses an empty one
            return self._lease_of(claim).read(self._messages, None if ids is None else set(ids))
        if ids is not None:
            return self._messages.by_ids(list(ids), min(limit or MAX_ITEMS, MAX_ITEMS))
        return self._messages.listed(limit, marker, echo, include_claimed)

    #: The same, as the seed calls it.
    messages = get_messages

    @asks
    def pop(self, limit: int = 1) -> list[Message]:
        """Take messages out of the queue: they are gone from it at once.

        :param limit: how many at most; the server gives at most 20.
        :raises Unsupported: on version 1.
        """
        self._queue.require('1.1', 'pop')
        check_limit(limit)
        return self._messages.pop(limit)

    @asks
    def purge(self, *resource_types: str) -> None:
        """Delete all that is in it, but not the queue itself.

        Messages are deleted whoever has claimed them, and however long they are delayed; none goes to a dead letter
        queue. What is posted meanwhile may stay.

        :param resource_types: ``'messages'``, ``'subscriptions'``; both by default.
        :raises ErrorBase: when the server fails, or still has what it says it has deleted.
        :raises Unsupported: on versions before 2.
        """
        self._queue.require('2.0', 'purge')
        purge(self._queue, self._messages, self._subscriptions, resource_types or ('messages', 'subscriptions'))

    # -- claims ----------------------------------------------------------------------------------------------------

    @asks
    def claim(self, limit: int = 10, ttl: int = 60, grace: int = 60, *, renew: bool = False) -> Claim:
        """Claim messages: nobody else is handed them until the claim is over.

        :param limit: how many at most; the server gives at most 20.
        :param ttl: how many seconds the claim lives, at least 60.
        :param grace: how many seconds the messages outlive the claim, at least 60.
        :param renew: as a context manager, the claim renews itself until its end.
        """
        check_limit(limit)
        lease, claimed = self._claims.create(limit, ttl, grace)
        return Claim(lease, self._messages, claimed, renew)

    @asks
    def update_claim(self, claim: Claim | str, ttl: int | None = None, grace: int | None = None) -> None:
        """Renew a claim, or the claim with this id: it lives for ``ttl`` seconds from now on.

        :param ttl: by default as long as before, 60 s for an id.
        :raises NotFound: when it is over.
        """
        self._lease_of(claim).renew(ttl, grace)

    @asks
    def release_claim(self, claim: Claim | str) -> None:
        """Release a claim, or the claim with this id; one that is over counts as released."""
        self._lease_of(claim).release()

    def _lease_of(self, claim: Claim | str) -> Lease:
        return claim.lease if isinstance(claim, Claim) else self._claims.of_id(_id_of(claim))

    def consume(
        self,
        handler: Callable[[Message], object],
        concurrency: int = MAX_ITEMS,
        ttl: int = 60,
        grace: int = 60,
        *,
        on_error: Callable[[BaseException, Message | None], object] | None = None,
        sigterm: bool = False,
        release: str = 'when idle',
    ) -> Consumer:
        """Hand each message to ``handler(message)``, from now on until ``stop()``.

        A message is deleted when the handler returns. When the handler raises, this consumer hands the message out
        again after a pause, of 0.1 s at first and 5 s at most. Claims are renewed as long as they are needed. A message
        that is under way here, or was handled here, is not handed out again: the consumer remembers the last 10,000
        that it has deleted, and the last 100,000 that it could not delete.

        :param handler: runs in a greenlet for each message. A message may come twice: after a crash, after an error of
            its handler, and when its claim was lost.
        :param concurrency: messages that are handled at once.
        :param ttl: how many seconds a claim lives without being renewed: so long are messages hidden after a crash.
        :param grace: how many seconds the messages outlive their claim.
        :param on_error: called with an exception and the message whose handler raised it; with :class:`NotFound` and a
            message that was in hand when its claim was lost, so that somebody else may be given it; with the server's
            error and ``None`` when the server failed. By default errors are logged.
        :param sigterm: stop at SIGTERM.
        :param release: ``'when idle'``: a message that has failed five times is released for others when nothing else
            is under way here, and any that has failed is released at the end. ``'at once'``: a message that has failed
            is not handed out again under its claim, but released as soon as the other messages of the claim are done;
            on Redis that makes Zaqar hand out messages that others are still working on.
        :raises ValueError: with ``sigterm`` outside of the main thread.
        """
        terms = Terms(concurrency, ttl, grace, release)
        return Consumer(self._queue, self._messages, self._claims, terms, handler, on_error, sigterm)

    # -- subscriptions and shares ----------------------------------------------------------------------------------

    @asks
    def subscribe(
        self, subscriber: str, ttl: int | None = None, options: Mapping[str, object] | None = None
    ) -> Subscription:
        """Have the server send each message on to an address, ``http://…``, ``https://…`` or ``mailto:…``.

        :param ttl: how many seconds the subscription lives.
        :param options: Zaqar's options of a subscription.
        :raises Unsupported: on versions before 2.
        """
        self._queue.require('2.0', 'subscription')
        return self._subscriptions.create(subscriber, ttl, options)

    @lists
    def subscriptions(self, marker: str | None = None, limit: int | None = None) -> Iterator[Subscription]:
        """Its subscriptions, page by page: a lazy iterator.

        :raises Unsupported: on versions before 2.
        """
        self._queue.require('2.0', 'subscription')
        check_limit(limit)
        return self._subscriptions.listed(limit, marker)

    @asks
    def share(
        self, paths: Iterable[str] = ('messages',), methods: Iterable[str] = ('GET', 'POST'), expires: str | None = None
    ) -> Presigned:
        """Access to this queue for somebody without an account: give it to ``Connection(presigned=…)``.

        :param paths: of ``messages``, ``claims``, ``subscriptions``, ``stats``.
        :param methods: what may be done there: ``GET``, ``POST``, ``PUT``, ``PATCH``, ``DELETE``.
        :param expires: when it ends, in UTC: ``2026-12-31T23:59:59``; by default of the server a day from now.
        :raises Unsupported: on versions before 2.
        """
        return calls.share(self._queue, paths, methods, expires)

    def __repr__(self) -> str:
        return f'<MarconiQueue [{self.name}]>'


def _id_of(claim: Claim | str) -> str:
    id = claim.id if isinstance(claim, Claim) else claim
    if not isinstance(id, str) or not id:
        raise ValueError(f'a claim, or its id, is needed, and not that of an empty one: {claim!r}')
    return id
