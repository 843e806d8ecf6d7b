"""The same requests again and again: as a load, and to watch what changes."""

from __future__ import annotations

import pickle
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from napixclient.cli.summary import Times, summary_lines
from napixclient.cli.targets import Tag
from napixclient.messages import Response, plain_request
from tests import kit
from tests.cli.programs import interrupt, napix, on_terminal, started
from tests.cli.servers import answering, fields, hosts_of, objects, several


class Turning:
    """A server whose answer to a path is another each time, of those that are given."""

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        self.asked: Counter[str] = Counter()
        self.server = kit.serve(self.answer)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        """The next one; the last one stays."""
        given = self.answers[min(self.asked[path], len(self.answers) - 1)]
        self.asked[path] += 1
        status, shown = given if isinstance(given, tuple) else (200, given)
        return status, {}, shown

    def __enter__(self) -> Turning:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()


# A load --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('flag', ['-n', '--repeat'])
def test_repeat(flag: str) -> None:
    """-n asks each host so many times, for each of its URLs, also those of a list."""
    with several(*'ab') as servers:
        one, two = servers
        code, out, err = napix('get', f'http://{one.host}/x', f'http://{two.host}/[1-2]', flag, 3, '--json')
        assert (code, [said['index'] for said in objects(out)]) == (0, list(range(9)))
        assert [len(server.requests) for server in servers] == [3, 6]
        assert napix('get', hosts_of(servers), '/', flag, 4, '-q', '--summary').out == ''
        assert [len(server.requests) for server in servers] == [7, 10]


def test_duration() -> None:
    """--duration asks until the time is up, lets what is under way end, and closes with a summary and nothing else."""
    with several(*'ab') as servers:
        code, out, err = napix('get', hosts_of(servers), '/', '--duration', '300ms')
        count = sum(len(server.requests) for server in servers)
        assert (code, out) == (0, '')
        assert count > 2
        assert err.startswith(f'{count} requests to 2 hosts in ')
        assert f'{count} below 400, 0 at 400 or above, 0 without an answer\n' in err
        assert float(re.search(r'^  total +([\d.]+) s$', err, re.MULTILINE)[1]) >= 0.3
        assert {'10%', '25%', '50%', '75%', '90%', '95%', '99%'} <= set(re.findall(r'\d+%', err))
        code, out, err = napix('get', hosts_of(servers), '/', '--duration', 30, '-n', 5, '--json')
        assert (code, len(objects(out))) == (0, 10)  # whichever comes first


def test_duration_that_is_interrupted() -> None:
    """Ctrl-C, twice, ends a load too; the summary counts what was asked."""
    with answering() as server:
        with started('get', server.host, '/', '--duration', '1h') as process:
            kit.wait_until(lambda: len(server.requests) > 10)
            process.send_signal(signal.SIGINT)
            assert b'waiting for 1 of 1' in process.stderr.readline()
            code, out, err = interrupt(process)
    assert (code, out) == (130, '')
    assert re.match(r'\d{2,7} requests to 1 host in ', err)


def test_duration_on_a_terminal() -> None:
    """The progress of a load is that of its time: nobody knows how many there will be."""
    with answering() as server:
        shown = on_terminal('get', server.host, '/', '--duration', '600ms', both=True).out
    assert '0:00' in shown
    assert '000,000,000' not in shown


def test_a_summary_of_millions_is_small() -> None:
    """What is kept of answers grows with their kinds, not with their number, and tells quantiles within 7 %."""
    times = Times()
    answer = Response(plain_request('a', 'GET', '/', None, None, Tag(0, 0, 0, 0.0)), 200, b'', b'', 0.0)
    for number in range(1, 100_001):
        answer.elapsed = number / 1000  # milliseconds, 1 to 100,000
        times.add(answer)
    assert len(pickle.dumps(times)) < 10_000
    for percent in (10, 25, 50, 75, 90, 95, 99):
        assert times.quantile(percent / 100) == pytest.approx(percent * 1000, rel=0.07)
    assert (times.fastest, times.slowest) == (1.0, 100_000.0)
    assert times.average == pytest.approx(50_000.5)
    bars = times.bars()
    assert (len(bars), sum(count for _, count in bars)) == (10, 100_000)
    lines = list(summary_lines(times, 10.0))
    assert '  requests/s  10,000.0' in lines
    assert '  200    100,000  100.0 %' in lines


def test_summary_of_nothing(refused: str) -> None:
    """Without an answer there are statuses and errors, and no times."""
    code, _, err = napix('get', refused, '/', '-n', 3, '-q', '--summary')
    assert (code, 'average' in err, '%' in err) == (3, False, True)
    assert re.search(r'\nerrors:\n +3  RefusedError: connection refused\n', err)


def test_a_load_is_shown_before_it_is_sent() -> None:
    """--dry-run shows each request of a load once, or -n times: it has no end of its own."""
    assert napix('get', 'a,b', '/', '--duration', '1h', '--dry-run').out == 'GET http://a/\nGET http://b/\n'
    assert napix('get', 'a', '/', '--duration', '1h', '-n', 2, '--dry-run').out == 'GET http://a/\n' * 2


# Watching ------------------------------------------------------------------------------------------------------------


def test_watch() -> None:
    """The first time all is shown, then what has changed, and how; standard error tells when, and how many."""
    with Turning({'v': 1, 'w': 0}, {'v': 1, 'w': 0}, {'v': 2, 'w': 0}, (500, 'x')) as turning, answering() as still:
        host = turning.server.host
        code, out, err = napix('get', f'{host},{still.host}', '/', '--watch', '10ms', '-n', 5)
    lines = out.splitlines()
    assert (code, len(still.requests)) == (1, 5)  # that of the last time
    assert set(fields('\n'.join(lines[:2]))) == {host, still.host}
    assert re.fullmatch(rf'{host}\t200\t[\d.]+\t\{{"v": 2, "w": 0\}}', lines[2])
    assert {'    -  "v": 1,', '    +  "v": 2,'} <= set(lines)
    at = next(at for at, line in enumerate(lines) if line.startswith(f'{host}\t500'))
    assert at > 2
    assert [line for line in lines[at:] if line[:1] == ' '] == [
        '    @@ -1 +1,2 @@',
        '    -200 OK',
        '    +500 Internal Server Error',
        '    +x',
    ]
    assert len([line for line in lines if not line.startswith(' ')]) == 4
    first, *changes = err.splitlines()
    assert first.startswith('2 hosts in ')
    assert [re.sub(r'^\d\d:\d\d:\d\d', 'T', line) for line in changes] == ['T: 1 of 2 changed'] * 2


def test_a_quiet_watch() -> None:
    """With -q nothing is shown but what has changed, and how; other formats begin with all answers, as ever."""
    for flags, count in ((), 1), (('--json',), 2):
        with Turning({'v': 1}, {'v': 1}, {'v': 2}) as turning:
            code, out, err = napix('get', turning.server.host, '/', '--watch', '10ms', '-n', 4, '-q', *flags)
        lines = [line for line in out.splitlines() if line[:1] != ' ']
        assert (code, len(lines), '"v": 2' in lines[-1], err) == (0, count, True, '')
        assert ('    +  "v": 2' in out) == (not flags)


def test_watch_in_other_formats() -> None:
    """--json, --csv and --template have a record for what has changed; folded answers are shown again, all of them."""
    for flags, count in (('--json',), 3), (('--csv',), 4), (('--template', '{body.v}'), 3):
        with Turning({'v': 1}, {'v': 1}, {'v': 2}) as turning, answering() as still:
            out = napix('get', f'{turning.server.host},{still.host}', '/', '--watch', '10ms', '-n', 4, *flags).out
            assert len(out.splitlines()) == count, out
    with Turning({'v': 1}, {'v': 1}, {'v': 2}) as turning, answering() as still:
        out = napix('get', f'{turning.server.host},{still.host}', '/', '--watch', '10ms', '-n', 4, '--fold').out
        assert (out.count('"v": 1'), out.count('"v": 2'), out.count(f'{still.host} (1)')) == (1, 1, 2)


def test_watch_shows_what_was_not_answered_before() -> None:
    """An answer that comes for the first time is new, whatever the run before did not wait for."""
    gate = kit.Gate()
    with Turning('fine', (500, 'x')) as quick, kit.serve(gate=gate) as slow:
        run = ('get', f'{slow.host},{quick.server.host}', '/', '--watch', '100ms', '-n', 2, '--need', 1)
        with started(*run) as process:
            assert process.stdout.readline().startswith(quick.server.host.encode())
            gate.open()
            assert slow.host in fields(process.stdout.read().decode())
            assert process.wait(timeout=30) == 0


def test_watch_is_for_a_time() -> None:
    """--duration bounds it as well as -n does."""
    with answering() as server:
        assert napix('get', server.host, '/', '--watch', '100ms', '--duration', '350ms').code == 0
        assert 2 <= len(server.requests) <= 4


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_watch_ends_with_a_signal(number: int) -> None:
    """Ctrl-C ends it at once, between two times and amid one, with 130; SIGTERM with 143; no traceback."""
    gate = kit.Gate()
    with answering() as quick, kit.serve(gate=gate) as slow:
        with started('get', quick.host, '/', '--watch', '1h') as process:
            process.stdout.readline()
            process.stderr.readline()
            assert interrupt(process, number) == (128 + number, '', '')
        with started('get', slow.host, '/', '--watch', '1h') as process:
            gate.wait_for(1)
            code, out, err = interrupt(process, number)
            assert (code, out, err.count('\n'), '1 not waited for' in err) == (128 + number, '', 1, True)
        gate.open()


def test_watch_keeps_its_connections() -> None:
    """The connections of one time serve the next."""
    with kit.serve() as server:
        assert napix('get', server.host, '/', '--watch', '10ms', '-n', 5).code == 0
        assert (len(server.requests), server.accepted) == (5, 1)


def test_watch_on_a_terminal() -> None:
    """On a terminal differences have colours."""
    with Turning({'v': 1}, {'v': 2}) as turning:
        run = ('get', turning.server.host, '/', '--watch', '10ms', '-n', 3)
        assert '\x1b[32m+  "v": 2\x1b[0m' in on_terminal(*run).out


def test_how_long_a_server_behind_took_is_no_change() -> None:
    """The times in a chain of errors are others each time."""

    def failed(seconds: float) -> tuple[int, dict[str, Any]]:
        return 502, {
            'error_class': 'RemoteError',
            'error_text': 'x',
            'remote_call': 'GET http://storage.example/',
            'remote_status': 500,
            'remote_elapsed': seconds,
            'remote_error': {'error_class': 'OSError', 'error_text': 'offline'},
        }

    with Turning(failed(0.001), failed(0.5), failed(3)) as turning:
        out = napix('get', turning.server.host, '/', '--watch', '10ms', '-n', 4).out
    assert len(out.splitlines()) == 1


def test_failed_out_of_a_watch(tmp_path: Path) -> None:
    """The file of those that failed is that of the last time."""
    with Turning((500, 'x'), (500, 'x'), 'fine') as turning:
        napix('get', turning.server.host, '/', '--watch', '10ms', '-n', 4, '--failed-out', tmp_path / 'failed')
    assert (tmp_path / 'failed').read_text() == ''
