"""Which methods are idempotent (RFC 9110 §9.2.2)."""

from __future__ import annotations

__all__ = ['IDEMPOTENT']

#: Methods that may be sent once more when nobody can know whether they arrived (RFC 9110 §9.2.2).
IDEMPOTENT: frozenset[str] = frozenset(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
