"""Hosts and groups that the command reads from files, and the hosts that it leaves out."""

from __future__ import annotations

import pytest

from napixclient.cli.hostfiles import read_groups, read_hosts, without
from napixclient.hosts import BadHosts, expand, fold


def test_hostfile(tmp_path) -> None:
    """One or more node sets a line; comments, blank lines, a byte order mark and CRLF do no harm."""
    path = tmp_path / 'hosts'
    path.write_bytes(b'\xef\xbb\xbf# all of them\r\nweb[1-2]:80 [::1]:80\r\n\r\n  a,b   # two\r\nc')
    assert list(read_hosts(str(path))) == ['web1:80', 'web2:80', '[::1]:80', 'a', 'b', 'c']


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [(b'a\nb\nweb[1-\n', "line 3: 'web[1-' is not a node set"), (b'\xff\xfe\x00', 'is not a text in UTF-8')],
)
def test_bad_hostfile(tmp_path, content: bytes, complaint: str) -> None:
    """The file and the line are named."""
    path = tmp_path / 'hosts'
    path.write_bytes(content)
    with pytest.raises(BadHosts) as caught:
        list(read_hosts(str(path)))
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


def test_groups(tmp_path) -> None:
    """A group of the file may name others, and IPv6 addresses; what is full is regrouped."""
    path = tmp_path / 'groups'
    path.write_text('web: web[1-2]:80, [::1]:80   # a comment\nall: @web,b\n')
    groups = read_groups(str(path))
    assert sorted(expand('@all', groups)) == ['[::1]:80', 'b', 'web1:80', 'web2:80']
    assert fold(['web1:80', 'web2:80', '[::1]:80', 'c'], groups, regroup=True) == '@web,c'
    with pytest.raises(BadHosts, match='names no host'):
        list(expand('@none', groups))


def test_own_file_of_groups(tmp_path, monkeypatch) -> None:
    """Without a path the user's own file is read, which need not exist; an error names it before ClusterShell's."""
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    path = tmp_path / 'napix' / 'groups'
    with pytest.raises(BadHosts, match=f'looked for in {path}, '):
        list(expand('@mine', read_groups(None)))
    path.parent.mkdir()
    path.write_text('mine: a,b\n')
    assert list(expand('@mine', read_groups(None))) == ['a', 'b']


@pytest.mark.parametrize(
    ('excluded', 'left'),
    [
        ('a', ['http://b:1']),
        ('a:80', ['a', 'http://b:1']),
        ('b', ['a', 'a:80']),
        ('b:1', ['a', 'a:80']),
        ('http://b:1', ['a', 'a:80']),
        ('https://b:1', ['a', 'a:80', 'http://b:1']),
        ('c', ['a', 'a:80', 'http://b:1']),
    ],
)
def test_without(excluded: str, left: list[str]) -> None:
    """A host that is excluded without port or scheme is excluded with any."""
    assert list(without(['a', 'a:80', 'http://b:1'], [excluded])) == left
