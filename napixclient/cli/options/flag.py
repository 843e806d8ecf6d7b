"""A flag as it is declared: for parsing, help, man page and completion."""

from __future__ import annotations

from collections.abc import Callable

import click

__all__ = ['Flag', 'not_empty']


class Flag(click.Option):
    """A flag, and the topic of the help that describes it.

    :param metavar: what follows it; ``None`` where nothing does.
    :param count: whether it counts how often it is given.
    """

    def __init__(
        self,
        *names: str,
        topic: str,
        help: str,
        metavar: str | None = None,
        type: click.ParamType[object] | None = None,
        callback: Callable[[click.Context, click.Parameter, str | None], str | None] | None = None,
        multiple: bool = False,
        count: bool = False,
    ) -> None:
        super().__init__(
            names,
            metavar=metavar,
            is_flag=True if metavar is None and not count else None,
            type=type,
            help=help,
            callback=callback,
            multiple=multiple,
            count=count,
        )
        self.topic = topic

    @property
    def written(self) -> str:
        """All its names and its argument: ``-x, --exclude NODESET``."""
        names = sorted(self.opts, key=len)
        return ', '.join(names) + (f' {self.metavar}' if self.metavar else '')


def not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The value; an empty one comes from a variable of the shell that is not set."""
    if value == '':
        raise click.BadParameter('it is empty; is the variable it comes from set?')
    return value
