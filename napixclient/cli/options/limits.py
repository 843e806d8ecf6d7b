"""Flags that bound a run: how many at once, how long, how often, by what way, and when to stop."""

from __future__ import annotations

from ..._counts import WholeNumber
from .flag import Flag, not_empty
from .kinds import COUNT, RATE, SECONDS, ShareType, Simultaneous

__all__ = ['LIMITS']

LIMITS = [
    Flag(
        '-f',
        '--max-connections',
        topic='limits',
        metavar='N',
        type=COUNT,
        help='At most N connections in all. By default what the limit on open files allows, up to 1024.',
    ),
    Flag(
        '--simultaneous',
        topic='limits',
        metavar='N|auto',
        type=Simultaneous(),
        help='At most N requests at a time to one host, 2 by default; with "auto" each host shows how many.',
    ),
    Flag(
        '--timeout',
        topic='limits',
        metavar='TIME',
        type=SECONDS,
        help='The time of one request in all. By default 60 s of silence end it.',
    ),
    Flag(
        '--connect-timeout', topic='limits', metavar='TIME', type=SECONDS, help='The time to connect: 10 s by default.'
    ),
    Flag(
        '--deadline',
        topic='limits',
        metavar='TIME',
        type=SECONDS,
        help='The time of the whole run. What has not answered by then has failed.',
    ),
    Flag('--rate', topic='limits', metavar='N', type=RATE, help='Begin at most N requests a second.'),
    Flag('--rate-per-host', topic='limits', metavar='N', type=RATE, help='Send each host at most N requests a second.'),
    Flag(
        '--retries',
        topic='limits',
        metavar='N',
        type=WholeNumber(min=0),
        help='Try again up to N times: when the connection fails, and after 429, 502, 503, 504 where asking '
        'twice does no harm.',
    ),
    Flag('-L', '--follow', topic='limits', help='Follow redirects, ten at most.'),
    Flag(
        '--max-redirects',
        topic='limits',
        metavar='N',
        type=WholeNumber(min=0),
        help='Follow N redirects at most; one more is an error.',
    ),
    Flag('-n', '--repeat', topic='limits', metavar='N', type=COUNT, help='Ask each host N times.'),
    Flag(
        '--duration',
        topic='limits',
        metavar='TIME',
        type=SECONDS,
        help='Ask each host again and again for that long, and end with a summary.',
    ),
    Flag(
        '--watch',
        topic='limits',
        metavar='TIME',
        type=SECONDS,
        help='Ask all again each TIME, -n times or until Ctrl-C, and show what has changed.',
    ),
    Flag('--serial', topic='limits', metavar='N', type=COUNT, help='Ask N hosts, and the next N when those are done.'),
    Flag('--max-fail', topic='limits', metavar='N', type=COUNT, help='After N failures begin no more.'),
    Flag('--fail-fast', topic='limits', help='End the run at the first failure.'),
    Flag('--need', topic='limits', metavar='N', type=COUNT, help='End the run when N have answered well.'),
    Flag(
        '--min-ok',
        topic='limits',
        metavar='N|PERCENT',
        type=ShareType(),
        help='All is well if so many answered well: 10, or 90%.',
    ),
    Flag(
        '--via',
        topic='limits',
        metavar='URL',
        callback=not_empty,
        help='Have the workers of a cluster ask, over this broker: amqp://... or amqps://...',
    ),
    Flag(
        '--via-key',
        topic='limits',
        metavar='@FILE',
        callback=not_empty,
        help='The keys of the cluster. NAPIX_CLUSTER_KEY in the environment.',
    ),
    Flag('--zone', topic='limits', metavar='NAME', callback=not_empty, help='Which cluster of that broker.'),
    Flag('--lanes', topic='limits', metavar='K', type=COUNT, help='How many lanes it has: 64 by default.'),
]
