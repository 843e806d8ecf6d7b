"""The tables of the benchmark, from the figures in benchmark.json: for the page on performance and for the README."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: Written by `make bench`.
BENCHMARK = Path(__file__).parent / 'benchmark.json'
Table = list[list[str]]
#: Who stands in the README: what is called there what, as most would write it, and where it was tuned by hand.
IN_THE_README = {
    'napixclient': ('napixclient', None),
    'pycurl multi (libcurl)': ('pycurl', 'pycurl-tuned'),
    'Go net/http, one core': ('go', None),
    'pyreqwest (Rust), uvloop': ('pyreqwest', None),
    'geventhttpclient': ('geventhttpclient', 'geventhttpclient-workers'),
    'aiohttp': ('aiohttp', 'aiohttp-workers'),
    'urllib3 on gevent': ('urllib3', None),
    'grequests': ('grequests', None),
    'httpx': ('httpx', 'httpx-clients'),
}
#: Its columns for other cases: what each client is called in them.
BESIDE = {'napixclient': 'napixclient', 'pycurl multi': 'pycurl', 'Go, one core': 'go', 'aiohttp': 'aiohttp'}
#: These cases: where their rows are, what is compared, and what was done.
OTHER_CASES = {
    'https': ('ratio', 'the same over TLS 1.3'),
    'wide': ('ratio', '10,000 requests to 1,000 addresses'),
    'fresh again': ('cpu_ratio', 'a new connection for each request (CPU time)'),
    'handshakes': ('cpu_ratio', 'a new connection over TLS for each request (CPU time)'),
    'large': ('cpu_ratio', '100 bodies of 10 MB, all held (CPU time)'),
    'streaming': ('cpu_ratio', 'a body of 200 MB, read in pieces (CPU time)'),
    'upload': ('cpu_ratio', 'a file of 1 GB, sent (CPU time)'),
}


def figures() -> dict[str, Any]:
    """What was measured."""
    found: dict[str, Any] = json.loads(BENCHMARK.read_text())
    return found


def speed(found: dict[str, Any]) -> Table:
    """Every client that took part, the fastest first."""
    return _fastest_first(found['cases']['speed'])


def shared(found: dict[str, Any]) -> Table:
    """From asyncio and from threads; nothing where it was not measured."""
    case = found['cases'].get('shared')
    return _fastest_first(case) if case else []


def https(found: dict[str, Any]) -> Table:
    """The same over TLS; nothing where it was not measured."""
    case = found['cases'].get('https')
    return _fastest_first(case) if case else []


def _fastest_first(case: dict[str, Any]) -> Table:
    rows = sorted(case['rows'], key=lambda row: -(row['ratio'] or 0))
    return [
        ['client', 'relative speed', 'requests a second', 'CPU time per request'],
        *([row['label'], _ratio(row['ratio']), f'{row["per_second"]:,}', f'{row["cpu_us"]:,.0f} µs'] for row in rows),
    ]


def handshakes(found: dict[str, Any]) -> Table:
    """A connection over TLS for each request, the cheapest first; nothing where it was not measured."""
    case = found['cases'].get('handshakes')
    return _cheapest_first(case, 'resumed') if case else []


def fresh(found: dict[str, Any]) -> Table:
    """A connection for each request, the cheapest first; nothing where it was not measured."""
    case = found['cases'].get('fresh')
    return _cheapest_first(case['again']) if case else []


def once(found: dict[str, Any]) -> Table:
    """Many origins that are asked once, the cheapest first; nothing where it was not measured."""
    case = found['cases'].get('fresh')
    return _cheapest_first(case['once']) if case else []


def _cheapest_first(case: dict[str, Any], *shares: str) -> Table:
    rows = sorted(case['rows'], key=lambda row: row['cpu_us'])
    return [
        ['client', 'CPU time per request', "by pycurl's", "by the bare loop's", *shares],
        *(
            [
                row['label'],
                f'{row["cpu_us"]:,.0f} µs',
                _ratio(row['cpu_ratio']),
                _ratio(row.get('floor_ratio')),
                *(f'{row[share]:.0%}' for share in shares),
            ]
            for row in rows
        ),
    ]


def decoding(found: dict[str, Any]) -> Table:
    """What a body costs to decode while so many are held; nothing where it was not measured."""
    case = found['cases'].get('decoding')
    if not case:
        return []
    return [
        ['what', *(f'{held:,} held' for held in case['held']), 'growth'],
        *([row['label'], *(f'{us:.1f} µs' for us in row['us']), f'{row["growth"]:.2f}'] for row in case['rows']),
    ]


def large(found: dict[str, Any]) -> Table:
    """Many large bodies that are held."""
    return _bodies(found, 'large')


def streaming(found: dict[str, Any]) -> Table:
    """One body in pieces."""
    return _bodies(found, 'streaming')


def upload(found: dict[str, Any]) -> Table:
    """One file sent."""
    return _bodies(found, 'upload')


def _bodies(found: dict[str, Any], name: str) -> Table:
    """What large bodies cost, the cheapest client first; nothing where it was not measured."""
    case = found['cases'].get(name)
    if not case:
        return []
    rows = sorted(case['rows'], key=lambda row: row['cpu_ms'])
    held = any(row['rss_ratio'] for row in rows)
    return [
        ['client', 'CPU time', 'relative speed', 'peak memory', *(['by what is held'] if held else [])],
        *(
            [
                row['label'],
                f'{row["cpu_ms"]:,.0f} ms',
                _ratio(row['cpu_ratio']),
                _megabytes(row['rss_mb']),
                *([_ratio(row['rss_ratio'])] if held else []),
            ]
            for row in rows
        ),
    ]


def wide(found: dict[str, Any]) -> Table:
    """Many origins: 1,000 of them, and 5,000."""
    rows = [('1,000 × 10', row) for row in found['cases']['wide']['rows']]
    rows += [('5,000 × 2', row) for row in found['cases']['huge']['rows']]
    return [
        ['origins × requests', 'client', 'requests a second', 'failed'],
        *([size, row['label'], f'{row["per_second"]:,}', f'{row["failures"]:,}'] for size, row in rows),
    ]


def names(found: dict[str, Any]) -> Table:
    """Distinct names, the fastest first; nothing where they were not measured."""
    case = found['cases'].get('names')
    if not case:
        return []
    rows = sorted(case['rows'], key=lambda row: -(row['ratio'] or 0))
    return [
        ['client', 'relative speed', 'names a second', 'CPU time per name'],
        *([row['label'], _ratio(row['ratio']), f'{row["per_second"]:,}', f'{row["cpu_us"]:,.0f} µs'] for row in rows),
    ]


def command(found: dict[str, Any]) -> Table:
    """What a command costs of which the start is most; nothing where it was not measured."""
    case = found['cases'].get('command')
    if not case:
        return []
    rows = sorted(case['seconds'].items(), key=lambda row: row[1])
    return [['command', "the processor's time"], *([f'`{name}`', f'{seconds:.3f} s'] for name, seconds in rows)]


def memory(found: dict[str, Any]) -> Table:
    """What all answers take that are held at once, and what a stream takes."""
    case = found['cases']['memory']
    return [
        ['client', 'requests', 'peak, as handed out', 'peak, everything decoded'],
        *(
            [row['label'], f'{row["requests"]:,}', _megabytes(row.get('rss_handed_out_mb')), _megabytes(row['rss_mb'])]
            for row in [*case['rows'], *case['million']['rows']]
        ),
    ]


def rest(found: dict[str, Any]) -> Table:
    """Signing, the middleware, and the time that the import takes."""
    cases = found['cases']
    return [
        ['what', 'measured'],
        ['`LoginAuthenticator` adds to a request', f'{cases["signing"]["added_us"]:.1f} µs'],
        *(
            [['`ExceptionsCatcher` adds to a request that does not fail', f'{cases["middleware"]["added_us"]:.1f} µs']]
            if 'middleware' in cases
            else []
        ),
        ['`import napixclient`, gevent imported already', f'{cases["import"]["ms"]:.0f} ms'],
    ]


def machine(found: dict[str, Any]) -> Table:
    """Where it was measured, and with what."""
    about = found['machine']
    named = {
        'processor': f'{about["processor"]}, {about["cores"]} cores',
        'Linux': about['kernel'],
        'Python': about['python'],
        'OpenSSL of Python': about.get('openssl'),
        'nginx': about['nginx'],
        'Go': about['go'],
        'curl': about.get('curl'),
        **about['packages'],
    }
    return [['what', 'version'], *([name, str(value)] for name, value in named.items() if value)]


#: What the page on performance can ask for.
CASES: dict[str, Callable[[dict[str, Any]], Table]] = {
    'speed': speed,
    'shared': shared,
    'https': https,
    'handshakes': handshakes,
    'fresh': fresh,
    'once': once,
    'decoding': decoding,
    'large': large,
    'streaming': streaming,
    'upload': upload,
    'wide': wide,
    'names': names,
    'command': command,
    'memory': memory,
    'rest': rest,
    'machine': machine,
}


def readme(found: dict[str, Any]) -> str:
    """The short tables of the README, in Markdown: speeds by that of pycurl, of the main case and of others."""
    rows = {row['name']: _ratio(row['ratio']) for row in found['cases']['speed']['rows']}
    main = [['client', 'as most write it', 'tuned by hand']]
    main += [
        [label, rows[plain], rows.get(tuned, '')] for label, (plain, tuned) in IN_THE_README.items() if plain in rows
    ]
    others = [['what', *BESIDE]]
    for name, (compared, label) in OTHER_CASES.items():
        case: Any = found['cases']
        for part in name.split():
            case = case.get(part) or {}
        ratios = {row['name']: _ratio(row[compared]) for row in case.get('rows', ())}
        if ratios:
            others.append([label, *(ratios.get(client, '') for client in BESIDE.values())])
    return f'{as_markdown(main)}\n{as_markdown(others)}'


def as_markdown(table: Table) -> str:
    """A table with its first row as its head, and numbers to the right."""
    head, *rows = [f'| {" | ".join(row)} |' for row in table]
    return '\n'.join([head, f'|---|{"---:|" * (len(table[0]) - 1)}', *rows]) + '\n'


def as_rst(table: Sequence[Sequence[str]]) -> str:
    """A list-table, with its first row as its head; a sentence where there is none."""
    if not table:
        return 'Not measured.\n'
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in table:
        lines += [f'   {"*" if number == 0 else " "} - {cell}' for number, cell in enumerate(row)]
    return '\n'.join(lines) + '\n'


def _ratio(ratio: float | None) -> str:
    return '–' if ratio is None else f'{ratio:.2f}' if ratio >= 0.1 else f'{ratio:.3f}'


def _megabytes(size: float | None) -> str:
    return '–' if size is None else f'{size:,.0f} MB'


if __name__ == '__main__':
    print(readme(figures()), end='')
