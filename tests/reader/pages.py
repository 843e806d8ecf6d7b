"""The blocks of code of the documentation: which there are, the file that a reader pastes them into, what they print."""

from __future__ import annotations

import doctest
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / 'docs'
#: The README, and all pages.
PAGES = [ROOT / 'README.md', *sorted(path for path in DOCS.rglob('*.rst') if '_build' not in path.parts)]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """A block of code of a page. `line` is that of its first line; `file` is the file that its caption names."""

    language: str
    line: int
    source: str
    file: str = ''


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in its order."""
    return list((fenced if page.suffix == '.md' else indented)(page.read_text().split('\n')))


def fenced(lines: list[str]) -> Iterator[Block]:
    """Those of Markdown."""
    start = language = None
    for number, line in enumerate(lines):
        if line.startswith('```'):
            if start is None:
                start, language = number + 1, line[3:].strip()
            else:
                yield Block(language or '', start + 1, '\n'.join(lines[start:number]) + '\n')
                start = None


def indented(lines: list[str]) -> Iterator[Block]:
    """Those of reStructuredText."""
    for number, line in enumerate(lines):
        found = re.match(r'( *)\.\. (?:code-block|code|sourcecode)::(.*)', line)
        if not found:
            continue
        first, caption = number + 1, ''
        while option := re.match(r' +:(\w+): *(.*)', lines[first]):
            caption = option[2] if option[1] == 'caption' else caption
            first += 1
        end = first
        while end < len(lines) and (not lines[end] or lines[end].startswith(found[1] + ' ')):
            end += 1
        while not lines[first]:
            first += 1
        yield Block(found[2].strip(), first + 1, textwrap.dedent('\n'.join(lines[first:end])).rstrip() + '\n', caption)


# What a page asks of its reader --------------------------------------------------------------------------------------


class Needs(NamedTuple):
    """What the first line of a page says is needed to run its examples."""

    #: What is given to `pip install`.
    install: tuple[str, ...]
    #: Whether `napix demo --serve` has to run.
    servers: bool


def needs_of(page: Path) -> Needs | None:
    """What a page says of itself, or nothing."""
    found = re.search(
        r'^To run the examples: `pip install ([^`]+)`(.*?)\n\n', page.read_text(), re.MULTILINE | re.DOTALL
    )
    return Needs(tuple(shlex.split(found[1])), '`napix demo --serve`' in found[2]) if found else None


# What a reader pastes ------------------------------------------------------------------------------------------------

#: Before the number of a block, in what the file prints.
MARK = '\x1e'
#: Commands that are not run where the page stands: the reader has done so, or looks at another window.
NOT_HERE = {'pip', 'make', 'apt', 'git', 'export'}
HEAD = """\
import sys as _sys
_sys.path.insert(0, {folder!r})
import shell as _shell
"""


def pasted(page: str, blocks: list[Block]) -> str:
    """The file: each block as it stands on the page, the commands as they would be typed where they stand."""
    parts = [HEAD.format(folder=str(Path(__file__).parent))]
    for number, block in enumerate(blocks):
        parts.append(f'_shell.mark({number})\n')
        if block.language == 'python':
            parts.append(block.source)
            if block.file:
                parts.append(f'_shell.keep({block.file!r}, {block.source!r})\n')
        elif block.language == 'pycon':
            for example in doctest.DocTestParser().get_examples(block.source):
                parts.append(f'_shell.typed(globals(), {page!r}, {block.line + example.lineno}, {example.source!r})\n')
        elif block.language == 'console':
            parts += [f'_shell.run({command!r})\n' for command, _ in commands(block.source)]
    return '\n'.join([*parts, f'_shell.mark({len(blocks)})\n'])


def commands(source: str) -> Iterator[tuple[str, str]]:
    """Each line that begins with `$ ` is a command; what follows is its output, standard error included."""
    for part in re.split(r'^\$ ', source, flags=re.MULTILINE)[1:]:
        command, _, output = re.sub(r'\\\n\s*', '', part).partition('\n')
        if program(command) not in NOT_HERE and not command.startswith('napix demo --serve'):
            yield command, output


def is_run(block: Block) -> bool:
    """Whether there is something to run in a block, and not only to be seen."""
    return block.language in ('python', 'pycon') or block.language == 'console' and any(commands(block.source))


def program(command: str) -> str:
    """The program of a command line."""
    return next(word for word in shlex.split(command, comments=True) if '=' not in word)


# What it prints ------------------------------------------------------------------------------------------------------


def differences(page: str, blocks: list[Block], printed: str) -> Iterator[str]:
    """Where the page shows another output than the file has printed."""
    got = {int(number): text for number, text in re.findall(f'{MARK}(\\d+)\n(.*?)(?={MARK}|\\Z)', printed, re.DOTALL)}
    last = ''
    for number, block in enumerate(blocks):
        match block.language:
            case 'python':
                last = got[number]
                continue
            case 'text':
                pairs = [(block.source, last)]
            case 'pycon':
                examples = doctest.DocTestParser().get_examples(block.source)
                wanted = [
                    re.sub(r'(?<=^Traceback \(most recent call last\):\n)(?: .*\n)+', '', one.want) for one in examples
                ]
                pairs = [(''.join(wanted), got[number])]
            case 'console':
                pairs = [(''.join(output for _, output in commands(block.source)), got[number])]
                if 'napix get' in block.source and '--fold' not in block.source:  # a line per answer, in any order
                    pairs = [(by_host(want), by_host(text)) for want, text in pairs]
            case other:
                yield f'{page}:{block.line}: nobody runs blocks of {other!r}'
                continue
        for want, text in pairs:
            if want.strip() and not doctest.OutputChecker().check_output(timeless(want), timeless(text), FLAGS):
                yield f'{page}:{block.line}: expected\n{want}\nbut got\n{text}'


def timeless(text: str) -> str:
    """Times and ports differ from run to run: 0.31, 12.5 ms and 160 ms are all the same."""
    return re.sub(r'\b127\.0\.0\.1(?::|",)\d+|\b\d+(\.\d+)? ms\b|\b\d+\.\d+(?=s?\b)', '0', text)


def by_host(text: str) -> str:
    """The lines in the order of their hosts, the summary at the end."""
    return '\n'.join(sorted(text.splitlines(), key=lambda text: (text[:1].isdigit(), text.split()[:1])))
