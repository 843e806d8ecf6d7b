"""The command line: every flag, declared once, for help, man page and completion too."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import click

__all__ = ['FLAGS', 'Asked', 'Flag', 'Share']


@dataclass(frozen=True)
class Share:
    """A number, or a share of all requests."""

    number: float
    percent: bool

    def of(self, total: int) -> int:
        """How many that are; a share is rounded up."""
        return math.ceil(self.number * total / 100 - 1e-9) if self.percent else int(self.number)


class _ShareType(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    """``10`` or ``90%``."""

    name = 'number or percentage'

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Share:
        text = str(value)
        try:
            number = float(text[:-1]) if text.endswith('%') else int(text)
        except ValueError:
            self.fail(f'{text!r} is neither a number nor a percentage', param, context)
        if not 0 <= number <= (100 if text.endswith('%') else math.inf):
            self.fail(f'{text!r} is out of range', param, context)
        return Share(number, text.endswith('%'))


class _Positive(click.ParamType):  # type: ignore[type-arg]
    """A number above 0."""

    name = 'number'

    def __init__(self, what: str) -> None:
        self._what = what

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f'{value!r} is not a number of {self._what}', param, context)
        if not (math.isfinite(number) and 0 < number <= 1e9):
            self.fail(f'{value} is not a number of {self._what} above 0', param, context)
        return number


class _Simultaneous(click.ParamType):  # type: ignore[type-arg]
    """A count, or ``auto``."""

    name = 'number or auto'

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int | str:
        if value == 'auto':
            return 'auto'
        if not (str(value).isdecimal() and int(value) >= 1):
            self.fail(f'{value!r} is neither a whole number from 1 up nor "auto"', param, context)
        return int(value)


SECONDS = _Positive('seconds')
RATE = _Positive('requests a second')
COUNT = click.IntRange(min=1)
FILE = click.Path()


class Flag(click.Option):
    """A flag, and the topic of the help that tells of it."""

    def __init__(self, topic: str, *names: str, metavar: str | None = None, **rest: Any) -> None:
        super().__init__(names, metavar=metavar, **rest)
        self.topic = topic

    @property
    def written(self) -> str:
        """All its names, and what follows: ``-x, --exclude NODESET``."""
        names = sorted(self.opts, key=len)
        return ', '.join(names) + (f' {self.metavar}' if self.metavar else '')


def _not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value == '':
        raise click.BadParameter('it is empty; is the variable it comes from set?')
    return value


def _flags() -> list[Flag]:
    def flag(
        *names: str,
        topic: str,
        help: str,
        metavar: str | None = None,
        type: Any = None,
        callback: Callable[..., Any] | None = None,
        multiple: bool = False,
    ) -> Flag:
        if metavar is None:
            return Flag(topic, *names, is_flag=True, help=help)
        return Flag(topic, *names, metavar=metavar, type=type, help=help, callback=callback, multiple=multiple)

    return [
        flag('-x', '--exclude', topic='hosts', metavar='NODESET', multiple=True, help='Leave these hosts out.'),
        flag(
            '--hostfile',
            topic='hosts',
            metavar='FILE',
            type=FILE,
            multiple=True,
            help='Add the hosts of FILE: node sets on each line, # begins a comment; "-" is standard input.',
        ),
        flag(
            '--groups',
            topic='hosts',
            metavar='FILE',
            type=FILE,
            help='What @name stands for: "name: node set" on each line of FILE.',
        ),
        flag('--pick', topic='hosts', metavar='N', type=COUNT, help='Ask N of the hosts, drawn by lot.'),
        flag('--repeat', topic='hosts', metavar='N', type=COUNT, help='Ask each host N times.'),
        flag(
            '-f',
            '--max-connections',
            topic='limits',
            metavar='N',
            type=COUNT,
            help='At most N connections in all. By default what the limit on open files allows, up to 1024.',
        ),
        flag(
            '--simultaneous',
            topic='limits',
            metavar='N|auto',
            type=_Simultaneous(),
            help='At most N requests at a time to one host, 2 by default; with "auto" each host shows how many.',
        ),
        flag(
            '--timeout',
            topic='limits',
            metavar='SECONDS',
            type=SECONDS,
            help='The time of one request in all. By default 60 s of silence end it.',
        ),
        flag(
            '--connect-timeout',
            topic='limits',
            metavar='SECONDS',
            type=SECONDS,
            help='The time to connect: 10 s by default.',
        ),
        flag(
            '--deadline',
            topic='limits',
            metavar='SECONDS',
            type=SECONDS,
            help='The time of the whole run. What has not answered by then has failed.',
        ),
        flag('--rate', topic='limits', metavar='N', type=RATE, help='Begin at most N requests a second.'),
        flag(
            '--rate-per-host',
            topic='limits',
            metavar='N',
            type=RATE,
            help='Send each host at most N requests a second.',
        ),
        flag(
            '--retries',
            topic='limits',
            metavar='N',
            type=click.IntRange(min=0),
            help='Try again up to N times: when the connection fails, and after 429, 502, 503, 504 where asking '
            'twice does no harm.',
        ),
        flag(
            '--serial', topic='limits', metavar='N', type=COUNT, help='Ask N hosts, and the next N when those are done.'
        ),
        flag('--max-fail', topic='limits', metavar='N', type=COUNT, help='After N failures begin no more.'),
        flag('--fail-fast', topic='limits', help='End the run at the first failure.'),
        flag('--need', topic='limits', metavar='N', type=COUNT, help='End the run when N have answered well.'),
        flag(
            '--min-ok',
            topic='limits',
            metavar='N|PERCENT',
            type=_ShareType(),
            help='All is well if so many answered well: 10, or 90%.',
        ),
        flag('-b', '--fold', topic='output', help='Show identical answers once, under the node set of their hosts.'),
        flag('-r', '--regroup', topic='output', help='Fold, and write @name for hosts that are a group.'),
        flag('--diff', topic='output', help='Show what most answered, and how the others differ from it.'),
        flag('--json', topic='output', help='Show each answer as a JSON object on a line.'),
        flag(
            '-o',
            '--output',
            topic='output',
            metavar='DIR',
            type=click.Path(),
            help='Write each body to a file in DIR that has the name of its host.',
        ),
        flag('--ordered', topic='output', help='Show the answers in the order of the hosts.'),
        flag(
            '-q',
            '--quiet',
            topic='output',
            help='No lines, no table, nothing on standard error; only what other flags ask for.',
        ),
        flag('-v', '--verbose', topic='output', help='Show the requests too, on standard error, without secrets.'),
        flag('--curl', topic='output', help='Send nothing: show the requests as commands of curl.'),
        flag('--dry-run', topic='output', help='Send nothing: show what would be asked.'),
        flag('--summary', topic='output', help='End with counts, quantiles and a histogram of the times.'),
        flag(
            '--joblog', topic='resume', metavar='FILE', type=FILE, help='Write a line of JSON to FILE for each outcome.'
        ),
        flag('--resume', topic='resume', help='Ask only those that have no line in the job log, or one of a failure.'),
        flag(
            '--failed-out',
            topic='resume',
            metavar='FILE',
            type=FILE,
            help='Write the hosts that failed to FILE, as a node set.',
        ),
        flag(
            '--login',
            topic='credentials',
            metavar='NAME',
            callback=_not_empty,
            help='Sign the requests in this name; needs the key. NAPIX_LOGIN in the environment.',
        ),
        flag(
            '--key',
            topic='credentials',
            metavar='@FILE',
            callback=_not_empty,
            help='The key of the login, in a file. NAPIX_KEY in the environment is the key itself, or @FILE.',
        ),
        flag(
            '--token',
            topic='credentials',
            metavar='@FILE',
            callback=_not_empty,
            help='Send the token in this file with the query. NAPIX_TOKEN in the environment is the token, or @FILE.',
        ),
        flag(
            '--profile',
            topic='credentials',
            metavar='NAME',
            callback=_not_empty,
            help='Take what is not given from this profile of the configuration. NAPIX_PROFILE in the environment.',
        ),
        flag(
            '--cacert',
            topic='credentials',
            metavar='FILE',
            type=FILE,
            help="Trust the certificates in this PEM file instead of the system's.",
        ),
        flag(
            '--cert',
            topic='credentials',
            metavar='FILE',
            type=FILE,
            help='Show servers this certificate: a PEM file with certificate and key.',
        ),
        flag(
            '--secret',
            topic='credentials',
            metavar='NAME',
            multiple=True,
            help='What header fields, parameters and members of this name hold is a secret too, and shown nowhere.',
        ),
        flag('-k', '--insecure', topic='credentials', help='Accept any certificate.'),
        flag(
            '--proxy',
            topic='credentials',
            metavar='URL',
            callback=_not_empty,
            help='Go through this proxy: http, https, socks5 or socks5h. HTTPS_PROXY, http_proxy and ALL_PROXY in '
            'the environment.',
        ),
        flag(
            '--no-proxy',
            topic='credentials',
            metavar='LIST',
            help='Hosts that are reached without it, with commas between; "*" for all. NO_PROXY in the environment.',
        ),
    ]


#: All flags, in the order in which they are told of.
FLAGS = _flags()


@dataclass(frozen=True, eq=False, repr=False)  # what is not made need not be waited for at each start
class Asked:
    """What a command line asks for: a field for each argument and flag."""

    method: str
    hosts: str
    url: str
    items: tuple[str, ...]
    exclude: tuple[str, ...]
    hostfile: tuple[str, ...]
    groups: str | None
    pick: int | None
    repeat: int | None
    max_connections: int | None
    simultaneous: int | Literal['auto'] | None
    timeout: float | None
    connect_timeout: float | None
    deadline: float | None
    rate: float | None
    rate_per_host: float | None
    retries: int | None
    serial: int | None
    max_fail: int | None
    fail_fast: bool
    need: int | None
    min_ok: Share | None
    fold: bool
    regroup: bool
    diff: bool
    json: bool
    output: str | None
    ordered: bool
    quiet: bool
    verbose: bool
    curl: bool
    dry_run: bool
    summary: bool
    joblog: str | None
    resume: bool
    failed_out: str | None
    login: str | None
    key: str | None
    token: str | None
    profile: str | None
    cacert: str | None
    cert: str | None
    secret: tuple[str, ...]
    insecure: bool
    proxy: str | None
    no_proxy: str | None

    @property
    def folds(self) -> bool:
        """Whether the answers are shown together at the end."""
        return self.fold or self.regroup or self.diff
