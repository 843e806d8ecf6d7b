"""What may follow a flag: counts, shares, times, rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from ..._counts import WholeNumber

__all__ = ['COUNT', 'FILE', 'RATE', 'SECONDS', 'Share', 'ShareType', 'Simultaneous']


@dataclass(frozen=True)
class Share:
    """A number, or a share of all requests."""

    number: float
    percent: bool

    def of(self, total: int) -> int:
        """The number of requests that this is; a share is rounded up."""
        return math.ceil(self.number * total / 100 - 1e-9) if self.percent else int(self.number)


# click 8.1 has a class that is not generic.
if TYPE_CHECKING:
    _ShareParam = click.ParamType['Share']
    _NumberParam = click.ParamType[float]
    _SimultaneousParam = click.ParamType[int | Literal['auto']]
else:
    _ShareParam = _NumberParam = _SimultaneousParam = click.ParamType


class ShareType(_ShareParam):
    """``10`` or ``90%``."""

    name = 'number or percentage'

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> Share:
        """Read the number or the percentage."""
        text = str(value)
        try:
            number = float(text[:-1]) if text.endswith('%') else int(text)
        except ValueError:
            self.fail(f'{text!r} is neither a number nor a percentage', param, context)
        if not 0 <= number <= (100 if text.endswith('%') else math.inf):
            self.fail(f'{text!r} is out of range', param, context)
        return Share(number, text.endswith('%'))


class _Rate(_NumberParam):
    """A number of requests a second, above 0."""

    name = 'number'

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> float:
        """Read the number."""
        try:
            number = float(str(value))
        except ValueError:
            self.fail(f'{value!r} is not a number of requests a second', param, context)
        if not (math.isfinite(number) and 0 < number <= 1e9):
            self.fail(f'{value} is not a number of requests a second above 0', param, context)
        return number


class _Seconds(_NumberParam):
    """A time above 0: ``5``, ``5s``, ``1m30s``, ``500ms``."""

    name = 'time'

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> float:
        """Read the time, in seconds."""
        from ...checks import seconds_of  # which help and completion do without

        try:
            seconds = seconds_of(str(value))
        except ValueError as exc:
            self.fail(str(exc), param, context)
        if not 0 < seconds <= 1e9:
            self.fail(f'{value} is not a number of seconds above 0', param, context)
        return seconds


class Simultaneous(_SimultaneousParam):
    """A count, or ``auto``."""

    name = 'number or auto'

    def convert(
        self, value: object, param: click.Parameter | None, context: click.Context | None
    ) -> int | Literal['auto']:
        """Read the count."""
        if value == 'auto':
            return 'auto'
        text = str(value)
        if not (text.isdecimal() and int(text) >= 1):
            self.fail(f'{value!r} is neither a whole number from 1 up nor "auto"', param, context)
        return int(text)


SECONDS = _Seconds()
RATE = _Rate()
COUNT = WholeNumber(min=1)
FILE = click.Path()
