"""Checks a command line as a whole, before anything is sent."""

from __future__ import annotations

import os
import re

from urllib3 import Retry
from urllib3 import Timeout as Timeouts

from .._http.options import Options
from ..authenticators import Authenticator
from ..hosts import Groups
from ..messages import METHODS, in_capitals
from ..pool import ClientPool
from ..secret_names import add_secret_names
from ..waiting import Waiting
from .credentials import ConnectionOptions, authenticator_of, connection_options, profile_of
from .filling import Filler
from .formats import Format, format_of
from .hostfiles import read_groups
from .items import Items
from .joblog import Done, take_up
from .options import Asked
from .selecting import layout_of
from .targets import Targets
from .urls import Words, words_of
from .via import cluster_pool

__all__ = ['BadUsage', 'Plan', 'pool_options']

#: Statuses after which a request is retried, besides failed connections.
_AGAIN = (429, 502, 503, 504)
#: Seconds before the second retry; the first is immediate, and the wait doubles for each later one.
_BACKOFF = 0.2
#: Where an item should stand: no separator is in it.
_is_path = re.compile('/[^=:;@]*').fullmatch


class BadUsage(ValueError):
    """The command line makes no sense; the text names the mistake."""


class Plan:
    """Everything that a run needs to begin.

    :raises BadUsage: if the command line makes no sense.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        try:
            method = _method(asked.method)
            words = words_of([asked.hosts, asked.url, *asked.items], bool(asked.urls))
            _check(asked, words)
            add_secret_names(asked.secret)
            self.groups: Groups = read_groups(asked.groups)
            self.items: Items = Items(words.items, _filler(asked, self.groups))
            self.targets: Targets = Targets(method, layout_of(asked, words, self.groups), self.items)
            #: How answers are written.
            self.format: Format = format_of(asked, self.targets, self.groups)
            profile = profile_of(asked)
            self.authenticator: Authenticator | None = authenticator_of(asked, profile)
            self.connecting: ConnectionOptions = connection_options(asked, profile, self.targets.hosts)
            self.done: Done | None = Done(asked.joblog) if asked.resume and asked.joblog is not None else None
            #: What sends the requests.
            self.pool: Waiting = self._open_pool()
            if asked.output is not None:
                os.makedirs(asked.output, exist_ok=True)
            if asked.failed_out is not None:
                open(asked.failed_out, 'a').close()  # before anything is sent; what is in it may be the hosts
            if asked.joblog is not None and not asked.resume and not self.only_shows:
                self.done = take_up(asked.joblog)
        except OSError as exc:
            raise BadUsage(f'cannot write {exc.filename}: {exc.strerror}') from exc
        except ValueError as exc:  # BadHosts, BadUrl, BadItem and their like
            raise BadUsage(str(exc)) from exc

    @property
    def only_shows(self) -> bool:
        """Whether nothing is sent."""
        return self.asked.curl or self.asked.dry_run

    def _open_pool(self) -> Waiting:
        asked, options = self.asked, pool_options(self.asked)
        if asked.via is not None and not self.only_shows:
            return cluster_pool(asked, self.authenticator, options)
        all_options: Options = {**options, **self.connecting}
        return ClientPool(self.authenticator, asked.simultaneous or 2, **all_options)


def _filler(asked: Asked, groups: Groups) -> Filler:
    if asked.vars is None:
        return Filler()
    from .varfiles import read_vars  # which few runs need

    return Filler(read_vars(asked.vars, groups))


def _check(asked: Asked, words: Words) -> None:
    """Refuse flags that exclude each other."""
    for flag, value in ('--via-key', asked.via_key), ('--zone', asked.zone), ('--lanes', asked.lanes):
        if value is not None and asked.via is None:
            raise BadUsage(f'{flag} is of a cluster: name its broker with --via URL')
    if asked.curl and asked.dry_run:
        raise BadUsage('--curl and --dry-run exclude each other')
    if asked.resume and asked.joblog is None:
        raise BadUsage('--resume needs the job log of the run to take up: name it with --joblog FILE')
    if asked.hostfile and words.hosts is None:
        raise BadUsage('--hostfile and URLs exclude each other: the hosts of a file need a path, as in . /path')
    if asked.urls and (words.hosts is not None or any(map(_is_path, words.items))):
        raise BadUsage('--urls is in the place of HOSTS and URL: leave these out')
    if asked.watch is not None and (asked.joblog is not None or asked.resume):
        raise BadUsage('--watch and --joblog exclude each other: a log has one outcome of each request')
    if asked.serial is not None and asked.duration is not None and asked.watch is None:
        raise BadUsage('--serial and --duration exclude each other: the next hosts would never have their turn')
    if words.hosts == '.' and not asked.hostfile:
        raise BadUsage('"." stands for the hosts of a file: name one with --hostfile FILE')
    readers = [words.hosts, *asked.hostfile, *asked.urls].count('-') + sum(item.endswith('@-') for item in words.items)
    if readers > 1:
        raise BadUsage('"-" is standard input, which can be read only once')


def _method(text: str) -> str:
    """The method; only those that everybody knows may be written in small letters."""
    known = in_capitals(text.lower())
    if known in METHODS:
        return known
    if text != text.upper():
        more = f'; the method comes first: napix get {text}' if '://' in text else ''
        raise BadUsage(f'{text!r} is neither a method nor a command{more}')
    return text


def pool_options(asked: Asked) -> Options:
    """The options of the pool for limits and times."""
    options: Options = {}
    if asked.max_connections is not None:
        options['max_connections'] = asked.max_connections
    if asked.rate_per_host is not None:
        options['rate'] = asked.rate_per_host
    if asked.follow or asked.max_redirects is not None:
        options['redirect'] = True
    if asked.max_redirects is not None:
        options['max_redirects'] = asked.max_redirects
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
