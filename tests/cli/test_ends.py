"""Exit codes, Ctrl-C, readers who leave, disks that are full."""

from __future__ import annotations

import re
import signal

import gevent
import pytest

from tests import kit
from tests.cli.programs import PIPE, interrupt, napix, readable, started
from tests.cli.servers import answering, fields, hosts_of, several


@pytest.mark.parametrize(
    ('statuses', 'dead', 'code'),
    [((200, 204, 302, 399), False, 0), ((200, 400), False, 1), ((200,), True, 1), ((503,), True, 1), ((), True, 3)],
)
def test_exit_codes(statuses: tuple[int, ...], dead: bool, code: int, refused: str) -> None:
    """0 where all are below 400, 1 where some are not, 3 where nobody answered at all."""
    with several(*((status, '') for status in statuses)) as servers:
        hosts = ','.join([server.host for server in servers] + [refused] * dead)
        found, _, err = napix('get', hosts, '/')
    assert (found, err.count('\n')) == (code, 1)


def test_nothing_but_the_closing_line() -> None:
    """Nothing else is on stderr, whatever went wrong."""
    with kit.FaultServer([b'nonsense\r\n\r\n', kit.CLOSE]) as server:
        code, out, err = napix('get', server.host, '/')
    assert (code, fields(out)[server.host][0], len(err.splitlines())) == (3, 'InvalidResponse', 1)


# Signals -------------------------------------------------------------------------------------------------------------


def test_interrupted() -> None:
    """Ctrl-C once tells who has not answered, and goes on; twice it ends with 130; no traceback."""
    gate = kit.Gate()
    with several(*'abc', gate=gate) as servers, answering() as quick:
        with started('get', f'{hosts_of(servers)},{quick.host}', '/') as process:
            process.stdout.readline()
            held = gate.wait_for(3)
            process.send_signal(signal.SIGINT)
            ports = ','.join(str(port) for port in sorted(server.port for server in servers))
            assert process.stderr.readline().decode() == (
                f'napix: waiting for 3 of 4: 127.0.0.1:[{ports}] (Ctrl-C again to stop)\n'
            )
            held[0].release()
            assert process.stdout.readline().startswith(b'127.0.0.1:')
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
            assert process.stdout.read() == b''
            assert re.fullmatch(
                r'4 hosts in [\d.]+ s: 2 below 400, .*, 2 not waited for\n', process.stderr.read().decode()
            )


def test_interrupted_once() -> None:
    """After one Ctrl-C a run ends as if there had been none."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow:
        with started('get', slow.host, '/') as process:
            gate.wait_for(1)
            process.send_signal(signal.SIGINT)
            assert b'waiting for 1 of 1' in process.stderr.readline()
            gate.open()
            assert process.wait(timeout=30) == 0


def test_terminated() -> None:
    """SIGTERM ends it at once, with 143."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow:
        with started('get', slow.host, '/') as process:
            gate.wait_for(1)
            code, out, err = interrupt(process, signal.SIGTERM, seconds=30)
    assert (code, out, err.count('\n')) == (143, '', 1)


def test_interrupted_at_the_keyboard() -> None:
    """Ctrl-C while the hosts are being read from standard input ends at once, without a traceback."""
    with started('get', '-', '/', stdin=PIPE) as process:
        # It reads when it has taken what we wrote.
        process.stdin.write(b'a\n')
        process.stdin.flush()
        kit.wait_until(lambda: not readable(process.stdin.fileno()))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr.read() == b''


def test_interrupted_by_somebody_impatient() -> None:
    """However often Ctrl-C comes, it ends with 130, not by the signal itself."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow, started('get', slow.host, '/', '-q', fresh=True) as process:
        gate.wait_for(1)
        for _ in range(100):
            process.send_signal(signal.SIGINT)
            gevent.sleep(0.02)
            if process.poll() is not None:
                break
        assert process.wait(timeout=30) == 130
        assert process.stderr.read().count(b'\n') == 1


def test_interrupted_with_nobody_reading() -> None:
    """A reader who does not read cannot keep it from ending."""
    with answering('x' * 200_000) as server:
        with started('get', server.host, '/', '--repeat', 40) as process:
            kit.wait_until(lambda: readable(process.stdout.fileno()))
            gevent.sleep(0.1)
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                gevent.sleep(0.05)
            assert process.wait(timeout=30) == 130


# Readers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('flags', [(), ('--json',), ('--fold',)])
def test_broken_pipe(flags: tuple[str, ...]) -> None:
    """A reader who leaves is no reason to say anything, nor to wait for those who have not answered."""
    gate = kit.Gate()
    with answering() as quick, kit.serve(gate=gate) as slow:
        with started('get', f'{quick.host},{slow.host}', '/', *flags, '-q' if '--fold' in flags else '-v') as process:
            gate.wait_for(1)
            if '--fold' not in flags:
                process.stdout.readline()
            process.stdout.close()
            process.stdout = None
            assert process.wait(timeout=30) == 1
            assert b'napix' not in b''.join(line for line in process.stderr.readlines() if not line.startswith(b'> '))


@pytest.mark.parametrize('words', [(), ('--json',), ('--fold',), ('--dry-run',), ('--curl',), ('--help',)])
def test_full_disk(words: tuple[str, ...]) -> None:
    """An output that cannot be written to is told of in one line, instead of the closing one; with -q nothing is."""
    with answering() as server, open('/dev/full', 'wb') as full:
        with started('get', server.host, '/', *words, stdout=full) as process:
            assert process.stderr.read().splitlines()[-1] == b'napix: No space left on device'
            assert process.wait(timeout=30) == 1
        if not words:
            with started('get', server.host, '/', '-q', stdout=full) as process:
                assert (process.wait(timeout=30), process.stderr.read()) == (0, b'')


@pytest.mark.parametrize('words', [(), ('--fold',), ('--curl',)])
def test_full_disk_and_the_end_of_python(words: tuple[str, ...]) -> None:
    """The error comes once: not again, as a traceback, while the interpreter ends."""
    with answering() as server, open('/dev/full', 'wb') as full:
        with started('get', server.host, '/', *words, stdout=full, fresh=True) as process:
            assert process.stderr.read() == b'napix: No space left on device\n'
            assert process.wait(timeout=30) == 1


def test_closed_streams() -> None:
    """Closed standard streams are no streams, and nobody's socket becomes one."""
    with answering() as server:
        for closing in '>&-', '2>&-', '<&-':
            done = kit.run_program(
                'import subprocess, sys; sys.exit(subprocess.call(["sh", "-c", f"exec {sys.executable} -m napixclient '
                'get $0 / $1 {sys.argv[1]}", *sys.argv[2:]]))',
                closing,
                server.host,
                '--json',
                patched=False,
            )
            assert done.code == 0, done
    assert len(server.requests) == 3
