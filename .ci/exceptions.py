"""Hold the code to rules of ruff that it does not keep everywhere yet, by a list of exceptions that only shrinks.

`python .ci/exceptions.py` asks for SLF001 (no access to a private member of another object) and PLR0913 (not too many
arguments), whatever a `noqa` says. .ci/exceptions.txt counts the places that break them, for each rule and file. The
check fails where there are more, and also where there are fewer, so that nobody fills the room that somebody else made.
`--shrink` writes lower counts into the list, and never a higher one: who renames a file renames it there by hand.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix('.txt')
RULES = ('PLR0913', 'SLF001')

#: A rule and a file, relative to the root.
Key = tuple[str, str]


def found_by_ruff(root: Path) -> dict[Key, list[str]]:
    """The places that break a rule, as `line:column: message`."""
    done = subprocess.run(
        [sys.executable, '-m', 'ruff', 'check', '.', '--select', ','.join(RULES), '--ignore-noqa', '--no-cache']
        + ['--output-format', 'json'],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(done.stderr)
    found = defaultdict(list)
    for each in json.loads(done.stdout):
        file = Path(each['filename']).resolve().relative_to(root).as_posix()
        at = each['location']
        found[each['code'] or 'syntax', file].append(f'{at["row"]}:{at["column"]}: {each["message"]}')
    return dict(found)


def read(text: str) -> dict[Key, int]:
    """The counts of a list: lines of rule, count and file; `#` begins a comment."""
    listed = {}
    for line in text.splitlines():
        if line and not line.startswith('#'):
            rule, count, file = line.split(maxsplit=2)
            listed[rule, file] = int(count)
    return listed


def shrunk(text: str, counts: dict[Key, int]) -> str:
    """The list with the counts that have become lower, and without the entries that nothing needs."""
    kept = []
    for line in text.splitlines():
        if line and not line.startswith('#'):
            rule, count, file = line.split(maxsplit=2)
            lower = min(int(count), counts.get((rule, file), 0))
            line = f'{rule:<8}{lower:>4} {file}' if lower else None
        if line is not None:
            kept.append(line)
    return '\n'.join(kept) + '\n'


def complaints(listed: dict[Key, int], found: dict[Key, list[str]]) -> list[str]:
    """What is wrong, in sentences: too many places, each named, or too few."""
    said = []
    for key in sorted({*listed, *found}):
        (rule, file), allowed, places = key, listed.get(key, 0), found.get(key, [])
        if len(places) > allowed:
            said += [f'{file}:{place} ({rule})' for place in places]
            said.append(f'{file}: {len(places)} × {rule}, where the list has {allowed}')
        elif len(places) < allowed:
            said.append(f'{file}: {len(places)} × {rule}, where the list still has {allowed}: run with --shrink')
    return said


def main() -> int:
    """The exit code: 0 where the code and the list agree."""
    parser = argparse.ArgumentParser(prog='python .ci/exceptions.py', description='Compares the code with the list.')
    parser.add_argument('--shrink', action='store_true', help='write the counts that have become lower into the list')
    given = parser.parse_args()
    found = found_by_ruff(ROOT)
    if given.shrink:
        LIST.write_text(shrunk(LIST.read_text(), {key: len(places) for key, places in found.items()}))
    wrong = complaints(read(LIST.read_text()), found)
    print('\n'.join(wrong) or 'no more exceptions than the list has')
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main())
