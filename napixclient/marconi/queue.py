"""One queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from .claim import Claim
from .consuming import Consumer
from .deleting import MOST
from .errors import ErrorBase, NotFound, ServiceUnavailable, Unsupported
from .messages import Message
from .models import Presigned, QueueStats
from .paging import Page, follow, marker_of
from .pending import asks, lists
from .posting import post
from .purging import purge
from .subscription import Subscription

if TYPE_CHECKING:
    from .client import Client

__all__ = ['Queue']

logger = logging.getLogger('napixclient.marconi')

#: A marker before all messages: with ``include_claimed`` and without any marker Zaqar fails on Redis.
_BEGINNING = '00000000-0000-0000-0000-000000000000'
_PATCH = 'application/openstack-messaging-v2.0-json-patch'


class Queue:
    """A queue, by its name: nothing is asked before something is done with it.

    Its client's ``async_`` tells whether what asks the server returns the result or a
    :class:`~napixclient.marconi.PendingResult`.
    """

    def __init__(self, client: Client, name: str, told: Mapping[str, Any] | None = None) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f'the name of a queue is a text that is not empty, not {name!r}')
        #: Its name.
        self.name = name
        #: What the listing that it comes from says of it: ``metadata`` if that was ``detailed``.
        self.told: dict[str, Any] = dict(told or {})
        self._client = client
        self._path = f'/queues/{quote(name, safe="")}'

    def _since(self, version: str, what: str) -> None:
        if float(self._client._version) < float(version):
            raise Unsupported(
                f'{what} not possible',
                0,
                f'Version {self._client._version} of the API has no {what}; it needs {version}.',
            )

    # -- the queue itself ------------------------------------------------------------------------------------------

    @asks
    def _get_stats(self) -> QueueStats:
        try:
            told = self._client._object(self._client._ask('GET', f'{self._path}/stats'))
        except ServiceUnavailable as error:
            error._remark = (
                'On its Redis store Zaqar answers so for as long as the queue has messages, once a claim '
                'of it has expired instead of being released.'
            )
            raise
        return self._client._understood(lambda: QueueStats(told['messages']))

    @property
    def stats(self) -> Any:
        """How many messages it has: :class:`QueueStats`, asked for anew each time.

        :raises ServiceUnavailable: when the store is away; and on Redis for good, as long as the queue has messages,
            once a claim has expired instead of being released (zaqar 23.0.1, ``ClaimController._count_messages``).
        """
        return self._get_stats()

    def _metadata(self) -> dict[str, Any]:
        path = f'{self._path}/metadata' if self._client._version == '1.0' else self._path
        return self._client._object(self._client._ask('GET', path))

    @asks
    def _get_metadata(self) -> dict[str, Any]:
        return self._metadata()

    @property
    def metadata(self) -> Any:
        """What was stored with it, asked for anew each time; version 2 adds the queue's settings, as ``_…``."""
        return self._get_metadata()

    @asks
    def set_metadata(self, metadata: Mapping[str, Any] | str) -> None:
        """Replace what was stored with it; keys that begin with ``_`` and are not given stay as they are.

        Version 1 knows no such keys: its server refuses them, and drops those that another version has stored.

        :param metadata: a mapping, or one as JSON.
        :raises NotFound: when there is no such queue.
        :raises Conflict: when somebody else removed a key at the same time.
        :raises Unsupported: on version 1.1, where the metadata of a queue that exists cannot be changed.
        """
        wanted = self._client._mapping(metadata)
        if self._client._version == '1.0':
            self._client._ask('PUT', f'{self._path}/metadata', wanted)
            return
        self._since('2.0', 'change of metadata')
        present = self._metadata()
        changes: list[dict[str, Any]] = [
            {'op': 'replace' if key in present else 'add', 'path': f'/metadata/{_pointer(key)}', 'value': value}
            for key, value in wanted.items()
        ]
        changes += [
            {'op': 'remove', 'path': f'/metadata/{_pointer(key)}'}
            for key in present
            if key not in wanted and not key.startswith('_')
        ]
        if changes:
            self._client._ask('PATCH', self._path, changes, {'Content-Type': _PATCH})

    @asks
    def exists(self) -> bool:
        """Whether it was made.

        :raises Unsupported: on versions 1.1 and 2: their servers answer alike for queues that exist and others.
        """
        if self._client._version != '1.0':
            raise Unsupported(
                'nobody can tell',
                0,
                f'Version {self._client._version} of the API answers alike for '
                'queues that exist and those that do not: a queue comes into being with its first use.',
            )
        try:
            self._client._ask('GET', self._path)
        except NotFound:
            return False
        return True

    @asks
    def delete(self) -> None:
        """Delete it with all that is in it; one that does not exist counts as deleted."""
        self._client._ask('DELETE', self._path)

    # -- messages --------------------------------------------------------------------------------------------------

    @asks
    def post_messages(self, messages: Iterable[Mapping[str, Any]] | Mapping[str, Any]) -> list[str]:
        """Post messages, in as many requests as the limits of the server demand, and return their ids.

        A request that failed is never repeated, as what was answered 500 or above may have been stored all the same.

        :param messages: mappings with ``body`` and perhaps ``ttl`` in seconds (an hour by default); also a single one.
        :raises ValueError: for what is no message; then nothing was posted.
        :raises ErrorBase: whose ``posted``, ``uncertain`` and ``unposted`` tell what became of the messages.
        """
        return post(self, messages)

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
        :param claim: only those of this claim, or of the claim of this id.
        :param limit: messages in a page, 10 by default of the server, which takes at most 20.
        :param marker: where to begin: behind the message of this id; on Redis at the beginning, if that was deleted.
        :param echo: also those that this client has posted.
        :param include_claimed: also those that somebody has claimed.
        :raises NotFound: for a claim that is over, and on version 1 for a queue that does not exist.
        """
        _check_limit(limit)
        if isinstance(ids, str):
            ids = [ids]
        if claim is not None:
            _id_of(claim)  # refuses an empty one
            return self._of_claim(self._claim_of(claim), None if ids is None else set(ids))
        if ids is not None:
            return self._by_ids(list(ids), min(limit or MOST, MOST))
        return self._listed(limit, marker, echo, include_claimed)

    #: The same, as the seed calls it.
    messages = get_messages

    @lists
    def _nothing(self) -> Iterator[Message]:
        return iter(())

    def _of_claim(self, claim: Claim, ids: set[str] | None) -> Iterator[Message]:
        with claim._known_when_over():
            told = self._client._object(self._client._ask('GET', claim._path))
        for message in self._messages_of(told, claim.id):
            if ids is None or message.id in ids:
                yield message

    def _by_ids(self, ids: list[str], size: int) -> Iterator[Message]:
        for start in range(0, len(ids), size):
            listed = ','.join(quote(id, safe='') for id in ids[start : start + size])  # the comma itself is no data
            try:
                answer = self._client._ask('GET', f'{self._path}/messages?ids={listed}')
            except NotFound:  # how version 2 says that there is none of them
                continue
            yield from self._messages_of(self._client._json(answer))

    def _listed(self, limit: int | None, marker: str | None, echo: bool, include_claimed: bool) -> Iterator[Message]:
        # A page of one repeats for ever on Redis.
        size = None if limit is None else max(limit, 2)

        def fetch(marker: str | None) -> Page:
            page = self._page(size, marker, echo, include_claimed)
            if page.items or (echo and include_claimed):
                return page
            # The server leaves out what was not asked for only after it has cut the page: behind an empty one there may
            # be more. What is left out tells where to go on.
            return Page([], self._page(size, marker, True, True).following)

        return follow(fetch, marker)

    def _page(
        self, size: int | None, marker: str | None, echo: bool, include_claimed: bool, include_delayed: bool = False
    ) -> Page:
        query = {
            'limit': size,
            'marker': marker,
            'echo': 'true' if echo else None,
            'include_claimed': 'true' if include_claimed else None,
            'include_delayed': 'true' if include_delayed else None,
        }
        try:
            told = self._client._json(self._client._ask('GET', f'{self._path}/messages{_query(query)}'))
        except ServiceUnavailable:
            if marker is not None or not include_claimed:
                raise
            return self._page(size, _BEGINNING, echo, include_claimed, include_delayed)
        messages = self._messages_of(told)
        return self._client._understood(
            lambda: Page([(message.id, message) for message in messages], marker_of(told) if messages else None)
        )

    def _messages_of(self, told: Any, claim_id: str | None = None) -> list[Message]:
        """The messages in an answer: a list by itself, or with a name, or nothing."""
        listed = told.get('messages', []) if isinstance(told, dict) else told or []
        return self._client._understood(lambda: [Message(self, each, claim_id) for each in listed])

    @asks
    def pop(self, limit: int = 1) -> list[Message]:
        """Take messages out of the queue: they are gone from it at once.

        :param limit: how many at most; the server gives 20 at most.
        :raises Unsupported: on version 1.
        """
        self._since('1.1', 'pop')
        _check_limit(limit)
        told = self._client._json(self._client._ask('DELETE', f'{self._path}/messages?pop={limit}'))
        return self._messages_of(told)

    @asks
    def purge(self, *resource_types: str) -> None:
        """Delete all that is in it, but not the queue itself.

        Messages are deleted whoever has claimed them, and however long they are delayed; none goes to a dead letter
        queue. What is posted meanwhile may stay.

        :param resource_types: ``'messages'``, ``'subscriptions'``; both by default.
        :raises ErrorBase: when the server fails, or still has what it says it has deleted.
        :raises Unsupported: on versions before 2.
        """
        self._since('2.0', 'purge')
        purge(self, resource_types or ('messages', 'subscriptions'))

    def _delete_messages(self, messages: list[Message], claim_ids: Iterable[str] = ()) -> None:
        """Delete at most ``MOST`` messages, claimed or not, with one request.

        :param claim_ids: a Zaqar that is set up with ``message_delete_with_claim_id`` refuses what none of these
            claims; any other does not look at them.
        """
        listed = ','.join(quote(message.id, safe='') for message in messages)
        claims = ','.join(quote(id, safe='') for id in claim_ids)
        self._client._ask('DELETE', f'{self._path}/messages?ids={listed}' + (f'&claim_ids={claims}' if claims else ''))
        for message in messages:
            message.deleted = True

    # -- claims ----------------------------------------------------------------------------------------------------

    def _claim(self, limit: int, ttl: int, grace: int, renew: bool = False) -> Claim:
        asked = monotonic()
        answer = self._client._ask('POST', f'{self._path}/claims?limit={limit}', {'ttl': ttl, 'grace': grace})
        if answer.status_code == 204:
            return Claim(self, None, ttl, grace)
        told = self._client._json(answer)
        listed = told.get('messages', []) if isinstance(told, dict) else told
        id = answer.headers.get('location', '').rstrip('/').rpartition('/')[2]
        claim = self._client._understood(lambda: Claim(self, id or None, ttl, grace, listed, renew, asked))
        self._renew_at_once(claim)
        return claim

    def _renew_at_once(self, claim: Claim) -> None:
        """Before anything else, or messages with less time left than the claim die under it.

        On Redis a claim lengthens their lives on paper only, its renewal does so in the store; and a claim with a dead
        message can neither be renewed nor be released (zaqar 23.0.1, ``ClaimController.create`` and ``update``).
        """
        if claim:
            try:
                claim._patch()
            except ErrorBase as error:  # it may live all the same, for as long as it was asked for
                logger.warning('a claim of the queue %s could not be renewed yet: %s', self.name, error)

    @asks
    def claim(self, limit: int = 10, ttl: int = 60, grace: int = 60, *, renew: bool = False) -> Claim:
        """Claim messages: nobody else is handed them until the claim is over.

        :param limit: how many at most; the server gives 20 at most.
        :param ttl: how many seconds the claim lives, 60 at least.
        :param grace: how many seconds the messages live longer than the claim, 60 at least.
        :param renew: as a context manager, the claim renews itself until its end.
        """
        _check_limit(limit)
        return self._claim(limit, ttl, grace, renew)

    @asks
    def update_claim(self, claim: Claim | str, ttl: int | None = None, grace: int | None = None) -> None:
        """Renew a claim, or that of this id: it lives for ``ttl`` seconds from now on.

        :param ttl: by default as long as before, 60 s for an id.
        :raises NotFound: when it is over.
        """
        self._claim_of(claim)._patch(ttl, grace)

    @asks
    def release_claim(self, claim: Claim | str) -> None:
        """Release a claim, or that of this id; one that is over counts as released."""
        self._claim_of(claim)._release()

    def _claim_of(self, claim: Claim | str) -> Claim:
        return claim if isinstance(claim, Claim) else Claim(self, _id_of(claim), 60, 60)

    def consume(
        self,
        handler: Callable[[Message], object],
        concurrency: int = MOST,
        ttl: int = 60,
        grace: int = 60,
        *,
        on_error: Callable[[BaseException, Message | None], object] | None = None,
        sigterm: bool = False,
        release: str = 'when idle',
    ) -> Consumer:
        """Hand each message to ``handler(message)``, from now on until ``stop()``.

        What the handler returns from is deleted; what it raises at is handed out again by this consumer after a pause,
        of 0.1 s at first and 5 s at most; claims are renewed as long as they are needed. No message is handed out that
        is under way here or was handled here: the last 10,000 that were deleted are remembered, and the last 100,000
        that could not be.

        :param handler: runs in a greenlet for each message. A message may come twice: after a crash, after an error of
            its handler, and when its claim was lost.
        :param concurrency: messages that are handled at once.
        :param ttl: how many seconds a claim lives without being renewed: as long are messages hidden after a crash.
        :param grace: how many seconds the messages live longer than their claim.
        :param on_error: called with an exception and the message whose handler raised it; with :class:`NotFound` and a
            message that was in hand when its claim was lost, so that somebody else may be given it; with ``None`` for
            the message where the server failed. By default they are logged.
        :param sigterm: stop at SIGTERM.
        :param release: ``'when idle'``: a message that has failed five times is released for others when nothing else
            is under way here, and any that failed at the end. ``'at once'``: it is not handed out again under its
            claim, but released when the other messages of that are done with; on Redis that makes Zaqar hand out
            messages that others are still at work on.
        :raises ValueError: with ``sigterm`` outside of the main thread.
        """
        return Consumer(self, handler, concurrency, ttl, grace, on_error, sigterm, release)

    # -- subscriptions and shares ----------------------------------------------------------------------------------

    @asks
    def subscribe(
        self, subscriber: str, ttl: int | None = None, options: Mapping[str, Any] | None = None
    ) -> Subscription:
        """Have the server send each message on to an address, ``http://…``, ``https://…`` or ``mailto:…``.

        :param ttl: how many seconds it lives.
        :param options: what the server is to do with it.
        :raises Unsupported: on versions before 2.
        """
        self._since('2.0', 'subscription')
        body = {'subscriber': subscriber, 'options': dict(options or {}), **({} if ttl is None else {'ttl': ttl})}
        told = self._client._object(self._client._ask('POST', f'{self._path}/subscriptions', body))
        return self._client._understood(lambda: Subscription(self, told['subscription_id'], {**body, 'age': 0}))

    @lists
    def subscriptions(self, marker: str | None = None, limit: int | None = None) -> Iterator[Subscription]:
        """Its subscriptions, page by page: a lazy iterator.

        :raises Unsupported: on versions before 2.
        """
        self._since('2.0', 'subscription')
        _check_limit(limit)

        return follow(lambda marker: self._page_of_subscriptions(limit, marker), marker)

    def _page_of_subscriptions(self, limit: int | None, marker: str | None) -> Page:
        query = _query({'limit': limit, 'marker': marker})
        told = self._client._object(self._client._ask('GET', f'{self._path}/subscriptions{query}'))
        found = told.get('subscriptions', [])
        return self._client._understood(
            lambda: Page(
                [(each['id'], Subscription(self, each['id'], each)) for each in found],
                marker_of(told) if found else None,
            )
        )

    @asks
    def share(
        self, paths: Iterable[str] = ('messages',), methods: Iterable[str] = ('GET', 'POST'), expires: str | None = None
    ) -> Presigned:
        """Access to this queue for somebody without an account: give it to ``Connection(presigned=…)``.

        :param paths: of ``messages``, ``claims``, ``subscriptions``, ``stats``.
        :param methods: what may be done there: ``GET``, ``POST``, ``PUT``, ``PATCH``, ``DELETE``.
        :param expires: when it ends, in UTC: ``2026-12-31T23:59:59``; a day from now by default of the server.
        :raises Unsupported: on versions before 2.
        """
        self._since('2.0', 'pre-signed access')
        body = {'paths': list(paths), 'methods': list(methods), **({} if expires is None else {'expires': expires})}
        told = self._client._object(self._client._ask('POST', f'{self._path}/share', body))
        return self._client._understood(lambda: Presigned(told))

    def __repr__(self) -> str:
        return f'<MarconiQueue [{self.name}]>'


def _check_limit(limit: Any) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(f'limit is a number of 1 or more, not {limit!r}')


def _query(parameters: Mapping[str, Any]) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f'?{urlencode(given)}' if given else ''


def _id_of(claim: Claim | str) -> str:
    id = claim.id if isinstance(claim, Claim) else claim
    if not isinstance(id, str) or not id:
        raise ValueError(f'a claim, or its id, is needed, and not that of an empty one: {claim!r}')
    return id


def _pointer(key: str) -> str:
    """A key in a JSON pointer (RFC 6901 §3)."""
    return key.replace('~', '~0').replace('/', '~1')
