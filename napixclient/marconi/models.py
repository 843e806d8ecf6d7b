"""What the server tells as a document: statistics, the home document, pre-signed access."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..masking import hide

__all__ = ['HomeDoc', 'Presigned', 'QueueStats']


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

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(told, **{name: int(told[name]) for name in ('claimed', 'free', 'total')})

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
    def oldest(self) -> dict[str, Any] | None:
        """What the server tells of the oldest message; ``None`` in an empty queue."""
        return self.get('oldest')

    @property
    def newest(self) -> dict[str, Any] | None:
        """What the server tells of the newest message; ``None`` in an empty queue."""
        return self.get('newest')

    def __repr__(self) -> str:
        return f'<QueueStats claimed:{self.claimed} free:{self.free} total:{self.total}>'


class Presigned(dict[str, Any]):
    """Access to one queue for whoever holds this, until it expires; it can be sent on as JSON.

    It has ``paths``, ``methods``, ``project``, ``expires`` and ``signature``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        missing = {'paths', 'methods', 'project', 'expires', 'signature'} - set(self)
        if missing:
            raise ValueError(f'not what share() returns: {", ".join(sorted(missing))} missing')
        hide(self, str(self['signature']))

    def headers(self) -> dict[str, str]:
        """The fields that prove it."""
        return {
            'URL-Signature': self['signature'],
            'URL-Expires': self['expires'],
            'URL-Methods': ','.join(self['methods']),
            'URL-Paths': ','.join(self['paths']),
            'X-Project-ID': self['project'],
        }

    def __repr__(self) -> str:
        return f'<Presigned {",".join(self["methods"])} {",".join(self["paths"])} until {self["expires"]}>'
