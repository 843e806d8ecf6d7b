"""`python -m tests.chaos`: services under siege. Nothing may be lost, doubled, or sent by the dead.

Instances of `napix serve` are processes of their own. They are killed, stopped and parted from their store, whose disk is
full, which is locked or frozen, or whose clock is another; a server writes down when each request comes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent

from tests.chaos.postgres import PostgreSQL, missing, postgresql
from tests.chaos.rows import LANES, Row, Siege


@contextmanager
def postgres() -> Iterator[PostgreSQL | None]:
    """A server, or a word why there is none."""
    why = missing()
    if why:
        print(f'skipped, all rows on PostgreSQL: {why}', flush=True)
        yield None
    else:
        with postgresql() as server:
            yield server


def main() -> bool:
    """Whether all laws hold."""
    parser = argparse.ArgumentParser(prog='python -m tests.chaos', description=__doc__)
    parser.add_argument('--full', action='store_true', help='bear everything three times as long')
    parser.add_argument('--only', metavar='NAME', help='rows whose name has this in it')
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, postgres() as server:
        siege = Siege(Path(folder), server, 3 if given.full else 1)
        rows = [
            [
                (Row(siege, name, store), work)
                for name, work, stores in lane
                for store in stores
                if (given.only or '') in name and (store == 'sqlite' or server is not None)
            ]
            for lane in LANES
        ]
        gevent.joinall([gevent.spawn(_run, lane) for lane in rows], raise_error=True)
    every = [row for lane in rows for row, _ in lane]
    names = 'lost', 'doubled', 'by_the_dead'
    print(
        f'{len(every)} rows in {time.monotonic() - began:.0f} s: lost, doubled, sent by the dead: '
        + ', '.join(str(sum(row.total(what) for row in every)) for what in names)
    )
    return not any(row.wrong for row in every)


def _run(lane: list[tuple[Row, Callable[[Row], None]]]) -> None:
    for row, work in lane:
        began = time.monotonic()
        row.run(work)
        figures = ', '.join(str(row.total(what)) for what in ('lost', 'doubled', 'by_the_dead'))
        print(
            f'{"WRONG" if row.wrong else "ok":5} {row.name:15} {row.store:10} {figures}  '
            f'{time.monotonic() - began:5.1f} s  {"; ".join(row.notes + row.wrong)}',
            flush=True,
        )
        if row.wrong:
            print(*row.log(), sep='\n', flush=True)


if __name__ == '__main__':
    sys.exit(not main())
