"""The cases: each runs its contenders, prints a table and returns what goes into the JSON."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from statistics import median
from typing import Any

from benchmarks import names, watching
from benchmarks.bodies import UNDER_WAY
from benchmarks.command import least, starts
from benchmarks.nginx import nginx
from benchmarks.processes import output, pinned
from benchmarks.runner import (
    AIOHTTP,
    BARE_JSON,
    BARE_LOOP,
    BARE_SSL,
    BODIES,
    CONTENDERS,
    GEVENTHTTPCLIENT,
    GO,
    NAPIXCLIENT,
    PYCURL,
    PYCURL_TUNED,
    PYREQWEST,
    SHARED,
    Contender,
    Row,
    Runner,
    find,
    ratios,
)

Result = dict[str, Any]

SIGNED = replace(NAPIXCLIENT, name='napixclient-signed', label='napixclient, signing', mode='signed')
STREAM = replace(NAPIXCLIENT, name='napixclient-stream', label='napixclient, stream', mode='stream')
DECODING = replace(NAPIXCLIENT, name='napixclient-decoding', mode='decoding')
FEW_FILES = replace(NAPIXCLIENT, name='napixclient-256', label='napixclient, 256 open files', open_files=256)

#: Origins of the case `handshakes`.
HANDSHAKE_HOSTS = 10

IMPORT = """
import sys, time, gevent
from gevent import monkey
started = time.perf_counter()
from napixclient import ClientPool
print(time.perf_counter() - started)
if monkey.saved:
    sys.exit("importing napixclient patched something")
"""
#: Prints what the middleware adds to a request, in µs: the least of many rounds, with it and without.
MIDDLEWARE = """
import timeit
from napixclient.wsgi import ExceptionsCatcher
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SCRIPT_NAME": "", "SERVER_PORT": "80",
           "HTTP_TRACEPARENT": "00-%s-%s-01" % ("ab" * 16, "cd" * 8), "HTTP_X_REQUEST_ID": "ab" * 16,
           "HTTP_X_NAPIX_VIA": "one,two", "HTTP_X_NAPIX_TIMEOUT": "2000"}
def seconds(served):
    def once():
        for part in served(environ, lambda status, fields, exc_info=None: None):
            pass
    return min(timeit.repeat(once, number=5000, repeat=20)) / 5000
print(1e6 * (seconds(ExceptionsCatcher(app)) - seconds(app)))
"""


@dataclass(frozen=True)
class Size:
    """How much each case does."""

    requests: int = 20_000
    hosts: int = 100
    handshakes: int = 400
    fresh: int = 5_000
    once: int = 1_000
    decoded: tuple[int, ...] = (5_000, 60_000, 320_000)
    rounds: int = 7
    more_rounds: int = 3
    starts: int = 15
    names: int = 2_000
    memory: int = 200_000
    million: int = 1_000_000
    bodies: int = 100
    body: int = 10_000_000
    streamed: int = 200_000_000
    uploaded: int = 1_000_000_000
    watched: watching.Size = watching.Size()


QUICK = Size(
    requests=4_000,
    fresh=1_000,
    decoded=(1_000, 20_000),
    rounds=2,
    more_rounds=1,
    starts=5,
    names=500,
    memory=20_000,
    million=50_000,
    bodies=50,
    uploaded=200_000_000,
    watched=watching.QUICK,
)


def speed(runner: Runner, size: Size) -> Result:
    """The work itself: every contender."""
    rows = runner.compare(CONTENDERS, size.requests, size.hosts, size.rounds)
    title = f'speed: {size.requests:,} GETs over {size.hosts} origins, medians of {size.rounds} interleaved rounds'
    return comparison(title, rows, PYCURL)


def shared(runner: Runner, size: Size) -> Result:
    """The same work from asyncio and from 16 threads, each beside who does it there."""
    rows = runner.compare(SHARED, size.requests, size.hosts, size.rounds)
    title = f'shared: {size.requests:,} GETs over {size.hosts} origins, medians of {size.rounds} interleaved rounds'
    return comparison(title, rows, NAPIXCLIENT)


def https(runner: Runner, size: Size) -> Result:
    """The same work over TLS 1.3: connections are opened and verified within the time that is measured."""
    if find_spec('trustme') is None:
        print('https: left out, not installed: trustme, which makes the certificates', file=sys.stderr)
        return {}
    contenders = [NAPIXCLIENT, PYCURL, PYCURL_TUNED, GO, GEVENTHTTPCLIENT, AIOHTTP]
    rows = runner.compare(contenders, size.requests, size.hosts, size.rounds, tls=True)
    title = f'https: {size.requests:,} GETs over {size.hosts} origins, medians of {size.rounds} interleaved rounds'
    return comparison(title, rows, PYCURL)


def handshakes(runner: Runner, size: Size) -> Result:
    """A connection over TLS 1.3 for each request: whoever can resumes a session. What counts is the CPU time."""
    if find_spec('trustme') is None:
        print('handshakes: left out, not installed: trustme, which makes the certificates', file=sys.stderr)
        return {}
    contenders = [NAPIXCLIENT, PYCURL, PYCURL_TUNED, GO, GEVENTHTTPCLIENT, AIOHTTP, BARE_SSL]
    rows = runner.compare(contenders, size.handshakes, HANDSHAKE_HOSTS, size.rounds, tls=True, closes=True)
    title = (
        f'handshakes: {size.handshakes:,} GETs over {HANDSHAKE_HOSTS} origins, each over a connection of its own, '
        f'medians of {size.rounds} interleaved rounds'
    )
    return by_processor(title, rows, find(rows, BARE_SSL), resumed=True)


def fresh(runner: Runner, size: Size) -> Result:
    """A connection for each request, as the server ends it with its answer; and many origins that are asked once."""
    contenders = [NAPIXCLIENT, PYCURL, PYCURL_TUNED, GO, BARE_LOOP]
    found = {}
    for name, requests, hosts, each in (
        ('again', size.fresh, size.hosts, 'each over a connection of its own'),
        ('once', size.once, size.once, 'once each'),
    ):
        rows = runner.compare(contenders, requests, hosts, size.rounds, closes=True)
        title = f'fresh: {requests:,} GETs over {hosts:,} origins, {each}, medians of {size.rounds} interleaved rounds'
        found[name] = by_processor(title, rows, find(rows, BARE_LOOP))
    return found


def decoding(runner: Runner, size: Size) -> Result:
    """What it costs to decode a body while many answers are held, beside json.loads of as many bytes."""
    rows = {count: runner.compare([DECODING, BARE_JSON], count, size.hosts, size.rounds) for count in size.decoded}
    lines = [['client', *(f'{count:,} held' for count in rows), 'growth']]
    result = []
    for contender in DECODING, BARE_JSON:
        found = [row for measured in rows.values() if (row := find(measured, contender))]
        if len(found) == len(rows):
            each = [row.median('decoding_us') for row in found]
            lines.append([contender.label, *(f'{one:.2f} µs' for one in each), f'{each[-1] / each[0]:.2f}'])
            growth = round(each[-1] / each[0], 2)
            result.append({'name': contender.name, 'label': contender.label, 'us': each, 'growth': growth})
    print_table(f'decoding: CPU time for each body, medians of {size.rounds} interleaved rounds', lines)
    return {'held': list(rows), 'rows': result}


def by_processor(title: str, rows: Sequence[Row], floor: Row | None, resumed: bool = False) -> Result:
    """Print a table of CPU time relative to pycurl's and to the least that the case can cost, and return it."""
    base = find(rows, PYCURL)
    lines = [['client', 'CPU µs', f'x {PYCURL.label}', 'x the bare loop', *(['resumed'] if resumed else [])]]
    result = []
    for row in rows:
        figures: Result = {'resumed': round(row.resumed, 3)} if resumed else {}
        for name, other in ('cpu_ratio', base), ('floor_ratio', floor):
            relative = row.cpu_ratios(other)
            figures[name] = round(median(relative), 3) if relative else None
        result.append({**row.as_json(), **figures})
        shown = [f'{ratio:.2f}' if ratio else '–' for ratio in (figures['cpu_ratio'], figures['floor_ratio'])]
        lines.append(
            [row.contender.label, f'{median(row.cpu_us):,.1f}', *shown, *([f'{row.resumed:.1%}'] if resumed else [])]
        )
    print_table(title, lines)
    return {'title': title, 'baseline': PYCURL.name, 'rows': result}


def large(runner: Runner, size: Size) -> Result:
    """Many large bodies, held until the end: CPU time, and peak memory by what is held."""
    rows = bodies_of(runner, 'large', size.bodies, 50, size.more_rounds, size.body)
    title = f'large: {size.bodies:,} bodies of {size.body / 1e6:,.0f} MB over 50 origins, {UNDER_WAY} under way'
    return bodies_case(title, rows)


def streaming(runner: Runner, size: Size) -> Result:
    """One body in pieces."""
    rows = bodies_of(runner, 'streaming', 1, 1, size.rounds, size.streamed)
    return bodies_case(f'streaming: one body of {size.streamed / 1e6:,.0f} MB, read in pieces', rows)


def upload(runner: Runner, size: Size) -> Result:
    """One file sent."""
    rows = runner.upload([replace(contender, mode='upload') for contender in BODIES], size.uploaded, size.rounds)
    return bodies_case(f'upload: one file of {size.uploaded / 1e6:,.0f} MB', rows)


def bodies_of(runner: Runner, mode: str, requests: int, hosts: int, rounds: int, size: int) -> list[Row]:
    """Have all contenders for large bodies receive so many of so many bytes."""
    contenders = [replace(contender, mode=mode) for contender in BODIES]
    return runner.compare(contenders, requests, hosts, rounds, body=size)


def bodies_case(title: str, rows: Sequence[Row]) -> Result:
    """Print a table of CPU time relative to pycurl, and return it."""
    base = next((row for row in rows if row.contender.name == PYCURL.name), None)
    lines = [['client', 'CPU ms', f'x {PYCURL.label}', 'lowest–highest', 'peak RSS', 'x held']]
    result = []
    for row in rows:
        rounds = zip(row.cpu_us, base.cpu_us, strict=True) if base else ()
        relative = [theirs / ours for ours, theirs in rounds]
        cpu_ms = median(row.cpu_us) * row.requests / 1000
        held = row.median('held_mb') if 'held_mb' in row.runs[0] else None
        figures = {
            'cpu_ms': round(cpu_ms, 1),
            'cpu_ratio': round(median(relative), 3) if relative else None,
            'rss_ratio': round(row.median('rss_mb') / held, 3) if held else None,
        }
        result.append({**row.as_json(), **figures, 'cpu_rounds': [round(us) for us in row.cpu_us]})
        lines.append(
            [
                row.contender.label,
                f'{cpu_ms:,.0f}',
                f'{median(relative):.2f}' if relative else '–',
                f'{min(relative):.2f}–{max(relative):.2f}' if relative else '–',
                f'{row.median("rss_mb"):,.0f} MB',
                f'{figures["rss_ratio"]:.2f}' if held else '–',
            ]
        )
    print_table(title, lines)
    return {'title': title, 'baseline': PYCURL.name, 'rows': result}


def wide(runner: Runner, size: Size) -> Result:
    """Many origins."""
    rows = runner.compare([NAPIXCLIENT, PYCURL, GO], 10_000, 1_000, size.rounds)
    return comparison(f'wide: 1,000 origins x 10 requests, medians of {size.rounds} interleaved rounds', rows, PYCURL)


def huge(runner: Runner, size: Size) -> Result:
    """More origins than a process may have files open."""
    rows = runner.compare([NAPIXCLIENT, FEW_FILES, GEVENTHTTPCLIENT], 10_000, 5_000, size.more_rounds, may_fail=True)
    title = f'huge: 5,000 origins x 2 requests, medians of {size.more_rounds} interleaved rounds'
    return comparison(title, rows, GEVENTHTTPCLIENT)


def named(runner: Runner, size: Size) -> Result:
    """Distinct names, of which each has to be looked up."""
    if why := names.lacking():
        print(f'names: left out: {why}', file=sys.stderr)
        return {}
    rows = names.compare(size.names, size.rounds, runner.only)
    title = (
        f'names: {size.names:,} distinct names that DNS tells after {1000 * names.DELAY:.0f} ms, at most '
        f'{names.CONNECTIONS} requests in flight, medians of {size.rounds} interleaved rounds'
    )
    return comparison(title, rows, GO)


def memory(runner: Runner, size: Size) -> Result:
    """Peak memory with all answers held; and through stream, where none is held."""
    contenders = [NAPIXCLIENT, PYCURL, GO, PYREQWEST, GEVENTHTTPCLIENT, AIOHTTP]
    held = runner.compare(contenders, size.memory, size.hosts, 1)
    many = runner.compare([NAPIXCLIENT, STREAM], size.million, size.hosts, 1)
    lines = [['client', 'requests', 'peak RSS as handed out', 'everything decoded']]
    for row in [*held, *many]:
        handed_out = f'{row.median("rss_handed_out_mb"):,.0f} MB' if row.hands_out_undecoded else '–'
        lines.append([row.contender.label, f'{row.requests:,}', handed_out, f'{row.median("rss_mb"):,.0f} MB'])
    print_table('memory: one run each', lines)
    print('Not measured: urllib3, grequests and httpx are too slow for as many requests.')
    return {
        'requests': size.memory,
        'rows': [row.as_json() for row in held],
        'million': {'requests': size.million, 'rows': [row.as_json() for row in many]},
    }


def signing(runner: Runner, size: Size) -> Result:
    """What LoginAuthenticator adds to a request."""
    rows = runner.compare([NAPIXCLIENT, SIGNED], size.requests, size.hosts, size.rounds)
    plain, signed = find(rows, NAPIXCLIENT), find(rows, SIGNED)
    if plain is None or signed is None:
        return {}
    added = median(slow - fast for slow, fast in zip(signed.cpu_us, plain.cpu_us, strict=True))
    print(f'\nsigning: LoginAuthenticator adds {added:.1f} µs of CPU time to a request, median of {size.rounds} rounds')
    return {'added_us': round(added, 2), 'rows': [row.as_json() for row in rows]}


def import_time(runner: Runner, size: Size) -> Result:
    """How long `import napixclient` takes where gevent is imported already."""
    if not runner.taking_part([NAPIXCLIENT]):
        return {}
    command = [sys.executable, '-c', IMPORT]
    try:
        times = [1000 * float(output(command, runner.client_core, 60)) for _ in range(max(3, size.rounds))]
    except RuntimeError as broken:
        print(f'import: left out: {broken}', file=sys.stderr)
        return {}
    print(f'\nimport: napixclient in {median(times):.0f} ms, gevent imported already (median of {len(times)})')
    return {'ms': round(median(times), 1)}


def middleware(runner: Runner, size: Size) -> Result:
    """What ExceptionsCatcher adds to a request that does not fail, with all fields that can come with it."""
    if not runner.taking_part([NAPIXCLIENT]):
        return {}
    added = float(output([sys.executable, '-c', MIDDLEWARE], runner.client_core, 60))
    print(f'\nmiddleware: ExceptionsCatcher adds {added:.1f} µs to a request that does not fail')
    return {'added_us': round(added, 2)}


def command(runner: Runner, size: Size) -> Result:
    """What the command costs where its start is most of the work, beside curl and Python itself."""
    if not runner.taking_part([NAPIXCLIENT]):
        return {}
    with nginx(1_000, runner.server_core) as server, pinned(runner.client_core):
        seconds = least(starts(server.port), size.starts)
    title = f'command: seconds of the processor, 1,000 GETs to as many addresses, least of {size.starts} rounds'
    curl = seconds.get('curl -Z')
    lines = [['command', 'seconds', 'x curl -Z']]
    for name, found in seconds.items():
        lines.append([name, f'{found:.3f}', f'{found / curl:.2f}' if curl else '–'])
    print_table(title, lines)
    return {
        'get_s': round(seconds['napix get'], 3),
        'version_s': round(seconds['napix --version'], 3),
        'seconds': {name: round(found, 3) for name, found in seconds.items()},
    }


def watched(runner: Runner, size: Size) -> Result:
    """What 2,000 who watch a run of the service cost it."""
    if not runner.taking_part([NAPIXCLIENT]):
        return {}
    each = size.watched.watchers
    print(f'\nwatching: {size.watched.requests:,} requests, watched by {each:,} WebSockets and {each:,} event streams')
    return watching.compare(size.watched)


CASES: dict[str, Callable[[Runner, Size], Result]] = {
    'speed': speed,
    'shared': shared,
    'https': https,
    'handshakes': handshakes,
    'fresh': fresh,
    'decoding': decoding,
    'large': large,
    'streaming': streaming,
    'upload': upload,
    'wide': wide,
    'huge': huge,
    'names': named,
    'memory': memory,
    'signing': signing,
    'middleware': middleware,
    'import': import_time,
    'command': command,
    'watching': watched,
}


def comparison(title: str, rows: Sequence[Row], baseline: Contender) -> Result:
    """Print a table of speed relative to `baseline`, and return it."""
    base = find(rows, baseline)
    lines = [
        ['client', 'requests', 'per second', f'x {baseline.label}', 'lowest–highest', 'CPU µs', 'failed', 'peak RSS']
    ]
    result = []
    for row in rows:
        relative = ratios(row, base)
        ratio = round(median(relative), 3) if relative else None
        result.append({**row.as_json(), 'ratio': ratio})
        lines.append(
            [
                row.contender.label,
                f'{row.requests:,}',
                f'{median(row.rates):,.0f}',
                f'{ratio:.2f}' if ratio else '–',
                f'{min(relative):.2f}–{max(relative):.2f}' if relative else '–',
                f'{median(row.cpu_us):,.1f}',
                f'{row.failures:,}',
                f'{row.median("rss_mb"):,.0f} MB',
            ]
        )
    print_table(title, lines)
    warn_if_disturbed(rows)
    return {'title': title, 'baseline': baseline.name, 'rows': result}


def warn_if_disturbed(rows: Sequence[Row]) -> None:
    """The clients can use up a core. Where they did not have it, the server was too slow, or others took it."""
    if not rows:
        return
    busy = median(row.busy for row in rows)
    if busy < 0.9:
        print(f'The clients had their core for {busy:.0%} of the time only: the machine was busy. CPU µs tells more.')


def print_table(title: str, lines: Sequence[Sequence[str]]) -> None:
    """A title, a head and rows; the first column to the left, the others to the right."""
    first, *others = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    print(f'\n{title}')
    for number, (name, *figures) in enumerate(lines):
        print('  '.join([name.ljust(first), *map(str.rjust, figures, others)]))
        if number == 0:
            print('  '.join('-' * width for width in [first, *others]))
    sys.stdout.flush()
