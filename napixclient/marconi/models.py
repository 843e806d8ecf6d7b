"""Documents of the API that users read: statistics, the home document, pre-signed access. Does no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from ..masking import hide

__all__ = ['HomeDoc', 'MessageStats', 'Presigned', 'QueueStats', 'StatsDocument']


class MessageStats(TypedDict):
    """What statistics tell of one message."""

    href: str
    #: Seconds since it was posted.
    age: int
    #: When it was posted: ``2026-12-31T23:59:59Z``.
    created: str


class _Counts(TypedDict):
    """Messages of a queue, by state."""

    claimed: int
    free: int
    total: int


class StatsDocument(_Counts, total=False):
    """``messages`` of ``GET /queues/…/stats``; an empty queue has neither an oldest nor a newest message."""

    oldest: MessageStats
    newest: MessageStats


class HomeDoc(dict[str, Any]):
    """The home document: what the server offers, as ``application/json-home`` has it."""

    @property
    def resources(self) -> dict[str, Any]:
        """Its resources by their relation."""
        return dict(self.get('resources', {}))

    def __repr__(self) -> str:
        return f'<HomeDoc {len(self.resources)} resources>'


class QueueStats(dict[str, Any]):
    """How many messages a queue has: ``claimed``, ``free`` and ``total``, and its ``oldest`` and ``newest``."""

    def __init__(self, document: StatsDocument) -> None:
        super().__init__(document)
        self.update({name: int(self[name]) for name in ('claimed', 'free', 'total')})

    @property
    def claimed(self) -> int:
        """Messages that somebody has claimed."""
        return self['claimed']  # type: ignore[no-any-return]

    @property
    def free(self) -> int:
        """Messages that can be claimed."""
        return self['free']  # type: ignore[no-any-return]

    @property
    def total(self) -> int:
        """All messages."""
        return self['total']  # type: ignore[no-any-return]

    @property
    def oldest(self) -> MessageStats | None:
        """The oldest message: its ``href``, its ``age`` in seconds, and when it was ``created``.

        ``None`` in an empty queue.
        """
        return self.get('oldest')

    @property
    def newest(self) -> MessageStats | None:
        """The newest message, as :attr:`oldest` describes it; ``None`` in an empty queue."""
        return self.get('newest')

    def __repr__(self) -> str:
        return f'<QueueStats claimed:{self.claimed} free:{self.free} total:{self.total}>'


class Presigned(dict[str, Any]):
    """Access to one queue for whoever holds this, until it expires.

    A mapping of ``paths``, ``methods``, ``project``, ``expires`` and ``signature``, which can be passed on as JSON.
    """

    def __init__(self, document: Mapping[str, object]) -> None:
        super().__init__(document)
        missing = {'paths', 'methods', 'project', 'expires', 'signature'} - set(self)
        if missing:
            raise ValueError(f'not what share() returns: {", ".join(sorted(missing))} missing')
        hide(self, str(self['signature']))

    def headers(self) -> dict[str, str]:
        """The fields of a request that carry the signature and what it covers."""
        return {
            'URL-Signature': self['signature'],
            'URL-Expires': self['expires'],
            'URL-Methods': ','.join(self['methods']),
            'URL-Paths': ','.join(self['paths']),
            'X-Project-ID': self['project'],
        }

    def __repr__(self) -> str:
        return f'<Presigned {",".join(self["methods"])} {",".join(self["paths"])} until {self["expires"]}>'
