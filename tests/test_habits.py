"""How work is done here: what is written down of it is what is true."""

from __future__ import annotations

import collections
import configparser
import os
import re
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from napixclient import ClientPool
from tests import kit
from tests.kit import ROOT

TESTS = ROOT / 'tests'


def test_no_two_test_modules_have_one_name() -> None:
    """All tests can be collected in one run: pytest knows a module by the last part of its path."""
    names = collections.Counter(path.name for path in TESTS.rglob('test_*.py'))
    assert [name for name, count in names.items() if count > 1] == []


def test_what_lacks_a_package_of_an_extra_is_skipped() -> None:
    """Modules and directories that import a package that is missing are skipped with its name; the rest is collected."""
    finished = kit.run_program(
        """
import sys
import pytest
sys.modules['brotli'] = sys.modules['websockets'] = None
names = ('cli', 'cluster', 'fuzz', 'marconi', 'resources', 'rest', 'saga', 'zaqar')
others = [f'--ignore=tests/{name}' for name in names]
sys.exit(pytest.main(['--collect-only', '-q', 'tests', '--ignore-glob=*/test_[!d]*', *others]))
""",
        seconds=50,
    )
    assert finished.code == 0, finished.out
    assert re.search(r'SKIPPED .* tests/service:0: websockets is not installed; pip install', finished.out)
    assert re.search(r'SKIPPED .* tests/test_decoding\.py:0: brotli is not installed; pip install', finished.out)
    assert 'tests/test_docs.py::' in finished.out


# Rules with exceptions -----------------------------------------------------------------------------------------------

CHECK = ROOT / '.ci' / 'exceptions.py'
LISTED = '# a comment\nSLF001     1 a.py\nSLF001     2 b.py\n'


def complaints(listed: str, **places: int) -> list[str]:
    """What the check says of so many private accesses in the files of these names."""
    check = runpy.run_path(str(CHECK))
    found = {('SLF001', f'{name}.py'): [f'{line}:1: it' for line in range(count)] for name, count in places.items()}
    said: list[str] = check['complaints'](check['read'](listed), {key: lines for key, lines in found.items() if lines})
    return said


def test_the_code_has_what_the_list_of_exceptions_has() -> None:
    """As many exceptions as the list has are no fault."""
    assert complaints(LISTED, a=1, b=2) == []


@pytest.mark.parametrize('places', [{'a': 2, 'b': 2}, {'a': 1, 'b': 2, 'c': 1}], ids=['in a listed file', 'in another'])
def test_an_exception_more_is_named(places: dict[str, int]) -> None:
    """One more than the list has is a fault, and its place is named."""
    said = complaints(LISTED, **places)
    assert len(said) == places.get('c', places['a']) + 1 and ':1: it (SLF001)' in said[0]


@pytest.mark.parametrize('b', [1, 0], ids=['one of two', 'the last'])
def test_an_exception_less_is_to_leave_the_list(b: int) -> None:
    """One fewer than the list has is a fault until the list has shrunk, after which nothing of it is left."""
    assert complaints(LISTED, a=1, b=b) == [f'b.py: {b} × SLF001, where the list still has 2: run with --shrink']
    check = runpy.run_path(str(CHECK))
    shrunk = check['shrunk'](LISTED, {('SLF001', 'a.py'): 5, ('SLF001', 'b.py'): b, ('SLF001', 'c.py'): 1})
    assert shrunk == LISTED.replace('SLF001     2 b.py\n', 'SLF001     1 b.py\n' if b else '')


def test_the_list_of_exceptions_is_sorted_and_names_files_that_exist() -> None:
    """Each rule and file stands once in it, in order, with a count."""
    listed = runpy.run_path(str(CHECK))['read'](CHECK.with_suffix('.txt').read_text())
    assert list(listed) == sorted(listed) and all(listed.values())
    assert [file for _, file in listed if not (ROOT / file).exists()] == []


def test_a_noqa_is_no_exception(tmp_path: Path) -> None:
    """A place that breaks a rule counts, even if it says that ruff is to look away."""
    pytest.importorskip('ruff', reason='ruff is not installed: make lint does that')
    check = runpy.run_path(str(CHECK))
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    (tmp_path / 'a.py').write_text('import os\n\nprint(os.sep._one)  # noqa: SLF001\nprint(os.sep._two)\n')
    found = check['found_by_ruff'](tmp_path)
    assert {key: len(places) for key, places in found.items()} == {('SLF001', 'a.py'): 2}


# What tools of others are told ---------------------------------------------------------------------------------------


def test_a_commit_is_judged_as_make_lint_judges() -> None:
    """The hook of pre-commit is `make lint`, and fetches nothing."""
    config = (ROOT / '.pre-commit-config.yaml').read_text()
    assert re.findall(r'repo: (\S+)', config) == ['local']
    assert re.findall(r'(?:entry|language): (.+)', config) == ['make lint', 'system']


def sources() -> Iterator[Path]:
    """The files of the tree, but for what tools have made in it."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name == '.ci'
            or not name.startswith('.')
            and name not in ('_build', 'build', 'dist', '__pycache__')
            and not name.endswith('.egg-info')
        ]
        yield from (Path(folder, name) for name in files)


def test_files_are_as_editorconfig_has_them() -> None:
    """Lines end with LF and without white space, the last one too; a tab indents in a Makefile, and nowhere else."""
    looked_at = 0
    for path in sources():
        if path.suffix in ('.py', '.rst', '.md', '.cfg', '.toml', '.txt', '.js', '.css') or path.name == 'Makefile':
            text = path.read_bytes()
            looked_at += 1
            assert not text or (text.endswith(b'\n') and not re.search(rb'\r|[ \t]\n', text)), path
            assert path.name == 'Makefile' or not re.search(rb'^ *\t', text, re.MULTILINE), path
    assert looked_at > 300


# Tests that are known by a number -------------------------------------------------------------------------------------

FAULTS = dict(
    re.findall(
        r'^   \* - (\d+)\n     - .+\n     - .+\n     - (.+)$', (ROOT / 'docs/faults.rst').read_text(), re.MULTILINE
    )
)


def numbers(path: Path) -> set[str]:
    """The faults that a module of tests names: in names of tests, in rows of a table, in comments and its first lines."""
    text = path.read_text()
    found = re.findall(r'def test_(?:rows?_)?(\d\d?(?:_and_\d\d?)*)(?=_)', text)
    found += re.findall(r'\bRow\(\s*f?[\'"](\d\d?) ', text) + re.findall(r'(?:# |\b)[Rr]ows? (\d\d?(?:, \d\d?)*)', text)
    return {number for each in found for number in re.findall(r'\d+', each)}


def test_the_list_of_faults_has_every_number_that_tests_are_known_by() -> None:
    """Who reads a number in a test finds it in the list, which leads back to the module of that test."""
    paths = [path for path in TESTS.rglob('*.py') if path.name != Path(__file__).name]
    used = {path.relative_to(TESTS).as_posix(): numbers(path) for path in paths}
    assert sum(len(found) for found in used.values()) > 50
    for module, found in used.items():
        for number in found:
            assert number in FAULTS and f'`{module}`' in FAULTS[number], (module, number)


def test_the_list_of_faults_counts_from_one_and_names_modules_that_exist() -> None:
    """Each number is there once, in order, and somebody holds it."""
    assert [int(number) for number in FAULTS] == list(range(1, len(FAULTS) + 1)) and len(FAULTS) >= 62
    for held in FAULTS.values():
        for module in re.findall(r'`(.+?)`', held):
            assert (TESTS / module).is_file(), module


# CONTRIBUTING.md -----------------------------------------------------------------------------------------------------

CONTRIBUTING = (ROOT / 'CONTRIBUTING.md').read_text()


def test_each_target_is_documented() -> None:
    """What make offers is in the table of CONTRIBUTING.md, in what `make help` prints, and nothing else is."""
    makefile = (ROOT / 'Makefile').read_text()
    [phony] = re.findall(r'^\.PHONY: (.+)$', makefile, re.MULTILINE)
    offered = set(phony.split()) - {'help'}
    assert set(re.findall(r"^\t@echo 'make (\S+)", makefile, re.MULTILINE)) == offered
    assert set(re.findall(r'^\| `make (\S+)` \|', CONTRIBUTING, re.MULTILINE)) == offered
    assert set(re.findall(r'`?\bmake (?!clean)([a-z-]+)[`\n]', CONTRIBUTING)) <= {*offered, 'help'}


def test_the_example_of_a_test_passes() -> None:
    """The test that CONTRIBUTING.md shows is one."""
    [example] = re.findall(r'```python\n(.+?)```', CONTRIBUTING, re.DOTALL)
    names: dict[str, Any] = {'ClientPool': ClientPool, 'Gate': kit.Gate, 'serve': kit.serve}
    exec(example, names)
    [run] = [value for name, value in names.items() if name.startswith('test_')]
    run()


@pytest.mark.parametrize('page', ['CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md'])
def test_links_lead_somewhere(page: str) -> None:
    """A relative link names a file."""
    for target in re.findall(r'\]\(([^)#]+)', (ROOT / page).read_text()):
        assert '://' in target or (ROOT / target).exists(), target


def test_the_changelog_is_in_the_form_of_keep_a_changelog() -> None:
    """Versions, the newest first and what is unreleased above, each with some of the six kinds, each of them once."""
    text = (ROOT / 'CHANGELOG.md').read_text()
    versions = re.split(r'^## ', text, flags=re.MULTILINE)[1:]
    assert versions[0].startswith('[Unreleased]\n')
    for version in versions:
        assert re.match(r'\[(Unreleased|\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d)', version)
        kinds = re.findall(r'^### (.+)$', version, re.MULTILINE)
        order = ['Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security']
        assert kinds and kinds == [kind for kind in order if kind in kinds]


def test_the_addresses_of_the_project_lead_somewhere() -> None:
    """Each `project_urls` of the metadata is a file of the source tree, or an address with a scheme."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / 'setup.cfg')
    addresses = [line.partition(' = ')[2] for line in metadata['metadata']['project_urls'].strip().splitlines()]
    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith('https://') or (ROOT / address).is_file(), address
