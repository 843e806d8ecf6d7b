"""Checks of what callers give: counts, numbers, flags, times."""

from __future__ import annotations

import re
from inspect import iscoroutinefunction
from math import isfinite
from typing import Final, Literal, TypeGuard, TypeVar

__all__ = [
    'AUTO',
    'decider',
    'is_async',
    'is_number',
    'is_whole',
    'seconds_of',
    'true_or_false',
    'whole_number',
    'count_or_auto',
]

_T = TypeVar('_T')
#: In the place of a number of simultaneous requests: learn from the answers how many the origin can take.
AUTO: Final[Literal['auto']] = 'auto'


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is an integer; ``True`` and ``False`` are none here."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is an integer or a float; infinite ones and NaN are floats, ``True`` and ``False`` are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def whole_number(value: object, name: str, least: int = 1) -> int:
    """The value, a count.

    :param name: what the error calls it.
    :raises ValueError: for anything but a whole number of at least *least*.
    """
    if not is_whole(value) or value < least:
        raise ValueError(f'{name} is a whole number of at least {least}, not {value!r}')
    return value


def count_or_auto(value: object, name: str) -> int | Literal['auto']:
    """The value, how many may be under way at once; or :data:`AUTO`.

    :param name: what the error calls it.
    :raises ValueError: for anything but a whole number of at least 1 or ``'auto'``.
    """
    if value == AUTO:
        return AUTO
    if not is_whole(value) or value < 1:
        raise ValueError(f"{name} is a whole number of at least 1, or 'auto', not {value!r}")
    return value


def true_or_false(value: object, name: str) -> bool:
    """The value, a flag.

    :param name: what the error calls it.
    :raises ValueError: for anything but ``True`` or ``False``.
    """
    if not isinstance(value, bool):
        raise ValueError(f'{name} is True or False, not {value!r}')
    return value


def decider(value: _T, name: str) -> _T:
    """The value, a function that decides something at once, or ``None``.

    :param name: what the error calls it.
    :raises ValueError: for what cannot be called, and for an ``async`` function.
    """
    if value is None:
        return value
    if not callable(value):
        raise ValueError(f'{name} is called, so it must be callable, not {value!r}')
    if is_async(value):
        raise ValueError(f'{name} decides at once, so it cannot be async: {value!r}')
    return value


def is_async(given: object) -> bool:
    """Whether what it returns is to be awaited: it is an ``async`` function, or has such a ``__call__``."""
    return iscoroutinefunction(given) or iscoroutinefunction(getattr(type(given), '__call__', None))  # noqa: B004  # it is not asked whether there is one


_duration = re.compile(
    r'(?:(?P<d>\d+(?:\.\d+)?)d)?(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?'
    r'(?:(?P<ms>\d+(?:\.\d+)?)ms)?',
    re.ASCII,
).fullmatch
_UNITS = {'d': 86400, 'h': 3600, 'm': 60, 's': 1, 'ms': 0.001}


def seconds_of(text: str, unit: float = 1) -> float:
    """A time as people write it, in seconds: ``90``, ``1m30s``, ``500ms``, ``2h``, ``1.5d``.

    :param unit: the seconds that a plain number counts.
    :raises ValueError: for anything else, and for what is not finite.
    """
    found = _duration(text)
    try:
        if found is None or not text:
            seconds = float(text) * unit
        else:
            seconds = sum(float(number) * _UNITS[name] for name, number in found.groupdict().items() if number)
    except ValueError:
        raise ValueError(f'{text!r} is not a number of seconds, nor a time such as 500ms, 5s, 1m30s or 2h') from None
    if not isfinite(seconds):
        raise ValueError(f'{text} is not a number of seconds')
    return seconds
