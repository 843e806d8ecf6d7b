"""``napix demo``, and with ``--serve`` the servers that the examples of the documentation ask."""

from __future__ import annotations

import errno

import click
from gevent.event import Event

from .._counts import WholeNumber
from ..demo import Names
from ..demo.names import PORT, VARIABLE
from ..demo.serving import ca_certs, serve
from . import signals

__all__ = ['demo']


@click.command(context_settings={'help_option_names': ['-h', '--help']})
@click.option('--serve', 'serving', is_flag=True, help='Start the servers that the documentation asks, until Ctrl-C.')
@click.option(
    '--port',
    type=WholeNumber(0, 65534),
    metavar='N',
    default=PORT,
    show_default=True,
    help='Their port; the next is taken too.',
)
@click.option('--ca-certs', 'certificates', is_flag=True, help='Print the certificate that vouches for theirs.')
def demo(serving: bool, port: int, certificates: bool) -> int:
    """Show a fan-out over servers that it starts itself; or serve the examples of the documentation."""
    if certificates:
        click.echo(ca_certs(), nl=False)
        return 0
    if not serving:
        from .demo import run_demo

        return run_demo()
    try:
        found = serve(port)
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            raise
        raise click.UsageError(f'port {port} or {port + 1} is in use: choose another one with --port') from exc
    signals.raise_exit()  # whoever reads the line may end us at once
    elsewhere = '' if found == PORT else f' {VARIABLE}={found}'
    click.echo(
        f'The servers of the documentation are up on 127.0.0.1:{found}, until Ctrl-C.\n'
        'Where you run its examples, first say where their hosts are:\n\n'
        f'  export GEVENT_RESOLVER={Names.__module__.rpartition(".")[0]}.{Names.__name__}{elsewhere}\n'
    )
    Event().wait()
    return 0
