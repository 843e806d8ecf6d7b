"""Flags that say what is shown, and in which format."""

from __future__ import annotations

import click

from .flag import Flag, not_empty

__all__ = ['OUTPUT']

OUTPUT = [
    Flag('-i', '--include', topic='output', help='Show status line and header fields of each answer too.'),
    Flag('-b', '--fold', topic='output', help='Show identical answers once, under the node set of their hosts.'),
    Flag('-r', '--regroup', topic='output', help='Fold, and write @name for hosts that are a group.'),
    Flag('--diff', topic='output', help='Show what most answered, and how the others differ from it.'),
    Flag('--json', topic='output', help='Show each answer as a JSON object on a line.'),
    Flag('--csv', topic='output', help='Show the answers as a table in CSV, with a line of titles.'),
    Flag(
        '--template',
        topic='output',
        metavar='TEXT',
        callback=not_empty,
        help='Show each answer as this text, in which "{host} {status}" are members of --json.',
    ),
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
    Flag(
        '-v',
        '--verbose',
        topic='output',
        count=True,
        help='Show requests and answers on standard error, without secrets; -vv shows long bodies whole.',
    ),
    Flag('--curl', topic='output', help='Send nothing: show the requests as commands of curl.'),
    Flag('--dry-run', topic='output', help='Send nothing: show what would be asked.'),
    Flag('--summary', topic='output', help='End with counts, quantiles and a histogram of the times.'),
]
