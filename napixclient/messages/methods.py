"""Which methods there are, how they are written, and which are idempotent (RFC 9110 §9)."""

from __future__ import annotations

from .headers import is_token

__all__ = ['IDEMPOTENT', 'METHODS', 'in_capitals', 'method_of']

#: Methods that may be sent once more when nobody can know whether they arrived (RFC 9110 §9.2.2).
IDEMPOTENT: frozenset[str] = frozenset(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
#: Those that everybody knows: of RFC 9110 §9.3 but for CONNECT, and PATCH of RFC 5789.
METHODS: frozenset[str] = IDEMPOTENT | {'POST', 'PATCH'}
_CAPITALS = {name.lower(): name for name in METHODS}


def in_capitals(method: str) -> str:
    """A well-known method that is written in lower case in upper case; any other as it is, for its case counts."""
    return _CAPITALS.get(method, method)


def method_of(given: object) -> str:
    """A method as it is sent.

    :raises ValueError: for what is no method (RFC 9110 §9.1), and for CONNECT in any case: some servers take it for
        the one in upper case.
    """
    if not isinstance(given, str) or not is_token(given):
        raise ValueError(f'not a method (RFC 9110 §9.1): {given!r}')
    if given.upper() == 'CONNECT':
        raise ValueError('CONNECT makes a tunnel (RFC 9110 §9.3.6), which is not for requests')
    return in_capitals(given)
