"""Hosts as people write them."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napixclient.hosts import BadHosts, Groups, expand, fold, sizes_of
from tests import kit


@pytest.mark.parametrize(
    ('text', 'hosts'),
    [
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
        ('b,a', ['b', 'a']),  # in the order written
        ('10.0.0.10:80,10.0.0.9:80', ['10.0.0.10:80', '10.0.0.9:80']),
        ('a , b', ['a', 'b']),
        ('a b\tc', ['a', 'b', 'c']),
        ('i-0123456789abcdef0', ['i-0123456789abcdef0']),
        ('a%b', ['a%b']),
        ('', []),
        ('a!a', []),
        ('web[1, 3 ,5]', ['web1', 'web3', 'web5']),
        ('web[3,1,1-2]', ['web1', 'web2', 'web3']),
        ('web[0-10/5]x[09-11]', [f'web{one}x{two}' for one in (0, 5, 10) for two in ('09', '10', '11')]),
        ('10.0.0.1[0-2]', ['10.0.0.10', '10.0.0.11', '10.0.0.12']),
        ('web[1-3]0', ['web10', 'web20', 'web30']),
        ('a,b!a,c', ['b', 'c']),
        ('a,b c!c d^e', ['a', 'b', 'd', 'e']),
        ('a ! b', ['a']),
        ('b,a&a,b', ['a', 'b']),
        ('[fe80::1%25eth0]:80,a', ['[fe80::1%25eth0]:80', 'a']),
        ('a\u00a0b', ['a', 'b']),
        ('web[00-02]', ['web00', 'web01', 'web02']),
    ],
)
def test_expand(text: str, hosts: list[str]) -> None:
    """A node set is what ClusterShell makes of it, ports, schemes and IPv6 addresses included."""
    assert list(expand(text)) == hosts


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [
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
        ('a!@no-such-group', "'@no-such-group' names no host"),
        ('@[1-2]', "'@1' names no host"),
        ('@', "'@' names no host"),
        ('*', "'*' names no host: there are no groups"),
        ('web?', "'web?' names no host"),
        ('@*', "'@*' names no host"),
        ('web[1_000]', "'web[1_000]' is not a node set: '1_000' is no range of numbers"),
        ('web[1-1_000]', "'1-1_000' is no range"),
        ('web[+1-3]', "'+1-3' is no range"),
        ('web[ 1-3]', "' 1-3' is no range"),
        ('web[1-3 ]', "'1-3 ' is no range"),
        ('web[1 -3]', "'1 -3' is no range"),
        ('web[\u0661-\u0663]', 'is no range'),
        ('web[\xb2]', 'is no range'),
        ('web[1-3/0]', 'a step of 0'),
        ('web[3-1]', 'ends before it begins'),
        ('web[1-]', "'1-' is no range"),
        ('web[-1]', "'-1' is no range"),
        ('web[-1-2]', "'-1-2' is no range"),
        ('web[1-3/-1]', 'is no range'),
        ('web[1/2]', "'1/2' is no range"),
        ('web[]', 'an empty range'),
        ('web[1,]', 'an empty range'),
        ('web[1,,2]', 'an empty range'),
        ('web[0x1-3]', 'is no range'),
        ('web[1.5]', 'is no range'),
        ('[', "'[' is not a node set: missing bracket"),
        ('a]', 'missing bracket "["'),
        ('a,b[1', "'b[1' is not a node set"),
        ('web[1-[2-3]]', 'a bracket within another'),
        ('web[[1-2]]', 'a bracket within another'),
        ('web[1-2]]', 'missing bracket'),
        ('web[01-100]', 'of different length'),
        ('web[1-010]', 'of different length'),
        ('web1[8-12]', 'a digit stands before it'),
        ('web0[1,10]', 'a digit stands before it'),
        ('web[1-1000001]', 'names more than 1000000 hosts'),
        ('web[1-999999999999999999]', 'names more than'),
        ('[1-9]' * 60, 'names more than'),
        ('[1-9]' * 61, 'more than 60 ranges'),
        (f'web[1-{"9" * 19}]', 'too long'),
        (f'web[1-{"9" * 5000}]', 'too long'),
        ('a!', 'missing operand'),
        ('&a', 'missing operand'),
        ('a!!b', 'missing operand'),
        ('a ! ', 'missing operand'),
    ],
)
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


def clustershell(directory: Path, *nodes: str) -> None:
    """Configure ClusterShell to know one group there, `found`, of these nodes, in a source of its own."""
    directory.mkdir(parents=True)
    (directory / 'groups.conf').write_text(
        f'[Main]\ndefault: test\n[test]\nmap: [ $GROUP != found ] || echo {",".join(nodes)}\nlist: echo found\n'
        'all: echo @found,all\n[broken]\nmap: false\n'
    )


def test_samples_are_nobodys_groups(tmp_path, monkeypatch) -> None:
    """ClusterShell's package puts samples under the prefix of Python: the groups in them are none, and are not searched."""
    assert (Path(sys.prefix) / 'etc' / 'clustershell' / 'groups.conf').exists()
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    monkeypatch.delenv('CLUSTERSHELL_CFGDIR', raising=False)
    for groups in None, Groups():
        for text in '@all', '*', '@*', 'example*', '@compute', '@local:all', 'a!@adm':
            with pytest.raises(BadHosts) as caught:
                list(expand(text, groups))
            assert '/etc/clustershell/groups.conf' in str(caught.value)
            assert f'{tmp_path}/clustershell/groups.conf' in str(caught.value)
            assert sys.prefix not in str(caught.value)
    assert Groups().grouplist() == []
    assert fold(['example4', 'example5'], Groups(), regroup=True) == 'example[4-5]'


@pytest.mark.parametrize('where', ['XDG_CONFIG_HOME', 'CLUSTERSHELL_CFGDIR'])
def test_groups_that_clustershell_finds(tmp_path, monkeypatch, where: str) -> None:
    """Where the user puts ClusterShell's configuration, its sources are asked, by their names, too, and behind his own file."""
    directory = tmp_path / 'clustershell'
    clustershell(directory, 'web[1-2]', '@found,x')
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'empty'))
    monkeypatch.setenv(where, str(tmp_path if where == 'XDG_CONFIG_HOME' else directory))
    clustershell(tmp_path / 'other', 'web[1-2]')
    with pytest.raises(BadHosts, match="'@found' is a group that is written in itself"):
        list(expand('@found'))
    (directory / 'groups.conf').write_text((tmp_path / 'other' / 'groups.conf').read_text())
    for groups in None, Groups(), Groups('mine', {'mine': '@found,b'}):
        assert list(expand('@found,a', groups)) == list(expand('@test:found,a', groups)) == ['web1', 'web2', 'a']
        assert list(expand('@test:*', groups)) == ['web1', 'web2', 'all']
        assert list(expand('w*2', groups)) == ['web2']
        for text in '@nothing', '@test:nothing', '@broken:found', '@none:found', '@mine:x', 'b*':
            with pytest.raises(BadHosts, match=text.replace('*', '.')):
                print(list(expand(text, groups if text != 'b*' else None)))
    assert list(expand('@*', groups)) == ['web1', 'web2', 'b', 'web1', 'web2', 'all']
    assert groups.grouplist() == ['mine', 'found']
    assert fold(['web1', 'web2', 'c'], groups, regroup=True) == '@found,c'
    assert fold(['web1', 'web2', 'b', 'c'], groups, regroup=True) == '@mine,c'


@pytest.mark.parametrize('content', ['nonsense', '[Main]\ndefault: nowhere\n', '[test]\nlist: true\n'])
def test_broken_configuration(tmp_path, monkeypatch, content: str) -> None:
    """A configuration of ClusterShell's that cannot be read is told when a group is asked for, and only then."""
    (tmp_path / 'groups.conf').write_text(content)
    monkeypatch.setenv('CLUSTERSHELL_CFGDIR', str(tmp_path))
    groups = Groups()
    with pytest.raises(BadHosts, match="'@web' names no host: ClusterShell cannot look it up"):
        list(expand('@web', groups))
    assert list(expand('web1', groups)) == ['web1']
    assert fold(['web1', 'web2'], groups, regroup=True) == 'web[1-2]'


def test_groups_in_circles() -> None:
    """A group that is written in itself is told."""
    groups = Groups('groups', {'a': '@b', 'b': '@c,x', 'c': 'x,@a', 'd': '*', 'e': '@*'})
    for name in 'abc':
        with pytest.raises(BadHosts, match=f"'@{name}' is a group that is written in itself"):
            list(expand(f'@{name}', groups))
    for text in '@d', '@e', '*':
        with pytest.raises(BadHosts, match='written in'):
            list(expand(text, groups))


# Sizes ---------------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.sampled_from(['a', 'web[1-3]', '[::1]:80', 'b[08-10,1]c[0-9/3]', '@x', 'x[5-5]']), min_size=1, max_size=9
    ),
    st.sampled_from(',!&^ '),
)
def test_sizes(items: list[str], operator: str) -> None:
    """What a node set may come to is known before any host is written out."""
    sizes = {'a': 1, 'web[1-3]': 3, '[::1]:80': 1, 'b[08-10,1]c[0-9/3]': 16, '@x': 1, 'x[5-5]': 1}
    assert list(sizes_of(operator.join(items))) == [sizes[item] for item in items]


def addresses(count: int) -> list[str]:
    """So many scattered addresses, the same each time."""
    draw = random.Random(count)
    return list(dict.fromkeys('10.{}.{}.{}'.format(*draw.choices(range(256), k=3)) for _ in range(count)))


LARGE: dict[str, Callable[[int], str]] = {
    'addresses': lambda count: ','.join(addresses(count)),
    'brackets': '['.__mul__,
    'closing brackets': ']'.__mul__,
    'an address that does not end': lambda count: '[' + ':' * count,
    'blanks': lambda count: f'a{" " * count}b',
    'short names': lambda count: f'a{",a" * count}',
    'a long range': lambda count: f'a[{"1," * count}1]',
    'ranges': '[1]'.__mul__,
    'large ranges': f'a[1-{"9" * 18}]'.__mul__,
    'begun ranges': '[1'.__mul__,
    'without each': lambda count: f'a[1-9]{"!b" * count}',
    'both': lambda count: f'a{"&a" * count}',
    'blanks around commas': lambda count: f'a{" , b" * count}',
    'commas in a bracket': lambda count: f'[{"1," * count}',
    'addresses in brackets': '[::1],'.__mul__,
}


@pytest.mark.parametrize('name', LARGE)
def test_large_texts(name: str) -> None:
    """The time that a text takes grows with its length, whatever is in it: 16 times the text, far less than 256 times."""

    def took(count: int) -> float:
        text = LARGE[name](count)

        def once() -> float:
            began = kit.own_time()
            for read in sizes_of, expand:
                try:
                    for _ in read(text):
                        pass
                except BadHosts:
                    continue
            return kit.own_time() - began

        return min(once() for _ in range(3))

    assert took(16_000) < 60 * max(took(1000), 0.0002)


# Folding, groups, exclusion ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('hosts', 'folded'),
    [
        ([], ''),
        (['web2', 'web1'], 'web[1-2]'),
        (['web1:80', 'web3:80'], 'web[1,3]:80'),
        (['web08', 'web10'], 'web[08,10]'),
        (['http://a1', 'http://a2', 'a1'], 'a1,http://a[1-2]'),
        (['[::1]:80', '[::2]:80'], '[::1]:80,[::2]:80'),
        ([f'127.0.0.{number}:8000' for number in range(1, 101)], '127.0.0.[1-100]:8000'),
    ],
)
def test_fold(hosts: list[str], folded: str) -> None:
    """A list of hosts is written as one node set, which is read as the same hosts."""
    assert fold(hosts) == folded
    assert sorted(expand(folded)) == sorted(hosts)


@given(
    st.lists(
        st.builds(
            '{}{}:{}'.format,
            st.sampled_from(['a', 'web', 'http://x.', '127.0.0.']),
            st.integers(0, 300),
            st.integers(1, 99),
        ),
        max_size=30,
    )
)
def test_fold_is_undone_by_expand(hosts: list[str]) -> None:
    """Whatever was folded: what comes out is what went in."""
    assert sorted(expand(fold(hosts))) == sorted(set(hosts))


@pytest.mark.parametrize(
    ('hosts', 'folded'),
    [
        ([f'web{number:03d}' for number in range(1, 101)], 'web[001-100]'),
        ([f'web{number}' for number in range(1, 101)], 'web[1-100]'),
        ([f'10.0.{one}.{two}' for one in range(4) for two in range(1, 251)], '10.0.[0-3].[1-250]'),
        ([f'10.0.0.{number}' for number in range(1, 51)] + ['10.0.1.7'], '10.0.0.[1-50],10.0.1.7'),
        ([f'web{number}:{port}' for number in range(1, 10) for port in (80, 8002)], 'web[1-9]:[80,8002]'),
        (
            [f'{name}{number}.example' for name in ('db', 'web') for number in range(8, 12)],
            'db[8-11].example,web[8-11].example',
        ),
        (
            [f'rack{rack}-n{node}' for rack in range(1, 4) for node in range(1, rack * 30)],
            'rack1-n[1-29],rack2-n[1-59],rack3-n[1-89]',
        ),
        (['n9', 'n10', 'n010', 'n99', 'n100'], 'n[9-10,99,010,100]'),
        (['w00', 'w01', 'w99', 'w100'], 'w[00-01,99-100]'),
        (['a1', 'a2'], 'a1,a2'),
        (['1', '3'], '1,3'),
        (['web1', 'web1'], 'web1'),
        (['[::1]:80', '[::1]:81', '[::1]:82'], '[::1]:[80-82]'),
        ([f'i-{"0" * 20}{number}' for number in (1, 2)], f'i-{"0" * 20}1,i-{"0" * 20}2'),
    ],
)
def test_fold_of_ordinary_hosts(hosts: list[str], folded: str) -> None:
    """Ranges, prefixes, ports and padding come out as people would write them; a list stays one where that is shorter."""
    assert fold(random.Random(1).sample(hosts, len(hosts))) == folded
    assert sorted(expand(folded)) == sorted(set(hosts))


HOSTS = st.one_of(
    st.text('019.-ab:', min_size=1, max_size=12),
    st.text('0123456789', min_size=1, max_size=25),
    st.builds('{}.{}.{}.{}'.format, *[st.integers(0, 4)] * 4),
    st.builds('{:02d}{}{:03d}'.format, *[st.integers(0, 12)] * 2, st.integers(0, 99)),
    st.builds('[{}]:{}'.format, st.ip_addresses(v=6), st.integers(1, 3)),
    st.lists(st.integers(0, 2), min_size=8, max_size=12).map(lambda numbers: '-'.join(map(str, numbers))),
)


@given(st.lists(HOSTS, max_size=60))
def test_fold_and_expand_of_any_hosts(hosts: list[str]) -> None:
    """Whatever they are: the same hosts come out, each once, and the text is never longer than the list."""
    folded = fold(hosts)
    assert sorted(expand(folded)) == sorted(set(hosts))
    assert len(folded) <= len(','.join(dict.fromkeys(hosts)))


SETS: dict[str, Callable[[int], list[str]]] = {
    'scattered': addresses,
    'in a row': lambda count: [f'web{number}' for number in range(count)],
    'a box': lambda count: [f'10.0.{number // 100}.{number % 100}:80' for number in range(count)],
    'many columns': lambda count: ['-'.join(f'{number:016b}') for number in range(count)],
    'columns that say nothing': lambda count: [
        '-'.join(str(number * step) for step in range(1, 40)) for number in range(count)
    ],
    'names': lambda count: [
        f'{number:x}'.translate({ord(digit): chr(ord(digit) + 60) for digit in '0123456789'}) for number in range(count)
    ],
}


@pytest.mark.parametrize('name', SETS)
def test_fold_of_many_hosts(name: str) -> None:
    """Folding takes time with the number of hosts, not with its square: 8 times as many, far less than 64 times the time."""

    def took(hosts: list[str]) -> float:
        def once() -> float:
            began = kit.own_time()
            fold(hosts)
            return kit.own_time() - began

        return min(once() for _ in range(3))

    few, many = SETS[name](1000), SETS[name](8000)
    assert took(many) < 24 * took(few)
    assert sorted(expand(fold(many))) == sorted(many)
    assert len(fold(many)) <= len(','.join(many))


def test_regroup_of_many_hosts() -> None:
    """Looking for groups takes no longer: 8 times as many scattered hosts, and as many groups."""

    def took(count: int) -> float:
        hosts = addresses(count)
        groups = Groups('groups', {f'g{at}': ','.join(hosts[at : at + 10]) for at in range(0, len(hosts), 10)})
        began = kit.own_time()
        assert fold([*hosts, 'x'], groups, regroup=True).endswith('],x')
        return kit.own_time() - began

    assert min(took(4000) for _ in range(2)) < 24 * min(took(500) for _ in range(3))
