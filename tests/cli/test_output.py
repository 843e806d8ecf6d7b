"""What is printed: lines, JSON, files, folded answers and their differences, requests; without a terminal."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import gevent.subprocess
import pytest

from napixclient import Client
from tests import kit
from tests.cli.programs import napix, started
from tests.cli.servers import answering, fields, hosts_of, objects, several

#: What a server answers that failed because a server behind it did.
CHAINED = {
    'error_class': 'RemoteError',
    'error_text': '"500 Internal Server Error" vg-13 is offline',
    'request': {'method': 'GET', 'path': '/'},
    'remote_call': 'GET http://storage.example/volumes',
    'remote_status': 500,
    'remote_error': {'error_class': 'OSError', 'error_text': 'vg-13 is offline'},
}


# Lines ---------------------------------------------------------------------------------------------------------------


def test_a_line_per_answer(refused: str) -> None:
    """In a pipe a line has host, status or kind of error, milliseconds and body; the closing line is on stderr."""
    with several({'size': 1}, 'hello', (404, 'sorry'), (399, '')) as servers:
        code, out, err = napix('get', f'{hosts_of(servers)},{refused},no-such-host.invalid', '/')
        one, two, three, four = servers
    found = fields(out)
    assert code == 1
    assert {host: rest[0::2] for host, rest in found.items()} == {
        one.host: ['200', '{"size": 1}'],
        two.host: ['200', 'hello'],
        three.host: ['404', 'sorry'],
        four.host: ['399', ''],
        refused: ['RefusedError', 'connection refused'],
        'no-such-host.invalid': ['NameResolutionError', found['no-such-host.invalid'][2]],
    }
    assert all(re.fullmatch(r'\d+\.\d', ms) for _, ms, _ in found.values())
    assert re.fullmatch(r'6 hosts in \d+\.\d\d s: 3 below 400, 1 at 400 or above, 2 without an answer\n', err)


def test_as_they_arrive() -> None:
    """The first answer's line is there while another host has not answered yet, in JSON too."""
    gate = kit.Gate()
    for flags in (), ('--json',):
        with kit.serve(gate=gate) as slow, answering() as quick:
            with started('get', f'{slow.host},{quick.host}', '/', *flags) as process:
                assert quick.host.encode() in process.stdout.readline()
                gate.wait_for(1)[0].release()
                assert slow.host.encode() in process.stdout.readline()
                assert process.wait(timeout=30) == 0


def test_ordered() -> None:
    """--ordered keeps an answer back until those before it are there."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as slow, answering() as quick:
        with started('get', f'{slow.host},{quick.host}', '/', '--ordered') as process:
            gate.wait_for(1)
            kit.wait_until(lambda: quick.requests)
            gate.open()
            out, _ = process.communicate(timeout=30)
    assert list(fields(out.decode())) == [slow.host, quick.host]


def test_one_line_whatever_the_body() -> None:
    """A body is on one line, whole, and nothing in it steers a terminal."""
    bodies = {
        'one\n\ttwo\r\n  three\n': 'one\\n\\ttwo\\r\\n  three',
        '\x1b[31mred\x07 \x9b \u202e \u2028é': '\\x1b[31mred\\x07 \\x9b \\u202e \\u2028é',
        'x' * 10_000: 'x' * 10_000,
        b'\xff\x00': '\ufffd\\x00',
        '': '',
    }
    with several(*bodies) as servers, answering('{\n  "a": 1.50\n}\n', kind='application/json') as pretty:
        code, out, _ = napix('get', f'{hosts_of(servers)},{pretty.host}', '/')
        found = fields(out)
        assert code == 0
        assert [found[server.host][2] for server in servers] == list(bodies.values())
        assert found[pretty.host][2] == '{ "a": 1.50 }'
        ascii_only = fields(napix('get', servers[1].host, '/', PYTHONIOENCODING='ascii').out)
        assert ascii_only[servers[1].host][2].endswith('\\u2028\\xe9')


def test_chain() -> None:
    """An error of chained servers tells its chain on standard error, below nothing but results on standard output."""
    with several((502, CHAINED), 'fine') as servers:
        code, out, err = napix('get', hosts_of(servers), '/')
    assert (code, len(out.splitlines())) == (1, 2)
    assert json.loads(fields(out)[servers[0].host][2]) == CHAINED
    first, second, closing = err.splitlines()
    assert first.startswith(f'    GET http://{servers[0].host}/: "502 Bad Gateway"')
    assert second == '      because GET http://storage.example/volumes answered 500: OSError: vg-13 is offline'
    assert closing.startswith('2 hosts in ')


def test_quiet(tmp_path: Path) -> None:
    """-q leaves nothing but the exit code, and what other flags ask for."""
    with several('a', (502, CHAINED)) as servers:
        assert napix('get', hosts_of(servers), '/', '-q') == (1, '', '')
        code, out, err = napix('get', hosts_of(servers), '/', '--quiet', '--json')
        assert (code, len(out.splitlines()), err) == (1, 2, '')
        code, out, err = napix('get', hosts_of(servers), '/', '-q', '--summary')
        assert (code, out, 'fastest' in err) == (1, '', True)


@pytest.mark.parametrize(
    ('env', 'coloured'),
    [
        ({}, False),
        ({'CLICOLOR_FORCE': '1'}, True),
        ({'CLICOLOR_FORCE': '0'}, False),
        ({'CLICOLOR_FORCE': '1', 'NO_COLOR': '1'}, False),
        ({'CLICOLOR_FORCE': '1', 'NO_COLOR': ''}, True),
    ],
)
def test_colours_in_a_pipe(env: dict[str, str], coloured: bool) -> None:
    """In a pipe there are colours where CLICOLOR_FORCE asks for them, and NO_COLOR does not forbid them."""
    with several('a', (500, 'b')) as servers:
        out = napix('get', hosts_of(servers), '/', **env).out
    assert ('\t\x1b[32m200\x1b[0m\t' in out, '\t\x1b[31m500\x1b[0m\t' in out) == (coloured, coloured)


# JSON ----------------------------------------------------------------------------------------------------------------


def test_json(refused: str) -> None:
    """--json is an object a line: everything of an answer, an error from 400 up or without an answer."""
    with several({'a': [1, None]}, (502, CHAINED)) as (good, chained):
        code, out, _ = napix('get', f'{good.host},http://{chained.host},{refused}', '/x', 'q==1', '--json')
    first, second, third = objects(out)
    assert code == 1
    assert [list(said) for said in (first, second, third)] == [
        ['index', 'host', 'method', 'url', 'status', 'ms', 'attempts', 'peer', 'tried', 'body', 'error']
    ] * 3
    ms = first.pop('ms')
    assert 0 < ms < 5000
    assert first == {
        'index': 0,
        'host': good.host,
        'method': 'GET',
        'url': '/x?q=1',
        'status': 200,
        'attempts': 1,
        'peer': ['127.0.0.1', good.port],
        'tried': [['127.0.0.1', good.port]],
        'body': {'a': [1, None]},
        'error': None,
    }
    assert (second['host'], second['status'], second['body']) == (f'http://{chained.host}', 502, CHAINED)
    assert second['error']['class'] == 'RemoteError'
    assert [(hop['remote_call'], hop['status'], hop['error_text']) for hop in second['error']['chain']] == [
        (f'GET http://{chained.host}/x?q=1', 502, CHAINED['error_text']),
        ('GET http://storage.example/volumes', 500, 'vg-13 is offline'),
    ]
    assert (third['status'], third['body'], third['error']['class'], third['error']['text']) == (
        None,
        None,
        'RefusedError',
        'connection refused',
    )


@pytest.mark.parametrize(
    ('body', 'kind', 'shown'),
    [
        (
            '{"n": 12345678901234567890.10, "e": 1E400, "é": "\u2028"}',
            'application/json',
            '{"n": 12345678901234567890.10, "e": 1E400, "\\u00e9": "\\u2028"}',
        ),
        ('{\r\n "a":\t[\n1 ]}\n', 'application/problem+json; charset=utf-8', '{ "a":\t[ 1 ]}'),
        ('[NaN]', 'application/json', '"[NaN]"'),
        ('{"a"', 'application/json', '"{\\"a\\""'),
        ('[' * 100_000, 'application/json', '"' + '[' * 100_000 + '"'),
        ('tëxt\n\x1b', 'text/plain', '"t\\u00ebxt\\n\\u001b"'),
        ('{"a": 1}', 'text/plain', '"{\\"a\\": 1}"'),
        (b'\xe9', 'text/plain; charset=latin-1', '"\\u00e9"'),
        (b'\xe9', 'text/plain', '{"base64":"6Q=="}'),
        (b'a\0b', 'application/octet-stream', '{"base64":"YQBi"}'),
        (b'', 'text/plain', 'null'),
        (b'abc', 'text/plain; charset=nonsense', '{"base64":"YWJj"}'),
    ],
)
def test_bodies_in_json(body: str | bytes, kind: str, shown: str) -> None:
    """JSON stands as it was sent, on one line and in ASCII; text is a string; what is no text is base64."""
    with answering(body, kind=kind) as server:
        out = napix('get', server.host, '/', '--json').out
    assert f'"body":{shown},"error":null}}\n' in out
    assert out.isascii()
    json.loads(out)


SAME = {
    'a line': (b'{"a": 1}\n', 'application/x-ndjson'),
    'lines': (b'{"a": 1}\n{"a": 2}\n', 'application/x-ndjson'),
    'a line of another name': (b'{"a": 1}\n', 'application/jsonl'),
    'mark': (b'\xef\xbb\xbf{"a": 1}', 'application/json'),
    'charset': (b'{"a": "\xe9"}', 'application/json; charset=latin-1'),
    'beyond a double': (b'[1e400, -1e999]', 'text/json'),
    'UTF-16': ('{"a": 1}'.encode('utf-16'), 'application/json'),
    'NaN': (b'{"a": NaN}', 'application/json'),
    'too many digits': (b'9' * 5000, 'application/json'),
    'a suffix': (b'{"a": 1}', 'application/vnd.api+json'),
    'a surrogate': (b'"\\ud800"', 'application/json'),
    'twice': (b'{"a": 1, "a": 2}', 'application/json'),
    'not JSON': (b'{"a": 1}', 'application/x-json5'),
}


@pytest.mark.parametrize('name', SAME)
def test_the_same_as_in_the_library(name: str) -> None:
    """What is an object in `Response.body` is one in `--json`, and what is a text is a text."""
    data, kind = SAME[name]
    with answering(data, kind=kind) as server, Client(server.host) as client:
        (found,) = objects(napix('get', server.host, '/', '--json').out)
        assert found['body'] == client.request('GET', '/').body


def test_line_of_json_with_a_mark() -> None:
    """Nor does a byte order mark come into the line of an answer."""
    with answering(b'\xef\xbb\xbf{\r\n"a": 1}\r\n', kind='application/json') as server:
        assert fields(napix('get', server.host, '/').out)[server.host][2] == '{ "a": 1}'


def test_constant_memory() -> None:
    """However many lines there are, it takes no more memory; whole bodies are 4 KB each."""

    def peak(pid: int) -> int:
        return int(re.search(r'VmHWM:\s+(\d+)', Path(f'/proc/{pid}/status').read_text())[1])

    with answering('x' * 4096) as server:
        with started('get', server.host, '/[1-6000]', '--json', '--simultaneous', 8) as process:
            peaks = [[process.stdout.readline() for _ in range(count)] and peak(process.pid) for count in (1500, 4400)]
            assert len(process.stdout.readlines()) == 100
    assert peaks[1] - peaks[0] < 6000  # KB, of 17,600 in which the bodies would lie


# Files ---------------------------------------------------------------------------------------------------------------


def test_output(tmp_path: Path, refused: str) -> None:
    """-o writes each body to a file of its host's name, as it came; several of one host are numbered."""
    directory = tmp_path / 'new' / 'out'
    with several(b'\xff\0', (500, 'no')) as (one, two):
        code, out, _ = napix('get', f'{one.host},http://{two.host},{refused}', '/', '-o', directory)
        assert (code, len(out.splitlines())) == (1, 3)
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
            one.host: b'\xff\0',
            f'http:%2F%2F{two.host}': b'no',
        }
        napix('get', one.host, '/', '--output', tmp_path / 'twice', '--repeat', 2)
        assert sorted(path.name for path in (tmp_path / 'twice').iterdir()) == [f'{one.host}.1', f'{one.host}.2']


# Together ------------------------------------------------------------------------------------------------------------

LINE = '-' * 15


def test_fold(refused: str) -> None:
    """-b shows identical answers once, under the folded node set of their hosts, the most frequent first."""
    with several({'v': 2}, 'x\ty\n', {'v': 2}, {'v': 2}, (502, CHAINED)) as servers:
        for flag in '-b', '--fold':
            code, out, err = napix('get', f'{hosts_of(servers)},{refused}', '/', flag)
            ports = sorted(servers[place].port for place in (0, 2, 3))
            assert (code, err.count('\n')) == (1, 1)
            first, *others = out.split(f'{LINE}\n')[1:]
            blocks = dict(zip([first, *others][0::2], [first, *others][1::2], strict=True))
            assert first == f'127.0.0.1:[{",".join(map(str, ports))}] (3)\n'
            assert blocks == {
                first: '200 OK\n{\n  "v": 2\n}\n',
                f'{servers[1].host} (1)\n': '200 OK\nx\\ty\n',
                f'{refused} (1)\n': 'RefusedError: connection refused\n',
                f'{servers[4].host} (1)\n': '502 Bad Gateway\n  because GET http://storage.example/volumes answered '
                '500: OSError: vg-13 is offline\n',
            }
        assert f'{servers[1].host} (1, 3 answers)\n' in napix('get', servers[1].host, '/', '-b', '--repeat', 3).out


def test_regroup(tmp_path: Path) -> None:
    """-r folds, and writes @name where all hosts of a group answered the same."""
    with several('a', 'a', 'b') as (one, two, three):
        (tmp_path / 'groups').write_text(f'left: {one.host},{two.host}\nright: {three.host},{two.host}\n')
        for flag in '-r', '--regroup':
            out = napix('get', f'@left,{three.host}', '/', flag, '--groups', tmp_path / 'groups').out
            assert out == f'{LINE}\n@left (2)\n{LINE}\n200 OK\na\n{LINE}\n{three.host} (1)\n{LINE}\n200 OK\nb\n'


def test_diff() -> None:
    """--diff shows what most answered, and the lines in which others differ from it, JSON member by member."""
    with several(*({'v': version, 'name': 'web'} for version in (1, 2, 1))) as servers:
        code, out, _ = napix('get', hosts_of(servers), '/', '--diff')
    most = f'127.0.0.1:[{",".join(map(str, sorted((servers[0].port, servers[2].port))))}] (2)'
    assert code == 0
    assert out == (
        f'{LINE}\n{most}\n{LINE}\n200 OK\n{{\n  "v": 1,\n  "name": "web"\n}}\n--- {most}\n'
        f'+++ {servers[1].host} (1)\n@@ -1,5 +1,5 @@\n 200 OK\n {{\n-  "v": 1,\n+  "v": 2,\n'
        '   "name": "web"\n }\n'
    )


def test_diff_of_odd_json() -> None:
    """A number beyond a double is shown as one; what is nested too deep for its own lines, as it came."""
    deep = '[' * 5000 + ']' * 5000
    for data, shown in (('{"a": 1e400}', '{\n  "a": 1e999\n}'), (deep, deep)):
        with answering(data, kind='application/json') as server:
            code, out, _ = napix('get', server.host, '/', '--diff')
        assert (code, out) == (0, f'{LINE}\n{server.host} (1)\n{LINE}\n200 OK\n{shown}\n')


def test_summary(refused: str) -> None:
    """--summary ends with counts, quantiles and a histogram."""
    with several('a', 'b', (503, 'c')) as servers:
        code, out, err = napix('get', f'{hosts_of(servers)},{refused}', '/', '--summary', '--repeat', 5)
    assert (code, len(out.splitlines())) == (1, 20)
    assert re.search(r'^20 requests to 4 hosts in [\d.]+ s: 10 below 400, 5 at 400 or above, 5 without', err)
    assert re.search(r'\n  200 +10 +50\.0 %\n  503 +5 +25\.0 %\n  RefusedError +5 +25\.0 %\n', err)
    assert re.search(r'\n +5  RefusedError: connection refused\n', err)
    found = dict(re.findall(r'^  (total|requests/s|fastest|slowest|average) +([\d.,]+)', err, re.MULTILINE))
    assert list(found) == ['total', 'requests/s', 'fastest', 'slowest', 'average']
    shares = re.findall(r'^  (\d+)% in ([\d.]+) ms$', err, re.MULTILINE)
    assert [share for share, _ in shares] == ['10', '25', '50', '75', '90', '95', '99']
    times = [float(time) for _, time in shares]
    assert sorted(times) == times
    assert float(found['fastest']) <= times[0] and times[-1] <= float(found['slowest'])
    counts = [int(count) for count in re.findall(r'  up to .*? m?s +(\d+)(?:  [■▏]+)?$', err, re.MULTILINE)]
    assert (len(counts), sum(counts)) == (10, 15)


# Requests ------------------------------------------------------------------------------------------------------------


def test_verbose() -> None:
    """-v shows each request on standard error as it is sent, without secrets; standard output stays as it is."""
    with answering() as server:
        for flag, login in (('-v', ('--login', 'root', '--key', 's3cret')), ('--verbose', ('--token', 's3cret'))):
            code, out, err = napix('post', server.host, '/x', 'a=1', 'X-Api-Key:pa55word', 'X-User:nemo', flag, *login)
            assert (code, list(fields(out))) == (0, [server.host])
            assert 's3cret' not in err
            assert 'pa55word' not in err
            shown = [line for line in err.splitlines() if line.startswith('>')]
            token = '?token=***' if flag == '--verbose' else ''
            assert shown[0] == f'> POST http://{server.host}/x{token}'
            assert ('> Authorization: ***' in shown) == (flag == '-v')
            assert {'> X-Api-Key: ***', '> X-User: nemo', '> Content-Type: application/json', '> {"a":"1"}'} < set(
                shown
            )


def test_names_of_secrets(tmp_path: Path) -> None:
    """--secret adds a name to those that are known: no line, log, error or command shows what any of them holds."""
    log = tmp_path / 'log'

    def refuse(method: str, path: str, headers: Any, body: bytes) -> Any:
        return 500, {}, {'error_text': f'no {headers["x-quux"]}, no {headers["x-auth-key"]}', 'xQuux': 'mine'}

    given = ('X-Quux:pa55word', 'X-Auth-Key:pa66word', 'x_quux=pa77word', 'passwd=pa88word', 'author=Verne')
    flags = ('--secret', 'X-Quux', '--secret', 'other')
    with kit.serve(refuse) as server:
        url = '/x?x-quux=pa99word&sig=pa00word&author=Verne'
        code, _, err = napix('post', server.host, url, *given, *flags, '-v', '--joblog', log)
        assert code == 1 and server.requests[0].body == b'{"x_quux":"pa77word","passwd":"pa88word","author":"Verne"}'
        assert server.requests[0].path == url and server.requests[0].headers['x-quux'] == 'pa55word'
        shown = [err, log.read_text()]
        for how in '--curl', '--dry-run':
            shown.append(napix('post', server.host, url, *given, *flags, how)[1])
        assert len(server.requests) == 1
        assert '?x-quux=***&sig=***&author=Verne' in err and '?x-quux=***&sig=***&author=Verne' in shown[1]
        assert {'> X-Quux: ***', '> X-Auth-Key: ***', '> {"x_quux":***,"passwd":"***","author":"Verne"}'} <= set(
            err.splitlines()
        )
        assert not [text for text in shown if re.search(r'pa(\d)\1word', text)]
    for wrong in '', 'X-Quux:pa55word':
        code, _, err = napix('get', 'a', '/', '--secret', wrong)
        assert code == 2 and 'name of a secret' in err and 'pa55word' not in err


def test_dry_run() -> None:
    """--dry-run shows what would be asked, and asks nobody."""
    with answering() as server:
        code, out, err = napix('post', f'{server.host},https://a', '/[1-2]?token=s3cret', 'x=1', '--dry-run')
        assert (code, err, server.requests) == (0, '', [])
    assert out.splitlines() == [
        f'POST http://{server.host}/1?token=***',
        'POST https://a/1?token=***',
        f'POST http://{server.host}/2?token=***',
        'POST https://a/2?token=***',
    ]


@pytest.mark.parametrize(
    ('words', 'secrets'),
    [
        (['get', '/x y?q=[1]', 'p==a b', "X-Quote:it's", 'Accept:text/html'], ()),
        (['post', '/', 'name=né "$HOME"', 'n:=1', 'X-Empty;'], ()),
        (['put', '/../a', '@body'], ()),
        (['delete', '/'], ()),
        (['head', '/'], ()),
        (['options', '/', 'Accept:*/*'], ()),
        (['post', '/', 'file@body', 'at={host}', 'name=@body'], ()),
        (['get', '/?x=1', '--token', 't0ps3cret'], ('t0ps3cret',)),
        (['get', '/', '--token', 't0ps3cret'], ('t0ps3cret',)),
        (['get', '/', 'Authorization:Bearer t0ps3cret'], ('t0ps3cret',)),
        (['get', '/?key=t0ps3cret', 'X-Auth-Key:t0ps3cret', 'Ocp-Apim-Subscription-Key:t0ps3cret'], ('t0ps3cret',)),
        (['post', '/', 'api_key=t0ps3cret', 'pin:="t0ps3cret"', 'a=***'], ('t0ps3cret',)),
        (['post', '/', 'file@body', 'sig=t0ps3cret'], ('t0ps3cret',)),
        (['post', '/', 'xQuux=t0ps3cret', 'X-Quux:t0ps3cret', '--secret', 'x-quux'], ('t0ps3cret',)),
        (
            ['get', '/', 'token==t0ps3cret', '--timeout', '5', '--connect-timeout', '3', '--retries', '1', '-k'],
            ('t0ps3cret',),
        ),
    ],
)
def test_curl(words: list[str], secrets: tuple[str, ...], tmp_path: Path) -> None:
    """--curl prints commands of curl that ask the same, with $NAPIX_TOKEN for what is secret, and sends nothing."""
    curl = shutil.which('curl')
    if curl is None:
        pytest.skip('curl is not installed')
    (tmp_path / 'body').write_bytes(b'a text\xff\n' if 'name=@body' not in words else b'a text')
    method, url, *rest = words
    with answering() as server:
        code, out, err = napix(method, server.host, url, *rest, '--curl', directory=tmp_path)
        assert (code, err, server.requests, out.count('\n')) == (0, '', [], 1)
        assert not any(secret in out for secret in secrets)
        assert ('$NAPIX_TOKEN' in out) == bool(secrets)
        done = gevent.subprocess.run(
            ['sh', '-c', out],
            cwd=tmp_path,
            env={'PATH': '/usr/bin:/bin', 'NAPIX_TOKEN': 't0ps3cret'},
            stdout=gevent.subprocess.PIPE,
            stderr=gevent.subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        assert napix(method, server.host, url, *rest, directory=tmp_path).code == 0
        theirs, ours = server.requests
    names = {name.lower() for request in (theirs, ours) for name in request.headers} - {
        'user-agent',
        'accept-encoding',
        'traceparent',
        'x-request-id',
        'x-napix-timeout',
    }
    boundaries = [
        request.headers.get('content-type', '').rpartition('boundary=')[2].encode() or None
        for request in (theirs, ours)
    ]
    for one in 'method', 'path':
        assert getattr(theirs, one) == getattr(ours, one)
    for name in names - ({'content-type', 'content-length'} if b'file' in ours.body else set()):
        assert theirs.headers.get(name) == ours.headers.get(name), name
    if b'name="file"' in ours.body:
        assert theirs.body.count(b'name="file"') == 1
        assert all(boundaries)
    else:
        assert theirs.body == ours.body


def test_curl_has_all_flags(tmp_path: Path) -> None:
    """TLS and proxies are on the command as well; the password of a proxy is a secret, and so is a signature."""
    out = napix(
        'get',
        'https://a',
        '/',
        '--curl',
        '--proxy',
        'http://user:pa55word@proxy:3128',
        '--no-proxy',
        'b,c',
        '-k',
        '--login',
        'root',
        '--key',
        's3cret',
    ).out
    assert out == (
        'curl -sS --noproxy b,c -k -x "http://user:$NAPIX_TOKEN@proxy:3128" '
        '-H \'Accept: application/json\' -H "Authorization: $NAPIX_TOKEN" https://a/\n'
    )
