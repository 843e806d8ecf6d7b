"""A pool whose requests are sent by workers on other machines."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

import gevent
from gevent import monkey

from .._http.figures import Stats
from .._http.options import Options
from .._http.pending import Outcome, PendingResponse
from .._options import Unpack, lists, refuse_unknown
from ..authenticators import Credentials, authenticator_of
from ..authenticators.travelling import described
from ..checks import true_or_false, whole_number
from ..messages import Body, Fields, Headers, Request, RequestOptions, plain_request, request_with
from ..secret_names import add_secret_names
from ..verbs import PoolVerbs
from ..waiting import Waiting
from .broker import Broker
from .errors import ClusterError
from .keys import Keyring
from .lanes import LANES, Zone
from .plan import Plan
from .submitter import Submitter

__all__ = ['ClusterPool', 'RequestDefaults']

_is_run = re.compile(r'[0-9A-Za-z._-]{1,128}').fullmatch
#: The options of a pool that travel with its requests; all others belong to the worker that sends them.
_TRAVEL = frozenset(['timeout', 'retries', 'max_body', 'decode', 'redirect', 'headers', 'secret_names'])
#: Requests of a stream that are taken between two turns of others, beyond those that were answered in the turn before;
#: and at most.
_TURN = 64
_LONGEST_TURN = 1024


class RequestDefaults(TypedDict, total=False):
    """What each request of a :class:`ClusterPool` has unless it says otherwise.

    :param timeout: ``float``, seconds from ``request()`` to the outcome, the time in the broker included, or
        :class:`urllib3.Timeout`. Default, and at most: 25 minutes.
    :param retries: :class:`urllib3.Retry` or an ``int``, tries after the first; ``False`` for none at all. Default:
        only an idempotent request whose reused connection turned out to be closed is sent once more.
    :param max_body: ``int``, the largest body in bytes, as sent and as decoded. Default: 64 MiB.
    :param decode: ``bool``, undo content codings (RFC 9110 §8.4). Default: ``True``.
    :param redirect: ``bool``, follow redirects (RFC 9110 §15.4), ten at most. Default: ``False``.
    :param headers: a mapping of names to values, fields for every request that does not set them itself. Default:
        none beside the worker's own.
    :param secret_names: an iterable of ``str``, further names of fields, parameters and members that carry
        credentials. Default: none.
    """

    timeout: Any
    retries: Any
    max_body: int | None
    decode: bool
    redirect: bool
    headers: Any
    secret_names: Iterable[str]


@lists(RequestDefaults)
class ClusterPool(Waiting, PoolVerbs[Body, PendingResponse, PendingResponse]):
    """A :class:`ClientPool` whose requests are sent by workers on other machines.

    ::

        pool = ClusterPool('amqps://mq.example/', simultaneous=2, key='@/etc/napix/key')
        pool.request('filer.example', 'GET', '/storage/')
        [filer] = pool.wait()

    Each origin belongs to one worker: so the cap holds over all workers and all submitters together. Outcomes are
    those of :class:`ClientPool`, and have the name of their ``worker``. A request that is not idempotent is sent once
    at most; one of which nobody knows what became is :class:`Interrupted`. Any other may be sent twice.

    :param broker: the URL of RabbitMQ, ``amqp://user:password@host:5672/vhost`` or ``amqps://…``.
    :param authenticator: one of the library's own, ``{'login': …, 'key': …}``, or ``None``. It signs at the worker.
    :param simultaneous: the cap of the workers; where theirs differs, nothing is sent.
    :param key: what seals all that passes through the broker: ``'@FILE'``, a line of ``napix cluster key``, or a list
        of these, of which the first seals.
    :param lanes: how many lanes the zone has.
    :param zone: which of the clusters that share the broker.
    :param batch: requests that travel together at most.
    :param window: requests that may be with the broker and the workers at once.
    :param run: a name for this run, with which that of its queue begins; several may have the same. Default: none.
    :param defaults: those of :class:`RequestDefaults`:
    :raises ValueError: for what makes no sense, and for what cannot travel.
    :raises TypeError: for an option that there is not.
    :raises RuntimeError: in a process that gevent has not patched.
    """

    def __init__(
        self,
        broker: str,
        authenticator: Credentials | None = None,
        simultaneous: int = 2,
        *,
        key: str | Iterable[str] | None = None,
        lanes: int = LANES,
        zone: str = 'default',
        batch: int = 100,
        window: int = 20_000,
        run: str | None = None,
        **defaults: Unpack[RequestDefaults],
    ) -> None:
        if not monkey.is_module_patched('socket'):
            raise RuntimeError(
                'a ClusterPool needs a process that gevent has patched: call gevent.monkey.patch_all() first'
            )
        _check_options(defaults)
        if run is not None and (not isinstance(run, str) or not _is_run(run)):
            raise ValueError(f'run is a name of letters, digits, ".", "-" and "_", 128 at most, not {run!r}')
        plan = Plan(
            Broker(broker),
            Keyring(key),
            Zone(zone, lanes),
            # One that ended, or that goes on elsewhere, must not share its queue and numbers with another of its name.
            '.'.join([*([run] if run else []), uuid.uuid4().hex]),
            whole_number(simultaneous, 'simultaneous'),
            signer=described(authenticator_of(authenticator)),
            batch=whole_number(batch, 'batch'),
            window=whole_number(window, 'window'),
            **_defaults(**defaults),
        )
        self._submitter = Submitter(plan)
        super().__init__(self._submitter.check_use, lambda host: self._submitter, plan.window)

    # -- asking ----------------------------------------------------------------------------------------------------

    @lists(RequestOptions)
    def request(
        self,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> PendingResponse:
        """Send a request; its outcome is part of the next ``wait``, also when it was taken by ``get`` before.

        It is published within 20 ms, whether or not anybody waits.

        :param host: ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.
        :param options: those of :class:`RequestOptions`:
        :raises ValueError: for a part that cannot be sent, or that cannot travel: ``stream``, a body that is read from
            a file or an iterable. Everything later is part of the outcome.
        :raises TypeError: for an option that there is not.
        """
        request = (
            request_with(ClusterPool.request, host, method, url, body, headers, options)
            if options
            else plain_request(host, method, url, body, headers)
        )
        batch = self._batch
        batch.outcomes.append(None)
        try:
            pending = self._submitter.submit(request, batch, len(batch.outcomes) - 1)
        except BaseException:
            batch.outcomes.pop()
            raise
        if pending.outcome is None:
            batch.outcomes[-1] = pending
        return pending

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _inspect(self, outcomes: list[Outcome]) -> None:
        """Raise what the cluster itself refused, once; the outcomes stay for the next wait."""
        if any(isinstance(outcome, ClusterError) for outcome in outcomes):
            self._raise_untold()

    def _raise_untold(self) -> None:
        error, self._submitter.untold = self._submitter.untold, None
        if error is not None:
            raise error

    def wait_unordered(self, count: int = -1, timeout: float | None = None) -> Iterator[Outcome]:
        """As :meth:`~napixclient.ClientPool.wait_unordered`.

        :raises ClusterError: behind the other outcomes, for what the cluster refused.
        """
        return self._but_refused(super().wait_unordered(count, timeout))

    def __iter__(self) -> Iterator[Outcome]:
        """The outcomes of all requests since the last wait, in the order asked, each as soon as it is ready."""
        return self._but_refused(super().__iter__())

    def stream(
        self,
        requests: Iterable[Request | tuple[object, ...]],
        ordered: bool = False,
        window: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[Outcome]:
        """As :meth:`~napixclient.ClientPool.stream`.

        :param window: requests that may be under way or finished and not yet taken; by default the pool's.
        :param timeout: seconds from this call on for the whole stream.
        :raises ClusterError: behind the other outcomes, for what the cluster refused; no more is asked then.
        """
        return self._but_refused(super().stream(self._in_turns(requests), ordered, window, timeout))

    def _in_turns(self, requests: Iterable[Any]) -> Iterator[Any]:
        """The requests, with a turn for others now and then: what fills a batch is to be published.

        By ``sleep(0)`` gevent's loop looks at sockets every five milliseconds only: the round trips of a connection to
        the broker, and one for each lane, would take longer than a window of requests.
        """
        submitter, taken, due = self._submitter, 0, _TURN
        loop: Any = submitter.hub.loop
        priority = loop.MAXPRI  # or it would wait until nobody answers
        for request in requests:
            if submitter.untold is not None:
                return
            yield request
            taken += 1
            if taken >= _TURN and (submitter.under_way >= due or taken >= _LONGEST_TURN):
                taken, due = 0, submitter.under_way + _TURN
                gevent.idle(priority)

    def _but_refused(self, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        refused = False
        for outcome in outcomes:
            if isinstance(outcome, ClusterError):
                refused = True
            else:
                yield outcome
        if refused:
            self._raise_untold()

    # -- ends ------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End everything that is under way with :class:`Cancelled`; workers drop it as soon as they hear of it."""
        self._submitter.cancel()

    def close(self) -> None:
        """Cancel what is under way and leave the broker. May be repeated."""
        self._submitter.close()

    def __enter__(self) -> ClusterPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- observing -------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Stats]:
        """What became of the requests so far, by host; ``in_flight`` is what the broker or a worker has.

        Of hosts beyond some thousands the oldest are forgotten.
        """
        submitter = self._submitter
        return submitter.counts.stats(submitter.at_hosts(), submitter.plan.cap)

    def __repr__(self) -> str:
        submitter = self._submitter
        at_hosts = submitter.at_hosts().values()
        return (
            f'<ClusterPool at {submitter.plan.broker.address}: {sum(queued for queued, _ in at_hosts)} queued, '
            f'{sum(in_flight for _, in_flight in at_hosts)} with workers>'
        )


def _check_options(defaults: RequestDefaults) -> None:
    """:raises ValueError: for options of :class:`ClientPool` that belong to the worker; ``TypeError`` for others."""
    foreign = [name for name in defaults if name not in _TRAVEL and name in Options.__optional_keys__]
    if foreign:
        raise ValueError(
            f'{", ".join(foreign)} cannot travel to a worker: hooks, cookies, names, TLS, proxies and rates are the '
            "worker's own (napix worker --help)"
        )
    refuse_unknown(ClusterPool, defaults, _TRAVEL)


def _defaults(
    *,
    timeout: Any = None,
    retries: Any = None,
    max_body: int | None = None,
    decode: bool = True,
    redirect: bool = False,
    headers: Any = None,
    secret_names: Iterable[str] = (),
) -> dict[str, Any]:
    add_secret_names(secret_names)
    if headers is not None and not isinstance(headers, dict) and not hasattr(headers, 'items'):
        raise ValueError(f'headers is a mapping of names to values, not {type(headers).__name__}')
    fields = Headers(headers or {})
    Request('host', 'GET', '/', headers=fields)  # refuses those that frame a message
    request = Request(
        'host',
        'GET',
        '/',
        timeout=timeout,
        retries=retries,
        max_body=max_body,
        decode=true_or_false(decode, 'decode'),
        redirect=true_or_false(redirect, 'redirect'),
    )
    return {'defaults': request, 'headers': fields}
