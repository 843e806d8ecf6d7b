"""Checks a command line as a whole, before anything is sent."""

from __future__ import annotations

import os
import random

from urllib3 import Retry
from urllib3 import Timeout as Timeouts

from .._http.options import Options
from ..authenticators import LoginAuthenticator, TokenIdentifier
from ..hosts import BadHosts, Groups, expand
from ..messages import METHODS, in_capitals
from ..pool import ClientPool
from ..secret_names import add_secret_names
from ..waiting import Waiting
from .credentials import BadCredentials, ConnectionOptions, authenticator_of, connection_options, profile_of
from .hostfiles import read_groups, read_hosts, without
from .items import BadItem, Items
from .joblog import BadLog, Done
from .options import Asked
from .targets import BadUrl, Targets
from .via import cluster_pool

__all__ = ['BadUsage', 'Plan', 'pool_options']

#: Statuses after which a request is retried, besides failed connections.
_AGAIN = (429, 502, 503, 504)
#: Seconds before the second retry; the first is immediate, and the wait doubles for each later one.
_BACKOFF = 0.2


class BadUsage(ValueError):
    """The command line makes no sense; the text names the mistake."""


class Plan:
    """Everything that a run needs to begin.

    :raises BadUsage: if the command line makes no sense.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        _check(asked)
        try:
            add_secret_names(asked.secret)
            self.groups: Groups = read_groups(asked.groups)
            self.items: Items = Items(asked.items)
            hosts = _hosts(asked, self.groups)
            self.targets: Targets = Targets(
                _method(asked.method), hosts, asked.url, self.items, asked.repeat or 1, asked.serial
            )
            profile = profile_of(asked)
            self.authenticator: LoginAuthenticator | TokenIdentifier | None = authenticator_of(asked, profile)
            self.connecting: ConnectionOptions = connection_options(asked, profile, hosts)
            self.done: Done | None = Done(asked.joblog) if asked.resume and asked.joblog is not None else None
            #: What sends the requests.
            self.pool: Waiting = self._open_pool()
            if asked.output is not None:
                os.makedirs(asked.output, exist_ok=True)
            if asked.failed_out is not None:
                open(asked.failed_out, 'a').close()  # before anything is sent; what is in it may be the hosts
        except (BadHosts, BadItem, BadCredentials, BadUrl, BadLog) as exc:
            raise BadUsage(str(exc)) from exc
        except OSError as exc:
            raise BadUsage(f'cannot write {exc.filename}: {exc.strerror}') from exc
        except ValueError as exc:
            raise BadUsage(str(exc)) from exc

    def _open_pool(self) -> Waiting:
        asked, options = self.asked, pool_options(self.asked)
        if asked.via is not None and not asked.curl and not asked.dry_run:
            return cluster_pool(asked, self.authenticator, options)
        all_options: Options = {**options, **self.connecting}
        return ClientPool(self.authenticator, asked.simultaneous or 2, **all_options)


def _check(asked: Asked) -> None:
    """Refuse flags that exclude each other."""
    if asked.json and asked.folds:
        raise BadUsage('--json and --fold exclude each other: answers are shown one by one, or together')
    for flag, value in ('--via-key', asked.via_key), ('--zone', asked.zone), ('--lanes', asked.lanes):
        if value is not None and asked.via is None:
            raise BadUsage(f'{flag} is of a cluster: name its broker with --via URL')
    if asked.curl and asked.dry_run:
        raise BadUsage('--curl and --dry-run exclude each other')
    if asked.resume and asked.joblog is None:
        raise BadUsage('--resume needs the job log of the run to take up: name it with --joblog FILE')
    if asked.hosts == '.' and not asked.hostfile:
        raise BadUsage('"." stands for the hosts of a file: name one with --hostfile FILE')
    if [asked.hosts, *asked.hostfile].count('-') + sum(item.endswith('@-') for item in asked.items) > 1:
        raise BadUsage('"-" is standard input, which can be read only once')


def _method(text: str) -> str:
    """The method; only those that everybody knows may be written in small letters."""
    known = in_capitals(text.lower())
    if known in METHODS:
        return known
    if text != text.upper():
        raise BadUsage(f'{text!r} is neither a method nor a command')
    return text


def _hosts(asked: Asked, groups: Groups) -> list[str]:
    """The hosts, each once, in the order in which they were named."""
    try:
        named = dict.fromkeys(
            () if asked.hosts == '.' else read_hosts('-', groups) if asked.hosts == '-' else expand(asked.hosts, groups)
        )
        for path in asked.hostfile:
            named.update(dict.fromkeys(read_hosts(path, groups)))
        excluded = [host for text in asked.exclude for host in expand(text, groups)]
    except BadHosts as exc:
        raise BadUsage(str(exc)) from exc
    hosts = list(without(named, excluded)) if excluded else list(named)
    if not hosts:
        raise BadUsage(
            'no hosts: all of them are excluded' if named else 'no hosts: neither HOSTS nor --hostfile names one'
        )
    if asked.pick is not None and asked.pick < len(hosts):
        hosts = [hosts[place] for place in sorted(random.sample(range(len(hosts)), asked.pick))]
    return hosts


def pool_options(asked: Asked) -> Options:
    """The options of the pool for limits and times."""
    options: Options = {}
    if asked.max_connections is not None:
        options['max_connections'] = asked.max_connections
    if asked.rate_per_host is not None:
        options['rate'] = asked.rate_per_host
    if asked.connect_timeout is not None:
        total = Timeouts.DEFAULT_TIMEOUT if asked.timeout is None else asked.timeout
        options['timeout'] = Timeouts(connect=asked.connect_timeout, total=total)
    elif asked.timeout is not None:
        options['timeout'] = asked.timeout
    if asked.retries:
        options['retries'] = Retry(
            asked.retries,
            redirect=0,
            status_forcelist=_AGAIN,
            backoff_factor=_BACKOFF,
            backoff_jitter=_BACKOFF / 2,
            raise_on_status=False,
        )
        options['retry_budget'] = None  # so many were asked for
    return options
