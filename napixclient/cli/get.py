"""``napix get``: one GET on many hosts, a line per answer as it arrives. Imports the pool and hosts."""

from __future__ import annotations

import math
import select
import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.text import Text

from ..authenticators import LoginAuthenticator, TokenIdentifier
from ..errors import HTTPError
from ..messages import Request, Response
from ..pool import ClientPool
from .hosts import BadHosts, expand, read_hosts
from .signals import raise_exit

__all__ = ['get']

#: Characters of a body that go on its line.
PIECE = 100
#: The width of the hosts' column on a terminal, at most.
WIDTH = 44


def _not_empty(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value == '':
        raise click.BadParameter('it is empty; is the variable it comes from set?')
    return value


def _seconds(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f'{value:g} is not a number of seconds above 0.')
    return value


@click.command(short_help='GET a path from many hosts at once.')
@click.argument('hosts')
@click.argument('url')
@click.option('--hostfile', metavar='FILE', help='Add the hosts of FILE: node sets on each line, # begins a comment. '
              '"-" is standard input.')
@click.option('--simultaneous', metavar='N', type=click.IntRange(min=1),
              help='At most N requests at a time to one host.  [default: 2]')
@click.option('--max-connections', metavar='N', type=click.IntRange(min=1),
              help='At most N connections in all.  [default: what the limit on open files allows, up to 1024]')
@click.option('--timeout', metavar='SECONDS', type=float, callback=_seconds,
              help='The time of one request in all.  [default: 10 s to connect, 60 s of silence]')
@click.option('--login', metavar='NAME', callback=_not_empty, help='Sign the requests in this name; needs the key.')
@click.option('--key', envvar='NAPIX_KEY', show_envvar=True, metavar='KEY', callback=_not_empty,
              help='The key of the login. In the variable it is not on the list of processes.')
@click.option('--token', envvar='NAPIX_TOKEN', show_envvar=True, metavar='TOKEN', callback=_not_empty,
              help='Send this token as the parameter "token" of the query.')
@click.pass_context
def get(context: click.Context, /, hosts: str, url: str, hostfile: str | None, login: str | None, key: str | None,
        token: str | None, **options: Any) -> int:
    """GET the path URL from all HOSTS at once; print each answer as it arrives.

    \b
    HOSTS  a node set: 'web[1-100].example:8002', 'https://a', '[::1]:80'
           ("." stands for no hosts but those of --hostfile)
    URL    path and query: '/captains?all=1'

    \b
    A line has the host, the status or the error, milliseconds, and the beginning
    of the body; in a pipe, with tabs between. A summary goes to standard error.
    Exit code: 0 all answered below 400, 1 not all did, 2 bad usage, 130 Ctrl-C.
    """
    authenticator = _authenticator(context, login, key, token)
    requests = _requests(hosts, url, hostfile)
    given = {name: value for name, value in options.items() if value is not None}
    raise_exit()
    lines = Lines(request.host for request in requests)
    tally = Tally(len(requests))
    try:
        with ClientPool(authenticator, **given) as pool:
            for answer in pool.stream(_stamped(requests)):
                tally.count(answer)
                lines.show(answer)
    except SystemExit:
        print(tally, file=sys.stderr)
        raise
    print(tally, file=sys.stderr)
    return 0 if tally.good == tally.asked else 1


def _authenticator(context: click.Context, login: str | None, key: str | None, token: str | None) -> Any:
    """Who asks. What stands on the command line counts before what stands in the environment."""
    def typed(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    if typed('login') and typed('token'):
        raise click.UsageError('--login and --token exclude each other: sign the requests, or send a token')
    if typed('key') and not typed('login'):
        raise click.UsageError('--key without --login: say whose key it is with --login NAME')
    if login is not None and key is None:
        raise click.UsageError('--login without a key: set NAPIX_KEY in the environment, or give --key KEY')
    try:
        if login is not None and key is not None:
            return LoginAuthenticator(login, key)
        return None if token is None else TokenIdentifier(token)
    except ValueError as exc:
        raise click.UsageError('the login, the key or the token is not a text in UTF-8') from exc


def _requests(hosts: str, url: str, hostfile: str | None) -> list[Request]:
    """A request for each host, each host once, all of them checked before the first is sent."""
    if not url.startswith('/'):
        raise click.BadParameter(f'{url!r} does not begin with "/": give a path such as /captains, after the hosts',
                                 param_hint="'URL'")
    try:
        Request('host', 'GET', url)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="'URL'") from exc
    if hosts == '.' and hostfile is None:
        raise click.BadParameter('"." stands for the hosts of a file: name one with --hostfile FILE',
                                 param_hint="'HOSTS'")
    hint = "'HOSTS'"
    try:
        named = dict.fromkeys(() if hosts == '.' else expand(hosts))
        hint = "'--hostfile'"
        named.update(dict.fromkeys(() if hostfile is None else read_hosts(hostfile)))
    except BadHosts as exc:
        raise click.BadParameter(str(exc), param_hint=hint) from exc
    if not named:
        raise click.UsageError('no hosts: neither HOSTS nor --hostfile names one')
    try:
        return [Request(host, 'GET', url) for host in named]
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


def _stamped(requests: Iterable[Request]) -> Iterator[Request]:
    """The requests, each with the time at which the pool took it as its tag."""
    return (request.replace(tag=monotonic()) for request in requests)


class Tally:
    """Counts the answers; its text is the summary."""

    def __init__(self, asked: int) -> None:
        self.asked = asked
        self.good = self.bad = self.silent = 0
        self._began = monotonic()

    def count(self, answer: Response | HTTPError) -> None:
        """Below 400, at 400 or above, or no answer at all."""
        if answer.status is None:
            self.silent += 1
        elif answer.status >= 400:
            self.bad += 1
        else:
            self.good += 1

    def __str__(self) -> str:
        missing = self.asked - self.good - self.bad - self.silent
        parts = [f'{self.good} below 400', f'{self.bad} at 400 or above', f'{self.silent} without an answer']
        if missing:
            parts.append(f'{missing} not waited for')
        hosts = 'host' if self.asked == 1 else 'hosts'
        return f'{self.asked} {hosts} in {monotonic() - self._began:.2f} s: {", ".join(parts)}'


class Lines:
    """Prints a line per answer: in columns on a terminal, else with tabs."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._console = Console(highlight=False) if sys.stdout.isatty() else None
        self._width = min(max(map(len, hosts)), WIDTH)

    def show(self, answer: Response | HTTPError) -> None:
        """Print the line, at once."""
        request = answer.request
        assert request is not None          # it is of a pool
        # Without a byte sent, from the time at which the pool took the request.
        seconds = monotonic() - request.tag if answer.elapsed is None else answer.elapsed
        host, status, ms, piece = request.host, _status(answer), f'{seconds * 1000:.1f}', _piece(answer)
        # Waits as a greenlet does: a reader who is slow must not hold the requests in flight, or their time runs out.
        # A line is shorter than what a pipe then takes at once.
        select.select([], [sys.stdout], [])
        if self._console is None:
            print(host, status, ms, piece, sep='\t', flush=True)
            return
        colour = 'green' if isinstance(answer, Response) else 'red'
        line = Text.assemble(host.ljust(self._width), '  ', (f'{status:<12}', colour), f' {ms:>6} ms  ', (piece, 'dim'))
        self._console.print(line, no_wrap=True, overflow='ellipsis', crop=True)


def _status(answer: Response | HTTPError) -> str:
    return type(answer).__name__ if answer.status is None else str(answer.status)


def _piece(answer: Response | HTTPError) -> str:
    """The beginning of the body, or what went wrong: one line, in which nothing steers a terminal."""
    response = answer if isinstance(answer, Response) else answer.response
    text = getattr(answer, 'message', '') if response is None else response.text
    words = ' '.join(text[:10 * PIECE].split())
    cut = words if len(words) <= PIECE else words[:PIECE - 3] + '...'
    return ''.join(char if char.isprintable() else char.encode('unicode_escape').decode() for char in cut)
