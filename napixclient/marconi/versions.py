"""Versions of the messaging API: what each is called, and how an address names it. Does no I/O."""

from __future__ import annotations

import re

__all__ = ['SEGMENTS', 'locate', 'newest', 'version_of']

#: Each version, and the path segment that names it.
SEGMENTS = {'1.0': 'v1', '1.1': 'v1.1', '2.0': 'v2'}
_NAMES = {'1': '1.0', '1.0': '1.0', '1.1': '1.1', '2': '2.0', '2.0': '2.0'}
_version_in = re.compile(r'/v(\d+(?:\.\d+)?)/*$').search


def version_of(given: object) -> str:
    """The version that a caller names with a number or a text.

    :raises ValueError: for any other.
    """
    version = None if isinstance(given, bool) else _NAMES.get(str(given).lower().removeprefix('v'))
    if version is None:
        raise ValueError(f'version is 1, 1.1 or 2, not {given!r}')
    return version


def locate(endpoint: str) -> tuple[str, str, str]:
    """Split an endpoint into its root, the path of the version, and the version; the last two may be empty."""
    found = _version_in(endpoint)
    if found is None:
        return endpoint.rstrip('/'), '', ''
    return endpoint[: found.start()], found[0].rstrip('/'), version_of(found[1])


def newest(names: list[str]) -> str:
    """The newest version of those that a server lists.

    :raises ValueError: when none of them is spoken here.
    """
    return max((_NAMES[name] for name in names if name in _NAMES), key=float)
