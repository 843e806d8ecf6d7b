"""The ``napix`` command: dispatches to its subcommands, and prints errors.

Modules that only a run needs are imported by the run, so that help and completion are fast.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys

import click

from .._version import __version__
from .completion import COMMANDS, SHELLS, VARIABLE, asked_for, complete_hosts, complete_methods, complete_urls, script
from .options import FLAGS, METHODS, Asked

__all__ = ['napix', 'run']

_HELP = ('--help', '-h')
#: Commands with flags of their own, and a help of them.
_PROGRAMS = ('demo', 'serve', 'worker', 'cluster')
#: Objects that are made between two collections of garbage by what serves, and by a run, which makes little garbage.
_YOUNG, _YOUNG_OF_RUN = 10_000, 50_000


def _loaded(young: int) -> None:
    """All modules are loaded: look for garbage from now on, but never among these."""
    gc.freeze()
    gc.set_threshold(young)


def _print_help(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        _show_help()
        context.exit()


def _show_help() -> None:
    from .help import screen

    click.echo(screen(), nl=False)


def _print_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(f'napix {__version__}')
        context.exit()


def _send(**asked: object) -> int:
    """Send the requests of a command line and return the exit code."""
    from .plan import BadUsage, Plan
    from .run import Run, show

    _loaded(_YOUNG_OF_RUN)
    try:
        plan = Plan(Asked(**asked))  # type: ignore[arg-type]  # click has checked them
        if plan.only_shows:
            return show(plan)
        if plan.asked.watch is not None:
            from .watch import Watch

            return Watch(plan).go()
        return Run(plan).go()
    except BadUsage as exc:
        raise click.UsageError(str(exc)) from exc


#: All that sends requests. Commands such as `demo` are words in the place of the method.
napix: click.Command = click.Command(
    'napix',
    callback=_send,
    add_help_option=False,
    params=[
        click.Argument(['method'], shell_complete=complete_methods, is_eager=True),
        # Which of them is what depends on what they are: see urls.words_of.
        click.Argument(['hosts'], shell_complete=complete_hosts, required=False),
        click.Argument(['url'], shell_complete=complete_urls, required=False),
        click.Argument(['items'], nargs=-1, metavar='ITEM'),
        *FLAGS,
        click.Option(
            ['-h', '--help'],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_help,
            help='Show the help.',
        ),
        click.Option(
            ['-V', '--version'],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help='Show the version.',
        ),
    ],
)


def _command(name: str, rest: list[str]) -> int:
    """Run a subcommand of the command itself; return its exit code."""
    if name == 'help' and rest:
        from .help import TOPICS, text_about

        text = text_about(rest[0]) if len(rest) == 1 else None
        if text is None:
            raise click.UsageError(
                f'{" ".join(rest)!r} is no topic of the help: {", ".join(topic.name for topic in TOPICS)}; nor a flag'
            )
        click.echo(text, nl=False)
    elif name == 'completion':
        if len(rest) != 1 or rest[0] not in SHELLS:
            raise click.UsageError(f'name the shell: napix completion {"|".join(SHELLS)}')
        click.echo(script(rest[0], napix))
    elif name == 'saga':
        from .saga import run_saga

        return run_saga(rest)
    elif rest:
        raise click.UsageError(f'{name!r} takes nothing behind it, not {rest[0]!r}')
    elif name == 'help':
        _show_help()
    else:
        from .manpage import man_page

        click.echo(man_page(), nl=False)
    return 0


def _program(name: str) -> click.Command:
    """A command with flags of its own, imported only here: some need an extra of their own."""
    if name == 'demo':
        from .pages import demo

        return demo
    if name == 'serve':
        from ..service.command import serve

        return serve
    from ..cluster import command

    return command.worker if name == 'worker' else command.cluster


def _delegate(name: str, arguments: list[str]) -> int:
    """Pass the arguments on to such a command, and return its exit code."""
    program = _program(name)
    if name in ('demo', 'serve'):
        _loaded(_YOUNG)
    code = program.main(arguments, prog_name=f'napix {name}', standalone_mode=False)
    return code if isinstance(code, int) else 0


def _completed() -> click.Command:
    """What the command line that a shell completes is of."""
    words = os.environ.get('COMP_WORDS', '').split()[1:2]
    if words and words[0] in _PROGRAMS:
        with contextlib.suppress(ImportError):  # it is not installed
            return click.Group('napix', {words[0]: _program(words[0])})
    return napix


def _dispatch(arguments: list[str]) -> int:
    if asked_for():
        _completed().main(prog_name='napix', complete_var=VARIABLE)  # does not return
    if not arguments:
        raise click.UsageError('nothing to do: napix METHOD HOSTS URL sends requests, napix --help tells more')
    name, rest = arguments[0], arguments[1:]
    if name in _HELP and rest:
        name = 'help'
    if name == 'help' and len(rest) == 1 and (rest[0] in COMMANDS or rest[0].upper() in METHODS):
        name, rest = rest[0], ['--help']
    if name in _PROGRAMS:
        return _delegate(name, rest)
    if name in COMMANDS or (name.upper() in METHODS and rest == ['--help']):
        if name == 'saga' and any(word in _HELP for word in rest):
            name, rest = 'help', ['saga']
        if any(word in _HELP for word in rest):
            _show_help()
            return 0
        return _command(name, rest)
    try:
        code = napix.main(arguments, prog_name='napix', standalone_mode=False)
    except click.NoSuchOption as exc:
        from .elsewhere import hint

        if (text := hint(exc.option_name)) is None:
            raise
        raise click.UsageError(f'No such option {exc.option_name!r}: {text}') from exc
    return code if isinstance(code, int) else 0


def run() -> int:
    """Run the command line and return the exit code. An error is one line on standard error."""
    # A closed stream would be None, and the next socket would get its descriptor.
    sys.stdout = sys.stdout or open(os.devnull, 'w')
    sys.stderr = sys.stderr or open(os.devnull, 'w')
    for stream in sys.stdout, sys.stderr:
        stream.reconfigure(errors='backslashreplace')  # type: ignore[union-attr]  # what ASCII cannot show
    try:
        return _dispatch(sys.argv[1:])
    except click.UsageError as exc:
        _complain(exc.format_message().rstrip('.'))
        return 2
    except OSError as exc:
        if exc.errno != errno.EPIPE:  # the reader has closed the pipe
            _complain(exc.strerror or str(exc))
        # Python must not try again to write the rest when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ImportError:
        raise  # main says what to install
    except Exception as exc:  # pragma: no cover  # nothing is known that leads here
        _complain(f'this is a fault of napix itself: {type(exc).__name__}: {exc}')
    return 1


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        print('napix:', ' '.join(text.split()), file=sys.stderr)
