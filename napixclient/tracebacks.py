"""Tracebacks as logs and documents show them."""

from __future__ import annotations

import traceback
from contextlib import suppress

from .errors import NapixError
from .masking import mask_around

__all__ = ['traceback_of']


def traceback_of(exc: BaseException) -> str:
    """The traceback as Python prints it, without secrets."""
    sentences: list[str] = []
    left: list[BaseException | None] = [exc]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        left += [one.__cause__, one.__context__]
        members = getattr(one, 'exceptions', None)
        if isinstance(members, tuple):
            left += [member for member in members if isinstance(member, BaseException)]
        if isinstance(one, NapixError) or (isinstance(one, OSError) and one.errno and one.filename is None):
            with suppress(Exception):  # its __str__ may be the caller's
                sentences.append(str(one))
    return mask_around(''.join(traceback.format_exception(exc)).rstrip(), sentences)
