"""Formats of answers: heads, CSV, templates, what `-v` shows; on a terminal and without."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any
from uuid import uuid4

import pytest

from napixclient.cli.formats import FORMATS, Format
from napixclient.cli.options import FLAGS
from tests import kit
from tests.cli.programs import napix, on_terminal, started
from tests.cli.servers import answering, fields, hosts_of, objects, several
from tests.cli.test_output import CHAINED, LINE


def with_head(**headers: str) -> kit.HandlerServer:
    """A server that answers 201 with these fields and no body, and says what it was sent in a 200 otherwise."""

    def answer(method: str, path: str, sent: dict[str, str], body: bytes) -> Any:
        return 201, {name.replace('_', '-'): value for name, value in headers.items()}, None

    return kit.serve(answer)


# The registry --------------------------------------------------------------------------------------------------------


def test_each_format_has_an_entry() -> None:
    """Whoever looks for a format finds its flag and what makes it in one place, and each flag is declared."""
    declared = {name for flag in FLAGS for name in flag.opts}
    assert {entry.flag for entry in FORMATS.values()} == {'--json', '--csv', '--template', '--fold', ''}
    assert all(entry.flag in declared for entry in FORMATS.values() if entry.flag)


def test_a_format_that_overrides_nothing_writes_nothing() -> None:
    """A new format says only what it writes."""
    quiet: Any = Format()
    assert (quiet.begin(), quiet.show(None), quiet.note(None), list(quiet.end())) == ('', '', '', [])


# Heads ---------------------------------------------------------------------------------------------------------------


def test_where_there_is_no_body() -> None:
    """An answer without a body shows the field that is the answer: Location, or Allow; also folded, and compared."""
    with with_head(Location='/vm/7') as made, with_head(Allow='GET, PUT') as allowing, with_head() as silent:
        hosts = f'{made.host},{allowing.host},{silent.host}'
        found = fields(napix('post', hosts, '/vm').out)
        assert [found[server.host][2] for server in (made, allowing, silent)] == [
            'Location: /vm/7',
            'Allow: GET, PUT',
            '',
        ]
        folded = napix('post', hosts, '/vm', '--fold').out
        assert f'{made.host} (1)\n{LINE}\n201 Created\nLocation: /vm/7\n' in folded
        assert f'{silent.host} (1)\n{LINE}\n201 Created\n' in folded


@pytest.mark.parametrize('flag', ['-i', '--include'])
def test_include(flag: str, refused: str) -> None:
    """-i shows status line and fields below the line of each answer, as they came; an error without an answer has none."""
    with with_head(Location='/vm/7', Set_Cookie='sid=s3cret') as server:
        code, out, _ = napix('post', f'{server.host},{refused}', '/vm', flag, '--ordered')
    first, *head, last = out.splitlines()
    assert (code, first.split('\t')[:2], last.split('\t')[:2]) == (1, [server.host, '201'], [refused, 'RefusedError'])
    assert head[0] == '    HTTP/1.1 201 Created'
    assert {'    Location: /vm/7', '    Set-Cookie: sid=s3cret'} <= set(head)


def test_include_in_json(refused: str) -> None:
    """With -i a line of --json has `headers`, by their names in small letters; a name that comes twice has a list."""
    head = b'HTTP/1.1 200 OK\r\nX-One: 1\r\nLink: a\r\nlink: b\r\nContent-Length: 0\r\n\r\n'
    with kit.FaultServer([kit.READ, head]) as server:
        code, out, _ = napix('get', f'{server.host},{refused}', '/', '--json', '-i')
        first, second = objects(out)
    assert (code, first['headers']) == (1, {'x-one': '1', 'link': ['a', 'b'], 'content-length': '0'})
    assert second['headers'] is None
    head_of = ['index', 'host', 'method', 'url', 'status', 'ms', 'attempts', 'peer', 'tried']
    assert list(first) == [*head_of, 'headers', 'body', 'error']


def test_what_is_missing_in_place_of_the_body() -> None:
    """An error without a body shows who is to be told, or when to come back; folded answers are not split by that."""
    for status, name in (401, 'WWW-Authenticate'), (407, 'Proxy-Authenticate'), (429, 'Retry-After'):
        answer = lambda *_, status=status, name=name: (status, {name: f'{uuid4()}'}, b'')  # noqa: E731
        with kit.serve(answer) as one, kit.serve(answer) as two:
            hosts = hosts_of([one, two])
            for _, _, text in fields(napix('get', hosts, '/').out).values():
                assert re.fullmatch(f'{name}: [-0-9a-f]{{36}}', text)
            assert napix('get', hosts, '/', '--csv').out.count(f',{name}: ') == 2
            assert napix('get', hosts, '/', '--fold').out.count(LINE) == 2
    with answering(b'', status=503) as bare:
        assert fields(napix('get', bare.host, '/').out)[bare.host][2] == ''


def test_include_in_folded_answers() -> None:
    """Answers that differ in a field are others with -i, and the same without; when they were made makes no difference."""
    with several('a', 'a') as (one, two), with_head(Date='Mon, 30 Nov 2026 06:00:00 GMT', X_A='1') as three:
        with with_head(Date='Mon, 30 Nov 2026 06:00:01 GMT', X_A='1') as four, with_head(X_A='2') as five:
            hosts = hosts_of([three, four, five])
            assert napix('get', hosts, '/', '--fold').out.count(LINE) == 2
            out = napix('get', hosts, '/', '--fold', '-i').out
            assert (out.count(LINE), out.count('X-A: 1'), out.count('X-A: 2'), out.count('Date')) == (4, 1, 1, 0)
        assert napix('get', hosts_of([one, two]), '/', '--fold', '-i').out.count(LINE) == 2


def test_verbose_shows_the_answer() -> None:
    """-v shows what was sent and what came, as curl does, on standard error and without secrets."""

    def answer(*_: object) -> Any:
        return 200, {'X-Auth-Token': 't0ps3cret', 'X-User': 'nemo'}, {'password': 't0ps3cret', 'name': 'nemo'}

    with kit.serve(answer) as server:
        code, out, err = napix('post', server.host, '/x?token=t0ps3cret', 'a=1', 'X-Api-Key:t0ps3cret', '-v', '-q')
    lines = err.splitlines()
    assert (code, out, 't0ps3cret' in err) == (0, '', False)
    for sent in f'POST http://{server.host}/x?token=***', f'Host: {server.host}', 'Accept: application/json':
        assert f'> {sent}' in lines
    assert {'> X-Api-Key: ***', '> {"a":"1"}'} <= set(lines)
    came = lines[lines.index('< HTTP/1.1 200 OK') :]
    assert {'< X-Auth-Token: ***', '< X-User: nemo', '< Content-Type: application/json', '<'} <= set(came)
    assert came[-1] == '< {"password": "***", "name": "nemo"}'
    assert re.fullmatch(r'\* POST \S+ answered after [\d.]+ ms', lines[lines.index(came[0]) - 1])


def test_verbose_twice(refused: str) -> None:
    """-v shows the beginning of a long body, -vv all of it; without an answer it tells what went wrong."""
    with several('x' * 5000) as (server,):
        run = ('post', server.host, '/', f'a={"y" * 5000}')
        for flag, size in ('-v', 2000), ('-vv', 5000):
            err = napix(*run, flag).err
            assert max(map(len, re.findall('x+', err))) == size
            assert ('bytes in all' in err) == (flag == '-v')
    assert f'* GET http://{refused}/ failed after' in napix('get', refused, '/', '-v').err


# CSV -----------------------------------------------------------------------------------------------------------------


def test_csv(refused: str) -> None:
    """--csv has a line of titles, and a record for each answer that any reader of CSV reads back."""
    bodies = ['a "b", c', 'one\r\ntwo', {'a': [1, 'b']}, b'\xff\0', '', (502, CHAINED)]
    with several(*bodies) as servers:
        code, out, _ = napix('get', f'{hosts_of(servers)},{refused}', '/x?token=s3cret', '--csv', '--ordered')
    titles, *rows = csv.reader(io.StringIO(out))
    assert titles == [
        'index', 'host', 'method', 'url', 'status', 'ms', 'attempts', 'peer', 'tried', 'body', 'error'
    ]  # fmt: skip
    found = [dict(zip(titles, row, strict=True)) for row in rows]
    assert (code, [row['index'] for row in found]) == (1, list('0123456'))
    assert [row['host'] for row in found] == [*(server.host for server in servers), refused]
    assert {row['url'] for row in found} == {'/x?token=***'}
    assert [row['status'] for row in found] == ['200'] * 5 + ['502', '']
    assert all(row['peer'] == row['tried'] == row['host'] for row in found)
    assert [row['body'] for row in found[:5]] == [bodies[0], 'one\ntwo', '{"a": [1, "b"]}', '{"base64":"/wA="}', '']
    assert found[5]['error'].startswith('RemoteError: "502 Bad Gateway"')
    assert (found[6]['body'], found[6]['error']) == ('', 'RefusedError: connection refused')


@pytest.mark.parametrize(
    ('body', 'cell'),
    [
        ('=1+1', "'=1+1"),
        ('+1+1', "'+1+1"),
        ('-1+1', "'-1+1"),
        ('@SUM(A1)', "'@SUM(A1)"),
        ('\t=1', "'\t=1"),
        ('\n=1', "'\n=1"),
        (' =1', "' =1"),
        ('\uff1d1', "'\uff1d1"),
        ('-1.5e3', '-1.5e3'),
        ('+7', '+7'),
        ('a=1', 'a=1'),
        ('a\rb\x1b', 'a\\rb\\x1b'),
    ],
)
def test_no_cell_is_a_formula(body: str, cell: str) -> None:
    """What a spreadsheet would run has a quotation mark before it; a number has none."""
    with several(body) as (server,):
        rows = list(csv.DictReader(io.StringIO(napix('get', server.host, '/', '--csv').out, newline='')))
    assert [row['body'] for row in rows] == [cell]


def test_csv_with_heads() -> None:
    """With -i a column has the header fields."""
    with with_head(Location='/vm/7') as server:
        (row,) = csv.DictReader(io.StringIO(napix('get', server.host, '/', '--csv', '-i').out))
    assert json.loads(row['headers'])['location'] == '/vm/7'
    assert row['body'] == 'Location: /vm/7'


def test_csv_has_empty_cells_where_nothing_was_answered() -> None:
    """Without an answer there are no header fields, and without a connection no address."""
    (row,) = csv.DictReader(io.StringIO(napix('get', 'nowhere.invalid', '/', '--csv', '-i').out))
    assert [name for name, cell in row.items() if not cell] == ['status', 'peer', 'tried', 'headers', 'body']


def test_csv_and_template_have_all_that_json_has() -> None:
    """Each member of --json is a column of --csv, and a name in a template."""
    with several('fine') as (server,):
        (one,) = objects(napix('get', server.host, '/', '--json', '-i').out)
        titles = napix('get', server.host, '/', '--csv', '-i').out.partition('\n')[0]
        shown = napix('get', server.host, '/', '--template', ' '.join(f'{{{name}}}' for name in one))
    assert titles.split(',') == list(one)
    assert shown.code == 0


# Templates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('template', 'shown'),
    [
        ('{status} {method} {url}', '200 GET /x?token=***'),
        (r'{index}\t{attempts}\\n\n.', '0\t1\\n\n.'),
        ('{{{status}}} {{x}}', '{200} {x}'),
        ('{body}', '{"disk": {"size": 1.5, "tags": ["a", "b"], "up": true, "none": null}, "text": "a\\tb"}'),
        ('{body.disk.size} {body.disk.tags} {body.disk.tags.1}', '1.5 ["a", "b"] b'),
        ('{body.text} {body.disk.up}', r'a\tb true'),
        ('[{body.nothing}{body.disk.none}{body.disk.size.more}{error}{error.text}]', '[]'),
        ('{headers.x-one} {headers.X-ONE}', '1 1'),
    ],
)
def test_template(template: str, shown: str) -> None:
    """--template shows members of --json, and members of these; what an answer does not have is empty."""
    body = {'disk': {'size': 1.5, 'tags': ['a', 'b'], 'up': True, 'none': None}, 'text': 'a\tb'}
    with kit.serve(lambda *_: (200, {'X-One': '1'}, body)) as server:
        assert napix('get', server.host, '/x?token=s3cret', '--template', template).out == f'{shown}\n'


def test_template_of_addresses() -> None:
    """The address that answered is there, whole and in its parts."""
    with several('fine') as (server,):
        out = napix('get', server.host, '/', '--template', '{peer} {peer.0}:{peer.1} {tried}').out
    address, port = server.host.split(':')
    assert out == f'["{address}", {port}] {server.host} [["{address}", {port}]]\n'


def test_template_of_errors(refused: str) -> None:
    """Of an error there are class, text and chain."""
    template = '{host} [{status}] {error.class}: {error.text} {error.chain.0.remote_call}'
    out = napix('get', refused, '/', '--template', template).out
    assert out == f'{refused} [] RefusedError: connection refused GET http://{refused}/\n'


# Together ------------------------------------------------------------------------------------------------------------


def test_a_good_answer_is_the_norm_on_ties(refused: str) -> None:
    """Where as many failed as answered well, --diff compares with a good answer, whichever came first."""
    with several((500, 'x'), 'fine', (500, 'y')) as (bad, good, other):
        for hosts in f'{bad.host},{good.host}', f'{good.host},{other.host},{refused}':
            out = napix('get', hosts, '/', '--diff').out
            assert out.startswith(f'{LINE}\n{good.host} (1)\n{LINE}\n200 OK\nfine\n--- {good.host} (1)\n')


def test_the_norm_on_ties_is_the_first_of_the_hosts() -> None:
    """Of equally many good answers the norm is that of the host that is named first, whichever came first."""
    gate = kit.Gate()
    with (
        kit.serve(lambda *_: (200, None, 'slow'), gate=gate) as slow,
        kit.serve(lambda *_: (200, None, 'quick')) as quick,
    ):
        with started('get', f'{slow.host},{quick.host}', '/', '--diff', '--joblog', '/dev/stderr') as process:
            assert quick.host in process.stderr.readline().decode()
            gate.open()
            assert process.stdout.read().decode().startswith(f'{LINE}\n{slow.host} (1)\n{LINE}\n')
            assert process.wait(timeout=30) == 0


def test_what_is_shown_alike_is_one_answer() -> None:
    """JSON with other white space, and a text with another end of line, are no other answers: each host is in a group."""
    kind = {'Content-Type': 'application/json'}
    bodies: list[Any] = [b'{"v":1}', b'{"v": 1}\n', b'{\n "v": 1}', {'v': 2}]
    servers = [kit.serve(lambda *_, body=body: (200, kind, body)) for body in bodies]
    with servers[0], servers[1], servers[2], servers[3]:
        for flag in '--fold', '--diff':
            out = napix('get', hosts_of(servers), '/', flag).out
            first = out.splitlines()[1]
            assert first.endswith(' (3)') and out.count('"v": 1') == 1 + (flag == '--diff')
            assert f'{servers[3].host} (1)' in out
    with several('fine', 'fine\n', 'fine\r\n') as texts:
        assert napix('get', hosts_of(texts), '/', '--fold').out.endswith(f' (3)\n{LINE}\n200 OK\nfine\n')


def test_an_error_is_not_compared_with_a_good_body(refused: str) -> None:
    """--diff does not list the body of a good answer as gone where others failed; what errors say is compared."""
    good = {'name': 'web', 'v': 1}
    with several(good, good, (500, 'x\ny'), (503, 'x\nz')) as servers:
        hosts = [server.host for server in servers]
        out = napix('get', f'{hosts_of(servers)},{refused}', '/', '--diff').out
        assert f'+++ {hosts[2]} (1)\n@@ -1 +1,3 @@\n-200 OK\n+500 Internal Server Error\n+x\n+y\n' in out
        assert f'+++ {refused} (1)\n@@ -1 +1 @@\n-200 OK\n+RefusedError: connection refused\n' in out
        assert '-{' not in out
        out = napix('get', hosts_of(servers[2:]), '/', '--diff').out
        assert out.endswith('-500 Internal Server Error\n+503 Service Unavailable\n x\n-y\n+z\n')


def test_fold_keeps_the_whole_chain() -> None:
    """What each server of a chain said of its failure is there, the nearest one's too, where it says more."""
    inner = {'error_class': 'OSError', 'error_text': 'vg-13 is offline'}
    document = {
        'error_class': 'CapacityError',
        'error_text': 'no room for vm-7',
        'remote_call': 'GET http://storage.example/volumes',
        'remote_status': 500,
        'remote_error': {
            'error_class': 'VolumeError',
            'error_text': 'cannot read the volumes',
            'remote_call': 'GET http://disk.example/vg',
            'remote_status': 503,
            'remote_error': inner,
        },
    }
    with several((502, document), 'fine') as servers:
        for flag in '--fold', '--diff':
            out = napix('get', hosts_of(servers), '/', flag).out
            for part in (
                '502 Bad Gateway',
                'CapacityError: no room for vm-7',
                'because GET http://storage.example/volumes answered 500: VolumeError: cannot read the volumes',
                'because GET http://disk.example/vg answered 503: OSError: vg-13 is offline',
            ):
                assert part in out


def test_long_json_is_whole() -> None:
    """JSON is indented, a member a line, and whole however long it is, on a terminal too."""
    body = {f'member {number}': 'x' * 200 for number in range(300)}
    with several(body) as (server,):
        for flag in '--fold', '--diff':
            for out in napix('get', server.host, '/', flag).out, on_terminal('get', server.host, '/', flag).out:
                text = re.sub('\x1b\\[[0-9;]*m', '', out).partition('200 OK\n')[2]
                assert json.loads(text) == body
                assert '\n  "member 7": "xxx' in text


@pytest.mark.parametrize('env', [{}, {'NO_COLOR': '1'}, {'TERM': 'dumb'}])
def test_colours_of_folded_answers(env: dict[str, str]) -> None:
    """--fold and --diff have colours on a terminal, unless NO_COLOR forbids it; in a pipe there are none."""
    with several({'v': 1}, {'v': 1}, {'v': 2}, (500, 'x')) as servers:
        for flag, parts in (
            ('--fold', ['\x1b[32m200 OK\x1b[0m', '\x1b[31m500 ']),
            ('--diff', ['\x1b[32m+  "v": 2\x1b[0m']),
        ):
            out = on_terminal('get', hosts_of(servers), '/', flag, **env).out
            assert [part in out for part in parts] == [not env] * len(parts), out
            assert '\x1b' not in napix('get', hosts_of(servers), '/', flag, **env).out
