"""URLs as targets, on the command line and in files; redirects."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from napixclient.cli.layout import Grid, Layout, Listed
from napixclient.cli.urls import words_of
from tests import kit
from tests.cli.programs import napix
from tests.cli.servers import answering, fields, objects, several


def asked(servers: list[kit.HandlerServer]) -> list[list[str]]:
    """What each server was asked for."""
    return [[request.path for request in server.requests] for server in servers]


# Words ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('words', 'urls', 'items'),
    [
        (['http://a/x'], ['http://a/x'], []),
        (['http://a'], ['http://a'], []),
        (['HTTPS://a/x', 'http://b'], ['HTTPS://a/x', 'http://b'], []),
        (['http://a/x', 'k=v', 'p==http://b'], ['http://a/x'], ['k=v', 'p==http://b']),
        (['http://a/x', 'http://b/y', 'k:=1'], ['http://a/x', 'http://b/y'], ['k:=1']),
    ],
)
def test_urls_are_told_from_hosts(words: list[str], urls: list[str], items: list[str]) -> None:
    """What begins with a scheme is a URL, as many as there are; items follow."""
    assert words_of(words, False) == (None, None, urls, items)


@pytest.mark.parametrize('words', [['a', '/x', 'k=v'], ['http://a', '/x', 'k=v'], ['https://a,b', '/x', 'k=v']])
def test_hosts_have_a_path_behind_them(words: list[str]) -> None:
    """A host may carry a scheme: with a path behind it, it is no URL."""
    assert words_of([*words, None], False) == (words[0], '/x', [], ['k=v'])


# Targets -------------------------------------------------------------------------------------------------------------


def test_a_url() -> None:
    """A URL is asked as it stands, its query too; host and url are shown as those of HOSTS and URL would be."""
    with answering() as server:
        code, out, _ = napix('get', f'http://{server.host}/x?y=1&z', 'q==2', '--json')
        (said,) = objects(out)
        assert (code, asked([server])) == (0, [['/x?y=1&z&q=2']])
        assert (said['host'], said['url']) == (server.host, '/x?y=1&z&q=2')
        for url, path in ((f'http://{server.host}', '/'), (f'http://{server.host}?a=b', '/?a=b')):
            assert list(fields(napix('get', url).out)) == [server.host]
            assert server.requests[-1].path == path


def test_several_urls() -> None:
    """Several URLs are asked side by side, with the items; a line has the path where the host alone says too little."""
    with several(*'ab') as servers:
        one, two = servers
        code, out, _ = napix('post', f'http://{one.host}/x', f'http://{two.host}/y', 'k=v', 'X-A:1')
        assert (code, sorted(fields(out)), asked(servers)) == (0, sorted([one.host, two.host]), [['/x'], ['/y']])
        assert {server.requests[0].body for server in servers} == {b'{"k":"v"}'}
        code, out, _ = napix('get', f'http://{one.host}/x', f'http://{one.host}/y?token=s3cret', f'http://{one.host}/x')
        assert (code, sorted(fields(out))) == (0, [f'{one.host}/x', f'{one.host}/y?token=***'])


def test_node_sets_in_urls(tmp_path: Path) -> None:
    """The host of a URL is a node set, with groups and operators; ranges in its path are asked for each host."""
    (tmp_path / 'groups').write_text('web: web[1-2]\n')
    for url, shown in {
        'http://web[1-3].example/x': ['http://web1.example/x', 'http://web2.example/x', 'http://web3.example/x'],
        'https://a,b:8443/x': ['https://a/x', 'https://b:8443/x'],
        'http://web[0-4/2]/x/y': ['http://web0/x/y', 'http://web2/x/y', 'http://web4/x/y'],
        'http://web[1-3]!web2/': ['http://web1/', 'http://web3/'],
        'http://@web/x': ['http://web1/x', 'http://web2/x'],
        'http://[::1]:80/x': ['http://[::1]:80/x'],
        'http://a,b/[1-2]': ['http://a/1', 'http://b/1', 'http://a/2', 'http://b/2'],
        'http://a?x=[1-2]': ['http://a/?x=1', 'http://a/?x=2'],
    }.items():
        code, out, err = napix('get', url, '--dry-run', '--groups', tmp_path / 'groups')
        assert (code, out.splitlines()) == (0, [f'GET {one}' for one in shown]), err
    code, out, _ = napix('get', 'http://web[1-9]/x', 'http://a/[1-2]', '-x', 'web[3-9]', '--dry-run')
    assert out.split()[1::2] == ['http://web1/x', 'http://web2/x', 'http://a/1', 'http://a/2']


def test_urls_from_a_file(tmp_path: Path) -> None:
    """--urls has one on each line, from a file or standard input; comments and empty lines are none; items follow."""
    with several(*'abc') as servers:
        one, two, three = servers
        (tmp_path / 'urls').write_text(f'# ours\nhttp://{one.host}/x\n\n  http://{two.host}/y?z=1  \n')
        piped = f'http://{three.host}/\n'
        code, out, err = napix(
            'post', 'k=v', '--urls', 'urls', '--urls', '-', '--json', input=piped, directory=tmp_path
        )
        assert (code, asked(servers)) == (0, [['/x'], ['/y?z=1'], ['/']]), err
        assert [said['host'] for said in objects(out)] == [server.host for server in servers]
        (tmp_path / 'urls').write_text(f'http://{one.host}/x\nhttp://a b/\n')
        code, _, err = napix('get', '--urls', 'urls', directory=tmp_path)
        assert (code, len(one.requests)) == (2, 1)
        assert err == "napix: urls, line 2: 'http://a b/' is no URL: there is a blank in it\n"


def test_listed_urls_of_one_host_wait_for_their_turn() -> None:
    """However many URLs of a host a list has, no more are in flight than the host may be sent at a time."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        urls = '\n'.join(f'http://{server.host}/{number}' for number in range(12))
        gate.open()
        code, out, _ = napix('get', '--urls', '-', '--ordered', '--json', input=urls)
    assert (code, gate.peak <= 2) == (0, True)
    assert [said['url'] for said in objects(out)] == [f'/{number}' for number in range(12)]


@pytest.mark.parametrize('seed', range(8))
def test_numbers_of_requests(seed: int) -> None:
    """Each request has a number, from 0 on, batch by batch, by which it is found again."""
    rng = random.Random(seed)
    hosts = [f'h{number}' for number in range(rng.randint(1, 6))]
    entries = [(rng.choice(hosts), f'/{rng.randint(1, 9)}/[1-{rng.randint(1, 3)}]') for _ in range(rng.randint(1, 12))]
    serial, repeat = rng.choice([None, 1, 2, 4]), rng.randint(1, 3)
    layouts: list[Layout] = [Listed(entries, repeat, serial), Grid(hosts, '/[1-3]', repeat, serial)]
    for layout in layouts:
        every = [(place, turn) for place in range(len(layout.hosts)) for turn in range(layout.turns(place))]
        numbers = [layout.index(place, turn) for place, turn in every]
        assert sorted(numbers) == list(range(len(layout)))
        assert [layout.at(number) for number in numbers] == every
        batches = [layout.at(number)[0] // layout.serial for number in range(len(layout))]
        assert batches == sorted(batches)
        assert len(
            {(place, layout.pattern(place, turn), layout.repetition(place, turn)) for place, turn in every}
        ) == len(every)


# Redirects -----------------------------------------------------------------------------------------------------------


def moving(method: str, path: str, *_: Any) -> Any:
    """`/3` leads to `/2`, and so on to `/0`."""
    left = int(path.strip('/'))
    return (302, {'Location': f'/{left - 1}'}, None) if left else (200, {}, 'home')


@pytest.mark.parametrize(
    ('flags', 'shown'),
    [
        ((), ('302', 'Location: /1')),
        (('-L',), ('200', 'home')),
        (('--follow',), ('200', 'home')),
        (('--max-redirects', 2), ('200', 'home')),
        (('-L', '--max-redirects', 1), ('ProtocolError', 'more than 1 redirect')),
        (('--max-redirects', 0), ('ProtocolError', 'more than 0 redirects')),
    ],
)
def test_follow(flags: tuple[object, ...], shown: tuple[str, str]) -> None:
    """A redirect is an answer, unless -L follows it; one more than --max-redirects is an error, and shown as one."""
    with kit.serve(moving) as server:
        code, out, _ = napix('get', f'http://{server.host}/2', *flags)
    status, _, text = fields(out)[server.host]
    assert ((status, text), code) == (shown, 3 if status == 'ProtocolError' else 0)
