"""The numbers that follow flags. Ranges of click are called "integer range", which tells nobody what to write."""

from __future__ import annotations

import click

__all__ = ['Number', 'WholeNumber']


class WholeNumber(click.IntRange):
    """A whole number within bounds."""

    name = 'integer'


class Number(click.FloatRange):
    """A number within bounds."""

    name = 'number'
