"""What is sent: methods, items, URLs with ranges, and to which hosts."""

from __future__ import annotations

import json
import os
from email import message_from_bytes
from pathlib import Path

import pytest

from tests import kit
from tests.cli.programs import napix
from tests.cli.servers import answering, fields, hosts_of, objects, several


def sent(server: kit.HandlerServer) -> kit.Received:
    """The only request that it got."""
    assert len(server.requests) == 1
    return server.requests[0]


# Methods and items ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('written', 'method'),
    [
        ('get', 'GET'),
        ('GET', 'GET'),
        ('Post', 'POST'),
        ('delete', 'DELETE'),
        ('head', 'HEAD'),
        ('trace', 'TRACE'),
        ('PROPFIND', 'PROPFIND'),
    ],
)
def test_methods(written: str, method: str) -> None:
    """The method is the first word; those that everybody knows in any case, others in capitals."""
    with answering({}) as server:
        code, _, _ = napix(written, server.host, '/x?y=1')
    assert (code, sent(server).method, sent(server).path, sent(server).body) == (0, method, '/x?y=1', b'')


def test_items(tmp_path: Path) -> None:
    """All kinds of items in one request: query, header fields, JSON, and values from files."""
    (tmp_path / 'note').write_text('from a file\n')
    (tmp_path / 'list.json').write_text('[1, 2.50]')
    (tmp_path / 'token').write_text('Bearer s3cret\n')
    with answering() as server:
        code, _, err = napix(
            'post',
            server.host,
            '/vm/?x=1',
            'name=nemo',
            'size:=1000000000000',
            'tags:=["a", {"b": null}]',
            'empty=',
            'note=@note',
            'list:=@list.json',
            'q==a b&c',
            'q==2',
            'file==@note',
            'X-User:nemo ',
            'X-Empty;',
            'Authorization:@token',
            r'a\=b=c\=d',
            r'one\:two=3',
            'url=http://x?y=1',
            directory=tmp_path,
        )
    request = sent(server)
    assert code == 0, err
    assert request.path == '/vm/?x=1&q=a+b%26c&q=2&file=from+a+file'
    assert json.loads(request.body) == {
        'name': 'nemo',
        'size': 10**12,
        'tags': ['a', {'b': None}],
        'empty': '',
        'note': 'from a file',
        'list': [1, 2.5],
        'a=b': r'c\=d',
        'one:two': '3',
        'url': 'http://x?y=1',
    }
    assert request.headers['content-type'] == 'application/json'
    assert (request.headers['x-user'], request.headers['x-empty']) == ('nemo', '')
    assert request.headers['authorization'] == 'Bearer s3cret'


def test_json_of_a_file_with_a_mark(tmp_path: Path) -> None:
    """A byte order mark is no part of the JSON of a field; a number that cannot be sent is refused there, too."""
    (tmp_path / 'list.json').write_bytes(b'\xef\xbb\xbf[1]\r\n')
    (tmp_path / 'large.json').write_text('[1e400]')
    with answering() as server:
        assert napix('post', server.host, '/', 'a:=@list.json', 'b:=\ufeff{}', directory=tmp_path).code == 0
        assert json.loads(sent(server).body) == {'a': [1], 'b': {}}
        code, _, err = napix('post', server.host, '/', 'a:=@large.json', directory=tmp_path)
        assert (code, len(server.requests)) == (2, 1) and '1e400' in err


def test_form(tmp_path: Path) -> None:
    """`field@file` makes a form of it, with the name and the kind of the file; other fields are in it too."""
    (tmp_path / 'disk.png').write_bytes(b'\x89PNG\xff')
    with answering() as server:
        napix('post', server.host, '/', 'image@disk.png', 'name={host}', 'size:=7', directory=tmp_path)
    request = sent(server)
    whole = f'Content-Type: {request.headers["content-type"]}\r\n\r\n'.encode() + request.body
    parts = {
        part.get_param('name', header='content-disposition'): part for part in message_from_bytes(whole).get_payload()
    }
    assert request.headers['content-type'].startswith('multipart/form-data; boundary=')
    assert parts['image'].get_payload(decode=True) == b'\x89PNG\xff'
    assert (parts['image'].get_filename(), parts['image'].get_content_type()) == ('disk.png', 'image/png')
    assert (parts['name'].get_payload(), parts['size'].get_payload()) == (server.host, '7')


@pytest.mark.parametrize('size', [3, 3 << 20])
def test_a_form_of_a_file_to_many_hosts(size: int, tmp_path: Path) -> None:
    """A small file and a large one, which is read while it is sent, go to all hosts, each with its own fields."""
    data = os.urandom(size)
    (tmp_path / 'disk.png').write_bytes(data)
    with answering() as one, answering() as two:
        done = napix('post', f'{one.host},{two.host}', '/', 'image@disk.png', 'name={host}', directory=tmp_path)
        assert done.code == 0
        for server in one, two:
            request = sent(server)
            head = f'Content-Type: {request.headers["content-type"]}\r\n\r\n'.encode()
            image, name = message_from_bytes(head + request.body).get_payload()
            assert image.get_payload(decode=True) == data and name.get_payload() == server.host
            assert int(request.headers['content-length']) == len(request.body)


def test_a_file_is_the_body(tmp_path: Path) -> None:
    """`@file` is the body as it is, small or large, with the type that its name tells; `@-` is standard input."""
    (tmp_path / 'small.json').write_bytes(b'{"a": 1}\n')
    (tmp_path / 'large').write_bytes(os.urandom(3 << 20))
    with answering() as one, answering() as two, answering() as three:
        napix('put', one.host, '/', '@small.json', directory=tmp_path)
        napix('put', f'{two.host},{three.host}', '/', '@large', 'Content-Type:application/x-disk', directory=tmp_path)
        assert (one.requests[0].body, one.requests[0].headers['content-type']) == (b'{"a": 1}\n', 'application/json')
        for server in two, three:
            assert sent(server).body == (tmp_path / 'large').read_bytes()
            assert sent(server).headers['content-type'] == 'application/x-disk'
        napix('put', one.host, '/', '@-', input=b'\xff\0')
        assert one.requests[1].body == b'\xff\0'


def test_host_in_url_and_items() -> None:
    """`{host}` is the host with its port, without scheme, in URL and items; other braces are nobody's business."""
    with answering() as one, answering() as two:
        code, _, _ = napix(
            'post',
            f'{one.host},http://{two.host}',
            '/of/{host}?a={b}',
            'me={host}',
            'all:=["{host}", {"x": {}}]',
            'at=={host}',
            'X-Host:<{host}>',
        )
    assert code == 0
    for server in one, two:
        request, host = sent(server), server.host
        assert request.path == f'/of/{host}?a={{b}}&at={host.replace(":", "%3A")}'
        assert json.loads(request.body) == {'me': host, 'all': [host, {'x': {}}]}
        assert request.headers['x-host'] == f'<{host}>'


@pytest.mark.parametrize(
    ('url', 'paths'),
    [
        ('/vm/[1-3]', ['/vm/1', '/vm/2', '/vm/3']),
        ('/vm/[08-10]', ['/vm/08', '/vm/09', '/vm/10']),
        ('/[1,5-7/2]/x?n=[1-2]', ['/1/x?n=1', '/1/x?n=2', '/5/x?n=1', '/5/x?n=2', '/7/x?n=1', '/7/x?n=2']),
        ('/?ids[0]=1&filter[name]=x', ['/?ids[0]=1&filter[name]=x']),
    ],
)
def test_ranges_in_the_url(url: str, paths: list[str]) -> None:
    """A range in the URL asks each host for all of them; what is no range stays as it is."""
    with answering() as server:
        code, out, _ = napix('get', server.host, url, '--ordered', '--json')
    assert code == 0
    assert [said['url'] for said in objects(out)] == paths
    assert sorted(request.path for request in server.requests) == sorted(paths)


# Hosts ---------------------------------------------------------------------------------------------------------------


def test_node_sets() -> None:
    """HOSTS is a node set, over ports too, with all operators; each host is asked once."""
    with several(*'abc') as (one, two, three):
        ports = f'{one.port},{two.port},{three.port}'
        code, out, _ = napix('get', f'127.0.0.1:[{ports}]!{three.host}', '/')
        assert sorted(fields(out)) == sorted([one.host, two.host])
        code, out, _ = napix('get', f'{one.host},{one.host},http://{one.host}', '/')
    assert (code, sorted(fields(out))) == (0, [one.host, f'http://{one.host}'])
    assert len(one.requests) == 3


def test_ipv6() -> None:
    """An IPv6 address in brackets is a host."""
    try:
        server = kit.serve(address='::1')
    except OSError:
        pytest.skip('this machine has no IPv6')
    with server:
        code, out, _ = napix('get', f'[::1]:{server.port}', '/000017')
    assert (code, list(fields(out))) == (0, [server.host])
    assert fields(out)[server.host][2] == '000017'


def test_hosts_from_files(tmp_path: Path) -> None:
    """--hostfile adds to HOSTS, more than once; "." is none but those; "-" is standard input in both places."""
    with several(*'abc') as (one, two, three):
        (tmp_path / 'a').write_text(f'# ours\n{two.host}  # two\n\n')
        (tmp_path / 'b').write_text(f'{three.host}\n{two.host}\n')
        every = sorted([one.host, two.host, three.host])
        for hosts, files, piped in (
            (one.host, ('a', 'b'), ''),
            ('.', ('b', '-'), f'{one.host}\n'),
            ('-', ('a', 'b'), f'{one.host} # 1\n'),
        ):
            flags = [word for file in files for word in ('--hostfile', file)]
            code, out, err = napix('get', hosts, '/', *flags, input=piped, directory=tmp_path)
            assert (code, sorted(fields(out))) == (0, every), err


def test_exclude(tmp_path: Path) -> None:
    """-x leaves hosts out, by any node set, more than once; without port or scheme a host is meant with any."""
    with several(*'abc') as servers:
        one, two, three = servers
        hosts = f'http://{one.host},{two.host},localhost:{three.port}'
        for flags, left in (
            (('-x', two.host), [f'http://{one.host}', f'localhost:{three.port}']),
            (('--exclude', one.host, '-x', 'localhost'), [two.host]),
            (('-x', '127.0.0.1'), [f'localhost:{three.port}']),
        ):
            code, out, _ = napix('get', hosts, '/', *flags)
            assert (code, sorted(fields(out))) == (0, sorted(left))


def test_groups(tmp_path: Path) -> None:
    """@name is a group of --groups, of the user's own file, or of ClusterShell's configuration; also in -x."""
    with several(*'abc') as servers:
        one, two, three = servers
        groups = f'web: {one.host},{two.host}   # comment\nall: @web,{three.host}\n\n'
        (tmp_path / 'napix').mkdir()
        (tmp_path / 'napix' / 'groups').write_text(groups)
        (tmp_path / 'mine').write_text(groups)
        for hosts, flags, env, left in (
            ('@web', ('--groups', tmp_path / 'mine'), {}, servers[:2]),
            ('@all', ('-x', '@web'), {'XDG_CONFIG_HOME': str(tmp_path)}, servers[2:]),
            ('@all!@web', (), {'XDG_CONFIG_HOME': str(tmp_path)}, servers[2:]),
            ('@*', (), {'XDG_CONFIG_HOME': str(tmp_path)}, servers),
        ):
            code, out, err = napix('get', hosts, '/', *flags, **env)
            assert (code, sorted(fields(out))) == (0, sorted(server.host for server in left)), err
        (tmp_path / 'groups.conf').write_text(f'[Main]\ndefault: test\n[test]\nmap: echo {three.host}\n')
        code, out, err = napix('get', '@any', '/', fresh=True, CLUSTERSHELL_CFGDIR=str(tmp_path))
        assert (code, list(fields(out))) == (0, [three.host]), err


def test_pick() -> None:
    """--pick asks so many of the hosts, in their order, not the same each time; never more than there are."""
    picked = [napix('get', 'web[1-1000]', '/', '--pick', 3, '--dry-run').out.split()[1::2] for _ in range(3)]
    assert len({tuple(hosts) for hosts in picked}) > 1
    for hosts in picked:
        numbers = [int(host.removeprefix('http://web').removesuffix('/')) for host in hosts]
        assert (len(numbers), numbers) == (3, sorted(numbers))
    assert len(napix('get', 'a,b', '/', '--pick', 9, '--dry-run').out.splitlines()) == 2


def test_repeat() -> None:
    """--repeat asks each host so many times, and for each URL."""
    with several('x', 'y') as servers:
        code, out, err = napix('get', hosts_of(servers), '/[1-2]', '--repeat', 3, '--json')
    said = objects(out)
    assert (code, [one['index'] for one in said]) == (0, list(range(12)))
    assert [one['host'] for one in said] == [servers[0].host, servers[1].host] * 6
    for server in servers:
        assert sorted(request.path for request in server.requests) == ['/1'] * 3 + ['/2'] * 3
    assert err.startswith('12 requests to 2 hosts in ')
