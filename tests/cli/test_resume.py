"""Job logs, taking a run up again, and the hosts that failed."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from tests import kit
from tests.cli.programs import everything_on, napix, started, terminal
from tests.cli.servers import answering, fields, hosts_of, several


class Healing:
    """A server that is out of order until it is healed."""

    def __init__(self) -> None:
        self.well = False
        self.server = kit.serve(self.answer)

    def answer(self, *_: object) -> tuple[int, dict[str, str], str]:
        """200 once it is well."""
        return (200 if self.well else 503), {'Content-Type': 'text/plain'}, 'x'

    def __enter__(self) -> Healing:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()


def test_joblog_and_resume(tmp_path: Path, refused: str) -> None:
    """--joblog has a line for each outcome; --resume asks those without a line and those that failed, and adds to it."""
    log = tmp_path / 'log'
    with Healing() as sick, several('a', 'b') as (good, later):
        run = ('post', f'{good.host},{sick.server.host},{refused}', '/x')
        assert napix(*run, '--joblog', log).code == 1
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert {line['host']: line['status'] for line in lines} == {
            good.host: 200,
            sick.server.host: 503,
            refused: None,
        }
        assert list(lines[0]) == [
            'time',
            'index',
            'host',
            'method',
            'url',
            'status',
            'ms',
            'attempts',
            'repeat',
            'error',
        ]
        assert [line['error']['class'] for line in lines if line['host'] == refused] == ['RefusedError']
        sick.well = True
        hosts = f'{good.host},{sick.server.host},{later.host}'
        shown = napix('post', hosts, '/x', '--joblog', log, '--resume', '--dry-run').out
        assert shown == f'POST http://{sick.server.host}/x\nPOST http://{later.host}/x\n'
        code, out, err = napix('post', hosts, '/x', '--joblog', log, '--resume')
        assert (code, sorted(fields(out))) == (0, sorted([sick.server.host, later.host]))
        assert err.endswith(' 0 without an answer, 1 done before\n')
        assert len(log.read_text().splitlines()) == 5
        code, out, err = napix('post', hosts, '/x', '--joblog', log, '--resume')
        assert (code, out) == (0, '')
        # Another request is another.
        assert len(napix('get', hosts, '/x', '--joblog', log, '--resume').out.splitlines()) == 3


def test_torn_line(tmp_path: Path) -> None:
    """A torn last line, wherever it was torn, does not count, and is not in the way of the next line."""
    log = tmp_path / 'log'
    with several('a', 'b') as servers:
        napix('get', hosts_of(servers), '/', '--joblog', log, '--ordered')
        whole = log.read_bytes()
        first = whole.index(b'\n') + 1
        for size in (first + 1, first + 30, len(whole) - 2):
            log.write_bytes(whole[:size])
            code, out, err = napix('get', hosts_of(servers), '/', '--joblog', log, '--resume')
            assert (code, list(fields(out))) == (0, [servers[1].host]), err
            assert [json.loads(line)['host'] for line in log.read_text().splitlines()] == [
                server.host for server in servers
            ]
        log.write_bytes(whole[:-1])  # only its end is missing
        assert napix('get', hosts_of(servers), '/', '--joblog', log, '--resume').out == ''
        assert log.read_bytes() == whole


def test_killed_run(tmp_path: Path) -> None:
    """A run that was killed has left a line for each answer that it had."""
    gate, log = kit.Gate(), tmp_path / 'log'
    with kit.serve(gate=gate) as slow, answering() as quick:
        with started('get', f'{quick.host},{slow.host}', '/', '--joblog', log) as process:
            process.stdout.readline()
            process.kill()
            process.wait()
        gate.open()
        code, out, _ = napix('get', f'{quick.host},{slow.host}', '/', '--joblog', log, '--resume')
    assert (code, list(fields(out))) == (0, [slow.host])


def test_resume_of_repeated_requests(tmp_path: Path) -> None:
    """Each of several requests to one host counts for itself, also with secrets in the URL."""
    log = tmp_path / 'log'
    with answering() as server:
        run = ('get', server.host, '/[1-3]?token=s3cret', '--repeat', 2, '--joblog', log)
        assert napix(*run, '--serial', 1).code == 0
        lines = log.read_text().splitlines(keepends=True)
        assert 's3cret' not in log.read_text()
        log.write_text(''.join(lines[:2] + lines[3:]))
        code, out, _ = napix(*run, '--resume')
        assert (code, len(out.splitlines())) == (0, 1)
        assert server.requests[-1].path == json.loads(lines[2])['url'].replace('***', 's3cret')


def test_job_log_with_a_mark(tmp_path: Path) -> None:
    """An editor may have put a byte order mark before it."""
    log = tmp_path / 'log'
    with answering() as server:
        napix('get', server.host, '/[1-2]', '--joblog', log)
        log.write_bytes(b'\xef\xbb\xbf' + log.read_bytes())
        assert napix('get', server.host, '/[1-2]', '--joblog', log, '--resume').out == ''
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    'content',
    ['nonsense\n{}\n', '[]\n', '{"host": 1}\n\n', '{"host": "a", "method": "GET", "url": "/", "status": 1e400}\n'],
)
def test_no_job_log(tmp_path: Path, content: str) -> None:
    """A file that is something else is left alone."""
    (tmp_path / 'log').write_text(content)
    code, out, err = napix('get', 'a', '/', '--joblog', tmp_path / 'log', '--resume')
    assert (code, err) == (2, f'napix: {tmp_path}/log, line 1 is no line of a job log\n')
    assert (tmp_path / 'log').read_text() == content


def test_failed_out(tmp_path: Path, refused: str) -> None:
    """--failed-out writes those that failed, and those that nobody waited for, as a node set that can be read again."""
    file = tmp_path / 'failed'
    gate = kit.Gate()
    with several('a', (500, 'b'), (404, 'c')) as servers, kit.serve(gate=gate) as silent:
        good, *bad = servers
        napix('get', f'{hosts_of(servers)},http://{bad[0].host}', '/', '--failed-out', file)
        ports = ','.join(map(str, sorted(server.port for server in bad)))
        assert set(napix('get', '.', '/', '--hostfile', file, '--dry-run').out.split()[1::2]) == {
            f'http://{server.host}/' for server in bad
        }
        assert f'127.0.0.1:[{ports}]' in file.read_text()
        hosts = f'{good.host},{bad[0].host},{silent.host}'
        for flags, failed in (
            (('--deadline', '0.3'), [bad[0], silent]),
            (('--fail-fast', '-x', good.host), [bad[0], silent]),
            (('--need', 1, '-x', bad[0].host), []),
        ):
            napix('get', hosts, '/', '--failed-out', file, *flags)
            assert set(napix('get', file.read_text().strip() or 'none', '/', '--dry-run').out.split()[1::2]) == {
                f'http://{server.host}/' for server in failed
            } or {'http://none/'}
        # The hosts may come from the file that the failures go to.
        file.write_text(hosts)
        napix('get', '.', '/', '--hostfile', file, '--failed-out', file, '--timeout', '0.3')
        assert len(file.read_text().split(',')) >= 1
        assert good.host not in file.read_text()


# Logs that exist, and bodies -----------------------------------------------------------------------------------------


def test_a_log_that_exists(tmp_path: Path) -> None:
    """Without --resume a job log with lines in it is left alone: what to do is told, and nothing is sent."""
    log = tmp_path / 'log'
    with answering() as server:
        run = ('get', server.host, '/', '--joblog', log)
        assert napix(*run).code == 0
        before = log.read_bytes()
        code, out, err = napix(*run)
        assert (code, out, log.read_bytes(), len(server.requests)) == (2, '', before, 1)
        assert err == (
            f'napix: the job log {log} is that of an earlier run: go on with that one by --resume, or remove the file\n'
        )
        assert napix(*run, '--dry-run').code == 0  # nothing is written then
        assert log.read_bytes() == before
        log.write_bytes(b'')
        assert napix(*run).code == 0
        assert napix('get', server.host, '/', '--joblog', '/dev/null').code == 0


@pytest.mark.parametrize(
    ('answer', 'asked', 'lines', 'code'), [('r', 0, 1, 0), ('o', 1, 1, 0), ('q', 0, 1, 2), ('', 0, 1, 2)]
)
def test_a_log_that_exists_on_a_terminal(answer: str, asked: int, lines: int, code: int, tmp_path: Path) -> None:
    """On a terminal it is asked: resume, overwrite, or leave it."""
    log = tmp_path / 'log'
    with answering() as server, terminal() as (master, slave):
        run = ('get', server.host, '/', '--joblog', log)
        napix(*run)
        with started(*run, stdin=slave, stdout=slave, stderr=slave) as process:
            os.write(master, f'{answer}\n'.encode())
            shown = everything_on(master, slave, process)
        assert '[r]esume it, [o]verwrite it, or [q]uit?' in shown
        assert (process.returncode, len(server.requests) - 1, len(log.read_text().splitlines())) == (code, asked, lines)


def test_resume_compares_bodies(tmp_path: Path) -> None:
    """A request with another body is another, whatever makes the body: JSON, a form, a file, a variable, a secret."""
    (tmp_path / 'one').write_bytes(b'1' * 10)
    (tmp_path / 'two').write_bytes(b'2' * 10)
    (tmp_path / 'large').write_bytes(b'1' * (2 << 20))
    (tmp_path / 'other').write_bytes(b'1' * (2 << 20) + b'2')
    for first, other in (
        (['a=1'], ['a=2']),
        (['a=1'], []),
        (['at={host}', 'n:=1'], ['at={host}', 'n:=2']),
        (['f@one'], ['f@two']),
        (['f@one', 'a=1'], ['f@one', 'a=2']),
        (['@one'], ['@two']),
        (['@large'], ['@other']),
        (['password=pa55word'], ['password=pa66word']),
    ):
        log = tmp_path / 'log'
        log.unlink(missing_ok=True)
        with several('a', 'b') as servers:
            run = ('post', hosts_of(servers), '/', '--joblog', log)
            assert napix(*run, *first, directory=tmp_path).code == 0
            assert napix(*run, *first, '--resume', directory=tmp_path).out == ''
            assert len(napix(*run, *other, '--resume', directory=tmp_path).out.splitlines()) == 2
            assert [len(server.requests) for server in servers] == [2, 2]


def test_a_digest_tells_no_password(tmp_path: Path) -> None:
    """Of a body with a secret the log has no digest by which somebody could try passwords out."""
    log, digests = tmp_path / 'log', []
    with answering() as server:
        for password in 'pa55word', 'pa66word':
            log.unlink(missing_ok=True)
            napix('post', server.host, '/', f'password={password}', 'name=nemo', '--joblog', log)
            digests.append(json.loads(log.read_text())['sent'])
            whole = sha256(server.requests[-1].body).hexdigest()
            assert whole[:8] not in digests[-1]
    one, other = digests
    assert (one[:16], one[16:] == other[16:]) == (other[:16], False)
    assert len(one) == 20
