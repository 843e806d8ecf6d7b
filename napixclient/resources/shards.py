"""A mapping of keys to the hosts that hold them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Set
from difflib import get_close_matches
from typing import Any, Literal, overload

from .._http.options import SharedOptions, Simultaneous
from .._options import Unpack, lists, refuse_unknown
from ..authenticators import Credentials
from ..messages import Body
from .cover import least_cover
from .errors import NoHostAvailable
from .resource import AskOptions, Response
from .resources import Resources

__all__ = ['Shards']


@lists(SharedOptions)
class ShardsOptions(SharedOptions, total=False):
    """The options of :class:`Shards`: those of its :class:`Resources`.

    :param simultaneous: ``int``, requests in flight to one host at most, or ``'auto'``. Default: 2.
    :param zones: a mapping of hosts to zones, for ``need`` by zones. Default: ``None``.
    :param policy: ``'p2c'``, or ``None`` for a random choice, biased to the hosts with connections ready. Default:
        ``None``.
    :param singleflight: ``bool``, identical GETs to one host, one of which is under way already, share its answer.
        Default: ``False``.
    :param hedge_budget: ``float``, extra requests that ``hedge`` may make, as a share of all requests. Default: 0.05.
    :param authenticator: a callable ``Request -> Request``, or ``{'login': …, 'key': …}``. Default: ``None``.
    :param headers: a mapping of names to values, fields for every request that does not set them itself. Default:
        ``User-Agent``, ``Accept`` and ``Accept-Encoding``.
    :param verify: ``bool``, ``False`` to accept any certificate. Default: ``True``.
    """

    simultaneous: Simultaneous
    zones: Mapping[str, Hashable] | None
    policy: Literal['p2c'] | None
    singleflight: bool
    hedge_budget: float
    authenticator: Credentials | None
    headers: Mapping[str, object] | None
    verify: bool


#: Keywords that are options, and no hosts.
OPTIONS = ShardsOptions.__optional_keys__


@lists(AskOptions)
class UnicastOptions(AskOptions, total=False):
    """What :meth:`Shards.unicast` takes by keyword.

    :param attempts: ``int``, hosts that may be asked, one after the other. Default: 1.
    :param hedge: ``float``, a quantile such as 0.95: an idempotent request that takes longer than that share of the
        recent ones is sent to a second host. Default: ``None``.
    """

    attempts: int
    hedge: float | None


@lists(AskOptions)
class BroadcastOptions(AskOptions, total=False):
    """What :meth:`Shards.broadcast` and :meth:`Shards.multicast` take by keyword.

    :param need: ``int``, return as soon as so many have succeeded, or ``{zone: number}`` in each of these zones.
        Default: ``None``, wait for all.
    """

    need: int | Mapping[Any, int] | None


@lists(ShardsOptions)
class Shards(dict[Any, set[str]]):
    """Keys, and for each the set of hosts that hold it.

    >>> from napixclient.resources import Shards
    >>> shards = Shards([('server.example', 'east'), ('alias.example', 'east'), ('alias.example', 'west')])
    >>> sorted(shards['east'])
    ['alias.example', 'server.example']

    :param items: ``(host, key)`` pairs.
    :param limit: connections to each host that are kept while they are idle.
    :param multimap: the keys of a host, by its name: ``Shards(**{'server.example:8002': ['east', 'west']})``. What is
        an option goes to the :class:`Resources` instead; a host that is called like one is given in ``items``.
    :param options: those of :class:`Resources`:
    :raises ValueError: for a host or an option that makes no sense.
    :raises TypeError: for a keyword that is neither, such as a misspelt option.
    """

    #: The hosts, as :class:`Resources`; those of one's own, with another ``priority`` perhaps, may take their place.
    resources: Resources

    @overload
    def __init__(
        self, items: Iterable[tuple[str, Hashable]] = (), limit: int = 0, **options: Unpack[ShardsOptions]
    ) -> None: ...

    @overload
    def __init__(
        self, items: Iterable[tuple[str, Hashable]] = (), limit: int = 0, /, **multimap: Iterable[Hashable]
    ) -> None: ...

    def __init__(  # type: ignore[misc]  # a host that is called like a parameter is given in items
        self, items: Iterable[tuple[str, Hashable]] = (), limit: int = 0, **multimap: Any
    ) -> None:
        super().__init__()
        options: Any = {name: multimap.pop(name) for name in OPTIONS & multimap.keys()}
        refuse_unknown(Shards, [name for name, keys in multimap.items() if _is_misspelt(name, keys)], OPTIONS)
        hosts: dict[str, None] = {}
        for host, key in _pairs(items, multimap):
            self.setdefault(key, set()).add(host)
            hosts[host] = None
        self.resources = Resources(hosts, limit, **options)

    # -- asking --------------------------------------------------------------------------------------------------------

    @lists(UnicastOptions)
    def unicast(
        self, key: Hashable, method: str, path: str, body: Body | None = None, **options: Unpack[UnicastOptions]
    ) -> Response:
        """Send a request to one of the hosts that hold a key.

        :param options: those of :meth:`Resources.unicast`:
        :return: the response, of any status.
        :raises NoHostAvailable: when all of these hosts are out.
        :raises HTTPError: when there is no answer.
        :raises KeyError: for a key that there is not.
        """
        hosts = self._ordered(self._holders(key))
        try:
            return self.resources.unicast(method, path, body, hosts, **options)
        except TypeError:  # which may be one of the body's
            refuse_unknown(Shards.unicast, options, UnicastOptions.__optional_keys__)
            raise

    @lists(BroadcastOptions)
    def broadcast(
        self, key: Hashable, method: str, path: str, body: Body | None = None, **options: Unpack[BroadcastOptions]
    ) -> list[Any]:
        """Send a request to all hosts that hold a key.

        :param options: those of :meth:`Resources.broadcast`:
        :return: for each host a response, or a falsy error, which raises itself when it is called.
        :raises QuorumError: when fewer than ``need`` succeeded.
        :raises KeyError: for a key that there is not.
        """
        return self._broadcast(Shards.broadcast, method, path, body, self._ordered(self._holders(key)), options)

    @lists(BroadcastOptions)
    def multicast(
        self,
        keys: Iterable[Hashable],
        method: str,
        path: str,
        body: Body | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[Any]:
        """Send a request to as few hosts as can be, so that each key is held by one of them.

        Of the subsets of the least size it is one with the best sum of priorities. A host may hold several of the keys,
        and several hosts the same, so that what they answer may overlap.

        :param keys: none of them asks nobody.
        :param options: those of :meth:`Resources.broadcast`:
        :return: for each host a response, or a falsy error, which raises itself when it is called.
        :raises NoHostAvailable: for a key whose hosts are all out.
        :raises KeyError: for a key that there is not.
        """
        hosts = self._cover({key: self._holders(key) for key in keys})
        return self._broadcast(Shards.multicast, method, path, body, hosts, options) if hosts else []

    def _broadcast(
        self,
        taker: Callable[..., object],
        method: str,
        path: str,
        body: Body | None,
        hosts: list[str],
        options: BroadcastOptions,
    ) -> list[Any]:
        try:
            return self.resources.broadcast(method, path, body, hosts, **options)
        except TypeError:  # which may be one of the body's
            refuse_unknown(taker, options, BroadcastOptions.__optional_keys__)
            raise

    def _holders(self, key: Hashable) -> Set[str]:
        holders: Any = self[key]
        if not holders:
            raise NoHostAvailable(f'no host holds the key {key!r}')
        return holders if isinstance(holders, (set, frozenset)) else frozenset(holders)

    def _ordered(self, hosts: Set[str]) -> list[str]:
        """In the order of the resources; what is none of them comes last, and is refused by them."""
        known = [host for host in self.resources if host in hosts]
        return known + sorted(hosts - set(known))

    # -- choosing ------------------------------------------------------------------------------------------------------

    def priority(self, hosts: str | Iterable[str]) -> Any:
        """The combined priority of some hosts: how many they are, and the sum of their priorities.

        May be overridden; :meth:`choice` compares what it returns, and :meth:`multicast` asks it for each host alone.

        :return: ``None`` when one of them is out.
        """
        priorities = [self.resources.priority(host) for host in dict.fromkeys(_group(hosts))]
        known = [priority for priority in priorities if priority is not None]
        return (len(known), sum(known)) if len(known) == len(priorities) else None

    def choice(self, hosts: Iterable[Any]) -> Any:
        """Of some hosts, or some groups of hosts, the one with the best priority; of several such, one at random.

        :raises NoHostAvailable: when none is left.
        """
        ranked = [(self.priority(one), one) for one in hosts]
        left = [rank for rank, _ in ranked if rank is not None]
        if not left:
            raise NoHostAvailable('no host is left: all of these are out')
        best = min(left)
        return random.choice([one for rank, one in ranked if rank == best])

    def _cover(self, holders: Mapping[Any, Set[str]]) -> list[str]:
        """The hosts to ask for these keys. One that is set aside is asked only for a key that no other holds."""
        hosts = self._ordered(frozenset().union(*holders.values()))
        healths = {host: self.resources._replica(host).health for host in hosts}
        weights = {host: self._weight(host) for host in healths}
        usable = {host for host, health in healths.items() if weights[host] is not None and not health.out}
        sound = {host for host in usable if healths[host].up or healths[host].due}
        for host in sound:
            if healths[host].due:  # its pause is over: this is its probe
                weights[host] = -math.inf
        if len(sound) < len(hosts):
            holders = {key: sound & held_by or usable & held_by for key, held_by in holders.items()}
        return least_cover(holders, weights)

    def _weight(self, host: str) -> Any:
        found = self.priority((host,))
        return found[-1] if isinstance(found, tuple) else found

    # -- ends ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is under way and close the connections. May be repeated."""
        self.resources.close()

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pairs(items: Iterable[Any], multimap: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for item in items:
        try:
            host, key = item
        except (TypeError, ValueError):
            raise ValueError(f'items are pairs of a host and a key, not {item!r}') from None
        if not isinstance(host, str) or not isinstance(key, Hashable):
            raise ValueError(f'items are pairs of a host, a text, and one key that can be hashed, not {item!r}')
        yield host, key
    for host, keys in multimap.items():
        if not _is_keys(keys):
            raise TypeError(f'{host!r} is no option, so it is a host with a list of its keys, not {keys!r}')
        for key in keys:
            yield host, key


def _is_keys(given: object) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping))


def _is_misspelt(name: str, keys: object) -> bool:
    """Whether a keyword that is no option is nearly one, and no host.

    What is a plain word is none, whatever its value; a host with such a name is given in ``items``.
    """
    is_word = name.replace('_', '').isalpha()
    return bool((is_word or not _is_keys(keys)) and get_close_matches(name, [*OPTIONS, 'items', 'limit'], 1, 0.75))


def _group(hosts: str | Iterable[str]) -> Iterable[str]:
    return (hosts,) if isinstance(hosts, str) else hosts
