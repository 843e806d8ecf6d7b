"""Completes command lines in bash, zsh and fish, with click: at each tab the shell runs ``napix`` itself."""

from __future__ import annotations

import contextlib
import os

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from .options import METHODS

__all__ = ['COMMANDS', 'SHELLS', 'VARIABLE', 'complete_hosts', 'complete_methods', 'complete_urls', 'script']

SHELLS = ('bash', 'zsh', 'fish')
#: The environment variable in which the shell asks for completions.
VARIABLE = '_NAPIX_COMPLETE'
COMMANDS = {
    'demo': 'see a fan-out over servers that it starts itself',
    'serve': 'serve fan-outs over HTTP, with a page to watch them',
    'worker': 'send requests for others: a part of a cluster',
    'cluster': 'make a key for a cluster, see how it fares',
    'saga': 'show the journal of a saga, or undo what it tells of',
    'completion': 'print what a shell needs',
    'man': 'print the man page',
    'help': 'tell more about a topic',
}


def script(shell: str, command: click.Command) -> str:
    """The script that a shell evaluates to complete ``napix``."""
    kind = get_completion_class(shell)
    assert kind is not None
    # Not that of bash itself, which would start one to learn its version.
    return ShellComplete.source(kind(command, {}, 'napix', VARIABLE))


def complete_methods(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Methods and commands."""
    methods = [*map(str.lower, METHODS), *(METHODS if incomplete else ())]
    known = {**dict.fromkeys(methods, 'send a request'), **COMMANDS}
    return [CompletionItem(name, help=text) for name, text in known.items() if name.startswith(incomplete)]


def complete_hosts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Groups of hosts, or after a subcommand its arguments."""
    method = context.params.get('method')
    if method == 'help':
        from .help import TOPICS

        return [CompletionItem(topic.name, help=topic.line) for topic in TOPICS if topic.name.startswith(incomplete)]
    if method == 'completion':
        return [CompletionItem(shell) for shell in SHELLS if shell.startswith(incomplete)]
    if method == 'saga':
        return [CompletionItem(action) for action in ('show', 'undo') if action.startswith(incomplete)]
    if method in COMMANDS or '@' not in incomplete:
        return []
    before, _, name = incomplete.rpartition('@')
    with contextlib.suppress(Exception):  # a shell that completes has no use for an error
        from .hostfiles import read_groups

        named = read_groups(context.params.get('groups')).grouplist()
        return [CompletionItem(f'{before}@{group}') for group in sorted(named) if group.startswith(name)]
    return []


def complete_urls(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """After ``saga`` the journal, which is a file; else nobody knows."""
    return [CompletionItem(incomplete, type='file')] if context.params.get('method') == 'saga' else []


def asked_for() -> bool:
    """Whether a shell asks for completions."""
    return VARIABLE in os.environ
