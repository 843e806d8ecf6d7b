"""What napixclient has to reach, compared with what was measured."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

Cases = Mapping[str, Mapping[str, Any]]


def verdicts(cases: Cases) -> Iterator[tuple[str, str, bool]]:
    """For each target whose case was run: what it says, what was found, whether it is met."""
    at_least = [
        ('speed', 'pycurl', 1.6),
        ('speed', 'pycurl-tuned', 1.15),
        ('speed', 'go', 1.0),
        ('speed', 'geventhttpclient', 4.5),
        ('speed', 'aiohttp', 7.0),
        ('speed', 'urllib3', 11.0),
        ('speed', 'grequests', 35.0),
        ('https', 'pycurl', 1.0),
        ('wide', 'pycurl', 1.0),
        ('huge', 'geventhttpclient', 1.0),
        ('names', 'go', 1.0),
    ]
    for case, other, wanted in at_least:
        found = times(cases, case, 'napixclient', other)
        if found is not None:
            yield f'{case}: at least {wanted} x {other}', f'{found:.2f}', found >= wanted
    for name, other, wanted in (
        ('napixclient-asyncio', 'aiohttp', 4.0),
        ('napixclient-asyncio', 'aiohttp-workers', 2.0),
        ('napixclient-asyncio', 'pyreqwest', 1.0),
        ('napixclient-asyncio', 'wreq', 1.0),
        ('napixclient-asyncio', 'napixclient', 0.6),
        ('napixclient-threads', 'urllib3-threads', 5.0),
        ('napixclient-threads', 'napixclient', 0.6),
    ):
        found = times(cases, 'shared', name, other)
        if found is not None:
            yield f'shared: {name} at least {wanted} x {other}', f'{found:.2f}', found >= wanted
    if row := find(cases, 'handshakes', 'napixclient'):
        yield 'handshakes: at least 95 % resumed', f'{row["resumed"]:.1%}', row['resumed'] >= 0.95
        if row['cpu_ratio'] is not None:
            yield 'handshakes: at least 1.0 x pycurl, by CPU time', f'{row["cpu_ratio"]:.2f}', row['cpu_ratio'] >= 1.0
        if row['floor_ratio'] is not None:
            ratio = row['floor_ratio']
            yield "handshakes: at least 0.95 x Python's own ssl, by CPU time", f'{ratio:.2f}', ratio >= 0.95
    for name in 'again', 'once':
        row = find(cases.get('fresh', {}), name, 'napixclient')
        if row is not None and row['cpu_ratio'] is not None:
            yield (
                f'fresh, {name}: at least 1.2 x pycurl, by CPU time',
                f'{row["cpu_ratio"]:.2f}',
                row['cpu_ratio'] >= 1.2,
            )
    if row := find(cases, 'decoding', 'napixclient-decoding'):
        yield 'decoding: at most 1.3 times with the most held', f'{row["growth"]:.2f}', row['growth'] <= 1.3
    yield from bodies(cases)
    for name in ('napixclient', 'napixclient-256'):
        if row := find(cases, 'huge', name):
            yield f'huge: no failure ({row["label"]})', f'{row["failures"]}', row['failures'] == 0
    yield from memory(cases)
    for case, figure, text, limit in (
        ('command', 'get_s', 'command: 1,000 GETs in at most 0.25 s of the processor', 0.25),
        ('command', 'version_s', 'command: --version in at most 0.08 s of the processor', 0.08),
        ('signing', 'added_us', 'signing adds at most 6 µs', 6.0),
        ('middleware', 'added_us', 'the middleware adds under 10 µs', 10.0),
        ('import', 'ms', 'import takes under 150 ms', 150.0),
        ('watching', 'ratio', 'watching: at most 1.5 x the run that nobody watches', 1.5),
    ):
        if figure in cases.get(case, {}):
            found = cases[case][figure]
            yield text, f'{found:.3g}', found <= limit


def bodies(cases: Cases) -> Iterator[tuple[str, str, bool]]:
    """Large bodies, by CPU time, and by memory where they are held."""
    for case, other, wanted in (('large', 'pycurl', 1.2), ('streaming', 'urllib3', 1.3), ('upload', 'pycurl', 1.0)):
        found = times(cases, case, other, 'napixclient', 'cpu_rounds')
        if found is not None:
            yield f'{case}: at least {wanted} x {other}, by CPU time', f'{found:.2f}', found >= wanted
    if row := find(cases, 'large', 'napixclient'):
        yield 'large: at most 1.15 x the memory that is held', f'{row["rss_ratio"]:.2f}', row['rss_ratio'] <= 1.15


def memory(cases: Cases) -> Iterator[tuple[str, str, bool]]:
    """The limits hold for 200,000 and 1,000,000 requests; in a smaller run they say little but must hold too."""
    if row := find(cases, 'memory', 'napixclient'):
        for figure, how, limit in (('rss_handed_out_mb', 'as handed out', 250), ('rss_mb', 'all decoded', 400)):
            yield f'{row["requests"]:,} by wait, {how}: at most {limit} MB', f'{row[figure]:.0f}', row[figure] <= limit
    rows = {row['name']: row for row in cases.get('memory', {}).get('million', {}).get('rows', [])}
    for name, figure, how, limit in (
        ('napixclient', 'rss_handed_out_mb', 'wait', 1024),
        ('napixclient-stream', 'rss_mb', 'stream', 60),
    ):
        if row := rows.get(name):
            yield f'{row["requests"]:,} by {how}: at most {limit} MB', f'{row[figure]:.0f}', row[figure] <= limit


def find(cases: Cases, case: str, name: str) -> Mapping[str, Any] | None:
    return next((row for row in cases.get(case, {}).get('rows', []) if row['name'] == name), None)


def times(cases: Cases, case: str, name: str, other: str, figure: str = 'rounds') -> float | None:
    """How many times the figure of `other` that of `name` is, as speed is by default: the median over the rounds."""
    ours, theirs = find(cases, case, name), find(cases, case, other)
    if ours is None or theirs is None:
        return None
    return median(a / b for a, b in zip(ours[figure], theirs[figure], strict=True))
