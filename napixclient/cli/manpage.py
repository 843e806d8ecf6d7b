"""Writes the man page in roff, from the same texts as the help."""

from __future__ import annotations

import re

from .._version import __version__
from .help import EXAMPLES, SAGA, SUMMARY, SYNOPSIS, TOPICS, Topic
from .options import Flag

__all__ = ['man_page']

_TITLES = {
    'hosts': 'HOSTS AND URLS',
    'items': 'ITEMS',
    'limits': 'LIMITS',
    'output': 'OUTPUT',
    'resume': 'RESUMING',
    'credentials': 'CREDENTIALS, TLS AND PROXIES',
    'saga': 'SAGAS',
    'exit': 'EXIT STATUS',
}


def man_page() -> str:
    """The whole page."""
    lines = [
        f'.TH NAPIX 1 "" "napix {__version__}" "User Commands"',
        '.SH NAME',
        f'napix \\- {SUMMARY}',
        '.SH SYNOPSIS',
    ]
    for synopsis in SYNOPSIS:
        lines += [f'.B {_text(synopsis)}', '.br']
    lines[-1:] = [
        '.SH DESCRIPTION',
        _text(
            'Sends a request to each of many hosts at once and shows every answer as it arrives. METHOD is get, post, '
            'put, patch, delete, head, options, or any other in capitals. "napix demo" shows a fan-out over servers '
            'that it starts itself, "napix demo --serve" serves the examples of the documentation, '
            '"napix serve" serves fan-outs over HTTP, with a page to watch them '
            '("napix serve --help" tells more), "napix saga" shows and undoes what '
            'a saga has done that crashed, "napix completion" prints what bash, zsh or fish need to complete a '
            'command line, "napix man" prints this page, "napix help" a part of it.'
        ),
    ]
    for topic in (*TOPICS[:-1], SAGA, TOPICS[-1]):
        lines += [f'.SH "{_TITLES[topic.name]}"', *_section(topic)]
    lines += [
        '.SH FILES',
        *_entry('~/.config/napix/config.toml', 'profiles'),
        *_entry('~/.config/napix/groups', 'groups of hosts'),
    ]
    lines += ['.SH EXAMPLES']
    for command, meaning in EXAMPLES:
        lines += _entry(command, f'{meaning[0].upper()}{meaning[1:]}.')
    return '\n'.join(lines) + '\n'


def _section(topic: Topic) -> list[str]:
    lines: list[str] = []
    for paragraph in topic.paragraphs:
        if isinstance(paragraph, str):
            lines += ['.PP', _text(paragraph)]
        else:
            for written, meaning in paragraph:
                lines += _entry(written, meaning)
    if lines[:1] == ['.PP']:
        del lines[0]
    for flag in topic.flags:
        lines += ['.TP', _flag(flag), _text(flag.help or '')]
    return lines


def _entry(written: str, meaning: str) -> list[str]:
    return ['.TP', f'.B {_text(written)}', _text(meaning)]


def _flag(flag: Flag) -> str:
    """Names in bold, what follows in italics."""
    names = ', '.join(f'\\fB{_text(name)}\\fR' for name in sorted(flag.opts, key=len))
    return f'{names} \\fI{_text(flag.metavar)}\\fR' if flag.metavar else names


def _text(text: str) -> str:
    """The text escaped for roff; hyphens stay hyphens, so that they can be copied."""
    text = text.replace('\\', '\\e').replace('-', '\\-').replace('~', '\\(ti').replace('^', '\\(ha')
    text = text.replace("'", '\\(aq').replace('"', '\\(dq').replace('`', '\\(ga')
    return re.sub(r'(?m)^\.', r'\\&.', text)
