"""Flags that say which servers are asked, and for what."""

from __future__ import annotations

from .flag import Flag
from .kinds import COUNT, FILE

__all__ = ['HOSTS']

HOSTS = [
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
    Flag(
        '--urls',
        topic='hosts',
        metavar='FILE',
        type=FILE,
        multiple=True,
        help='Ask the URLs in FILE, in the place of HOSTS and URL: one on each line, a line that begins with # is a '
        'comment; "-" is standard input.',
    ),
    Flag(
        '--vars',
        topic='hosts',
        metavar='FILE',
        type=FILE,
        help='{name} in URL, header fields and items is a variable of the host, from this FILE.csv, .json or .yaml.',
    ),
]
