"""Flags of job logs, and of what failed."""

from __future__ import annotations

from .flag import Flag
from .kinds import FILE

__all__ = ['RESUME']

RESUME = [
    Flag('--joblog', topic='resume', metavar='FILE', type=FILE, help='Write a line of JSON to FILE for each outcome.'),
    Flag('--resume', topic='resume', help='Ask only those that have no line in the job log, or one of a failure.'),
    Flag(
        '--failed-out',
        topic='resume',
        metavar='FILE',
        type=FILE,
        help='Write the hosts that failed to FILE, as a node set.',
    ),
]
