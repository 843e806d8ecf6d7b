"""The ``napix`` command: its parts put together, and what its errors look like. Imports get; demo when it is run."""

from __future__ import annotations

import contextlib
import os
import sys

import click

from .._version import __version__
from .get import get

__all__ = ['napix', 'run']


@click.group(invoke_without_command=True, context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(__version__, '-V', '--version', prog_name='napix', message='%(prog)s %(version)s')
@click.pass_context
def napix(context: click.Context) -> int:
    """Send HTTP requests to many servers at once, and show each answer as it arrives."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return 2
    return 0


napix.add_command(get)


@napix.command(short_help='See a fan-out over servers that it starts itself.')
def demo() -> int:
    """Start 22 servers on this machine, and provision a virtual machine on them.

    20 hypervisors are asked for their capacity at once; some are slow, one is dead, one fails because a server behind
    it failed. The first that fits is taken, and an IP and storage are ordered together. The servers are processes
    that end with the demo. It takes about two seconds.
    """
    from .demo import run_demo
    return run_demo()


def run() -> int:
    """Run the command line; the exit code. What goes wrong is told in one line on standard error."""
    # A closed stream would be None, and its descriptor the next socket's.
    sys.stdout = sys.stdout or open(os.devnull, 'w')
    sys.stderr = sys.stderr or open(os.devnull, 'w')
    for stream in sys.stdout, sys.stderr:
        stream.reconfigure(errors='backslashreplace')       # type: ignore[union-attr]  # what ASCII cannot show
    try:
        code = napix.main(prog_name='napix', standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.UsageError as exc:
        command = exc.ctx.command_path if exc.ctx is not None else 'napix'
        _complain(f'{exc.format_message().rstrip(".")} ({command} --help tells more)')
        return 2
    except OSError as exc:
        _complain(exc.strerror or str(exc))
        # What could not be written must not be tried again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as exc:        # pragma: no cover  # no run is known that comes here
        _complain(f'this is a fault of napix itself: {type(exc).__name__}: {exc}')
    return 1


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        print('napix:', ' '.join(text.split()), file=sys.stderr)
