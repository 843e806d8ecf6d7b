"""The documentation is true: each block of code in it runs, against real servers that go by the names in it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import get_args

import pytest

import napixclient
from napixclient import Phase, aio, authenticators, cluster, marconi, resources, rest, saga, testing, threads, wsgi
from tests.reader.pages import DOCS, PAGES, ROOT, blocks_of

PUBLIC = (
    [(napixclient, name) for name in napixclient.__all__ if name != '__version__']
    + [(authenticators, name) for name in authenticators.__all__]
    + [(testing, name) for name in testing.__all__]
    + [(wsgi, name) for name in wsgi.__all__]
    + [(resources, name) for name in resources.__all__]
    + [(marconi, name) for name in marconi.__all__]
    + [(rest, name) for name in rest.__all__]
    + [(cluster, name) for name in cluster.__all__]
    + [(saga, name) for name in saga.__all__]
    + [(threads, name) for name in threads.__all__]
    + [(aio, name) for name in aio.__all__]
)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_code_only_in_blocks_that_are_run(page: Path) -> None:
    """There is no literal block, no doctest outside a block, no prompt that the block's language does not run."""
    lines = page.read_text().split('\n')
    for block in blocks_of(page):
        assert block.language in ('python', 'pycon', 'console', 'text'), f'{page}:{block.line}'
        assert (block.language == 'pycon') == block.source.startswith('>>> '), f'{page}:{block.line}'
        assert (block.language == 'console') == block.source.startswith('$ '), f'{page}:{block.line}'
        for number in range(block.line - 1, block.line - 1 + block.source.count('\n')):
            lines[number] = ''
    text = '\n'.join(lines)
    assert '>>>' not in text
    if page.suffix == '.rst':
        assert not re.search(r'^(?!\.\. ).*::$', text, re.MULTILINE)


# What the pages tell of ----------------------------------------------------------------------------------------------


def test_the_reference_has_every_public_name_and_no_other() -> None:
    """The public surface is what the docs describe."""
    directives = re.findall(r'^\.\. auto\w+:: ([\w.]+)', (DOCS / 'reference.rst').read_text(), re.MULTILINE)
    assert sorted(directives) == sorted(f'{module.__name__}.{name}' for module, name in PUBLIC)


def test_the_page_on_errors_has_every_phase_and_no_other() -> None:
    """The table of phases is that of the type, in its order; the table of failures names only such ones, and all."""
    page = (DOCS / 'howto' / 'errors.rst').read_text()
    table, failures = re.split(r'   :header-rows: 1\n', page.partition('In which phase')[2])[1:3]
    assert re.findall(r'^   \* - `(\w+)`$', table, re.MULTILINE) == list(get_args(Phase))
    rows = re.findall(r'^   \* - .*?(?=^   \* - |\Z)', failures.partition('\n\nAn answer')[0], re.MULTILINE | re.DOTALL)
    told = {phase for row in rows for phase in re.findall(r'`([a-z_]+)`', row.rpartition('     - ')[2])}
    assert told == set(get_args(Phase))


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """Each relative link of the README names a file."""
    for target in re.findall(r'\]\(([^)#]+)', (ROOT / 'README.md').read_text()):
        if '://' not in target:
            assert (ROOT / target).exists(), target


def test_the_table_of_the_readme_is_what_was_measured() -> None:
    """The README shows the figures of docs/benchmark.json, and no others."""
    tables = runpy.run_path(str(DOCS / 'tables.py'))
    if not tables['BENCHMARK'].exists():
        pytest.skip('docs/benchmark.json is missing: nothing was measured yet')
    assert tables['readme'](tables['figures']()) in (ROOT / 'README.md').read_text(), 'see: python docs/tables.py'
