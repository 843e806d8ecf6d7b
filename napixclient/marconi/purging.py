"""Empties a queue.

The server's own purge does not do it (zaqar 23.0.1, ``transport/wsgi/v2_0/purge.py`` and its Redis store): it takes
messages out by claiming them, so those that are claimed stay, and it moves those that were claimed too often to the
dead letter queue and answers 503; of the subscriptions it deletes the first page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol, TypeVar

from .api import MAX_ITEMS, QueueApi
from .calls import read_metadata
from .errors import ErrorBase, ServiceUnavailable
from .messages import Messages
from .paging import Page
from .subscription import Subscriptions

__all__ = ['purge']

#: Seconds: what is posted later than this after the purge began stays, as there might be no end of it.
_YOUNG = 10


class _Aging(Protocol):
    id: str

    @property
    def age(self) -> int | None: ...


_T = TypeVar('_T', bound=_Aging)


def purge(queue: QueueApi, messages: Messages, subscriptions: Subscriptions, resource_types: Iterable[str]) -> None:
    """Delete all resources of these types that the queue has.

    :raises ValueError: for another type than ``messages`` and ``subscriptions``.
    :raises ErrorBase: when the server fails, or does not delete what it says it has deleted.
    """
    unknown = set(resource_types) - {'messages', 'subscriptions'}
    if unknown:
        raise ValueError(f'messages and subscriptions can be purged, not {", ".join(sorted(map(repr, unknown)))}')
    if 'messages' in resource_types:
        _purge_on_server(queue)
        _until_none_is_left('messages', lambda: messages.page(MAX_ITEMS, None, True, True, True), messages.delete_all)
    if 'subscriptions' in resource_types:
        _until_none_is_left('subscriptions', lambda: subscriptions.page(MAX_ITEMS, None), subscriptions.delete)


def _purge_on_server(queue: QueueApi) -> None:
    """Delete most messages with one request, unless that could move some to a dead letter queue."""
    known = read_metadata(queue)
    if known.get('_dead_letter_queue') is None or known.get('_max_claim_count') is None:
        try:
            queue.ask('POST', '/purge', {'resource_types': ['messages']})
        except ServiceUnavailable:  # deleting them page by page may do, or says why not
            pass


def _until_none_is_left(what: str, first_page: Callable[[], Page[_T]], delete: Callable[[list[_T]], object]) -> None:
    began, before = monotonic(), set[str]()
    while True:
        found = [each for _, each in first_page().items if (each.age or 0) + _YOUNG >= monotonic() - began]
        ids = {each.id for each in found}
        if not found:
            return
        if ids <= before:
            raise ErrorBase(
                f'{what} were not deleted',
                0,
                f'The server says that it has deleted {len(ids)} of them, '
                f'and still lists them: {", ".join(sorted(ids))}.',
            )
        delete(found)
        before = ids
