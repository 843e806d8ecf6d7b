"""The documentation in the hands of a reader: `python -m tests.reader [PAGE...]` runs every page, or those that are named.

Each page's blocks are pasted into one file and run by plain Python, in a fresh virtual environment that has what the
first line of the page says, beside the servers of `napix demo --serve`. What a page shows is compared with what is printed.
With `--patched` gevent has patched the process first, but for the page on threads.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.reader.pages import PAGES, ROOT, Block, Needs, blocks_of, differences, is_run, needs_of, pasted
from tests.test_docs import PUBLIC

#: Seconds that a page may take, and pip.
SECONDS, INSTALLING = 90, 300
#: Pages that are read at the same time: most of them wait more than they compute.
READERS = 4
SERVERS = Needs(('.[cli]',), True)
#: What the package is built from: a checkout, without what others have made in it.
CHECKOUT = ['napixclient', 'docs/napix.1', 'setup.py', 'setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE']


class Page(NamedTuple):
    """What is to be read."""

    name: str
    blocks: list[Block]
    needs: Needs | None


def pages() -> Iterator[Page]:
    """All with something to run, and the docstrings of all public names."""
    for path in PAGES:
        blocks = blocks_of(path)
        if any(is_run(block) for block in blocks):
            yield Page(path.relative_to(ROOT).as_posix(), blocks, needs_of(path))
    shown = [inspect.getdoc(getattr(module, name)) or '' for module, name in PUBLIC]
    yield Page(
        'docstrings',
        [Block('pycon', 1, f'>>> from napixclient import *\n\n{text}') for text in shown if '>>>' in text],
        SERVERS,
    )


def main(names: list[str]) -> int:
    """Read, and tell of each page; 1 if one of them does not hold."""
    how = ['-m', 'gevent.monkey'] if '--patched' in names else []
    names = [name for name in names if name != '--patched']
    wanted = [page for page in pages() if not names or page.name in names]
    began, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix='reader-') as folder, ThreadPoolExecutor(READERS) as workers:
        wheel = workers.submit(build, Path(folder))
        sets = dict.fromkeys([SERVERS.install, *(page.needs.install for page in wanted if page.needs)])
        environments = {
            install: workers.submit(install_into, Path(folder, f'venv{number}'), install, wheel)
            for number, install in enumerate(sets)
        }
        with serving(environments[SERVERS.install].result()) as exported:
            print(f'the servers are up after {time.monotonic() - began:.0f} s', flush=True)
            readings = [workers.submit(read, page, how, Path(folder), environments, exported) for page in wanted]
            for page, reading in zip(wanted, readings, strict=True):
                complaint, seconds = reading.result()
                failed += bool(complaint)
                print(f'{page.name}: {complaint or f"runs ({seconds:.1f} s)"}', flush=True)
    print(f'{len(wanted)} pages in {time.monotonic() - began:.0f} s, {failed} of them do not hold')
    return 1 if failed else 0


def build(folder: Path) -> Path:
    """The package, built from a copy of this checkout."""
    checkout = folder / 'checkout'
    for name in CHECKOUT:
        target = checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(ROOT / name, target)
    pip('wheel', '--no-deps', '--wheel-dir', folder, checkout)
    [wheel] = folder.glob('*.whl')
    return wheel


def install_into(place: Path, install: tuple[str, ...], wheel: Future[Path]) -> Path:
    """Make an environment with what a page says to install; where its programs are."""
    venv.create(place, symlinks=True)
    built = wheel.result()
    names = [re.sub(r'^\.(?=$|\[)', 'napixclient', each) for each in install]
    pip(
        '--python',
        place / 'bin' / 'python',
        'install',
        *(f'{name} @ {built.as_uri()}' if name.startswith('napixclient') else name for name in names),
    )
    return place / 'bin'


def pip(*arguments: object) -> None:
    """Run the pip that is here."""
    command = [sys.executable, '-m', 'pip', '-qq', *map(str, arguments)]
    subprocess.run(command, check=True, timeout=INSTALLING)


@contextmanager
def serving(programs: Path) -> Iterator[dict[str, str]]:
    """The servers, in a window of their own; what they say that others put into their environment."""
    with subprocess.Popen(
        [programs / 'napix', 'demo', '--serve', '--port', '0'],
        env=environment(programs.parent, programs),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            for line in process.stdout or ():
                if line.startswith('  export '):
                    yield dict(re.findall(r'(\w+)=(\S+)', line))
                    break
            else:
                raise SystemExit('napix demo --serve has ended without telling where its servers are')
        finally:
            process.terminate()


def environment(home: Path, programs: Path, exported: dict[str, str] | None = None) -> dict[str, str]:
    """An environment as a new user has it."""
    kept = {name: os.environ[name] for name in ('LANG', 'LC_ALL', 'TMPDIR') if name in os.environ}
    path = f'{programs}{os.pathsep}{os.environ["PATH"]}'
    return {**kept, 'PATH': path, 'HOME': str(home), 'NO_COLOR': '1', 'COLUMNS': '80', **(exported or {})}


def read(
    page: Page,
    how: list[str],
    folder: Path,
    environments: dict[tuple[str, ...], Future[Path]],
    exported: dict[str, str],
) -> tuple[str, float]:
    """Do what a page says; what does not hold, and the seconds that it took."""
    if page.needs is None:
        return 'the page does not say what is needed: "To run the examples: `pip install …`"', 0.0
    programs = environments[page.needs.install].result()
    directory = folder / re.sub(r'\W', '_', page.name)
    shutil.copytree(ROOT / 'examples', directory / 'examples', ignore=shutil.ignore_patterns('__pycache__'))
    source = pasted(page.name, page.blocks).replace('127.0.0.1:8600', f'127.0.0.1:{exported["NAPIX_DEMO_PORT"]}')
    (directory / 'pasted.py').write_text(source)
    began = time.monotonic()
    done = subprocess.run(
        [programs / 'python', *([] if page.name.endswith('threads.rst') else how), 'pasted.py'],
        cwd=directory,
        env=environment(directory, programs, exported if page.needs.servers else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode or done.stderr:
        complaint = f'exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr}'
    else:
        complaint = '\n'.join(differences(page.name, page.blocks, done.stdout))
    return complaint, time.monotonic() - began


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
