"""How a queue is emptied.

The server's own purge does not do it (zaqar 23.0.1, ``transport/wsgi/v2_0/purge.py`` and its Redis store): it takes
messages out by claiming them, so that those that are claimed stay, and those that were claimed too often are moved to
the dead letter queue, with a 503 for an answer; of the subscriptions it deletes the first page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from .errors import ErrorBase, ServiceUnavailable
from .paging import Page

if TYPE_CHECKING:
    from .queue import Queue

__all__ = ['purge']

#: Items in a page, and ids in a request: what a server takes by default.
_MOST = 20
#: Seconds after which what is younger than the purge is left: of what comes meanwhile there might be no end.
_YOUNG = 10


def purge(queue: Queue, resource_types: Iterable[str]) -> None:
    """Delete what it has of these types.

    :raises ValueError: for another type than ``messages`` and ``subscriptions``.
    :raises ErrorBase: when the server fails, or does not delete what it says it has deleted.
    """
    unknown = set(resource_types) - {'messages', 'subscriptions'}
    if unknown:
        raise ValueError(f'messages and subscriptions can be purged, not {", ".join(sorted(map(repr, unknown)))}')
    if 'messages' in resource_types:
        _purge_messages(queue)
    if 'subscriptions' in resource_types:
        _until_none_is_left(
            'subscriptions',
            lambda: queue._page_of_subscriptions(_MOST, None),
            lambda found: [queue._client._ask('DELETE', each._path) for each in found],
        )


def _purge_messages(queue: Queue) -> None:
    known = queue._metadata()
    if known.get('_dead_letter_queue') is None or known.get('_max_claim_count') is None:
        try:  # the most of it with one request
            queue._client._ask('POST', f'{queue._path}/purge', {'resource_types': ['messages']})
        except ServiceUnavailable:  # what follows does it, or says why not
            pass
    _until_none_is_left('messages', lambda: queue._page(_MOST, None, True, True, True), queue._delete_messages)


def _until_none_is_left(what: str, first_page: Callable[[], Page], delete: Callable[[list[Any]], object]) -> None:
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
