"""Variables of hosts, `--vars FILE`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.programs import napix
from tests.cli.servers import hosts_of, several

TABLES = {
    'a.csv': 'host,port,zone\n{one},8080,"a ""b"", c"\n{two},010,ü/1\n\n',
    'b.csv': '\ufeffname;port;zone\r\n{one};8080;"a ""b"", c"\r\n{two};010;ü/1\r\n',
    'a.json': '{{"{one}": {{"port": 8080, "zone": "a \\"b\\", c"}}, "{two}": {{"port": "010", "zone": "ü/1"}}}}',
    'b.json': '[{{"host": "{one}", "port": 8080, "zone": "a \\"b\\", c"}}, {{"host": "{two}", "port": "010", "zone": "ü/1"}}]',
    'a.yaml': "# ours\n'{one}':\n  port: 8080\n  zone: a \"b\", c\n'{two}': {{port: 010, zone: ü/1}}\n",
    'c.csv': 'port,host,zone\n8080,{one},"a ""b"", c"\n010,{two},ü/1\n',
    'd.csv': 'node,port,zone\n{one},8080,"a ""b"", c"\n{two},010,ü/1\n',
    'c.json': '[{{"port": 8080, "host": "{one}", "zone": "a \\"b\\", c"}}, {{"zone": "ü/1", "port": "010", "host": "{two}"}}]',
    'd.json': '[{{"node": "{one}", "port": 8080, "zone": "a \\"b\\", c", "host": [5]}}, {{"node": "{two}", "port": "010", "zone": "ü/1"}}]',
    'b.yml': "- host: '{one}'\n  port: 8080\n  zone: a \"b\", c\n- host: '{two}'\n  port: 010\n  zone: ü/1\n",
}


@pytest.mark.parametrize('name', TABLES)
def test_variables(name: str, tmp_path: Path) -> None:
    """{name} is the host's own in URL, header fields and items; values are as they are written, and quoted in the URL."""
    with several('x', 'y') as servers:
        one, two = servers
        (tmp_path / name).write_text(TABLES[name].format(one=one.host, two=two.host))
        code, _, err = napix(
            'post',
            hosts_of(servers),
            '/{port}/{zone}?of={host}&z={zone}',
            'X-Port:{port}',
            'zone={zone}',
            'q=={zone}',
            'at:={"z": "<{zone}>", "deep": [{"{port}": 1}]}',
            '--vars',
            name,
            directory=tmp_path,
        )
        assert code == 0, err
        for server, port, zone, quoted, form in (
            (one, '8080', 'a "b", c', 'a%20%22b%22,%20c', 'a+%22b%22%2C+c'),
            (two, '010', 'ü/1', '%C3%BC/1', '%C3%BC%2F1'),
        ):
            (request,) = server.requests
            assert request.path == f'/{port}/{quoted}?of={server.host}&z={quoted}&q={form}'
            assert request.headers['x-port'] == port
            assert json.loads(request.body) == {'zone': zone, 'at': {'z': f'<{zone}>', 'deep': [{port: 1}]}}


def test_braces(tmp_path: Path) -> None:
    """With variables {{ and }} are braces; what is no name is left alone; without them all braces are."""
    (tmp_path / 'v.csv').write_text('host,n\n127.0.0.1,7\n')
    with several('x') as (server,):
        items = ['a={{n}}', 'b={n}{{', 'c=x{3}', 'd:={{"n": {n}}}', 'e:={"n": {n}, "x": {}}', 'f:={n}']
        code, _, err = napix('post', server.host, '/{{n}}/{n}', *items, '--vars', 'v.csv', directory=tmp_path)
        assert code == 0, err
        assert server.requests[0].path == '/{n}/7'
        assert json.loads(server.requests[0].body) == {
            'a': '{n}',
            'b': '7{',
            'c': 'x{3}',
            'd': {'n': 7},
            'e': {'n': 7, 'x': {}},
            'f': 7,
        }
        assert napix('post', server.host, '/{{n}}/{n}', 'a={{n}}').code == 0
        assert (server.requests[1].path, server.requests[1].body) == ('/{{n}}/{n}', b'{"a":"{{n}}"}')


def test_hosts_of_variables(tmp_path: Path) -> None:
    """A host is found with scheme and port, without scheme, and without port; node sets and groups name many."""
    (tmp_path / 'v.yaml').write_text('web[1-2]: {n: 1}\nweb3:8080: {n: 2}\nhttps://web3: {n: 3}\n"@db": {n: 4}\n')
    (tmp_path / 'groups').write_text('db: db1,db2\n')
    hosts = 'web1,web2:81,web3:8080,https://web3,http://db2:5'
    code, out, err = napix(
        'get', hosts, '/{n}', '--vars', 'v.yaml', '--dry-run', '--groups', 'groups', directory=tmp_path
    )
    assert code == 0, err
    assert out.split()[1::2] == [
        'http://web1/1',
        'http://web2:81/1',
        'http://web3:8080/2',
        'https://web3/3',
        'http://db2:5/4',
    ]


BAD = {
    'no host': ('v.csv', 'host,port\nother,1\n', ['/{port}'], 'v.csv has no variables for 127.0.0.1:'),
    'no variable': ('v.csv', 'host,port\n127.0.0.1,1\n', ['/{prot}'], '{prot} is no variable of v.csv, which has host'),
    'known ones': ('v.csv', 'host,a\n127.0.0.1,1\n', ['/{b}'], 'v.csv, which has host, a; write'),
    'no value': ('v.csv', 'host,a,b\n127.0.0.1,,1\n', ['/{a}{b}'], '{a} is no variable of v.csv'),
    'null': ('v.json', '{"127.0.0.1": {"a": null}, "x": {"a": 1}}', ['/{a}'], "v.json has no 'a' for 127.0.0.1"),
    'in a header': ('v.csv', 'host,a\n127.0.0.1,1\n', ['/', 'X-A:{b}'], '{b} is no variable'),
    'in an item': ('v.csv', 'host,a\n127.0.0.1,1\n', ['/', 'x={b}'], '{b} is no variable'),
    'in JSON': ('v.csv', 'host,a\n127.0.0.1,x y\n', ['/', 'x:=[{a}]'], 'Expecting value'),
    'twice': ('v.csv', 'host,a\n127.0.0.1,1\n127.0.0.1,2\n', ['/'], 'v.csv has 127.0.0.1 twice'),
    'long row': ('v.csv', 'host,a\n127.0.0.1,1,2\n', ['/'], 'v.csv, line 2: 3 cells, and 2 titles above them'),
    'no CSV': ('v.csv', 'host,a\n"127.0.0.1"x,1\n', ['/'], 'v.csv, line 2 is not CSV'),
    'no JSON': ('v.json', '{', ['/'], 'v.json is not JSON'),
    'no YAML': ('v.yaml', 'a: [', ['/'], 'v.yaml is not YAML'),
    'nested': ('v.yaml', '127.0.0.1: {a: {b: 1}}', ['/{a}'], "'a' of '127.0.0.1' is neither a text nor a number"),
    'a number': ('v.json', '5', ['/'], 'v.json is neither an object, host -> variables, nor a list of objects'),
    'no object': ('v.json', '{"127.0.0.1": 5}', ['/'], "v.json: '127.0.0.1' has no object of variables"),
    'no first member': ('v.json', '[{}]', ['/'], 'v.json: entry 1 is no object whose first member is the host'),
    'no host in a row': ('v.csv', 'host,a\n,1\n', ['/'], "v.csv: '' names no host"),
    'no host in a short row': ('v.csv', 'a,host\n1\n', ['/'], "v.csv: '' names no host"),
    'no node set': ('v.csv', 'host,a\nweb[1-,1\n', ['/'], "v.csv: 'web[1-' is not a node set"),
    'a line break': ('v.json', '{"127.0.0.1": {"a": "x\\ny"}}', ['/', 'X-A:{a}'], 'X-A'),
    'a fragment': ('v.csv', 'host,a\n127.0.0.1,1\n', ['/{a}#x'], 'a fragment is never sent'),
}


@pytest.mark.parametrize('case', BAD)
def test_what_is_missing_is_told_before_anything_is_sent(case: str, tmp_path: Path) -> None:
    """A host or a variable that is missing, and a file that makes no sense: one line says so, and nobody is asked."""
    name, content, words, complaint = BAD[case]
    (tmp_path / name).write_text(content)
    with several('x') as (server,):
        code, out, err = napix('post', server.host, *words, '--vars', name, directory=tmp_path)
        assert (code, out, err.count('\n'), server.requests) == (2, '', 1, []), err
    assert complaint in err


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('v.json', '{"127.0.0.1": {"a": "1", "tags": ["x"], "disk": {"size": 1}}}'),
        ('v.yaml', '127.0.0.1: {a: 1, t: [x]}'),
    ],
)
def test_lists_and_objects_of_an_inventory_are_let_be(name: str, content: str, tmp_path: Path) -> None:
    """An inventory may hold more than texts and numbers: that is an error only where it is named."""
    (tmp_path / name).write_text(content)
    code, out, err = napix('get', '127.0.0.1', '/{a}', '--vars', name, '--dry-run', directory=tmp_path)
    assert (code, out, err) == (0, 'GET http://127.0.0.1/1\n', '')


def test_secrets_among_variables(tmp_path: Path) -> None:
    """What a variable holds whose name says that it is a secret is shown nowhere."""
    (tmp_path / 'v.csv').write_text('host,password,port\n127.0.0.1,pa55word,7\n')
    with several((500, {'error_text': 'not with pa55word'})) as (server,):
        run = ('post', server.host, '/?p={password}', 'X-P:{password}', 'p={password}', '--vars', 'v.csv')
        code, _, err = napix(*run, '-v', '--joblog', 'log', directory=tmp_path)
        assert code == 1
        assert b'pa55word' in server.requests[0].body and server.requests[0].headers['x-p'] == 'pa55word'
        shown = [err, (tmp_path / 'log').read_text()]
        shown += [napix(*run, flag, directory=tmp_path).out for flag in ('--dry-run', '--curl')]
    assert not [text for text in shown if 'pa55word' in text]
