"""A mapping of keys to the hosts that hold them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Set
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, overload

from .._http.options import SharedOptions, Simultaneous
from .._options import Unpack, lists, refuse_unknown
from ..authenticators import Credentials
from ..messages import Body, CallOptions, ContentOptions, Fields, Params
from .cover import least_cover
from .errors import Failure, NoHostAvailable
from .resource import AskOptions, Response
from .resources import Resources

__all__ = ['Shards']

_T = TypeVar('_T', bound='str | Iterable[str]')


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


#: Keywords that are options and not hosts.
OPTIONS = ShardsOptions.__optional_keys__


@lists(AskOptions)
class UnicastOptions(CallOptions, ContentOptions, total=False):
    """What :meth:`Shards.unicast` takes by keyword.

    :param attempts: ``int``, hosts that may be asked, one after the other. Default: 1.
    :param hedge: ``float``, a quantile such as 0.95: an idempotent request that takes longer than that share of the
        recent ones is sent to a second host. Default: ``None``.
    """

    headers: Fields | None
    params: Params | None
    tag: object
    attempts: int
    hedge: float | None


@lists(AskOptions)
class BroadcastOptions(CallOptions, ContentOptions, total=False):
    """What :meth:`Shards.broadcast` and :meth:`Shards.multicast` take by keyword.

    :param need: ``int``, return as soon as so many have succeeded, or ``{zone: number}`` in each of these zones.
        Default: ``None``, wait for all.
    """

    headers: Fields | None
    params: Params | None
    tag: object
    need: int | Mapping[Any, int] | None


@lists(ShardsOptions)
class Shards(dict[Any, set[str]]):
    """A mapping of keys to the sets of hosts that hold them.

    >>> from napixclient.resources import Shards
    >>> shards = Shards([('server.example', 'east'), ('alias.example', 'east'), ('alias.example', 'west')])
    >>> sorted(shards['east'])
    ['alias.example', 'server.example']

    :param items: ``(host, key)`` pairs.
    :param limit: idle connections to keep open for each host.
    :param multimap: the keys of a host, by its name: ``Shards(**{'server.example:8002': ['east', 'west']})``. Options
        of :class:`Resources` are handed on to it; a host that is named like an option must be given in ``items``.
    :param options: those of :class:`Resources`:
    :raises ValueError: if a host or an option is invalid.
    :raises TypeError: if a keyword is neither, such as a misspelt option.
    """

    #: The hosts as :class:`Resources`. Assign other resources to replace them, such as ones with another ``priority``.
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
        :raises NoHostAvailable: if all of these hosts are out.
        :raises HTTPError: if there is no answer.
        :raises KeyError: if there is no such key.
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
    ) -> list[Response | Failure]:
        """Send a request to all hosts that hold a key.

        :param options: those of :meth:`Resources.broadcast`:
        :return: for each host a response, or a falsy error that raises itself when called.
        :raises QuorumError: if fewer than ``need`` hosts succeeded.
        :raises KeyError: if there is no such key.
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
    ) -> list[Response | Failure]:
        """Send a request to the fewest hosts that together hold all of these keys.

        Of the smallest sets of hosts it takes one with the best sum of priorities. A host may hold several of the keys,
        and several hosts the same key, so their answers may overlap.

        :param keys: the keys; without any, no host is asked.
        :param options: those of :meth:`Resources.broadcast`:
        :return: for each host a response, or a falsy error that raises itself when called.
        :raises NoHostAvailable: if all hosts of a key are out.
        :raises KeyError: if there is no such key.
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
    ) -> list[Response | Failure]:
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
        """These hosts in the order of the resources; unknown ones come last, and the resources refuse them."""
        known = [host for host in self.resources if host in hosts]
        return known + sorted(hosts - set(known))

    # -- choosing ------------------------------------------------------------------------------------------------------

    def priority(self, hosts: str | Iterable[str]) -> float | tuple[float, ...] | None:
        """The combined priority of some hosts: their number, and the sum of their priorities.

        A subclass may override it: :meth:`choice` compares its results, and :meth:`multicast` asks it for each host
        alone.

        :return: ``None`` if one of the hosts is out.
        """
        priorities = [self.resources.priority(host) for host in dict.fromkeys(_group(hosts))]
        known = [priority for priority in priorities if priority is not None]
        return (len(known), sum(known)) if len(known) == len(priorities) else None

    def choice(self, hosts: Iterable[_T]) -> _T:
        """The host, or the group of hosts, with the best priority. Ties are broken at random.

        :raises NoHostAvailable: if none is left.
        """
        ranked = [(self.priority(one), one) for one in hosts]
        left: list[Any] = [rank for rank, _ in ranked if rank is not None]
        if not left:
            raise NoHostAvailable('no host is left: all of these are out')
        best = min(left)
        return random.choice([one for rank, one in ranked if rank == best])

    def _cover(self, holders: Mapping[Hashable, Set[str]]) -> list[str]:
        """The hosts to ask for these keys. A host that is set aside is asked only for keys that no other host holds."""
        hosts = self._ordered(frozenset().union(*holders.values()))
        healths = {host: self.resources.replicas[host].health for host in hosts}
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
        """Cancel what is under way and close the connections. May be called again."""
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
