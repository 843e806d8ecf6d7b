"""``napix worker`` and ``napix cluster``, as commands."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import click

from .._counts import Number, WholeNumber
from .._http.options import Options
from ..allow import Allow
from .broker import FAILURES, Broker
from .keys import Keyring, new_key
from .lanes import LANES, Zone
from .status import look

__all__ = ['cluster', 'worker']

_HELP = {'help_option_names': ['-h', '--help']}
_BROKER = click.option(
    '--broker',
    metavar='URL',
    envvar='NAPIX_BROKER',
    required=True,
    help='The broker, amqp://user:password@host:5672/vhost or amqps://…; also in NAPIX_BROKER.',
)
_ZONE = click.option(
    '--zone', metavar='NAME', default='default', show_default=True, help='The cluster, where several share a broker.'
)
_LANES = click.option(
    '--lanes',
    type=WholeNumber(min=1),
    metavar='K',
    default=LANES,
    show_default=True,
    help='Lanes of the zone; the same for all workers and submitters.',
)


@click.command('worker', context_settings=_HELP)
@_BROKER
@click.option('--number', type=WholeNumber(min=0), metavar='I', default=0, show_default=True, help='Which it is.')
@click.option('--of', type=WholeNumber(min=1), metavar='N', default=1, show_default=True, help='How many there are.')
@click.option(
    '--key',
    metavar='@FILE',
    envvar='NAPIX_CLUSTER_KEY',
    help='The keys of the cluster, one a line, as `napix cluster key` makes them; also in NAPIX_CLUSTER_KEY.',
)
@click.option(
    '--allow',
    metavar='PATTERN',
    multiple=True,
    help='Ask this network (10.0.0.0/8) or these hosts (*.example); may be repeated. Without it none is asked.',
)
@click.option(
    '--simultaneous',
    type=WholeNumber(min=1),
    metavar='N',
    default=2,
    show_default=True,
    help='Requests in flight to one origin, over all workers; the same for all workers and submitters.',
)
@_ZONE
@_LANES
@click.option('--rate-per-host', type=Number(min=0, min_open=True), metavar='N', help='Requests a second.')
@click.option('--max-connections', type=WholeNumber(min=1), metavar='N', help='Connections open at once.')
@click.option('--cacert', metavar='FILE', help='Certificates to trust, instead of those of the system.')
@click.option('--cert', metavar='FILE', help='The certificate, with its key, to show to servers.')
@click.option('--insecure', is_flag=True, help='Accept any certificate.')
@click.option('-v', '--verbose', count=True, help='Log what Celery warns of; twice, all it does.')
def worker(
    broker: str,
    number: int,
    of: int,
    key: str | None,
    allow: tuple[str, ...],
    simultaneous: int,
    zone: str,
    lanes: int,
    verbose: int,
    **given: Any,
) -> int:
    """Send the requests of a part of the cluster: of the lanes whose number, divided by N, leaves I.

    SIGTERM lets what is under way finish, for 25 seconds at most.
    """
    _set_up_logging(verbose)
    try:
        from .worker.program import Program, WorkerConfig

        config = WorkerConfig(
            Broker(broker),
            _keys(key),
            Zone(zone, lanes),
            number,
            of,
            simultaneous,
            Allow(allow),
            _pool_options(**given),
        )
        program = Program(config)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    if not allow:
        logging.getLogger('napixclient.cluster').warning('no host may be asked: name networks or hosts with --allow')
    return program.run()


def _keys(given: str | None) -> Keyring:
    if given is None:
        raise ValueError('no key: give --key @FILE, or set NAPIX_CLUSTER_KEY; `napix cluster key` makes one')
    return Keyring(given)


def _pool_options(
    rate_per_host: float | None, max_connections: int | None, cacert: str | None, cert: str | None, insecure: bool
) -> Options:
    options: Options = {'verify': not insecure}
    if rate_per_host is not None:
        options['rate'] = rate_per_host
    if max_connections is not None:
        options['max_connections'] = max_connections
    if cacert is not None:
        options['ca_certs'] = os.path.expanduser(cacert)
    if cert is not None:
        options['cert'] = os.path.expanduser(cert)
    return options


def _set_up_logging(verbose: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('%(asctime)s %(message)s'))
    own = logging.getLogger('napixclient')
    own.addHandler(handler)
    own.setLevel(logging.INFO if verbose else logging.WARNING)
    own.propagate = False
    for name in 'celery', 'kombu', 'amqp':
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel([logging.CRITICAL + 1, logging.WARNING, logging.DEBUG][min(verbose, 2)])


@click.group('cluster', context_settings=_HELP, no_args_is_help=False)
def cluster() -> None:
    """Look after a cluster of workers: make a key, see how it fares."""


@cluster.command('key', context_settings=_HELP)
def make_key() -> int:
    """Print a new key, a line for the files of workers and submitters.

    The first key of a file seals, all of them open. To change keys: add the new one to all files, behind the old; then
    put it first everywhere; then take the old one out.
    """
    click.echo(new_key())
    return 0


@cluster.command('status', context_settings=_HELP)
@_BROKER
@_ZONE
@_LANES
@click.option('--json', 'as_json', is_flag=True, help='One JSON object.')
def show_status(broker: str, zone: str, lanes: int, as_json: bool) -> int:
    """Show lanes, their workers, and what waits. It takes no key. 1 is the exit code when a lane has no worker."""
    try:
        at, where = Broker(broker), Zone(zone, lanes)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    try:
        status = look(at, where)
    except FAILURES as exc:
        click.echo(f'napix: {at.error(exc).message}', err=True)
        return 1
    click.echo(json.dumps(status.document()) if as_json else '\n'.join(status.lines()))
    return 1 if status.unowned or status.problems else 0
