"""A mapping of hosts to resources: sends a request to any host, to all, to a quorum, or to some at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from gevent.lock import Semaphore

from .._http.adapting import CEILING
from .._http.core import PoolCore
from .._http.options import Options, Simultaneous
from .._http.origins import Origins
from .._http.settings import Settings
from .._options import Unpack, lists, refuse_unknown
from ..authenticators import Credentials, authenticator_of
from ..checks import count_or_auto, is_number, is_whole, true_or_false, whole_number
from ..messages import Body, Request, Source
from .deadline import Deadline
from .errors import Failure, NoHostAvailable, QuorumError, RollingError
from .figures import Figures
from .flight import Flight
from .gathering import gather
from .lease import Lease
from .policy import Ready, best, less_loaded
from .quorum import Quorum, Zone
from .replica import Replica
from .replicas import SHOWN, Replicas, listed
from .resource import AskOptions, Resource, Response, refuse_stream
from .rolling import Rollout, batches, is_too_many
from .sharing import Flights, Share
from .tries import Tries

__all__ = ['Resources']

#: Added to the priority of a host that is set aside although connections to it can be made.
SHAKY = 1000


@lists(Options)
class Resources(Mapping[str, Resource]):
    """A mapping of hosts to resources: replicas, any of which can answer the same requests.

    >>> from napixclient.resources import Resources
    >>> resources = Resources(['web1.example', 'web2.example', 'web4.example'], limit=2)
    >>> resources.unicast('GET', '/status', attempts=2).status
    200
    >>> [answer.status for answer in resources.broadcast('GET', '/status')]
    [200, 200, None]

    Any number of greenlets may share it. It belongs to the thread that made it.

    :param hosts: ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``; each once.
    :param limit: idle connections to keep open for each host; 0 keeps none.
    :param simultaneous: requests in flight to one host at most, or ``'auto'``.
    :param zones: the zone of each host, for ``need`` by zones.
    :param policy: ``None`` chooses at random, biased to hosts with connections ready; ``'p2c'`` takes two hosts at
        random, and of these the one with less in flight × latency, where failures count as latency.
    :param singleflight: a GET joins an identical GET that is under way to the same host, and shares its answer.
    :param hedge_budget: extra requests that ``hedge`` may send, as a share of all requests.
    :param authenticator: a callable ``Request -> Request``, ``{'login': …, 'key': …}``, or ``None``.
    :param options: those of :class:`napixclient.Options`:
    :raises ValueError: if a host, a zone or an option is invalid.
    :raises TypeError: if there is no such option.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        limit: int = 0,
        *,
        simultaneous: Simultaneous = 2,
        zones: Mapping[str, Hashable] | None = None,
        policy: Literal['p2c'] | None = None,
        singleflight: bool = False,
        hedge_budget: float = 0.05,
        authenticator: Credentials | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._settings = Settings.of(Resources, options)
        hosts = listed(hosts)
        if not is_whole(limit) or limit < 0:
            raise ValueError(f'limit is a number of connections of at least 0, not {limit!r}')
        if policy not in (None, 'p2c'):
            raise ValueError(f"policy is 'p2c', or None for a random choice, not {policy!r}")
        true_or_false(singleflight, 'singleflight')
        if not is_number(hedge_budget) or not 0 <= hedge_budget <= 1:
            raise ValueError(f'hedge_budget is a share from 0 to 1, not {hedge_budget!r}')
        if zones is not None and not isinstance(zones, Mapping):
            raise ValueError(f'zones is a mapping of hosts to zones, not {zones!r}')
        simultaneous, prove = count_or_auto(simultaneous, 'simultaneous'), authenticator_of(authenticator)
        self._origins = Origins.of_strangers(PoolCore(self._settings), simultaneous)
        self._figures = Figures(hedge_budget)
        self._is_p2c = policy is not None
        self._flights = Flights() if singleflight else None
        #: What is known of each host.
        self.replicas: Replicas = Replicas(
            hosts, lambda host: Replica(self._origins, host, prove, simultaneous, limit, self._figures)
        )
        slots = simultaneous if isinstance(simultaneous, int) else CEILING
        self._slots = {host: Semaphore(slots) for host in self.replicas}
        self._zones = {self.replicas[host].host: zone for host, zone in (zones or {}).items()}

    # -- the mapping -----------------------------------------------------------------------------------------------

    def __getitem__(self, host: str) -> Resource:
        return Resource.of_client(self.replicas[host].client, self)

    def __iter__(self) -> Iterator[str]:
        return iter(self.replicas)

    def __len__(self) -> int:
        return len(self.replicas)

    # -- choosing --------------------------------------------------------------------------------------------------

    def priority(self, host: str) -> float | None:
        """How good a choice a host is: the smallest number wins, and ``None`` takes the host out.

        By default it is minus the number of connections ready, which :meth:`choice` takes as a weight; with ``'p2c'``
        it is the load of the host. A host that is set aside is out if no connection to it could be made; else it comes
        last. A subclass may override it.

        :raises UnknownHost: if the mapping has no such host.
        """
        replica = self.replicas[host]
        if replica.health.out:
            return None
        if self._is_p2c:
            rank: float = replica.load.cost(self._figures.usual)
        else:
            rank = Ready(-replica.ready)
        return rank if replica.health.up or replica.health.due else rank + SHAKY

    def choice(self, hosts: Iterable[str]) -> str:
        """Choose one of the hosts by priority. Ties are broken at random, biased to hosts with connections ready.

        The bias is a weight: a host with two connections ready is chosen three times as often as one with none. A
        subclass may override it.

        :raises NoHostAvailable: if all hosts are out.
        """
        hosts = list(dict.fromkeys(hosts))
        if self._is_p2c:
            chosen = less_loaded(hosts, self.priority)
        else:
            ranks = {host: rank for host in hosts if (rank := self.priority(host)) is not None}
            chosen = best(ranks, lambda host: self.replicas[host].ready) if ranks else None
        if chosen is None:
            raise _no_host(hosts)
        return chosen

    def _pick(self, hosts: list[str]) -> Replica:
        """Choose a host whose pause is over, else one that is up, else one that connections can be made to."""
        replicas = [self.replicas[host] for host in hosts]
        for replica in replicas:
            if replica.health.due and self.priority(replica.host) is not None and replica.health.due:
                return replica
        left = [replica for replica in replicas if replica.health.up] or [
            replica for replica in replicas if not replica.health.out
        ]
        if not left:
            raise _no_host(hosts)
        names = [replica.host for replica in left]
        chosen = self.choice(names)
        if chosen is None:  # as an overridden choice() may say it
            raise _no_host(hosts)
        replica = self.replicas[chosen]
        if replica.host not in names:
            raise ValueError(f'choice() chose {chosen!r}, which is none of those that it was given')
        return replica

    def health(self) -> dict[str, str]:
        """The state of each host: ``'up'``, ``'down'`` (set aside) or ``'probing'`` (one request finds out)."""
        return {host: replica.health.state for host, replica in self.replicas.items()}

    # -- one host --------------------------------------------------------------------------------------------------

    @lists(AskOptions)
    def request(
        self, host: str, method: str, path: str, body: Body | None = None, **options: Unpack[AskOptions]
    ) -> Resource:
        """Send a request to a host, and return a resource that the caller owns until its answer is taken.

        :meth:`getresponse`, its own ``close()``, or dropping it releases the resource.

        :param options: those of a request. Its ``timeout`` also bounds the wait for a slot; without one, the read
            timeout does:
        :raises QueueTimeout: if ``simultaneous`` requests to the host stay under way for that long.
        :raises HTTPError: if the request could not be sent.
        :raises UnknownHost: if the mapping has no such host.
        """
        replica = self.replicas[host]
        request, deadline = self._drafted(Resources.request, replica.host, method, path, body, options)
        lease = Lease(replica, self._slots[replica.host])
        lease.send(request, deadline)
        return lease

    def getresponse(self, host: str, resource: Resource) -> Response:
        """Wait for the answer to a request that was sent, whatever its status, and release the resource.

        :raises HTTPError: if there is no answer.
        :raises ValueError: if the resource belongs to another host.
        """
        if resource.client is not self.replicas[host].client:
            raise ValueError(f'{resource!r} is no resource of the host {host!r}')
        return resource.getresponse()

    @lists(AskOptions)
    def unicast(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        hosts: Iterable[str] = (),
        *,
        attempts: int = 1,
        hedge: float | None = None,
        **options: Unpack[AskOptions],
    ) -> Response:
        """Send a request to any host, and return its answer, whatever its status.

        :param hosts: the hosts to choose from; by default all.
        :param attempts: how many hosts may be asked, one after the other. The next one is asked after a failure to
            connect, and if the request is idempotent (RFC 9110 §9.2.2), after any failure: no answer, or a status of
            502, 503 or 504.
        :param hedge: a quantile such as 0.95: an idempotent request that takes longer than that share of recent
            requests is sent to a second host as well, and the first answer wins.
        :param options: those of a request. A ``timeout`` bounds all attempts together:
        :raises HTTPError: if there is no answer; :class:`NoHostAvailable` if no host could be asked.
        :raises ValueError: if a part of the request cannot be sent, or a host is unknown.
        """
        whole_number(attempts, 'attempts')
        if hedge is not None and (not is_number(hedge) or not 0 < hedge < 1):
            raise ValueError(f'hedge is a quantile between 0 and 1, such as 0.95, not {hedge!r}')
        left = self.replicas.named(hosts)
        if not left:
            raise _no_host(left)
        request, deadline = self._drafted(Resources.unicast, left[0], method, path, body, options)
        if attempts > 1 or hedge is not None:
            _refuse_source(request)
        return Tries(request, deadline, left, attempts, hedge, self._figures.hedging, self._pick, self._send).run()

    # -- many hosts ------------------------------------------------------------------------------------------------

    @lists(AskOptions)
    def broadcast(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        hosts: Iterable[str] = (),
        *,
        need: int | Mapping[Zone, int] | None = None,
        **options: Unpack[AskOptions],
    ) -> list[Response | Failure]:
        """Send a request to all hosts at once, and return their answers in the order of the hosts.

        One host's answer or failure does not affect the others. Each outcome is a :class:`Response` of any status, or
        the :class:`HTTPError` if there is no response. An error is falsy, and calling it raises it:
        ``[answer() for answer in answers if answer]`` lists the bodies of the successes.

        :param hosts: the hosts to ask; by default all.
        :param need: return as soon as this many hosts have succeeded (2xx), or ``{zone: number}`` in each zone, and
            cancel the other requests: their outcomes are :class:`Cancelled`.
        :param options: those of a request. A ``timeout`` bounds the wait for all:
        :raises QuorumError: as soon as too few hosts are left to reach ``need``.
        :raises ValueError: if a part of the request cannot be sent, or a host is unknown or named twice.
        """
        requests, deadline, quorum = self.draft_all(method, path, body, hosts, need, options)
        return self.send_all(requests, deadline, quorum)

    def draft_all(
        self,
        method: str,
        path: str,
        body: Body | None,
        hosts: Iterable[str],
        need: int | Mapping[Zone, int] | None,
        options: AskOptions,
    ) -> tuple[list[Request], Deadline, Quorum | None]:
        """The requests of a broadcast, checked before anything is sent, with their clock and what decides them.

        :raises ValueError: if a part of the request cannot be sent, or a host is unknown or named twice.
        """
        given = listed(hosts)
        named = self.replicas.named(given)
        if given and len(given) > len(named):
            raise ValueError(f'hosts: one of them is named twice: {given!r}')
        quorum = None if need is None else Quorum(need, named, self._zones)
        first = named[0] if named else 'nobody'
        request, deadline = self._drafted(Resources.broadcast, first, method, path, body, options)
        if len(named) > 1:
            _refuse_source(request)
        return [request.replace(host=host) for host in named], deadline, quorum

    def send_all(
        self,
        requests: Sequence[Request],
        deadline: Deadline,
        quorum: Quorum | None = None,
        note: Callable[[str, Flight | Share], object] | None = None,
    ) -> list[Response | Failure]:
        """Send requests at once, each to its host, and return their outcomes.

        :param note: called with each host and the flight of its request, which knows whether it was sent.
        :raises QuorumError: as soon as too few hosts are left to reach the quorum.
        """

        def send(one: Request) -> Flight | Share:
            flight = self._send(self.replicas[one.host], one, deadline)
            if note is not None:
                note(one.host, flight)
            return flight

        outcomes = gather(requests, send, deadline, quorum)
        if quorum is not None and not quorum.reached:
            raise QuorumError(f'too few hosts: {quorum}', outcomes=outcomes)
        return outcomes

    @lists(AskOptions)
    def rolling(
        self,
        requests: Iterable[Sequence[object]],
        serial: int | str = 5,
        max_fail: int | str = 0,
        **options: Unpack[AskOptions],
    ) -> Rollout:
        """Send requests batch by batch, and stop once too many requests of a batch have failed.

        A request fails if its outcome is not a success (2xx). A batch that has begun is always finished.

        :param requests: tuples ``(host, method, path[, body])``.
        :param serial: how many requests at a time, or a percentage of all such as ``'10%'``.
        :param max_fail: how many requests of a batch may fail, or a percentage of the batch.
        :param options: those of each request:
        :raises RollingError: if more fail; it has ``outcomes`` and ``not_started`` too.
        :raises ValueError: if a part of a request cannot be sent, or a host is unknown; nothing is sent then.
        """
        given = list(requests)
        drafts = [self.draft_of(one, options) for one in given]
        outcomes: list[Response | Failure] = []
        is_too_many(0, 1, max_fail)  # is it a number at all?
        for batch in batches(drafts, serial):
            ended = gather(batch, lambda one: self.replicas[one.host].send(one), self.deadline())
            outcomes += ended
            failed = sum(not outcome for outcome in ended)
            if is_too_many(failed, len(batch), max_fail):
                not_started = given[len(outcomes) :]
                raise RollingError(
                    f'{failed} of a batch of {len(batch)} failed; {len(not_started)} of {len(given)} were not started',
                    outcomes=outcomes,
                    not_started=not_started,
                )
        return Rollout(outcomes, [])

    def _drafted(
        self, taker: Callable[..., object], host: str, method: str, path: str, body: Body | None, options: AskOptions
    ) -> tuple[Request, Deadline]:
        """A request, checked before anything is chosen or sent."""
        refuse_stream(options)
        try:
            request = Request(host, method, path, body, **options)
        except TypeError:  # which may be one of the body's
            refuse_unknown(taker, options, AskOptions.__optional_keys__)
            raise
        return request, Deadline(request.timeout, self._settings)

    def deadline(self) -> Deadline:
        """The clock of requests that have none of their own."""
        return Deadline(None, self._settings)

    def draft_of(self, given: object, options: AskOptions) -> Request:
        """One request of a rolling change, checked.

        :raises ValueError: if a part of it cannot be sent, or its host is unknown.
        """
        if not isinstance(given, (tuple, list)) or not 3 <= len(given) <= 4:
            raise ValueError(f'rolling takes tuples (host, method, path[, body]), not {given!r}')
        host, method, path, body = (*given, None)[:4]
        return self._drafted(Resources.rolling, self.replicas[host].host, method, path, body, options)[0]

    def _send(self, replica: Replica, request: Request, deadline: Deadline) -> Flight | Share:
        """Send a request, or join an identical one."""
        if self._flights is not None and request.method == 'GET' and request.payload is None:
            return self._flights.send(replica, request, deadline)
        return replica.send(request)

    # -- ends ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is under way and close all connections. May be called again."""
        self._origins.close()

    def __enter__(self) -> Resources:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        origins: Origins | None = getattr(self, '_origins', None)
        if origins is not None:
            origins.on_collected()

    def __repr__(self) -> str:
        states = Counter(self.health().values())
        counts = ', '.join(f'{states[state]} {state}' for state in ('up', 'down', 'probing') if states[state])
        return f'<{type(self).__name__} {len(self)} hosts: {counts or "none"}>'


def _refuse_source(request: Request) -> None:
    """:raises ValueError: if the body can be read only once."""
    if isinstance(request.payload, Source):
        raise ValueError('a body that may go to several hosts is a dict, a list, a text or bytes: read the file first')


def _no_host(hosts: Iterable[str]) -> NoHostAvailable:
    known = list(hosts)
    shown = ', '.join(known[:SHOWN]) + (', …' if len(known) > SHOWN else '')
    return NoHostAvailable(
        f'no host can be asked now: {shown} set aside or taken out' if known else 'no host can be asked: there is none'
    )
