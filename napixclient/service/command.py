"""``napix serve``: the service in a process of its own."""

from __future__ import annotations

import logging
import math
import os
import re
import resource
import signal
import sys
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import Any

import click
import gevent
from gevent import socket
from gevent.event import Event

from .._counts import WholeNumber
from ..checks import seconds_of
from .access import is_loopback
from .database import StoreError
from .handler import Server
from .logs import set_up
from .sender import PIECE
from .service import Config, Service, load_app, read_secret

__all__ = ['serve']

log: logging.Logger = logging.getLogger('napixclient.service')
SIZE_UNITS = {'': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}


def _address(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(':')
    if not colon or not port.isdecimal() or int(port) > 65535 or not host or (':' in host and host[0] != '['):
        raise click.BadParameter(f'{value!r} is not ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080')
    return host.strip('[]'), int(port)


#: Where a context notes the options whose secrets are on the command line.
_LITERAL = 'napixclient.literal'


def _secret(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """What is given, or what is in the file that is named with ``@``."""
    if value and not value.startswith('@'):
        context.meta[_LITERAL] = (*context.meta.get(_LITERAL, ()), parameter.opts[0])
    try:
        return read_secret(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


def _cluster_key(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """It is read with the URL of the broker. What the environment says is of no use without one."""
    from_environment = context.get_parameter_source(str(parameter.name)) == click.core.ParameterSource.ENVIRONMENT
    if from_environment and not context.params.get('via'):
        return None
    if value and not value.startswith('@') and not from_environment:
        context.meta[_LITERAL] = (*context.meta.get(_LITERAL, ()), parameter.opts[0])
    return value


def _size(context: click.Context, parameter: click.Parameter, value: str) -> int:
    number, unit = (value[:-1], value[-1].upper()) if value[-1:].isalpha() else (value, '')
    if not number.isdecimal() or unit not in SIZE_UNITS or int(number) < 1:
        raise click.BadParameter(f'{value!r} is not a size such as 500K, 16M or 1G')
    return int(number) * SIZE_UNITS[unit]


def _default_store() -> str:
    state = os.environ.get('XDG_STATE_HOME') or os.path.expanduser('~/.local/state')
    return f'sqlite:///{os.path.join(os.path.abspath(state), "napix", "runs.sqlite")}'


def _time(context: click.Context, parameter: click.Parameter, value: str, unit: int = 1) -> float:
    """A time above 0, in units; a plain number counts them."""
    try:
        found = math.inf if value.lower() in ('inf', 'infinity') else seconds_of(value, unit) / unit
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc
    if found < 0 or found == 0 and parameter.name != 'drain_timeout':
        raise click.BadParameter(f'{value} is not in the range of times: it is above 0')
    return found


def _days(context: click.Context, parameter: click.Parameter, value: str) -> float:
    return _time(context, parameter, value, 86400)


@click.command(context_settings={'help_option_names': ['-h', '--help']})
@click.option(
    '--bind',
    metavar='ADDRESS:PORT',
    default='127.0.0.1:8080',
    show_default=True,
    callback=_address,
    help='Listen there. Anywhere but on loopback callers need credentials.',
)
@click.option(
    '--store',
    metavar='URL',
    help='Keep runs in sqlite:///PATH, or in postgresql://… [default: sqlite, under $XDG_STATE_HOME/napix/]',
)
@click.option(
    '--allow',
    metavar='PATTERN',
    multiple=True,
    help='Let runs ask this network (10.0.0.0/8) or these hosts (*.example); may be repeated. '
    '[default: this machine, while bound to loopback]',
)
@click.option(
    '--name',
    'names',
    metavar='HOST',
    multiple=True,
    help='Answer to this name too, such as that of a proxy; may be repeated.',
)
@click.option('--token', metavar='@FILE', callback=_secret, help='Let in who has this token.')
@click.option('--login', metavar='NAME', help='Let in who signs requests in this name; needs the key.')
@click.option('--key', metavar='@FILE', callback=_secret, help='The key of the login.')
@click.option(
    '--secret',
    'secret_names',
    metavar='NAME',
    multiple=True,
    help='Neither keep nor show what fields, parameters and members of this name hold; may be repeated.',
)
@click.option(
    '--profile',
    metavar='NAME',
    envvar='NAPIX_PROFILE',
    help='Sagas show servers the credentials of this profile of the configuration.',
)
@click.option(
    '--mount',
    'mounts',
    metavar='/PATH=MODULE:APP',
    multiple=True,
    help='Serve this WSGI application below /PATH; may be repeated.',
)
@click.option(
    '--header-timeout',
    default='10',
    show_default=True,
    metavar='TIME',
    callback=_time,
    help='For the head of a request.',
)
@click.option(
    '--slow-timeout',
    default='10',
    show_default=True,
    metavar='TIME',
    callback=_time,
    help='For a peer that takes or sends nothing.',
)
@click.option(
    '--ping-every',
    default='20',
    show_default=True,
    metavar='TIME',
    callback=_time,
    help='Between two pings of a WebSocket.',
)
@click.option(
    '--ping-timeout',
    default='40',
    show_default=True,
    metavar='TIME',
    callback=_time,
    help='Of silence, after which a WebSocket is dropped.',
)
@click.option(
    '--drain-timeout',
    default='10',
    show_default=True,
    metavar='TIME',
    callback=_time,
    help='For runs to finish after SIGTERM.',
)
@click.option(
    '--max-body',
    default='16M',
    show_default=True,
    metavar='SIZE',
    callback=_size,
    help='Largest body of a request to the service.',
)
@click.option(
    '--max-answer',
    default='1M',
    show_default=True,
    metavar='SIZE',
    callback=_size,
    help='Largest body of an answer to a run.',
)
@click.option(
    '--max-requests',
    type=WholeNumber(min=1),
    default=100_000,
    show_default=True,
    metavar='N',
    help='Requests of one run.',
)
@click.option(
    '--max-runs', type=WholeNumber(min=1), default=20, show_default=True, metavar='N', help='Runs under way at once.'
)
@click.option(
    '--max-connections',
    type=WholeNumber(min=1),
    default=1000,
    show_default=True,
    metavar='N',
    help='Requests to the service that are served at once; more wait.',
)
@click.option(
    '--connections-per-run',
    type=WholeNumber(min=1),
    metavar='N',
    help='Connections that one run opens; with --via, requests that workers have of it. '
    '[default: what the limit on open files allows, up to 1024; 4000]',
)
@click.option(
    '--keep-days',
    default='30',
    show_default=True,
    metavar='DAYS|TIME',
    callback=_days,
    help='Forget runs that ended before that.',
)
@click.option(
    '--keep-size',
    'keep_bytes',
    default='1G',
    show_default=True,
    metavar='SIZE',
    callback=_size,
    help='Forget the oldest runs when all take more.',
)
@click.option(
    '--via', metavar='URL', help='Have the workers of a cluster ask, over this broker: amqp://... or amqps://...'
)
@click.option(
    '--via-key',
    metavar='@FILE',
    envvar='NAPIX_CLUSTER_KEY',
    callback=_cluster_key,
    help='The keys of the cluster. NAPIX_CLUSTER_KEY in the environment.',
)
@click.option('--zone', metavar='NAME', help='Which cluster of that broker. [default: default]')
@click.option('--lanes', type=WholeNumber(min=1), metavar='K', help='How many lanes it has. [default: 64]')
@click.option('--log-json', is_flag=True, help='Log in JSON, a line for each record.')
def serve(bind: tuple[str, int], store: str | None, mounts: tuple[str, ...], log_json: bool, **options: Any) -> int:
    """Serve fan-outs over HTTP: submit them, watch them, come back to them.

    The page is at /, what can be asked at /openapi.json. Without credentials everybody on this machine may use it.
    SIGTERM lets what is under way finish; what does not goes on at the next start.
    """
    if mounts:  # nothing else may be taken from where we were started
        sys.path.insert(0, os.getcwd())
    try:
        config = Config(
            store=store or _default_store(), host=_resolved(bind[0]), mounts=tuple(map(load_app, mounts)), **options
        )
        listener = _listen(config.host, bind[1])
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    except OSError as exc:
        raise click.UsageError(f'cannot listen on {bind[0]}:{bind[1]}: {exc.strerror}') from exc
    set_up(log_json)
    _warn_of_secrets(click.get_current_context().meta.get(_LITERAL, ()), config.store)
    _raise_limit()
    with closing(listener):
        try:
            service = Service(config)
        except (StoreError, ValueError) as exc:
            raise click.UsageError(str(exc)) from exc
        return _serve(service, listener)


def _warn_of_secrets(options: Iterable[str], store: str) -> None:
    """What is on a command line is shown to all who list the processes of the machine."""
    for option in options:
        log.warning(
            '%s: a secret on the command line shows in the list of processes; give a file: %s @FILE', option, option
        )
    if re.match(r'[^:]+://[^/@]*:[^/@]+@', store):
        log.warning(
            '--store: a password on the command line shows in the list of processes; '
            'put it into ~/.pgpass, or PGPASSWORD'
        )


def _resolved(host: str) -> str:
    return '127.0.0.1' if host == 'localhost' else host


def _listen(host: str, port: int) -> Any:
    listener = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A slow reader is seen to read: a connection takes more as soon as so little of it waits here, and not when a
        # third of the megabytes are gone that the kernel would keep.
        if hasattr(socket, 'TCP_NOTSENT_LOWAT'):  # Linux, macOS
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PIECE)
        listener.bind((host, port))
        listener.listen(4096)  # as many as the kernel keeps
    except BaseException:
        listener.close()
        raise
    return listener


def _raise_limit() -> None:
    """As many descriptors as may be had: each watcher and each request in flight takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve(service: Service, listener: Any) -> int:
    """Serve until a signal comes; then drain. A second signal ends it at once."""
    config = service.config
    server = Server(
        listener,
        service.app,
        connections=config.max_connections,
        header_seconds=config.header_timeout,
        slow_seconds=config.slow_timeout,
    )
    stopping = Event()
    codes = []

    def stop(number: int) -> None:
        codes.append(number)
        stopping.set()
        if len(codes) > 1:
            os._exit(128 + number)

    for number in signal.SIGTERM, signal.SIGINT:
        gevent.signal_handler(number, stop, number)
    service.start()
    server.start()
    _say_hello(service, listener)
    stopping.wait()
    server.close()  # nobody new is taken; who is connected stays
    log.info('draining: at most %g s', config.drain_timeout)
    service.drain()
    service.runs.stop()  # whoever watches is told
    server.stop(timeout=1)
    service.close()
    log.info('stopped')
    return 0 if codes[0] == signal.SIGTERM else 128 + codes[0]


def _say_hello(service: Service, listener: Any) -> None:
    host, port = listener.getsockname()[:2]
    url = f'http://{f"[{host}]" if ":" in host else host}:{port}/'
    log.info('listening on %s', url, extra={'fields': {'url': url}})
    if not service.config.guarded:
        log.warning('there are no credentials: everybody on this machine may use it')
    if is_loopback(host) and not service.config.allow:
        log.info('only this machine may be asked; --allow lets runs ask others')
