"""Names of a package that are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

__all__ = ['lazy']


def lazy(
    package: str, names: Sequence[str], homes: Mapping[str, str], others: str = ''
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package.

    :param package: its name.
    :param names: what it offers, its ``__all__``.
    :param homes: the module within it, without the package's name, that each of these names comes from.
    :param others: the module of those that are not in ``homes``.
    """

    def get(name: str) -> object:
        if name not in names:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        value = getattr(import_module(f'.{homes.get(name, others)}', package), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *names})
