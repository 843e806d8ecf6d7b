"""The page on how it works, its picture and the maps of packages name what exists; the parts of the engine stay small."""

from __future__ import annotations

import ast
import re
import runpy
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from napixclient._http.http1.states import PHASES, TRANSITIONS
from tests.kit import ROOT

PACKAGE = ROOT / 'napixclient'
PAGE = (ROOT / 'docs' / 'design.rst').read_text()
ENGINE = runpy.run_path(str(ROOT / 'docs' / 'engine.py'))
#: Of others, and words of the page that are no classes of ours.
FOREIGN = {'Retry', 'Timeout', 'RuntimeError'}


def classes() -> dict[str, set[str]]:
    """The classes of the package, each with its members."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                members = found.setdefault(node.name, set())
                members |= {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
                members |= {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    return found


CLASSES = classes()


def codes(text: str) -> list[str]:
    """What stands between backquotes."""
    return re.findall(r'`([^`\n]+)`', re.sub(r':[\w:]+:`[^`]+`', '', text))


def exists(name: str) -> bool:
    """Whether there is a file of that name: in the engine, in the package or in the source tree."""
    return any((base / name).is_file() for base in (PACKAGE / '_http', PACKAGE, ROOT))


def test_the_classes_and_members_that_the_page_names_exist() -> None:
    """Each `Name` and each `Name.member()` of the page is in the code."""
    named = [found for code in codes(PAGE) if (found := re.fullmatch(r'([A-Z]\w+)(?:\.(\w+))?(?:\(\))?', code))]
    assert len({found[1] for found in named}) > 30
    for found in named:
        name, member = found.groups()
        assert name in FOREIGN or name in CLASSES, name
        assert member is None or member in CLASSES[name], found[0]


def test_the_files_and_packages_that_the_page_names_exist() -> None:
    """Each path of a file on the page leads to one, and each layer is a module or a package."""
    files = [code for code in codes(PAGE) if re.search(r'\.(py|js|rst)$', code)]
    assert len(set(files)) > 40
    for name in files:
        assert exists(name), name
    layers = PAGE[: PAGE.index('The way of a request')]
    for row in re.findall(r'^   \* - (`.+)$', layers, re.MULTILINE):
        for name in codes(row):
            assert (PACKAGE / name).is_dir() or (PACKAGE / f'{name}.py').is_file(), name


def test_the_picture_is_the_one_that_its_script_draws() -> None:
    """docs/_static/engine.svg is up to date: else `python docs/engine.py`."""
    assert ENGINE['PICTURE'].read_text() == ENGINE['drawn']()


def test_the_classes_in_the_picture_exist_and_are_described() -> None:
    """Each box, and each class in the title of a group, is a class, and the page names it too."""
    names = [box.name for box in ENGINE['BOXES']] + [group.title.rpartition(' ')[2] for group in ENGINE['GROUPS']]
    told = {code.partition('.')[0] for code in codes(PAGE)}
    for name in names:
        assert name in CLASSES and name in told | {'PoolCore'}, name


def test_each_hop_in_the_picture_is_described() -> None:
    """The numbers of the arrows are those of the steps on the page."""
    numbers = [arrow.number for arrow in ENGINE['ARROWS'] if arrow.number]
    assert numbers == [int(number) for number in re.findall(r'^(\d+)\. \*\*', PAGE, re.MULTILINE)]


def test_the_states_of_a_connection_are_those_of_the_table() -> None:
    """The page has every state of a connection, and where each leads."""
    text = PAGE[PAGE.index('The states of a connection') : PAGE.index('What holds everywhere')]
    rows = re.findall(r'^   \* - `(\w+)`\n     - .+\n     - (.+)$', text, re.MULTILINE)
    assert [name for name, _ in rows if name in PHASES] == [name for name, _ in rows] and len(rows) == len(PHASES)
    for name, leads in rows:
        targets = {target for (state, _), target in TRANSITIONS.items() if state == name}
        assert set(codes(leads)) == (targets - {'closed'} or {'closed'}), name


# Maps ----------------------------------------------------------------------------------------------------------------


def parts(package: Path) -> set[str]:
    """The modules and packages in a package that a reader has to choose from."""
    files = {path.stem for path in package.glob('*.py')} - {'__init__', '__main__'}
    inner = {path.parent.name for path in package.glob('*/__init__.py')}
    return {name for name in files | inner if name == '_http' or not name.startswith('_')}


PACKAGES = sorted(path.parent for path in PACKAGE.rglob('__init__.py'))


@pytest.mark.parametrize('package', PACKAGES, ids=[path.relative_to(ROOT).as_posix() for path in PACKAGES])
def test_the_map_of_a_package_has_all_of_its_modules(package: Path) -> None:
    """The first lines of a package list its modules and inner packages, each once, and nothing else."""
    lines = ast.get_docstring(ast.parse((package / '__init__.py').read_text())) or ''
    listed = re.findall(r'^((?:[a-z_]\w*, )*[a-z_]\w*)(?:  +| (?=`))\S', lines, re.MULTILINE)
    names = [name for entry in listed for name in entry.split(', ')]
    assert sorted(names) == sorted(parts(package))


def test_every_module_says_in_one_line_what_it_is_for() -> None:
    """The first line is a sentence that is no longer than the line."""
    for path in PACKAGE.rglob('*.py'):
        first = (ast.get_docstring(ast.parse(path.read_text())) or '').split('\n\n')[0]
        assert first and '\n' not in first and first.endswith('.'), path


# Sizes ---------------------------------------------------------------------------------------------------------------

PARTS = [*(PACKAGE / '_http').rglob('*.py'), PACKAGE / 'pool.py', PACKAGE / 'client.py']


@cache
def tree(path: Path) -> ast.Module:
    """A module, parsed."""
    return ast.parse(path.read_text())


def sized(*kinds: type[ast.AST]) -> dict[str, int]:
    """The lines that each class or function of the engine, the pool and the client has, by file and name."""
    return {
        f'{path.relative_to(PACKAGE)}:{node.lineno} {node.name}': node.end_lineno - node.lineno + 1
        for path in PARTS
        for node in ast.walk(tree(path))
        if isinstance(node, kinds)
    }


def source(path: Path, node: ast.ImportFrom) -> Path:
    """The file that a relative import takes names from."""
    module = path.parents[node.level - 1].joinpath(*(node.module or '').split('.'))
    return module / '__init__.py' if module.is_dir() else module.with_suffix('.py')


def depth(path: Path, name: str) -> int:
    """How many classes of ours a class stands on; 0 for what is not ours, for protocols and for errors."""
    for node in [] if path == PACKAGE / 'errors.py' else tree(path).body:
        if isinstance(node, ast.ImportFrom) and node.level and name in [one.name for one in node.names]:
            return depth(source(path, node), name)
        if isinstance(node, ast.ClassDef) and node.name == name:
            bases = [ast.unparse(base).partition('[')[0] for base in node.bases]
            return 0 if 'Protocol' in bases else 1 + max((depth(path, base) for base in bases), default=0)
    return 0


def test_no_class_of_the_engine_is_large() -> None:
    """A class of the engine, the pool or the client has at most 250 lines."""
    assert {name: size for name, size in sized(ast.ClassDef).items() if size > 250} == {}


def test_few_functions_of_the_engine_are_long() -> None:
    """At most five functions of the engine, the pool and the client have more than 40 lines."""
    long = {name: size for name, size in sized(ast.FunctionDef, ast.AsyncFunctionDef).items() if size > 40}
    assert len(long) <= 5, long


def test_inheritance_in_the_engine_is_flat() -> None:
    """A class of the engine, the pool or the client stands on at most two others of ours."""
    found = {
        f'{path.relative_to(PACKAGE)} {node.name}': depth(path, node.name) - 1
        for path in PARTS
        for node in tree(path).body
        if isinstance(node, ast.ClassDef)
    }
    assert found['_http/pending.py PendingResponse'] == found['_http/streaming.py StreamedResponse'] == 1
    assert {name: depth for name, depth in found.items() if depth > 2} == {}


def test_the_engine_has_no_circle_of_imports() -> None:
    """No module of the engine imports one that imports it, straight or by way of others."""
    TopologicalSorter(
        {
            path: {source(path, node) for node in tree(path).body if isinstance(node, ast.ImportFrom) and node.level}
            for path in (PACKAGE / '_http').rglob('*.py')
        }
    ).prepare()
