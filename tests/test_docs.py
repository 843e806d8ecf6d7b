"""The documentation is true: each block of code in it runs, against real servers that go by the names in it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import get_args

import pytest

import napixclient
from napixclient import Phase, aio, authenticators, cluster, marconi, resources, rest, saga, testing, threads, wsgi
from tests.reader.pages import DOCS, MARK, PAGES, ROOT, Block, blocks_of, differences, is_run, needs_of

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


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_with_examples_says_in_its_first_line_what_they_need(page: Path) -> None:
    """Behind the title stands what to install and to start; in the README it stands below the first screen."""
    if any(map(is_run, blocks_of(page))):
        assert (needs := needs_of(page)) and needs.install[0].startswith('.')
        if page.suffix == '.rst':
            assert re.search(r'\A(?:\.\. .+\n\n?)*.+\n===+\n\nTo run the examples: `pip install ', page.read_text())


def test_a_page_that_shows_what_is_not_printed_is_found() -> None:
    """An output that differs is told with its line; times, ports, and blocks that show no output are not compared."""
    blocks = [
        Block('python', 1, 'print(1.5)\n'),
        Block('text', 3, '2.5\n'),
        Block('pycon', 5, '>>> 1 + 1\n3\n>>> 1 / 0\nTraceback (most recent call last):\nZeroDivisionError: ...\n'),
        Block('console', 9, '$ echo one\ntwo\n$ pip install .\n'),
        Block('console', 12, '$ echo one\n'),
    ]
    printed = ''.join(f'{MARK}{number}\n{text}' for number, text in enumerate(['1.5\n', '', '2\n', 'one\n', 'one\n']))
    assert [complaint.partition(': ')[0] for complaint in differences('page', blocks, printed)] == ['page:5', 'page:9']


# What the pages tell of ----------------------------------------------------------------------------------------------


def test_the_reference_has_every_public_name_and_no_other() -> None:
    """The public surface is what the docs describe, each name once, on the page of the module that it is imported from."""
    told = [
        (page.stem, name)
        for page in (DOCS / 'reference').glob('*.rst')
        for name in re.findall(r'^\.\. auto\w+:: ([\w.]+)', page.read_text(), re.MULTILINE)
    ]
    assert sorted(name for _, name in told) == sorted(f'{module.__name__}.{name}' for module, name in PUBLIC)
    for page, name in told:
        module = name.rpartition('.')[0].rpartition('.')[2]
        assert page == module, name


def test_the_page_on_errors_has_every_phase_and_no_other() -> None:
    """The table of phases is that of the type, in its order; the table of failures names only such ones, and all."""
    page = (DOCS / 'howto' / 'errors.rst').read_text()
    table, failures = re.split(r'   :header-rows: 1\n', page.partition('In which phase')[2])[1:3]
    assert re.findall(r'^   \* - `(\w+)`$', table, re.MULTILINE) == list(get_args(Phase))
    rows = re.findall(r'^   \* - .*?(?=^   \* - |\Z)', failures.partition('\n\nAn answer')[0], re.MULTILINE | re.DOTALL)
    told = {phase for row in rows for phase in re.findall(r'`([a-z_]+)`', row.rpartition('     - ')[2])}
    assert told == set(get_args(Phase))


@pytest.mark.parametrize('page', sorted(ROOT.glob('*.md')), ids=lambda page: page.name)
def test_the_links_of_markdown_lead_somewhere(page: Path) -> None:
    """Each relative link of the README and its like names a file, and each anchor a heading of the page."""
    text = page.read_text()
    headings = {
        re.sub(r'[^\w -]', '', line.lower()).replace(' ', '-') for line in re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    }
    for target, anchor in re.findall(r'\]\(([^)#\s]*)(?:#([^)]+))?\)', text):
        if '://' not in target:
            assert (page.parent / target).exists(), target
            assert not anchor or target or anchor in headings, anchor


def test_the_readme_shows_pictures_by_absolute_address_or_none() -> None:
    """Where the README is shown without the repository, its pictures are still there."""
    for address in re.findall(r'!\[[^\]]*\]\(([^)]+)|<img[^>]+src="([^"]+)', (ROOT / 'README.md').read_text()):
        assert ''.join(address).startswith('https://'), address


def test_links_of_built_pages_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    """A missing page, a missing place in a page, and a missing picture are told; what is elsewhere is not looked for."""
    good = '<a href="b.html#there">1</a> <a href="#here" id="here">2</a> <a href="https://a.example/x">3</a>'
    bad = '<a href="c.html">4</a> <a href="b.html#gone">5</a> <img src="d.svg"> <a href="#away">6</a>'
    (tmp_path / 'a.html').write_text(good + bad)
    (tmp_path / 'b.html').write_text('<p id="there">')
    broken = runpy.run_path(str(DOCS / 'links.py'))['broken']
    assert list(broken(tmp_path)) == ['a.html: c.html', 'a.html: b.html#gone', 'a.html: d.svg', 'a.html: #away']


def test_the_table_of_the_readme_is_what_was_measured() -> None:
    """The README shows the figures of docs/benchmark.json, and no others."""
    tables = runpy.run_path(str(DOCS / 'tables.py'))
    if not tables['BENCHMARK'].exists():
        pytest.skip('docs/benchmark.json is missing: nothing was measured yet')
    for table in tables['readme'](tables['figures']()).split('\n\n'):
        assert table.strip() in (ROOT / 'README.md').read_text(), 'see: python docs/tables.py'


def test_pictures_that_move_have_a_still() -> None:
    """Each picture with an animation stands still where that is wished for, and pages show a still beside it in print."""
    for path in (DOCS / '_static').glob('*.svg'):
        if '@keyframes' in (picture := path.read_text()):
            assert 'prefers-reduced-motion' in picture, path
            still = f'{path.stem}-still.svg'
            for page in (page.read_text() for page in PAGES if page.suffix == '.rst'):
                assert page.count(f'/{path.name}\n') == page.count(f'/{still}\n'), path
