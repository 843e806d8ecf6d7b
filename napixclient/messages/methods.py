"""What is known of a method by its name alone (RFC 9110 §9)."""

from __future__ import annotations

__all__ = ['IDEMPOTENT']

#: Methods that may be sent once more when nobody can know whether they arrived (RFC 9110 §9.2.2).
IDEMPOTENT: frozenset[str] = frozenset(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
