"""Which names the system's own ``getaddrinfo`` has to look up, and which DNS alone can answer.

A pure decision over the texts of the system's files, and a watch over these.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Mapping
from time import monotonic

__all__ = ['Rules', 'Watch', 'names_in']

#: Seconds between two looks at the files, as Go does it.
LOOK_SECONDS = 5.0
#: Options and lines of resolv.conf that c-ares understands as the C library does.
_OPTIONS = frozenset(['attempts', 'edns0', 'ndots', 'rotate', 'timeout'])
_LINES = frozenset(['domain', 'nameserver', 'search'])
#: nss-mdns answers for ``.local`` only, so that this is no news for any other name.
_NO_NEWS = frozenset(['[notfound=return]'])
#: Names that nss-myhostname makes up.
_MADE_UP = frozenset(['_gateway', '_localdnsproxy', '_localdnsstub', '_outbound', 'gateway'])
#: Names of this machine that gevent would look up in the loop itself, or c-ares would not look up at all.
_LOCAL = ('localhost', 'local', 'localhost.localdomain', 'ip6-localhost')
_BELOW_LOCAL = ('.local', '.localhost', '.localhost.localdomain')
_criteria = re.compile(r'\[[^\]]*\]')


class Rules:
    """What the system's files say of where names come from.

    :param nsswitch: the text of nsswitch.conf, ``None`` where there is none.
    :param resolv: that of resolv.conf.
    :param hosts: the names in the hosts file, in lower case.
    :param host_name: what this machine is called.
    :param mdns_allow: whether nss-mdns is configured to answer for other names than ``.local``.
    """

    def __init__(
        self,
        nsswitch: str | None,
        resolv: str | None,
        hosts: Iterable[str] = (),
        host_name: str = '',
        mdns_allow: bool = False,
    ) -> None:
        self._hosts = frozenset(hosts)
        host_name = host_name.lower()
        self._own = _MADE_UP | {host_name, host_name.partition('.')[0]}
        sources = _sources(nsswitch)
        self._invents = 'myhostname' in sources
        self._always = not _is_plain(sources, mdns_allow) or not _is_known(resolv)

    def need_system(self, name: str, environ: Mapping[str, str]) -> bool:
        """Whether ``getaddrinfo`` knows better than DNS of this name, an ASCII one."""
        if self._always or 'LOCALDOMAIN' in environ or 'RES_OPTIONS' in environ or 'HOSTALIASES' in environ:
            return True  # resolv.conf(5), hostname(7)
        exact = name.lower()
        bare = exact.removesuffix('.')
        last = bare.rpartition('.')[2]
        return (
            exact in self._hosts
            or bare in _LOCAL
            or bare.endswith(_BELOW_LOCAL)
            or last.isdigit()
            or last.startswith('0x')  # an old spelling of an address
            or ':' in bare
            or (self._invents and bare in self._own)
        )


def _sources(nsswitch: str | None) -> list[str]:
    """The sources of hosts and the criteria between them, in lower case."""
    for line in (nsswitch or '').splitlines():
        database, colon, rest = line.partition('#')[0].partition(':')
        if colon and database.strip().lower() == 'hosts':
            return _criteria.sub(lambda found: f' {"".join(found[0].split())} ', rest.lower()).split()
    return ['files', 'dns']


def _is_plain(sources: list[str], mdns_allow: bool) -> bool:
    """Whether DNS has the last word on any name that is not excepted elsewhere."""
    before = ''
    for source in sources:
        if source.startswith('mdns'):
            if mdns_allow:
                return False
        elif source not in ('files', 'dns', 'myhostname') and not (source in _NO_NEWS and before.startswith('mdns')):
            return False
        before = source
    return 'dns' in sources


def _is_known(resolv: str | None) -> bool:
    """Whether all lines and options are among those that mean the same to c-ares."""
    for line in (resolv or '').splitlines():
        words = line.split()
        if not words or words[0].startswith(('#', ';')):
            continue
        if words[0] == 'options':
            if not all(word.partition(':')[0] in _OPTIONS for word in words[1:]):
                return False
        elif words[0] not in _LINES:
            return False
    return True


def names_in(hosts: str) -> set[str]:
    """The names in the text of a hosts file, in lower case."""
    found: set[str] = set()
    for line in hosts.splitlines():
        found.update(line.partition('#')[0].lower().split()[1:])
    return found


class Watch:
    """The rules by the files as they are now, or were a few seconds ago."""

    NSSWITCH, RESOLV, HOSTS, MDNS_ALLOW = '/etc/nsswitch.conf', '/etc/resolv.conf', '/etc/hosts', '/etc/mdns.allow'

    def __init__(self) -> None:
        self._looked = float('-inf')
        self._seen: object = None
        #: Counts how often the files have changed.
        self.version = 0
        self._rules = Rules(None, None)

    def rules(self) -> Rules:
        """The rules; a look-up that begins asks for them.

        :raises OSError: when the process may open no more files.
        """
        now = monotonic()
        if now - self._looked >= LOOK_SECONDS:
            seen = [_mark(path) for path in (self.NSSWITCH, self.RESOLV, self.HOSTS, self.MDNS_ALLOW)]
            if seen != self._seen:
                nsswitch, resolv, hosts = (_text(path) for path in (self.NSSWITCH, self.RESOLV, self.HOSTS))
                self._rules = Rules(nsswitch, resolv, names_in(hosts or ''), socket.gethostname(), seen[3] is not None)
                self._seen = seen
                self.version += 1
            self._looked = now
        return self._rules


def _mark(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _text(path: str) -> str | None:
    try:
        with open(path, encoding='ascii', errors='replace') as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        return '?'  # means something that we cannot know: for the C library
