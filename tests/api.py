"""The signatures of all that the reference describes, as text: `python -m tests.api` writes tests/api.txt anew.

A change of that file is a change of what users call: it belongs into the changelog.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

SNAPSHOT = Path(__file__).parent / 'api.txt'
REFERENCE = Path(__file__).parent.parent / 'docs' / 'reference'
#: What is public beside it: how the programs are started.
OTHERS = ['napixclient.cli.main', 'napixclient.service.create_app']
_entry = re.compile(r'^\.\. auto\w+:: ([\w.]+)((?:\(\))?\n(?:   .*\n)*)', re.MULTILINE)


def snapshot() -> str:
    """A paragraph for each name, sorted."""
    entries = dict(
        _entry.findall(''.join(page.read_text() for page in sorted(REFERENCE.glob('*.rst'))))
    ) | dict.fromkeys(OTHERS, '')
    parts = (''.join(f'{line}\n' for line in described(name, entries[name], entries)) for name in sorted(entries))
    return '\n'.join(parts)


def described(path: str, options: str, entries: Iterable[str]) -> Iterator[str]:
    """The lines of one name.

    :param options: of its directive, which say what of a class is described.
    :param entries: all names: a class that is derived from another one of these says so.
    """
    module, _, name = path.rpartition('.')
    thing = getattr(import_module(module), name)
    if inspect.isfunction(thing):
        yield from written(thing, path)
    elif inspect.isclass(thing) and typing.get_origin(thing) is None:  # on Python 3.10 an alias is a class
        names = {entry.rpartition('.')[2] for entry in entries}
        bases = [base.__name__ for base in thing.__bases__ if base.__name__ in {*names, *vars(builtins)} - {'object'}]
        yield f'class {path}({", ".join(bases)})'
        yield from (f'    {line}' for line in members_of(thing, options))
    else:
        yield f'{path} = {value_of(name, thing)}'


def members_of(kind: type, options: str) -> Iterator[str]:
    """How a class is made, what it has, and what its directive lists."""
    made = [getattr(kind, name) for name in ('__init__', '__new__') if inspect.isfunction(getattr(kind, name))]
    if typing.is_typeddict(kind):
        yield from sorted(f'{name}: {told.__forward_arg__}' for name, told in kind.__annotations__.items())
    elif not made or not Path(inspect.getfile(made[0])).exists():  # it is generated from these
        yield from sorted(f'{name}: {told}' for name, told in attributes_of(kind).items())
    elif not options.startswith('()') and made[0].__module__.startswith('napixclient'):
        yield from written(made[0], made[0].__name__)
    told = ' '.join(re.findall(r'^   (?::(?:special-)?members:)?((?: *[\w, ]+)?)$', options, re.MULTILINE))
    listed = sorted(re.findall(r'\w+', told))
    if ':members:\n' in options:
        listed = sorted(name for name, member in vars(kind).items() if name[0] != '_' and inspect.getdoc(member))
    for name in listed:
        member = inspect.getattr_static(kind, name, None)
        if isinstance(member, property):
            yield f'{name}: {inspect.signature(member.fget).return_annotation}'  # type: ignore[arg-type]
        elif inspect.isroutine(inspect.unwrap(getattr(kind, name, None))):  # type: ignore[arg-type]
            yield from written(inspect.unwrap(getattr(kind, name)), name)
        else:
            told = next(filter(None, (attributes_of(one).get(name) for one in kind.__mro__)), type(member).__name__)
            if name not in attributes_of(kind) or made:
                yield f'{name}: {told}'


def written(function: Any, path: str) -> Iterator[str]:
    """A function as its source has it; where there are overloads, these."""
    name = path.rpartition('.')[2]
    tree: Any = parsed(inspect.getfile(function))
    for part in function.__qualname__.split('.')[:-1]:
        tree = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == part)
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function.__name__]
    overloads = [node for node in found if any(ast.unparse(mark) == 'overload' for mark in node.decorator_list)]
    for node in overloads or found[-1:] if found else []:
        returns = '' if node.returns is None else f' -> {ast.unparse(node.returns)}'
        yield f'def {path if "." in path else name}({ast.unparse(node.args)}){returns}'
    if not found:
        yield f'def {path}{inspect.signature(function)}'


@cache
def parsed(file: str) -> ast.Module:
    """The source of a module."""
    return ast.parse(Path(file).read_text())


@cache
def attributes_of(kind: type) -> dict[str, str]:
    """The attributes that a class declares with a type, or gives one in its methods."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):
        return {}
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            match node.target:
                case ast.Attribute(ast.Name('self'), name) if name[0] != '_':
                    found.setdefault(name, ast.unparse(node.annotation))
                case ast.Name(name) if name[0] != '_' and node in tree.body[0].body:  # type: ignore[attr-defined]
                    found[name] = ast.unparse(node.annotation)
    return found


def value_of(name: str, thing: Any) -> str:
    """What a name stands for, as the module that defines it says."""
    for module in list(sys.modules.values()):
        if getattr(module, '__name__', '').startswith('napixclient') and vars(module).get(name) is thing:
            for node in parsed(inspect.getfile(module)).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                    return ast.unparse(node.value)
                if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
                    return f'{ast.unparse(node.annotation)}'
    return type(thing).__name__


if __name__ == '__main__':
    SNAPSHOT.write_text(snapshot())
