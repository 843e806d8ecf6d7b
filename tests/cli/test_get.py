"""`napix get`, the real command against real servers."""
from __future__ import annotations

import fcntl
import hmac
import os
import re
import signal
import struct
import termios
from contextlib import ExitStack
from urllib.parse import parse_qs

import gevent
import gevent.os
import pytest

from tests import kit
from tests.cli.programs import PIPE, interrupt, napix, on_terminal, started

F_SETPIPE_SZ = 1031


def answering(body: object = 'fine', status: int = 200) -> kit.HandlerServer:
    """A server that always answers this."""
    headers = {'Content-Type': 'text/plain; charset=utf-8'} if isinstance(body, (str, bytes)) else None
    return kit.serve(lambda *_: (status, headers, body))


@pytest.fixture
def refused() -> str:
    """A host whose port refuses."""
    with kit.FaultServer(listening=False) as server:
        yield server.host


def fields(out: str) -> dict[str, list[str]]:
    """Host -> what its line says, status, milliseconds and text."""
    lines = [line.split('\t') for line in out.splitlines()]
    return {host: rest for host, *rest in lines}


# Answers -------------------------------------------------------------------------------------------------------------

def test_a_line_per_answer() -> None:
    """A line has host, status, milliseconds and the body's beginning; the summary is on stderr; all good is 0."""
    with answering({'size': 1}) as one, answering('hello') as two:
        code, out, err = napix('get', f'{one.host},{two.host}', '/x?y=1')
    assert code == 0
    found = fields(out)
    assert found.keys() == {one.host, two.host}
    assert found[one.host][0::2] == ['200', '{"size": 1}']
    assert found[two.host][0::2] == ['200', 'hello']
    assert all(re.fullmatch(r'\d+\.\d', ms) for _, ms, _ in found.values())
    assert re.fullmatch(r'2 hosts in \d+\.\d\d s: 2 below 400, 0 at 400 or above, 0 without an answer\n', err)
    assert [(request.method, request.path) for request in one.requests] == [('GET', '/x?y=1')]


def test_node_set() -> None:
    """HOSTS is a node set, also over ports; each host is asked once."""
    with answering() as one, answering() as two:
        ports = f'{one.port},{two.port}'
        code, out, _ = napix('get', f'127.0.0.1:[{ports}],{one.host}', '/')
    assert code == 0
    assert sorted(fields(out)) == sorted([one.host, two.host])
    assert len(one.requests) == 1


@pytest.mark.parametrize('status', [204, 302, 399])
def test_below_400_is_good(status: int) -> None:
    """What is below 400 is good, a redirect too: it is an answer."""
    with answering('', status) as server:
        code, out, _ = napix('get', server.host, '/')
    assert (code, fields(out)[server.host][0]) == (0, str(status))


@pytest.mark.parametrize('status', [400, 404, 503])
def test_from_400_up_is_not(status: int) -> None:
    """From 400 up it is 1, and the line has the status and what the server said."""
    with answering('sorry', status) as server, answering() as good:
        code, out, err = napix('get', f'{server.host},{good.host}', '/')
    assert code == 1
    assert fields(out)[server.host][0::2] == [str(status), 'sorry']
    assert '1 below 400, 1 at 400 or above, 0 without' in err


def test_no_answer(refused: str) -> None:
    """Without an answer it is 1, and the line has the error's class and what happened; the others are not disturbed."""
    with answering() as good:
        code, out, err = napix('get', f'{refused},{good.host},no-such-host.invalid', '/')
    assert code == 1
    found = fields(out)
    assert found[refused][0] == 'RefusedError'
    assert found['no-such-host.invalid'][0] == 'NameResolutionError'
    assert found[good.host][0] == '200'
    assert float(found[refused][1]) < 5000
    assert '1 below 400, 0 at 400 or above, 2 without' in err


def test_as_they_arrive() -> None:
    """The first answer's line is there while another host has not answered yet."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow, answering() as quick:
        with started('get', f'{slow.host},{quick.host}', '/') as process:
            assert process.stdout.readline().startswith(quick.host.encode())
            gate.wait_for(1)
            gate.open()
            assert process.stdout.readline().startswith(slow.host.encode())
            assert process.wait(timeout=10) == 0


def test_piece_of_the_body() -> None:
    """Of a body there is a short piece, on one line, and nothing in it steers a terminal."""
    bodies = {'one\n\ttwo\r\n  three': 'one two three',
              '\x1b[31mred\x07 \x9b \u202e \u2028é': '\\x1b[31mred\\x07 \\x9b \\u202e é',
              'x' * 10_000: 'x' * 97 + '...',
              b'\xff\x00': '\ufffd\\x00',
              '': ''}
    for body, piece in bodies.items():
        with answering(body) as server:
            code, out, err = napix('get', server.host, '/')
        assert (code, fields(out)[server.host][2]) == (0, piece)


def test_ascii_output() -> None:
    """An output that knows ASCII only gets what it can show."""
    with answering('wörld') as server:
        code, out, err = napix('get', server.host, '/', PYTHONIOENCODING='ascii')
    assert code == 0
    assert fields(out)[server.host][2] == 'w\\xf6rld'


def test_ipv6() -> None:
    """An IPv6 address in brackets is a host."""
    try:
        server = kit.serve(address='::1')
    except OSError:
        pytest.skip('this machine has no IPv6')
    with server:
        code, out, _ = napix('get', f'[::1]:{server.port}', '/000017')
    assert (code, fields(out)) == (0, {server.host: fields(out)[server.host]})
    assert fields(out)[server.host][2] == '000017'


def test_https(authority: kit.Authority) -> None:
    """A host may carry a scheme; certificates are verified."""
    with kit.serve(tls=authority.server()) as server:
        code, out, _ = napix('get', f'https://127.0.0.1:{server.port}', '/', SSL_CERT_FILE=authority.ca_certs)
        assert (code, fields(out)[server.host][0]) == (0, '200')
        code, out, _ = napix('get', f'https://127.0.0.1:{server.port}', '/')
        assert (code, fields(out)[server.host][0]) == (1, 'TLSError')
        assert len(server.requests) == 1


# Hosts from a file ---------------------------------------------------------------------------------------------------

def test_hostfile_adds(tmp_path) -> None:
    """--hostfile adds to HOSTS; "." as HOSTS is none but those of the file."""
    with answering() as one, answering() as two, answering() as three:
        path = tmp_path / 'hosts'
        path.write_text(f'# ours\n{two.host} {three.host}\n')
        code, out, _ = napix('get', one.host, '/', '--hostfile', path)
        assert (code, sorted(fields(out))) == (0, sorted([one.host, two.host, three.host]))
        code, out, _ = napix('get', '.', '/', '--hostfile', path)
        assert (code, sorted(fields(out))) == (0, sorted([two.host, three.host]))


def test_hostfile_on_standard_input() -> None:
    """`--hostfile -` reads standard input."""
    with answering() as one, answering() as two:
        code, out, _ = napix('get', '.', '/', '--hostfile', '-', input=f'{one.host}\n{two.host}  # the other\n')
    assert (code, sorted(fields(out))) == (0, sorted([one.host, two.host]))


# Caps and time -------------------------------------------------------------------------------------------------------

def test_max_connections() -> None:
    """--max-connections holds over all hosts, counted by the servers."""
    gate = kit.Gate()
    with ExitStack() as stack:
        hosts = [stack.enter_context(kit.serve(gate=gate)).host for _ in range(6)]
        with started('get', ','.join(hosts), '/', '--max-connections', 2) as process:
            release_one_by_one(gate, 2, len(hosts))
            out, err = process.communicate(timeout=10)
        assert len(out.splitlines()) == 6
    assert gate.peak == 2


def release_one_by_one(gate: kit.Gate, peak: int, count: int) -> None:
    """Let the held requests go, each when as many as may be in flight together have arrived."""
    for left in range(count, 0, -1):
        held = gate.wait_for(min(peak, left))[0]
        held.release()
        kit.wait_until(lambda held=held: held not in gate.held())


@pytest.mark.parametrize(('options', 'peak'), [((), 2), (('--simultaneous', 1), 1), (('--simultaneous', 3), 3)])
def test_simultaneous(options: tuple[object, ...], peak: int) -> None:
    """--simultaneous holds for one server, however its name is spelled."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        at = f'127.0.0.1:{server.port}'
        with started('get', f'{at},http://{at},http://{at}/,HTTP://{at}', '/', *options) as process:
            release_one_by_one(gate, peak, 4)
            out, err = process.communicate(timeout=10)
    assert (process.returncode, len(out.splitlines())) == (0, 4)
    assert gate.peak == peak


def test_timeout() -> None:
    """--timeout ends a request that takes longer; the others have their answers."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as silent, answering() as good:
        code, out, _ = napix('get', f'{silent.host},{good.host}', '/', '--timeout', '0.3')
    found = fields(out)
    assert (code, found[silent.host][0], found[good.host][0]) == (1, 'DeadlineExceeded', '200')
    assert 250 <= float(found[silent.host][1]) <= 1500


def test_timeout_is_that_of_one_request() -> None:
    """Its clock does not run while other hosts have the connections."""
    with ExitStack() as stack:
        hosts = [stack.enter_context(kit.FaultServer([kit.READ, kit.Pause(0.3), kit.ANSWER])).host for _ in range(5)]
        code, out, err = napix('get', ','.join(hosts), '/', '--timeout', '1', '--max-connections', 1)
    assert code == 0, (out, err)


def test_slow_reader_costs_nobody_his_time() -> None:
    """While the reader of our output takes nothing, requests go on: what is answered in time is an answer."""
    gate = kit.Gate()
    reading, writing = os.pipe()
    fcntl.fcntl(writing, F_SETPIPE_SZ, 4096)
    with ExitStack() as stack:
        hosts = [stack.enter_context(answering('x' * 200)).host for _ in range(60)]
        slow = stack.enter_context(kit.serve(gate=gate))
        process = stack.enter_context(
            started('get', ','.join([slow.host, *hosts]), '/000099', '--timeout', 2, stdout=writing))
        os.close(writing)
        stack.callback(os.close, reading)
        kit.wait_until(lambda: _waiting(reading) > 0)
        held = gate.wait_for(1)[0]
        held.release()
        kit.wait_until(lambda: not gate.in_flight)
        gevent.sleep(2.5)               # longer than the timeout, with nobody reading
        out = b''
        while data := gevent.os.tp_read(reading, 65536):
            out += data
        assert process.wait(timeout=10) == 0
    found = fields(out.decode())
    assert len(found) == 61
    assert found[slow.host][0::2] == ['200', '000099']


def _waiting(pipe: int) -> int:
    """Bytes in a pipe that nobody has read."""
    return int(struct.unpack('i', fcntl.ioctl(pipe, termios.FIONREAD, b'\0' * 4))[0])


# Who asks ------------------------------------------------------------------------------------------------------------

def signed_by(request: kit.Received) -> tuple[str, bool]:
    """The login that signed a request, and whether with the key "toor"."""
    message, _, signature = request.headers['authorization'].rpartition(':')
    said = {name: values[0] for name, values in parse_qs(message).items()}
    assert (said['method'], said['path'], said['host']) == (request.method, request.path, request.headers['host'])
    return said['login'], hmac.new(b'toor', message.encode(), 'sha256').hexdigest() == signature


@pytest.mark.parametrize(('options', 'env'), [
    (['--login', 'root', '--key', 'toor'], {}),
    (['--login', 'root'], {'NAPIX_KEY': 'toor'}),
    (['--login', 'root', '--key', 'toor'], {'NAPIX_KEY': 'other'}),
    (['--login', 'root', '--key', 'toor'], {'NAPIX_TOKEN': 'other'}),
])
def test_login(options: list[str], env: dict[str, str]) -> None:
    """--login signs with the key that is given, or with NAPIX_KEY; neither is shown."""
    with answering() as server:
        code, out, err = napix('get', server.host, '/x?y=1', *options, **env)
    assert code == 0
    assert signed_by(server.requests[0]) == ('root', True)
    assert server.requests[0].path == '/x?y=1'
    assert 'toor' not in out + err


@pytest.mark.parametrize(('options', 'env'), [
    (['--token', 's3cret'], {}), ([], {'NAPIX_TOKEN': 's3cret'}), (['--token', 's3cret'], {'NAPIX_KEY': 'other'}),
    (['--token', 's3cret'], {'NAPIX_TOKEN': 'other'}),
])
def test_token(options: list[str], env: dict[str, str], refused: str) -> None:
    """--token or NAPIX_TOKEN goes as the parameter; it is not shown, in errors neither."""
    with answering('no', 403) as server:
        code, out, err = napix('get', f'{server.host},{refused}', '/x?y=1', *options, **env)
    assert code == 1
    assert server.requests[0].path == '/x?y=1&token=s3cret'
    assert 'authorization' not in server.requests[0].headers
    assert 's3cret' not in out + err


def test_nobody() -> None:
    """Without either nothing is added; empty variables, and a key without a login, are none."""
    with answering() as server:
        code, _, _ = napix('get', server.host, '/x', NAPIX_TOKEN='', NAPIX_KEY='toor')
    assert code == 0
    assert server.requests[0].path == '/x'
    assert 'authorization' not in server.requests[0].headers


# Bad usage -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(('arguments', 'complaint'), [
    (['get'], "Missing argument 'HOSTS'"),
    (['get', 'a'], "Missing argument 'URL'"),
    (['get', 'a', 'captains'], "'captains' does not begin with \"/\""),
    (['get', '/captains', 'a'], "'a' does not begin with \"/\": give a path such as /captains, after the hosts"),
    (['get', 'a', 'http://a/captains'], 'does not begin with "/"'),
    (['get', 'a', '/x#y'], 'a fragment is never sent'),
    (['get', 'a', '/x\ny'], 'control characters'),
    (['get', 'web[1-', '/'], "'web[1-' is not a node set"),
    (['get', 'a,,b', '/'], 'a comma with no host beside it'),
    (['get', '@no-such-group', '/'], "'@no-such-group' names no host"),
    (['get', '', '/'], 'no hosts'),
    (['get', 'a!a', '/'], 'no hosts'),
    (['get', '.', '/'], '"." stands for the hosts of a file: name one with --hostfile FILE'),
    (['get', 'a:port', '/'], "not a host: 'a:port'"),
    (['get', 'a:99999', '/'], "not a host: 'a:99999'"),
    (['get', '::1', '/'], 'an IPv6 address is written in brackets'),
    (['get', 'ftp://a', '/'], 'unknown scheme'),
    (['get', 'a/x', '/'], "not a host: 'a/x'"),
    (['get', 'a', '/', '--hostfile', 'no/such/file'], 'cannot read no/such/file: No such file or directory'),
    (['get', 'a', '/', '--hostfile', '/'], 'cannot read /: Is a directory'),
    (['get', '.', '/', '--hostfile', os.devnull], 'no hosts'),
    (['get', 'a', '/', '--simultaneous', '0'], "'--simultaneous': 0 is not in the range"),
    (['get', 'a', '/', '--simultaneous', '-1'], "'--simultaneous': -1 is not in the range"),
    (['get', 'a', '/', '--simultaneous', 'many'], "'--simultaneous': 'many' is not a valid integer"),
    (['get', 'a', '/', '--max-connections', '-2'], "'--max-connections': -2 is not in the range"),
    (['get', 'a', '/', '--timeout', '0'], "'--timeout': 0 is not a number of seconds above 0"),
    (['get', 'a', '/', '--timeout', '-1.5'], "'--timeout': -1.5 is not a number of seconds above 0"),
    (['get', 'a', '/', '--timeout', 'nan'], "'--timeout': nan is not"),
    (['get', 'a', '/', '--timeout', 'inf'], "'--timeout': inf is not"),
    (['get', 'a', '/', '--timeout', '1s'], "'--timeout': '1s' is not a valid float"),
    (['get', 'a', '/', '--login', 'root'], '--login without a key: set NAPIX_KEY in the environment, or give --key'),
    (['get', 'a', '/', '--key', 'toor'], '--key without --login: say whose key it is with --login NAME'),
    (['get', 'a', '/', '--login', 'root', '--key', 'k', '--token', 't'], '--login and --token exclude each other'),
    (['get', 'a', '/', '--login', 'root', '--token', 't'], '--login and --token exclude each other'),
    (['get', 'a', '/', '--login', ''], "'--login': it is empty"),
    (['get', 'a', '/', '--token', ''], "it is empty; is the variable it comes from set?"),
    (['get', 'a', '/', '--token', b'\xff'], 'the login, the key or the token is not a text in UTF-8'),
    (['get', 'a', '/', '--login', 'root', '--key', b'\xff'], 'is not a text in UTF-8'),
    (['get', 'a', '/', '--nonsense'], "No such option '--nonsense'"),
    (['get', 'a', '/', 'extra'], 'extra argument'),
    (['got', 'a', '/'], "No such command 'got'"),
    (['demo', 'extra'], 'extra argument'),
])
def test_bad_usage(arguments: list[str | bytes], complaint: str) -> None:
    """Bad usage is 2 and one line that names the mistake."""
    code, out, err = napix(*arguments)
    assert (code, out) == (2, '')
    assert re.fullmatch(r'napix: [^\n]+ --help tells more\)\n', err)
    assert complaint in err


def test_bad_usage_sends_nothing() -> None:
    """One bad host among good ones: nobody is asked."""
    with answering() as server:
        code, _, err = napix('get', f'{server.host},a:port', '/')
    assert (code, server.requests) == (2, [])


def test_bad_hostfile(tmp_path) -> None:
    """The line of the file that is wrong is named."""
    path = tmp_path / 'hosts'
    path.write_text('a\nweb[1-\n')
    code, _, err = napix('get', '.', '/', '--hostfile', path)
    assert code == 2
    assert f"{path}, line 2: 'web[1-' is not a node set" in err


# Ends ----------------------------------------------------------------------------------------------------------------

def test_broken_pipe() -> None:
    """A reader who leaves is no reason to say anything."""
    gate = kit.Gate()
    with answering() as quick, kit.serve(gate=gate) as slow:
        with started('get', f'{quick.host},{slow.host}', '/') as process:
            process.stdout.readline()
            process.stdout.close()
            process.stdout = None
            gate.open()
            assert process.stderr.read() == b''
            assert process.wait(timeout=10) == 1


def test_full_disk() -> None:
    """An output that cannot be written to is told of in one line."""
    with answering() as server, open('/dev/full', 'wb') as full:
        with started('get', server.host, '/', stdout=full) as process:
            assert process.stderr.read() == b'napix: No space left on device\n'
            assert process.wait(timeout=10) == 1


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: int) -> None:
    """Ctrl-C ends at once with 130 and a summary, SIGTERM with 143; no traceback."""
    gate = kit.Gate()
    with answering() as quick, kit.serve(gate=gate) as slow:
        with started('get', f'{quick.host},{slow.host}', '/') as process:
            process.stdout.readline()
            gate.wait_for(1)
            code, out, err = interrupt(process, number, seconds=3)
    assert (code, out) == (128 + number, '')
    assert re.fullmatch(r'2 hosts in [\d.]+ s: 1 below 400, .*, 1 not waited for\n', err)


def test_interrupted_at_the_keyboard() -> None:
    """Ctrl-C while the hosts are being read from standard input ends at once, without a traceback."""
    with started('get', '.', '/', '--hostfile', '-', stdin=PIPE) as process:
        # It reads when it has taken what we wrote.
        process.stdin.write(b'a\n')
        process.stdin.flush()
        kit.wait_until(lambda: _waiting(process.stdin.fileno()) == 0)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=3) == 130
        assert process.stderr.read() == b''


def test_no_lines_left_to_answer_for() -> None:
    """Nothing is on stderr but the summary, whatever went wrong."""
    with kit.FaultServer([b'nonsense\r\n\r\n', kit.CLOSE]) as server:
        code, out, err = napix('get', server.host, '/')
    assert code == 1
    assert fields(out)[server.host][0] == 'InvalidResponse'
    assert len(err.splitlines()) == 1


# On a terminal -------------------------------------------------------------------------------------------------------

def test_on_a_terminal(refused: str) -> None:
    """On a terminal the lines are columns, coloured, and no wider than it is."""
    with answering('x' * 200) as server:
        code, out, err = on_terminal('get', f'{server.host},{refused}', '/', columns=70)
    assert code == 1
    assert '\x1b[32m200' in out
    assert '\x1b[31mRefusedError' in out
    plain = re.sub(r'\x1b\[[0-9;]*m', '', out).splitlines()
    assert len(plain) == 2
    assert all(len(line) <= 70 for line in plain)


def test_on_a_terminal_without_colour() -> None:
    """NO_COLOR is respected."""
    with answering() as server:
        code, out, _ = on_terminal('get', server.host, '/', NO_COLOR='1')
    assert code == 0
    assert '\x1b[3' not in out


# The command itself --------------------------------------------------------------------------------------------------

def test_version() -> None:
    """--version tells it."""
    from napixclient import __version__
    assert napix('--version') == (0, f'napix {__version__}\n', '')


@pytest.mark.parametrize('arguments', [['--help'], ['-h'], ['get', '--help'], ['demo', '--help']])
def test_help(arguments: list[str]) -> None:
    """--help is 0 and fits 80 columns."""
    code, out, err = napix(*arguments)
    assert (code, err) == (0, '')
    assert out.startswith('Usage: napix')
    assert all(len(line) <= 80 for line in out.splitlines())


def test_nothing_to_do() -> None:
    """Without a command the help is shown, and it is 2."""
    code, out, err = napix()
    assert (code, out) == (2, '')
    assert err.startswith('Usage: napix')
