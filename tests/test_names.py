"""Names: which resolver is asked, what it says, and that a dead name costs nobody else anything."""

from __future__ import annotations

import socket as stdlib_socket
import string
from pathlib import Path
from typing import Any

import gevent
import pytest
import urllib3
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from napixclient import Client, ClientPool, ConnectTimeout, NameResolutionError, ProxyError, QueueTimeout
from napixclient._http.connect import resolvers
from napixclient._http.connect.nss import Rules, names_in
from napixclient._http.connect.resolvers import Lookups, encoded
from napixclient._http.connect.threads import Threads
from tests import helpers_dns, kit
from tests.helpers_dns import found_by, in_namespace, outcome
from tests.helpers_pool import Names, address, failure
from tests.kit import serve, wait_until

# Who is asked: a decision without I/O --------------------------------------------------------------------------------

DEBIAN = 'hosts: files mdns4_minimal [NOTFOUND=return] dns\n'
FEDORA = 'hosts: files myhostname resolve [!UNAVAIL=return] dns\n'
HOSTS = '10.0.0.1 h alias # not\n10.0.0.2 H\n10.0.0.1\tsame\n::1 Six.Example\n#10.0.0.3 none\n'
#: nsswitch.conf, resolv.conf, environment, name, whether it is for the system.
DECISIONS: list[tuple[str | None, str | None, dict[str, str], str, bool]] = [
    *[
        (nsswitch, '', {}, 'a.example', False)
        for nsswitch in (
            None,
            '',
            'hosts: files dns',
            'hosts: dns files',
            'hosts: dns',
            'HOSTS:  FILES\tDNS # db',
            '# hosts: db\n',
            'passwd: db\nhosts:files dns\ngroup: nis',
            DEBIAN,
            'hosts: files mdns dns',
            'hosts: files mdns4 mdns6_minimal dns',
            'hosts: files mdns_minimal [ NOTFOUND = return ] dns mdns',
            'hosts: files dns myhostname',
        )
    ],
    *[
        (nsswitch, '', {}, 'a.example', True)
        for nsswitch in (
            'hosts: files',
            'hosts:',
            'hosts: files mymachines dns',
            'hosts: db files dns',
            'hosts: files nis dns',
            'hosts: files resolve [!UNAVAIL=return] dns',
            FEDORA,
            'hosts: files dns [!UNAVAIL=return]',
            'hosts: files [NOTFOUND=return] dns',
            'hosts: files [SUCCESS=continue] dns',
            'hosts: files mdns4 [!UNAVAIL=return] dns',
            'hosts: files nonsense dns',
            'hosts: mymachines',
            'hosts: files mdns4_minimal',
        )
    ],
    *[
        (DEBIAN, '', {}, name, True)
        for name in ('printer.local', 'PRINTER.LOCAL', 'printer.local.', 'a.b.local', 'local')
    ],
    (DEBIAN, '', {}, 'local.example', False),
    (DEBIAN, '', {}, 'notlocal', False),
    *[
        (None, '', {}, name, True)
        for name in (
            'localhost',
            'LOCALHOST',
            'localhost.',
            'x.localhost',
            'a.X.Localhost',
            'localhost.localdomain',
            'x.localhost.localdomain',
            'ip6-localhost',
            '127.1',
            '0x7f000001',
            '2130706433',
            '127.0.0.0x1',
            '1.2.3.4.',
            'a.5',
            'h',
            'H',
            'alias',
            'same',
            'six.example',
            'SIX.example',
            'fe80::1%lo',
        )
    ],
    *[
        (None, '', {}, name, False)
        for name in (
            'not',
            'none',
            'h.',
            'alias.',
            'six.example.',
            'six',
            'localhost.example',
            'x0x1',
            'a.b5',
            '5.b',
            'secret.onion',
            'a_b',
            'UPPER.example',
            'x' * 63,
            'mymachine',
            '_gateway',
        )
    ],
    *[
        ('hosts: files myhostname dns', '', {}, name, True)
        for name in (
            'mymachine',
            'MyMachine.example',
            'mymachine.example',
            '_gateway',
            '_outbound',
            'gateway',
            'localhost',
        )
    ],
    ('hosts: files myhostname dns', '', {}, 'other.example', False),
    *[(None, '', {variable: ''}, 'a.example', True) for variable in ('LOCALDOMAIN', 'RES_OPTIONS', 'HOSTALIASES')],
    (None, '', {'GEVENT_RESOLVER': 'ares', 'LANG': 'C'}, 'a.example', False),
    *[
        (None, resolv, {}, 'a.example', False)
        for resolv in (
            None,
            '',
            'nameserver 10.0.0.1\nnameserver ::1\n' * 3,
            'search a.example b.example\noptions ndots:2',
            'domain a.example',
            'options timeout:1 attempts:3 rotate edns0',
            '# comment\n; comment\n\n  \noptions',
            '\tnameserver 10.0.0.1',
        )
    ],
    *[
        (None, resolv, {}, 'a.example', True)
        for resolv in (
            'options use-vc',
            'options no-aaaa',
            'options ndots:1 trust-ad',
            'options single-request',
            'options single-request-reopen',
            'options inet6',
            'options no-tld-query',
            'sortlist 10.0.0.0/8',
            'lookup file bind',
            'nonsense',
            'nameserver 10.0.0.1\noptions rotate # comment',
            '?',
        )
    ],
]


@pytest.mark.parametrize(('nsswitch', 'resolv', 'environ', 'name', 'system'), DECISIONS)
def test_who_is_asked(
    nsswitch: str | None, resolv: str | None, environ: dict[str, str], name: str, system: bool
) -> None:
    """DNS is asked where it alone can answer; the system, where its files, the environment or the name say otherwise."""
    rules = Rules(nsswitch, resolv, names_in(HOSTS), 'MyMachine.example')
    assert rules.need_system(name, environ) is system


def test_mdns_that_may_answer_for_all() -> None:
    """Where nss-mdns was allowed other names than .local, all names are the system's."""
    assert Rules(DEBIAN, '', mdns_allow=True).need_system('a.example', {})
    assert not Rules(None, '', mdns_allow=True).need_system('a.example', {})


@given(st.text(), st.text(), st.text(), st.text(string.printable))
def test_any_files(nsswitch: str, resolv: str, hosts: str, name: str) -> None:
    """No text in the system's files, and no name, is one too odd to decide about."""
    assert Rules(nsswitch, resolv, names_in(hosts), name).need_system(name, {}) in (True, False)


@pytest.mark.parametrize(
    ('name', 'raw'),
    [
        ('a.example', b'a.example'),
        ('a.example.', b'a.example.'),
        ('A_b.Example', b'A_b.Example'),
        ('fa\xdf.example', b'fass.example'),
        ('x' * 63, b'x' * 63),
        ('fe80::1%lo', b'fe80::1%lo'),
        ('.'.join(['x' * 49] * 5), b'.'.join([b'x' * 49] * 5)),
    ],
)
def test_names_as_they_go_out(name: str, raw: bytes) -> None:
    """A name goes out in ASCII, encoded once, whoever is asked."""
    assert encoded(name) == raw


@pytest.mark.parametrize(
    'name',
    [
        'x' * 64,
        f'a.{"x" * 64}.example',
        'a..b',
        '.a',
        '.',
        '',
        'a..',
        '.'.join(['x' * 50] * 6),
        '\xfc' * 63,
        '\u2024.example',
    ],
)
def test_names_that_are_none(name: str) -> None:
    """What cannot be a name is refused before anybody is asked (RFC 1035 §2.3.4)."""
    with pytest.raises(NameResolutionError, match='not a name'):
        Lookups(gevent.get_hub()).start(name, 80, print)


@pytest.mark.parametrize('name', ['a\0b', 'a\nb', 'a b', '\x7f'])
def test_control_characters_in_names(name: str) -> None:
    """A control character is the caller's mistake."""
    with pytest.raises(ValueError, match='control'):
        Lookups(gevent.get_hub()).start(name, 80, print)


@pytest.mark.parametrize('host', ['a..b', '.a', f'{"x" * 64}.example'])
@pytest.mark.usefixtures('oracle')
def test_hosts_that_are_no_names(host: str) -> None:
    """A host that cannot be a name ends its own requests, typed; there is nothing to wait for."""
    with Client(host) as client:
        error = failure(client, 'GET', '/')
        assert type(error) is NameResolutionError and 'not a name' in error.message and host in error.message


# The caller's own resolver -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('number', [11, 12, 23, 24, 105, -3, -2])
@pytest.mark.parametrize('kind', [stdlib_socket.gaierror, stdlib_socket.herror])
@pytest.mark.usefixtures('oracle')
def test_54_numbers_of_a_resolver(kind: type[OSError], number: int) -> None:
    """The errno of a resolver's failure is none of the system's: the name failed, the process lacks nothing."""
    asked = []

    def resolver(host: str, port: int) -> Any:
        asked.append(host)
        if host.startswith('dead'):
            raise kind(number, 'Timeout while contacting DNS servers')
        return [address(server.port)]

    with serve() as server, ClientPool(resolver=resolver) as pool:
        pool.request(server.host, 'GET', '/000001')
        pool.wait()  # an idle connection, that could be given up
        for n in range(12):
            pool.request(f'dead{n}.example', 'GET', '/')
        for n in range(12):
            pool.request(f'good{n}.example', 'GET', '/000002')
        dead, good = (found := pool.wait(timeout=10))[:12], found[12:]
        assert [type(error) for error in dead] == [NameResolutionError] * 12
        assert all(f'dead{n}.example' in dead[n].message for n in range(12))
        assert [answer.status for answer in good] == [200] * 12
        assert len(asked) == 24 and pool._core.slots.cap == pool._core.slots.limit


@pytest.mark.usefixtures('oracle')
def test_53_names_that_nobody_answers_for() -> None:
    """Twelve look-ups that hang end with their requests' time, by name; the 288 others are not kept by them."""
    never = Event()

    def resolver(host: str, port: int) -> Any:
        if host.startswith('dead'):
            never.wait()
        return [address(server.port)]

    with serve() as server, ClientPool(resolver=resolver, timeout=urllib3.Timeout(connect=1.5)) as pool:
        dead = [pool.request(f'dead{n}.example', 'GET', '/') for n in range(12)]
        good = [pool.request(f'good{n}.example', 'GET', '/000001') for n in range(288)]
        assert all(pending.get(timeout=20).status == 200 for pending in good)
        assert not any(pending.ready() for pending in dead)
        gevent.wait(dead, timeout=10)
        for n, pending in enumerate(dead):
            assert type(pending.exception) is ConnectTimeout
            assert pending.exception.message == f'the look-up of dead{n}.example did not end within 1.5 s'
        never.set()
        assert pool.request('dead0.example', 'GET', '/000001').get(timeout=5).status == 200


@pytest.mark.usefixtures('oracle')
def test_clocks_that_run_out_in_a_look_up() -> None:
    """Whichever clock it is, and whosever name it was, the error says that it was the look-up, and of which name."""
    never = Event()
    with ClientPool(resolver=lambda *_: never.wait(), timeout=0.1) as pool:
        [error] = [pool.request('slow.example', 'GET', '/')] and pool.wait()
        assert type(error) is ConnectTimeout and 'in the look-up of slow.example' in error.message
        pool.request('other.example', 'GET', '/', timeout=5)
        gevent.sleep(0.01)
        [error] = pool.wait(timeout=0.05)
        assert type(error) is QueueTimeout and 'in the look-up of other.example' in error.message
    for scheme in ('http', 'https', 'socks5', 'socks5h'):
        with Client(
            'http://127.0.0.1:1',
            proxy=f'{scheme}://user:secret@proxy.example',
            verify=False,
            resolver=lambda *_: never.wait(),
            timeout=urllib3.Timeout(connect=0.05),
        ) as client:
            error = failure(client, 'GET', '/')
            assert type(error) is ProxyError and 'secret' not in str(error)
            assert f'{scheme}://proxy.example' in error.message and 'the look-up of proxy.example' in error.message
    never.set()


def test_a_look_up_has_a_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that never ends fails after a while also for who has no bound, and is then begun anew."""
    from napixclient._http.connect import name_cache

    monkeypatch.setattr(name_cache, 'LOOKUP_SECONDS', 0.1)
    asked = []

    def resolver(host: str, port: int) -> Any:
        asked.append(host)
        Event().wait()

    with Client('slow.example', resolver=resolver, timeout=urllib3.Timeout(connect=None)) as client:
        for n in (1, 2):
            error = failure(client, 'GET', '/')
            assert type(error) is NameResolutionError and 'did not end within 0.1 s' in error.message
            assert len(asked) == n
        assert client.stats()['lookups']['failed'] == 2


@pytest.mark.usefixtures('oracle')
def test_answers_with_a_ttl() -> None:
    """A resolver may say for how many seconds its addresses are good; 0 is for those who wait, all else is a mistake."""
    asked = []

    def resolver(host: str, port: int) -> Any:
        asked.append(host)
        return [address(server.port)], ttls[host]

    ttls: dict[str, Any] = {'none.example': 0, 'long.example': 300, 'part.example': 0.5}
    with serve() as server, ClientPool(resolver=resolver) as pool:

        def ask(host: str) -> Any:
            pool.request(host, 'GET', '/000001', headers={'Connection': 'close'})
            return pool.wait(timeout=5)[0]

        for host in ('none.example', 'long.example') * 3:
            assert ask(host).status == 200
        assert (asked.count('none.example'), asked.count('long.example')) == (3, 1)
        for bad in (-1, float('nan'), float('inf'), True, '5', None):
            ttls['bad.example'] = bad
            error = ask('bad.example')
            assert type(error) is NameResolutionError and 'seconds' in error.message
        assert pool.stats()['none.example']['lookups']['count'] == 3


@pytest.mark.usefixtures('oracle')
def test_look_ups_are_counted() -> None:
    """``stats()`` has the look-ups that a host's connections began, those that failed, and their seconds."""
    gate = Event()

    def resolver(host: str, port: int) -> Any:
        gate.wait()
        return Names(good=server)(host, port)

    with serve() as server, ClientPool(resolver=resolver, simultaneous=4) as pool:
        for _ in range(4):
            pool.request('good.example', 'GET', '/000001')
        pool.request('bad.example', 'GET', '/')
        pool.request(server.host, 'GET', '/000001')
        gevent.sleep(0.05)
        assert pool.stats()['good.example']['lookups'] == {'count': 1, 'failed': 0, 'seconds': 0}
        gate.set()
        pool.wait()
        stats = {host: of_host['lookups'] for host, of_host in pool.stats().items()}
        assert (stats['good.example']['count'], stats['good.example']['failed']) == (1, 0)
        assert (stats['bad.example']['count'], stats['bad.example']['failed']) == (1, 1)
        assert stats['good.example']['seconds'] > 0
        assert stats[server.host] == {'count': 0, 'failed': 0, 'seconds': 0}


@pytest.mark.parametrize('end', ['cancel', 'close', 'kill', 'drop'])
@pytest.mark.usefixtures('oracle')
def test_ended_in_a_look_up(end: str) -> None:
    """Who is ended while it waits for a look-up leaves nothing behind; the look-up serves the others."""
    gate = Event()

    def resolver(host: str, port: int) -> Any:
        gate.wait()
        return [address(server.port)]

    with serve() as server, Client('peer.example', resolver=resolver) as client:
        asking = gevent.spawn(failure, client, 'GET', '/')
        other = client.submit('GET', '/000002')
        gevent.sleep(0.01)
        if end == 'kill':
            asking.kill()
        elif end == 'close':
            client.close()
        elif end == 'cancel':
            client.cancel()
        else:
            asking.kill(block=False)
        gate.set()
        gevent.wait([other], timeout=5)
        assert other.successful() is (end in ('kill', 'drop'))
        asking.kill()


@pytest.mark.parametrize('kind', ['hub', 'gevent', 'system', 'gevent, later', 'system, later'])
def test_a_resolver_that_replaces_gevents(kind: str) -> None:
    """Who has put a resolver of their own on the hub, or another getaddrinfo in its place, is asked."""
    with serve() as server:
        assert kit.run_program(REPLACED, server.port, kind) == (0, '000001\n', '')


REPLACED = """
import sys, _socket
import gevent
from gevent import socket
from gevent.resolver.thread import Resolver
port, kind = int(sys.argv[1]), sys.argv[2]
def found(host, port_, *more, **options):
    return [(2, 1, 6, '', ('127.0.0.1', port))]
class Own(Resolver):
    getaddrinfo = staticmethod(found)
if 'later' in kind:
    import napixclient.pool
if kind == 'hub':
    gevent.get_hub().resolver = Own()
else:
    setattr(socket if 'gevent' in kind else _socket, 'getaddrinfo', found)
from napixclient import Client
print(Client('peer.example').request('GET', '/000001').text)
"""


# Threads -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures('oracle')
def test_threads_grow_with_what_waits() -> None:
    """Calls that hang keep nobody else's: there is a thread for each, and none is left when all have ended."""
    threads, lock = Threads(gevent.get_hub()), kit.monkey.get_original('_thread', 'allocate_lock')()
    lock.acquire()

    def hang() -> str:
        with lock:
            return 'late'

    stuck = [gevent.spawn(threads.call, hang) for _ in range(40)]
    gevent.sleep(0)
    assert [threads.call(divmod, n, 7) for n in range(100)] == [divmod(n, 7) for n in range(100)]
    stuck.pop().kill()  # nobody waits for that one any more
    assert (threads._running, threads._dead, threads.crowd) == (40, 1, '')
    lock.release()
    assert [greenlet.get(timeout=5) for greenlet in stuck] == ['late'] * 39
    wait_until(lambda: not threads._running)
    assert threads._dead == 0
    with pytest.raises(ZeroDivisionError):
        threads.call(divmod, 1, 0)


def test_no_more_threads_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a call waits for a thread, and it is told why; one that is given up meanwhile is never made."""
    from napixclient._http.connect import threads as module

    monkeypatch.setattr(module, 'MOST', 3)
    threads, lock, made = Threads(gevent.get_hub()), kit.monkey.get_original('_thread', 'allocate_lock')(), []
    lock.acquire()
    begun: list[int] = []
    stuck = [gevent.spawn(threads.call, lambda n: (begun.append(n), lock.acquire()), n) for n in range(3)]
    wait_until(lambda: len(begun) == 3)
    stuck.pop().kill()
    waiting = [gevent.spawn(threads.call, made.append, n) for n in range(5)]
    gevent.sleep(0)
    assert threads.crowd == '; all 3 threads for look-ups are busy, 1 of them with look-ups that were given up'
    waiting.pop(2).kill()
    for _ in range(3):
        lock.release()
        gevent.sleep(0.01)
    gevent.joinall(waiting, timeout=5)
    assert sorted(made) == [0, 1, 3, 4]
    wait_until(lambda: (threads._running, threads._dead) == (0, 0))


# Real DNS, without a namespace: a channel that was given its server --------------------------------------------------


class At(Lookups):
    """The look-ups of a server that is not the system's."""

    def __init__(self, port: int, **options: Any) -> None:
        super().__init__(gevent.get_hub())
        self._options = {'servers': ['127.0.0.1'], 'udp_port': port, 'tcp_port': port, 'timeout': 0.3, 'tries': 2}
        self.made = 0

    def _new_channel(self) -> Any:
        self.made += 1
        return resolvers.cares()(self.hub.loop, **self._options)


@pytest.fixture
def dns(tmp_path: Path) -> Any:
    """A DNS server on some port, its log, and look-ups that ask it."""
    process, port = helpers_dns.start(0, str(tmp_path / 'log'), '127.0.0.1')
    try:
        yield At(port), tmp_path / 'log'
    finally:
        helpers_dns.stop(process)


pure = pytest.mark.skipif(
    resolvers.cares() is None
    or Rules(
        *[
            Path(path).read_text() if Path(path).exists() else None
            for path in ('/etc/nsswitch.conf', '/etc/resolv.conf')
        ]
    ).need_system('a.example', {}),
    reason="this system's files send all names to its own resolver",
)


@pure
def test_channels_are_short_lived(dns: Any, oracle: Any) -> None:
    """A channel serves a hundred names, is closed with its last look-up, and 250 names at once are all found."""
    lookups, log = dns
    found = [gevent.spawn(found_by, lookups, f'web{n}.example') for n in range(250)]
    gevent.joinall(found, timeout=20)
    assert [one.value[0][4] for one in found] == [(f'127.1.{n // 250}.{n % 250 + 1}', 80) for n in range(250)]
    assert lookups.made == 3 and len(lookups._channels) == 1
    assert len({line.split()[3] for line in log.read_text().splitlines()}) == 250
    lookups._retire()
    assert not lookups._channels


@pure
def test_dead_names_beside_others(dns: Any, oracle: Any) -> None:
    """Names that nobody answers for keep no other waiting, in the same channel or in another."""
    lookups, _ = dns
    dead = [gevent.spawn(outcome, lambda name: found_by(lookups, name), f'dead{n}.example') for n in range(150)]
    good = [gevent.spawn(found_by, lookups, f'web{n}.example') for n in range(150)]
    gevent.joinall(good, timeout=20)
    assert all(one.value for one in good) and not any(one.ready() for one in dead)
    gevent.joinall(dead, timeout=20)
    assert {one.value for one in dead} == {'temporary'}
    lookups._retire()


@pure
def test_killed_look_ups(dns: Any, oracle: Any) -> None:
    """A look-up that is killed leaves the others of its channel alone, which is closed when they have ended."""
    lookups, _ = dns
    dead = [gevent.spawn(found_by, lookups, f'dead{n}.example') for n in range(20)]
    gevent.sleep(0.01)
    gevent.killall(dead)
    assert found_by(lookups, 'both.example')[0][4][:2] == ('::1', 80)
    lookups._retire()


# Real DNS, in a namespace: the system's own and ours, side by side ---------------------------------------------------

BOTH = """
import _socket
from gevent.hub import get_hub
from napixclient._http.connect import nss, resolvers
from napixclient._http.connect.resolvers import lookups
def ours(name):
    return found_by(lookups(), name)
def theirs(name):
    return _socket.getaddrinfo(name, 80, 0, _socket.SOCK_STREAM)
"""
SIDE_BY_SIDE = (
    BOTH
    + """
found = {}
for name in sys.argv[1:]:
    mine, system = outcome(ours, name), outcome(theirs, name)
    way = 'system' if lookups()._watch.rules().need_system(name, os.environ) else 'dns'
    found[name] = [way, mine if len(mine) < 40 else len(mine), system if len(system) < 40 else len(system)]
print(json.dumps(found))
"""
)
HOME = ['127.0.0.1']
#: Name -> who is asked, and what both say.
ALIKE: dict[str, tuple[str, Any]] = {
    'a.example': ('dns', HOME),
    'a.example.': ('dns', HOME),
    'A_b.EXAMPLE': ('dns', HOME),
    'short': ('dns', HOME),
    f'{"v" * 63}.example': ('dns', HOME),
    'both.example': ('dns', ['::1', '127.0.0.1']),
    'only6.example': ('dns', ['::1']),
    'many40.example': ('dns', 80),
    'chain.example': ('dns', HOME),
    'loop0.example': ('dns', 'not found'),
    'leads.example': ('dns', 'not found'),
    'vast.example': ('dns', 400),
    'cut.example': ('dns', 'temporary'),
    'sixnx.example': ('dns', HOME),
    'sixservfail.example': ('dns', HOME),
    'sixrefused.example': ('dns', HOME),
    'fournx.example': ('dns', ['::1']),
    'fourservfail.example': ('dns', ['::1']),
    'fourrefused.example': ('dns', ['::1']),
    '\u2603.example': ('dns', HOME),
    'fa\xdf.example': ('dns', HOME),
    'nx.example': ('dns', 'not found'),
    'empty.example': ('dns', 'not found'),
    'servfail.example': ('dns', 'temporary'),
    'refused.example': ('dns', 'temporary'),
    'notimp.example': ('dns', 'temporary'),
    'dead.example': ('dns', 'temporary'),
    'mutesix.example': ('dns', HOME),
    'localhost': ('system', HOME),
    'x.localhost': ('system', HOME),
    'printer.local': ('system', HOME),
    '127.1': ('system', HOME),
    '0x7f000001': ('system', HOME),
    'h': ('system', ['10.0.0.1']),
    'ALIAS': ('system', ['10.0.0.1']),
    'same': ('system', ['10.0.0.1']),
    'same.': ('dns', HOME),
}
#: Where c-ares and the system do not agree: what each says.
OTHERWISE: dict[str, tuple[Any, Any]] = {
    'other.example': (HOME, 'not found'),
    'mutea.example': (['::1'], 'temporary'),
    'slowsix.example': (HOME, ['::1', '127.0.0.1']),
    'secret.onion': ('not found', HOME),
}


def test_both_say_the_same() -> None:
    """Whoever is asked, a name has the addresses, or the kind of failure, that the system gives it."""
    found = in_namespace(SIDE_BY_SIDE, *ALIKE, hosts=f'127.0.0.1 localhost\n{HOSTS}')
    for name, (way, said) in ALIKE.items():
        system = 'not found' if name == 'mutesix.example' and found[name][2] == 'not found' else said
        assert found[name] == [way, said, system], (name, found[name])


def test_known_differences() -> None:
    """DNS is trusted as to whose address it tells; what comes only after a silence may be lost; .onion is not asked."""
    resolv = 'nameserver 127.0.0.1\noptions timeout:4 attempts:1\n'
    found = in_namespace(SIDE_BY_SIDE, *OTHERWISE, resolv=resolv)
    assert found == {name: ['dns', *said] for name, said in OTHERWISE.items()}


def test_as_often_as_the_system_asks() -> None:
    """A name that nobody answers for is asked as often as the options say, by either way."""
    found = in_namespace(
        BOTH
        + """
counts = []
for find, name in (ours, 'dead1.example'), (theirs, 'dead2.example'):
    outcome(find, name)
    counts.append(sorted(line.split()[4] for line in queries(name)))
print(json.dumps(counts))
""",
        resolv='nameserver 127.0.0.1\noptions timeout:1 attempts:3\n',
    )
    assert found == [['1'] * 3 + ['28'] * 3] * 2


def test_more_servers_than_the_system_has() -> None:
    """All servers of resolv.conf are asked, where the system has three."""
    silent = ''.join(f'nameserver 127.0.0.7{n}\n' for n in range(3))
    found = in_namespace(
        BOTH + 'print(json.dumps([outcome(ours, "a.example"), outcome(theirs, "a.example")]))',
        resolv=f'{silent}nameserver 127.0.0.1\noptions timeout:1 attempts:1\n',
    )
    assert found == [HOME, 'temporary']


@pytest.mark.parametrize('variable', ['LOCALDOMAIN', 'HOSTALIASES'])
def test_what_the_environment_says(variable: str, tmp_path: Path) -> None:
    """Another search list, or aliases, are obeyed as the system obeys them, from when they are set on."""
    (tmp_path / 'aliases').write_text('short web7.example\n')
    value = 'two.example' if variable == 'LOCALDOMAIN' else str(tmp_path / 'aliases')
    found = in_namespace(
        BOTH
        + """
before = outcome(ours, 'short')
os.environ[sys.argv[1]] = sys.argv[2]
print(json.dumps([before, outcome(ours, 'short'), outcome(theirs, 'short'), [line.split()[3] for line in queries()]]))
""",
        variable,
        value,
    )
    before, mine, system, asked = found
    assert before == HOME and mine == system
    if variable == 'LOCALDOMAIN':
        assert 'short.two.example' in asked
    else:
        assert mine == ['127.1.0.8'] and 'web7.example' in asked


KEPT_AND_BOUND = """
import gevent
from gevent.server import StreamServer
from napixclient import Client, ClientPool, HTTPError
from napixclient._http.connect import name_cache
from urllib3 import Timeout
def talk(sock, _):
    sock.recv(65536)
    sock.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok')
server = StreamServer(('0.0.0.0', 8080), talk)
server.start()
"""
EITHER_WAY = pytest.mark.parametrize(
    'nsswitch', ['hosts: files dns\n', 'hosts: files dns [!UNAVAIL=return]\n'], ids=['dns', 'system']
)


@EITHER_WAY
def test_kept_for_half_a_minute(nsswitch: str) -> None:
    """A name is asked for once in a while, whoever answers, and counted as often."""
    found = in_namespace(
        KEPT_AND_BOUND
        + """
with Client('a.example:8080') as client:
    said = [client.request('GET', '/').status for _ in range(5)]
    client.submit('GET', '/'), client.submit('GET', '/')
    lookups = client.stats()['lookups']
    print(json.dumps([said, len(queries()), lookups['count'], lookups['failed'], lookups['seconds'] > 0]))
""",
        nsswitch=nsswitch,
    )
    assert found == [[200] * 5, 2, 1, 0, True]


@EITHER_WAY
def test_a_time_of_its_own_whoever_is_asked(nsswitch: str) -> None:
    """A look-up that a silent server keeps is given up, also for who has no bound, and its failure names it."""
    found = in_namespace(
        KEPT_AND_BOUND
        + """
name_cache.LOOKUP_SECONDS = 0.2
said = []
with Client('dead.example', timeout=Timeout(connect=None)) as client:
    try:
        client.request('GET', '/')
    except HTTPError as error:
        said += [type(error).__name__, error.message, client.stats()['lookups']['failed']]
print(json.dumps(said))
""",
        nsswitch=nsswitch,
        resolv='nameserver 127.0.0.1\noptions timeout:5\n',
    )
    assert found == ['NameResolutionError', 'cannot resolve dead.example: the look-up did not end within 0.2 s', 1]


ENDED = """
with ClientPool(timeout=30) as pool:
    dead = [pool.request('dead.example:8080', 'GET', '/') for _ in range(3)]
    good = [pool.request(f'web{n}.example:8080', 'GET', '/') for n in range(50)]
    gevent.sleep(0)                             # all look-ups have begun, and none can be over
    if sys.argv[1] == 'cancel':
        [one.cancel() for one in dead + good[::2]]
    elif sys.argv[1] == 'kill':
        waiting = [gevent.spawn(one.get) for one in dead]
        gevent.sleep(0)
        gevent.killall(waiting)
        dead[0].cancel()
    else:
        pool.close()
    gevent.wait(good, timeout=10)
    said = [sum(one.successful() for one in good), [one.ready() for one in dead]]
    if sys.argv[1] != 'close':
        late = pool.request('web99.example:8080', 'GET', '/').get()
        said.append(late.status)
    print(json.dumps(said))
"""


@EITHER_WAY
@pytest.mark.parametrize(
    ('end', 'said'),
    [('cancel', [25, [True] * 3, 200]), ('kill', [50, [True, False, False], 200]), ('close', [0, [True] * 3])],
)
def test_ended_while_a_server_is_asked(end: str, said: Any, nsswitch: str) -> None:
    """Who ends requests, kills who waits for them, or closes the pool, harms no other look-up."""
    assert in_namespace(KEPT_AND_BOUND + ENDED, end, nsswitch=nsswitch) == said


def test_searched_alike() -> None:
    """The search list, ndots and a trailing dot lead to the same queries, in the same order."""
    found = in_namespace(
        BOTH
        + """
names = 'nx', 'nx.', 'nx.a', 'nx.a.b', 'nx.a.b.'
seen = []
for find in ours, theirs:
    for name in names:
        before = len(queries())
        outcome(find, name)
        seen.append(list(dict.fromkeys(line.split()[3] for line in queries()[before:])))
print(json.dumps([seen[:len(names)], seen[len(names):]]))
""",
        resolv='nameserver 127.0.0.1\nsearch one.example two.example\noptions ndots:2\n',
    )
    assert found[0] == found[1] and found[0][0] == ['nx.one.example', 'nx.two.example', 'nx']


SYSTEMS: list[dict[str, Any]] = [
    {'resolv': 'nameserver 127.0.0.1\noptions use-vc\n', 'kinds': {'tcp 1', 'tcp 28'}},
    {'resolv': 'nameserver 127.0.0.1\noptions no-aaaa\n', 'kinds': {'udp 1'}},
    {'RES_OPTIONS': 'use-vc', 'kinds': {'tcp 1', 'tcp 28'}},
    {'nsswitch': 'hosts: files\n', 'kinds': set(), 'said': 'not found'},
    {'nsswitch': 'hosts: files dns [!UNAVAIL=return]\n', 'kinds': {'udp 1', 'udp 28'}},
]


@pytest.mark.parametrize('how', SYSTEMS)
def test_what_only_the_system_obeys(how: dict[str, Any]) -> None:
    """Options, sources and variables that c-ares does not know are obeyed, as the system is asked."""
    how = dict(how)
    kinds, said = how.pop('kinds'), how.pop('said', HOME)
    found = in_namespace(
        BOTH
        + """
said = outcome(ours, 'a.example')
kinds = sorted({' '.join(line.split()[1::3]) for line in queries()})
print(json.dumps([said, kinds]))
""",
        **how,
    )
    if 'no-aaaa' in how.get('resolv', '') and len(found[1]) == 2:
        pytest.skip('this C library does not know no-aaaa')
    assert found == [said, sorted(kinds)]


def test_a_missing_source() -> None:
    """A source whose module is missing makes another kind of error of the system's: the look-up failed, no more."""
    found = in_namespace(
        BOTH
        + """
from napixclient import Client, HTTPError
try:
    Client('nx.example').request('GET', '/')
except HTTPError as error:
    print(json.dumps(type(error).__name__))
""",
        nsswitch='hosts: files nosuchmodule dns\n',
    )
    assert found == 'NameResolutionError'


def test_files_that_change() -> None:
    """A change of resolv.conf, nsswitch.conf or hosts is followed, in place or by rename; the channel is given up."""
    found = in_namespace(
        BOTH
        + """
nss.LOOK_SECONDS = 0
found = []
def asked(name):
    before = len(queries())
    said = outcome(ours, name)
    return [said, sorted({line.split()[0] for line in queries()[before:]})]
found.append(asked('one.example'))
write_etc('resolv.conf', 'nameserver 127.0.0.2\\n')
found.append(asked('two.example'))
write_etc('resolv.conf', 'nameserver ::1\\n', rename=False)
found.append(asked('three.example'))
write_etc('hosts', '10.1.1.1 four.example\\n')
found.append(asked('four.example'))
write_etc('nsswitch.conf', 'hosts: files\\n')
found.append(asked('five.example'))
print(json.dumps(found + [len(lookups()._channels)]))
"""
    )
    assert found == [
        [HOME, ['127.0.0.1']],
        [HOME, ['127.0.0.2']],
        [HOME, ['::1']],
        [['10.1.1.1'], []],
        ['not found', []],
        1,
    ]


def test_empty_answers_are_not_kept() -> None:
    """A name that had no address a while ago is asked for again: an empty answer lives no longer than its channel."""
    found = in_namespace(
        BOTH
        + """
said = [outcome(ours, 'flip.example')]
lookups()._retire()
said.append(outcome(ours, 'flip.example'))
print(json.dumps(said))
"""
    )
    assert found == ['not found', HOME]


def test_hub_settings_do_not_leak_in() -> None:
    """gevent's own settings change nothing: neither which resolver is asked nor which servers."""
    found = in_namespace(
        BOTH
        + """
print(json.dumps([outcome(ours, 'a.example'), outcome(ours, 'dead.example')]))
""",
        GEVENT_RESOLVER='ares',
        GEVENT_RESOLVER_SERVERS='127.0.0.9',
        GEVENT_RESOLVER_FLAGS='1',
    )
    assert found == [HOME, 'temporary']


def test_a_silent_first_server() -> None:
    """Where the first server is silent, the second is asked."""
    found = in_namespace(
        BOTH + 'print(json.dumps(outcome(ours, "a.example")))',
        resolv='nameserver 127.0.0.77\nnameserver 127.0.0.2\noptions timeout:1\n',
    )
    assert found == HOME


WORLD = """
import gevent
from gevent.server import StreamServer
from napixclient import ClientPool
def talk(sock, _):
    while sock.recv(65536):
        sock.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')
server = StreamServer(('0.0.0.0', 8080), talk, backlog=1024)
server.start()
dead, good = int(sys.argv[1]), 288
with ClientPool(timeout=2.0 if len(sys.argv) < 3 else 1e9) as pool:
    late = [pool.request(f'dead{n}.example', 'GET', '/') for n in range(dead)]
    soon = [pool.request(f'web{n}.example:8080', 'GET', '/') for n in range(good)]
    gevent.wait(soon, timeout=40)
    early = sum(one.ready() for one in late)
    gevent.wait(late, timeout=40)
    print(json.dumps([early, sum(one.successful() for one in soon), sorted({type(one.exception).__name__ for one in late}),
                      all(f'look-up of dead{n}.example' in one.exception.message for n, one in enumerate(late))]))
"""


@EITHER_WAY
@pytest.mark.parametrize('dead', [12, 150])
def test_53_dead_names_in_a_namespace(dead: int, nsswitch: str) -> None:
    """With real DNS that is silent for some names, all others are answered before the first of these has failed."""
    assert in_namespace(WORLD, dead, nsswitch=nsswitch, resolv='nameserver 127.0.0.1\n') == [
        0,
        288,
        ['ConnectTimeout'],
        True,
    ]


def test_looked_up_again_in_a_child() -> None:
    """After a fork, parent and child find names, those under way too; nothing of the parent's is waited for."""
    found = in_namespace(
        BOTH
        + """
import gevent
from napixclient import ClientPool, HTTPError
pool = ClientPool(timeout=10)
def told(name):
    try:
        pool.request(name, 'GET', '/').get()
    except HTTPError as error:
        return type(error).__name__
told('a.example')
pool.request('dead1.example', 'GET', '/')
gevent.sleep(0.05)
reads, writes = os.pipe()
child = os.fork()
if not child:
    said = [told('b.example'), told('a.local'), outcome(ours, 'both.example')]
    pool.close()
    gevent.wait(timeout=10)
    os.write(writes, json.dumps(said).encode())
    os._exit(0)
mine = [told('c.example'), told('c.local'), outcome(ours, 'web7.example')]
os.close(writes)
gevent.sleep(0.01)                              # gevent's own os.close() closes in the next turn
said = b''
while data := os.read(reads, 4096):
    said += data
os.waitpid(child, 0)
print(json.dumps([mine, json.loads(said)]))
"""
    )
    refused = 'RefusedError'
    assert found == [[refused, refused, ['127.1.0.8']], [refused, refused, ['::1', '127.0.0.1']]]


@pytest.mark.parametrize(('name', 'channel'), [('new.example', 'new'), ('new.example', 'kept'), ('new.local', 'kept')])
def test_no_descriptors_for_a_look_up(name: str, channel: str) -> None:
    """A look-up that fails for want of descriptors is no fault of the name's: it is the process's, and may succeed."""
    found = in_namespace(
        BOTH
        + """
import resource
import gevent
from napixclient import Client, HTTPError
name = sys.argv[1]
ours('a.example'), ours('a.local')
if sys.argv[2] == 'new':
    lookups()._retire()
files = []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
client = Client(name, timeout=5)
try:
    while True:
        files.append(os.open('/dev/null', os.O_RDONLY))
except OSError:
    pass
try:
    client.request('GET', '/')
except HTTPError as error:
    said = [type(error).__name__, error.message]
for file in files:
    os.close(file)
gevent.sleep(0.01)                              # gevent's own os.close() closes in the next turn
try:
    client.request('GET', '/')
except HTTPError as error:
    said.append(type(error).__name__)
print(json.dumps(said))
""",
        name,
        channel,
    )
    assert found == ['NoDescriptors', 'cannot connect: Too many open files', 'RefusedError']


def test_a_program_that_ends() -> None:
    """A program that ends while a channel is open, and a thread busy, ends at once and prints nothing."""
    took = in_namespace(
        BOTH
        + """
import gevent
ours('a.example')
gevent.spawn(outcome, ours, 'dead.example')
gevent.spawn(outcome, ours, 'dead.local')
gevent.sleep(0.05)
print(json.dumps(len(lookups()._channels)))
"""
    )
    assert took == 1


def test_nothing_is_left_behind() -> None:
    """Descriptors, channels and threads are where they were when names have been looked up."""
    found = in_namespace(
        BOTH
        + """
import gc, gevent
resolvers.CHANNEL_SECONDS = 0.2
ours('a.example'), ours('a.local')
def left():
    return [len(os.listdir('/proc/self/fd')), lookups().threads._running, gevent.get_hub().loop.activecnt]
gevent.sleep(0.5)
before = left()
jobs = [gevent.spawn(outcome, ours, f'web{n}.{"local" if n % 10 == 0 else "example"}') for n in range(1000)]
gevent.joinall(jobs)
failed = sum(not isinstance(job.value, list) for job in jobs)
gevent.sleep(0.5)
gc.collect()
print(json.dumps([failed, before, left(), len(lookups()._channels), len(queries()) <= 2010]))
"""
    )
    assert found[0] == 0 and found[1] == found[2] and found[3:] == [0, True], found


def test_a_channel_lives_as_long_each_time() -> None:
    """A channel that is opened when another has had its time has as much."""
    opened = in_namespace(
        BOTH
        + """
import gevent
resolvers.CHANNEL_SECONDS = 1.0
opened = []
new_channel = lookups()._new_channel
lookups()._new_channel = lambda: opened.append(1) or new_channel()
ours('a.example')
gevent.sleep(1.5)
for number in range(12):
    ours(f'web{number}.example')
    gevent.sleep(0.001)
print(json.dumps(len(opened)))
"""
    )
    assert 2 <= opened <= 6
