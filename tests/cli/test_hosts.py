"""Hosts as people write them."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napixclient.cli.hosts import BadHosts, expand, fold, read_groups, read_hosts, without


@pytest.mark.parametrize(('text', 'hosts'), [
    ('web1', ['web1']),
    ('web[1-3].example:8002', ['web1.example:8002', 'web2.example:8002', 'web3.example:8002']),
    ('web[08-10]', ['web08', 'web09', 'web10']),
    ('web[1-5/2]', ['web1', 'web3', 'web5']),
    ('web[1,3]:80', ['web1:80', 'web3:80']),
    ('http://web[1-2]:8002', ['http://web1:8002', 'http://web2:8002']),
    ('https://web1,http://web1', ['https://web1', 'http://web1']),
    ('127.0.0.[1-3]:8080', ['127.0.0.1:8080', '127.0.0.2:8080', '127.0.0.3:8080']),
    ('127.0.0.1:[8001-8003]', ['127.0.0.1:8001', '127.0.0.1:8002', '127.0.0.1:8003']),
    ('[::1]:80', ['[::1]:80']),
    ('[::1]', ['[::1]']),
    ('http://[2001:db8::1]:8002', ['http://[2001:db8::1]:8002']),
    ('[::1]:[80-82]', ['[::1]:80', '[::1]:81', '[::1]:82']),
    ('[::1]:80,[::2]:80,web[1-2]', ['[::1]:80', '[::2]:80', 'web1', 'web2']),
    ('[::1]:80,[::2]:80![::1]:80', ['[::2]:80']),
    ('web[1-3]!web2', ['web1', 'web3']),
    ('web[1-3]&web[2-9]', ['web2', 'web3']),
    ('web[1-3]^web[2-4]', ['web1', 'web4']),
    ('b,a', ['b', 'a']),                                # in the order written
    ('10.0.0.10:80,10.0.0.9:80', ['10.0.0.10:80', '10.0.0.9:80']),
    ('a , b', ['a', 'b']),
    ('a b\tc', ['a', 'b', 'c']),
    ('i-0123456789abcdef0', ['i-0123456789abcdef0']),
    ('a%b', ['a%b']),
    ('', []),
    ('a!a', []),
])
def test_expand(text: str, hosts: list[str]) -> None:
    """A node set is what ClusterShell makes of it, ports, schemes and IPv6 addresses included."""
    assert list(expand(text)) == hosts


@pytest.mark.parametrize(('text', 'complaint'), [
    ('web[1-', "'web[1-' is not a node set: missing bracket"),
    ('web[3-1]', "'web[3-1]' is not a node set"),
    ('web[a-b]', "'web[a-b]' is not a node set"),
    ('[::1]:80,web[1-', "'web[1-' is not a node set"),
    ('[::1]:[1-', "'[::1]:[1-' is not a node set"),
    ('a,,b', 'a comma with no host beside it'),
    (',', 'a comma with no host beside it'),
    ('a,', 'a comma with no host beside it'),
    ('web1,@no-such-group', "'@no-such-group' names no host"),
    ('@no-such-source:group', "'@no-such-source:group' is not a node set"),
])
def test_not_a_node_set(text: str, complaint: str) -> None:
    """What is wrong is named as it was written."""
    with pytest.raises(BadHosts) as caught:
        list(expand(text))
    assert complaint in str(caught.value)


@given(st.lists(st.text('abz019.-:', min_size=1), min_size=1, max_size=20))
def test_plain_hosts_stay_as_they_are(hosts: list[str]) -> None:
    """A list of hosts without a range is that list: nothing is folded, padded or sorted."""
    assert list(expand(','.join(hosts))) == hosts


@given(st.lists(st.ip_addresses(v=6), min_size=1, max_size=20), st.integers(1, 65535))
def test_ipv6_addresses_stay_as_they_are(addresses: list[object], port: int) -> None:
    """Every IPv6 address in brackets is one host, never a range."""
    hosts = [f'[{address}]:{port}' for address in addresses]
    assert list(expand(','.join(hosts))) == hosts


def test_many() -> None:
    """Thousands of hosts with four numbers each are no matter of minutes."""
    hosts = [f'127.0.{number // 250}.{number % 250}:{8000 + number % 7}' for number in range(5_000)]
    assert list(expand(','.join(hosts))) == hosts


def test_group(tmp_path, monkeypatch) -> None:
    """`@name` is a group of the machine's own ClusterShell configuration."""
    (tmp_path / 'groups.conf').write_text('[Main]\ndefault: test\n[test]\nmap: echo web[1-2]\n')
    from ClusterShell import NodeUtils
    from ClusterShell.NodeSet import set_std_group_resolver
    set_std_group_resolver(NodeUtils.GroupResolverConfig(str(tmp_path / 'groups.conf')))
    try:
        assert list(expand('@any,a')) == ['web1', 'web2', 'a']
    finally:
        set_std_group_resolver(None)


def test_hostfile(tmp_path) -> None:
    """One or more node sets a line; comments, blank lines, a byte order mark and CRLF do no harm."""
    path = tmp_path / 'hosts'
    path.write_bytes(b'\xef\xbb\xbf# all of them\r\nweb[1-2]:80 [::1]:80\r\n\r\n  a,b   # two\r\nc')
    assert list(read_hosts(str(path))) == ['web1:80', 'web2:80', '[::1]:80', 'a', 'b', 'c']


@pytest.mark.parametrize(('content', 'complaint'), [
    (b'a\nb\nweb[1-\n', "line 3: 'web[1-' is not a node set"),
    (b'\xff\xfe\x00', 'is not a text in UTF-8'),
])
def test_bad_hostfile(tmp_path, content: bytes, complaint: str) -> None:
    """The file and the line are named."""
    path = tmp_path / 'hosts'
    path.write_bytes(content)
    with pytest.raises(BadHosts) as caught:
        list(read_hosts(str(path)))
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


# Folding, groups, exclusion ------------------------------------------------------------------------------------------

@pytest.mark.parametrize(('hosts', 'folded'), [
    ([], ''), (['web2', 'web1'], 'web[1-2]'), (['web1:80', 'web3:80'], 'web[1,3]:80'), (['web08', 'web10'], 'web[08,10]'),
    (['http://a1', 'http://a2', 'a1'], 'a1,http://a[1-2]'), (['[::1]:80', '[::2]:80'], '[::1]:80,[::2]:80'),
    ([f'127.0.0.{number}:8000' for number in range(1, 101)], '127.0.0.[1-100]:8000')])
def test_fold(hosts: list[str], folded: str) -> None:
    """A list of hosts is written as one node set, which is read as the same hosts."""
    assert fold(hosts) == folded
    assert sorted(expand(folded)) == sorted(hosts)


@given(st.lists(st.builds('{}{}:{}'.format, st.sampled_from(['a', 'web', 'http://x.', '127.0.0.']),
                          st.integers(0, 300), st.integers(1, 99)), max_size=30))
def test_fold_is_undone_by_expand(hosts: list[str]) -> None:
    """Whatever was folded: what comes out is what went in."""
    assert sorted(expand(fold(hosts))) == sorted(set(hosts))


def test_groups(tmp_path) -> None:
    """A group of the file may name others, and IPv6 addresses; what is full is regrouped."""
    path = tmp_path / 'groups'
    path.write_text('web: web[1-2]:80, [::1]:80   # a comment\nall: @web,b\n')
    groups = read_groups(str(path))
    assert sorted(expand('@all', groups)) == ['[::1]:80', 'b', 'web1:80', 'web2:80']
    assert fold(['web1:80', 'web2:80', '[::1]:80', 'c'], groups, regroup=True) == '@web,c'
    with pytest.raises(BadHosts, match='names no host'):
        list(expand('@none', groups))


@pytest.mark.parametrize(('excluded', 'left'), [
    ('a', ['http://b:1']), ('a:80', ['a', 'http://b:1']), ('b', ['a', 'a:80']), ('b:1', ['a', 'a:80']),
    ('http://b:1', ['a', 'a:80']), ('https://b:1', ['a', 'a:80', 'http://b:1']), ('c', ['a', 'a:80', 'http://b:1'])])
def test_without(excluded: str, left: list[str]) -> None:
    """A host that is excluded without port or scheme is excluded with any."""
    assert list(without(['a', 'a:80', 'http://b:1'], [excluded])) == left
