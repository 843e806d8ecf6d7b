"""The command line: declares every flag once, for parsing, help, man page and completion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

__all__ = ['FLAGS', 'METHODS', 'Asked', 'Flag', 'Share']

#: Methods that everybody knows: they may be written in small letters, and shells complete them.
METHODS = ('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS')


@dataclass(frozen=True)
class Share:
    """A number, or a share of all requests."""

    number: float
    percent: bool

    def of(self, total: int) -> int:
        """The number of requests that this is; a share is rounded up."""
        return math.ceil(self.number * total / 100 - 1e-9) if self.percent else int(self.number)


# click 8.1 has a class that is not generic.
if TYPE_CHECKING:
    _ShareParam = click.ParamType['Share']
    _NumberParam = click.ParamType[float]
    _SimultaneousParam = click.ParamType[int | Literal['auto']]
else:
    _ShareParam = _NumberParam = _SimultaneousParam = click.ParamType


class _ShareType(_ShareParam):
    """``10`` or ``90%``."""

    name = 'number or percentage'

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> Share:
        text = str(value)
        try:
            number = float(text[:-1]) if text.endswith('%') else int(text)
        except ValueError:
            self.fail(f'{text!r} is neither a number nor a percentage', param, context)
        if not 0 <= number <= (100 if text.endswith('%') else math.inf):
            self.fail(f'{text!r} is out of range', param, context)
        return Share(number, text.endswith('%'))


class _Positive(_NumberParam):
    """A number above 0."""

    name = 'number'

    def __init__(self, what: str) -> None:
        self._what = what

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> float:
        """Read the number."""
        try:
            number = float(str(value))
        except ValueError:
            self.fail(f'{value!r} is not a number of {self._what}', param, context)
        if not (math.isfinite(number) and 0 < number <= 1e9):
            self.fail(f'{value} is not a number of {self._what} above 0', param, context)
        return number


class _Simultaneous(_SimultaneousParam):
    """A count, or ``auto``."""

    name = 'number or auto'

    def convert(
        self, value: object, param: click.Parameter | None, context: click.Context | None
    ) -> int | Literal['auto']:
        if value == 'auto':
            return 'auto'
        text = str(value)
        if not (text.isdecimal() and int(text) >= 1):
            self.fail(f'{value!r} is neither a whole number from 1 up nor "auto"', param, context)
        return int(text)


SECONDS = _Positive('seconds')
RATE = _Positive('requests a second')
COUNT = click.IntRange(min=1)
FILE = click.Path()


class Flag(click.Option):
    """A flag, and the topic of the help that describes it.

    :param metavar: what follows it; ``None`` where nothing does.
    """

    def __init__(
        self,
        *names: str,
        topic: str,
        help: str,
        metavar: str | None = None,
        type: click.ParamType[object] | None = None,
        callback: Callable[[click.Context, click.Parameter, str | None], str | None] | None = None,
        multiple: bool = False,
    ) -> None:
        super().__init__(
            names,
            metavar=metavar,
            is_flag=True if metavar is None else None,
            type=type,
            help=help,
            callback=callback,
            multiple=multiple,
        )
        self.topic = topic

    @property
    def written(self) -> str:
        """All its names and its argument: ``-x, --exclude NODESET``."""
        names = sorted(self.opts, key=len)
        return ', '.join(names) + (f' {self.metavar}' if self.metavar else '')


def _not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value == '':
        raise click.BadParameter('it is empty; is the variable it comes from set?')
    return value


#: All flags, in the order in which the help describes them.
FLAGS = [
    Flag('-x', '--exclude', topic='hosts', metavar='NODESET', multiple=True, help='Leave these hosts out.'),
    Flag(
        '--hostfile',
        topic='hosts',
        metavar='FILE',
        type=FILE,
        multiple=True,
        help='Add the hosts of FILE: node sets on each line, # begins a comment; "-" is standard input.',
    ),
    Flag(
        '--groups',
        topic='hosts',
        metavar='FILE',
        type=FILE,
        help='What @name stands for: "name: node set" on each line of FILE.',
    ),
    Flag('--pick', topic='hosts', metavar='N', type=COUNT, help='Ask N of the hosts, drawn by lot.'),
    Flag('--repeat', topic='hosts', metavar='N', type=COUNT, help='Ask each host N times.'),
    Flag(
        '-f',
        '--max-connections',
        topic='limits',
        metavar='N',
        type=COUNT,
        help='At most N connections in all. By default what the limit on open files allows, up to 1024.',
    ),
    Flag(
        '--simultaneous',
        topic='limits',
        metavar='N|auto',
        type=_Simultaneous(),
        help='At most N requests at a time to one host, 2 by default; with "auto" each host shows how many.',
    ),
    Flag(
        '--timeout',
        topic='limits',
        metavar='SECONDS',
        type=SECONDS,
        help='The time of one request in all. By default 60 s of silence end it.',
    ),
    Flag(
        '--connect-timeout',
        topic='limits',
        metavar='SECONDS',
        type=SECONDS,
        help='The time to connect: 10 s by default.',
    ),
    Flag(
        '--deadline',
        topic='limits',
        metavar='SECONDS',
        type=SECONDS,
        help='The time of the whole run. What has not answered by then has failed.',
    ),
    Flag('--rate', topic='limits', metavar='N', type=RATE, help='Begin at most N requests a second.'),
    Flag('--rate-per-host', topic='limits', metavar='N', type=RATE, help='Send each host at most N requests a second.'),
    Flag(
        '--retries',
        topic='limits',
        metavar='N',
        type=click.IntRange(min=0),
        help='Try again up to N times: when the connection fails, and after 429, 502, 503, 504 where asking '
        'twice does no harm.',
    ),
    Flag('--serial', topic='limits', metavar='N', type=COUNT, help='Ask N hosts, and the next N when those are done.'),
    Flag('--max-fail', topic='limits', metavar='N', type=COUNT, help='After N failures begin no more.'),
    Flag('--fail-fast', topic='limits', help='End the run at the first failure.'),
    Flag('--need', topic='limits', metavar='N', type=COUNT, help='End the run when N have answered well.'),
    Flag(
        '--min-ok',
        topic='limits',
        metavar='N|PERCENT',
        type=_ShareType(),
        help='All is well if so many answered well: 10, or 90%.',
    ),
    Flag(
        '--via',
        topic='limits',
        metavar='URL',
        callback=_not_empty,
        help='Have the workers of a cluster ask, over this broker: amqp://... or amqps://...',
    ),
    Flag(
        '--via-key',
        topic='limits',
        metavar='@FILE',
        callback=_not_empty,
        help='The keys of the cluster. NAPIX_CLUSTER_KEY in the environment.',
    ),
    Flag('--zone', topic='limits', metavar='NAME', callback=_not_empty, help='Which cluster of that broker.'),
    Flag('--lanes', topic='limits', metavar='K', type=COUNT, help='How many lanes it has: 64 by default.'),
    Flag('-b', '--fold', topic='output', help='Show identical answers once, under the node set of their hosts.'),
    Flag('-r', '--regroup', topic='output', help='Fold, and write @name for hosts that are a group.'),
    Flag('--diff', topic='output', help='Show what most answered, and how the others differ from it.'),
    Flag('--json', topic='output', help='Show each answer as a JSON object on a line.'),
    Flag(
        '-o',
        '--output',
        topic='output',
        metavar='DIR',
        type=click.Path(),
        help='Write each body to a file in DIR that has the name of its host.',
    ),
    Flag('--ordered', topic='output', help='Show the answers in the order of the hosts.'),
    Flag(
        '-q',
        '--quiet',
        topic='output',
        help='No lines, no table, nothing on standard error; only what other flags ask for.',
    ),
    Flag('-v', '--verbose', topic='output', help='Show the requests too, on standard error, without secrets.'),
    Flag('--curl', topic='output', help='Send nothing: show the requests as commands of curl.'),
    Flag('--dry-run', topic='output', help='Send nothing: show what would be asked.'),
    Flag('--summary', topic='output', help='End with counts, quantiles and a histogram of the times.'),
    Flag('--joblog', topic='resume', metavar='FILE', type=FILE, help='Write a line of JSON to FILE for each outcome.'),
    Flag('--resume', topic='resume', help='Ask only those that have no line in the job log, or one of a failure.'),
    Flag(
        '--failed-out',
        topic='resume',
        metavar='FILE',
        type=FILE,
        help='Write the hosts that failed to FILE, as a node set.',
    ),
    Flag(
        '--login',
        topic='credentials',
        metavar='NAME',
        callback=_not_empty,
        help='Sign the requests in this name; needs the key. NAPIX_LOGIN in the environment.',
    ),
    Flag(
        '--key',
        topic='credentials',
        metavar='@FILE',
        callback=_not_empty,
        help='The key of the login, in a file. NAPIX_KEY in the environment is the key itself, or @FILE.',
    ),
    Flag(
        '--token',
        topic='credentials',
        metavar='@FILE',
        callback=_not_empty,
        help='Send the token in this file with the query. NAPIX_TOKEN in the environment is the token, or @FILE.',
    ),
    Flag(
        '--profile',
        topic='credentials',
        metavar='NAME',
        callback=_not_empty,
        help='Take what is not given from this profile of the configuration. NAPIX_PROFILE in the environment.',
    ),
    Flag(
        '--cacert',
        topic='credentials',
        metavar='FILE',
        type=FILE,
        help="Trust the certificates in this PEM file instead of the system's.",
    ),
    Flag(
        '--cert',
        topic='credentials',
        metavar='FILE',
        type=FILE,
        help='Show servers this certificate: a PEM file with certificate and key.',
    ),
    Flag(
        '--secret',
        topic='credentials',
        metavar='NAME',
        multiple=True,
        help='What header fields, parameters and members of this name hold is a secret too, and shown nowhere.',
    ),
    Flag('-k', '--insecure', topic='credentials', help='Accept any certificate.'),
    Flag(
        '--proxy',
        topic='credentials',
        metavar='URL',
        callback=_not_empty,
        help='Go through this proxy: http, https, socks5 or socks5h. HTTPS_PROXY, http_proxy and ALL_PROXY in '
        'the environment.',
    ),
    Flag(
        '--no-proxy',
        topic='credentials',
        metavar='LIST',
        help='Hosts that are reached without it, with commas between; "*" for all. NO_PROXY in the environment.',
    ),
    Flag(
        '--source',
        topic='credentials',
        metavar='ADDRESS',
        callback=_not_empty,
        help='Connect from this address of the machine.',
    ),
]


@dataclass(frozen=True, eq=False, repr=False)  # what is not made need not be waited for at each start
class Asked:
    """A parsed command line: one field for each argument and flag."""

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
    via: str | None
    via_key: str | None
    zone: str | None
    lanes: int | None
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
    source: str | None

    @property
    def folds(self) -> bool:
        """Whether all answers are shown together at the end."""
        return self.fold or self.regroup or self.diff
