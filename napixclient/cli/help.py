"""The text of ``napix --help``, and of the help topics."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from .options import FLAGS, Flag

__all__ = ['EXAMPLES', 'SAGA', 'SUMMARY', 'SYNOPSIS', 'TOPICS', 'Topic', 'screen', 'text_about']

WIDTH = 80
SUMMARY = 'send HTTP requests to many servers at once'
SYNOPSIS = (
    'napix METHOD HOSTS URL [ITEM...] [FLAGS]',
    'napix demo [--serve] | serve [FLAGS] | saga show|undo JOURNAL',
    'napix worker [FLAGS] | cluster key|status',
    'napix completion SHELL | man | help TOPIC|FLAG',
)


class Topic:
    """A help topic: one line about it, its text in paragraphs, and its flags."""

    def __init__(self, name: str, line: str, *paragraphs: str | list[tuple[str, str]]) -> None:
        self.name = name
        self.line = line
        #: Texts, and lists of pairs: what to write, and what it means.
        self.paragraphs = paragraphs

    @property
    def flags(self) -> list[Flag]:
        """The flags of this topic."""
        return [flag for flag in FLAGS if flag.topic == self.name]


TOPICS = [
    Topic(
        'hosts',
        'which servers: node sets, groups, files, --urls; --vars of each',
        'HOSTS is a node set, as ClusterShell has them. A host may carry a scheme and a port. '
        '"." stands for no hosts but those of --hostfile, "-" for those on standard input.',
        [
            ('web[1-100].example:8002', 'a range; also [01-10], [1,3,5-7] and [0-10/2]'),
            ('https://a,b:8443,[::1]:80', 'several; [::1] is an IPv6 address'),
            ('@web', 'a group; @* and web* are all hosts of all groups, or those like it'),
            ('web[1-9]!web3', 'without web3; & is what is in both, ^ what is in one of the two'),
        ],
        'Groups are in ~/.config/napix/groups or the file of --groups, as "name: node set" on each line, and behind it '
        'where ClusterShell is configured to look: by groups.conf in $CLUSTERSHELL_CFGDIR, ~/.config/clustershell and '
        '/etc/clustershell. The samples of its package do not count.',
        'URL is a path and a query. Numbers in it are written like those of hosts: /vm/[1-100] asks each host for all '
        'of them. {host} in URL and items is the host with its port, without scheme.',
        'In the place of HOSTS and URL may stand URLs, http://web[1-9].example/status, also in a file. Items follow '
        'them as well.',
        'With --vars {name} in URL, header fields and items is a variable of the host, and {{ and }} are braces. In '
        'CSV the first line has the names, and the column "host", or else the first one, the hosts; JSON and YAML have '
        'an object, host -> variables. In a URL the values are quoted.',
    ),
    Topic(
        'items',
        'what is sent: query, header fields, JSON, forms, files',
        'Items follow the URL.',
        [
            ('key=value', 'a text of the JSON object that is the body'),
            ('key:=json', 'a number, a list, or other JSON of it: size:=1'),
            ('param==value', 'goes to the query'),
            ('Header:value', 'a header field; "Header;" is an empty one'),
            ('field@file', 'a file of a form (multipart/form-data); then key=value are fields of it as well'),
            ('@file', 'the content of the file is the body; "@-" is standard input'),
        ],
        'With "@" after the separator the value is in a file: key=@file, key:=@file, param==@file, Header:@file. '
        'A backslash before a separator makes it a character like any other. "--" stands before items that begin '
        'with "-".',
    ),
    Topic(
        'limits',
        'how many at once, how long, how often: --timeout, -n, --watch',
        'A TIME is a number of seconds, or such as 500ms, 5s, 1m30s, 2h.',
        '-n and --duration make a load: with -q and --summary there is nothing but rates, quantiles and a histogram.',
        '--watch shows all answers once (with -q none), and then those that have changed, with what is gone (-) and '
        'what is new (+); standard error tells when. Ctrl-C ends it.',
    ),
    Topic(
        'output',
        'what is shown: lines, --json, --csv, --template, --fold, --diff',
        'In a pipe each answer is a line as soon as it is there: host, status or kind of error, milliseconds and body, '
        'with tabs between them and control characters escaped. On a terminal the lines have columns, and a table '
        'below them shows how far each host is. Only results go to standard output. When a server failed because one '
        'behind it did, standard error tells the chain.',
        'Where there is no body, its place has the field Location (or Allow) of the answer, or WWW-Authenticate, '
        'Proxy-Authenticate or Retry-After. -i shows all fields as they came, secrets too.',
        'An object of --json has index, host, method, url, status, ms, attempts, peer and tried (the address that '
        'answered, and all that were tried), body (JSON as it is, other text as a string, {"base64": ...} for what is '
        'no text) and error (class, text and chain, or null); with -i also headers, by their names in small letters.',
        'In --template {body.size} and {headers.location} are members of members, empty where an answer has none; {{ '
        'and }} are braces, \\n and \\t the end of a line and a tab. A cell of --csv that a spreadsheet would take for '
        'a formula has a quotation mark before it.',
        'NO_COLOR, CLICOLOR_FORCE and CLICOLOR say whether there are colours.',
    ),
    Topic(
        'resume',
        'going on after a failure: --joblog, --resume, --failed-out',
        'A job log that exists is gone on with by --resume only; without it napix asks on a terminal, and refuses '
        'elsewhere. A request is the same if host, method, URL and body are: the log has a digest of the body. Header '
        'fields are not compared.',
        'A torn last line of a job log, of a run that was killed, does not count.',
    ),
    Topic(
        'credentials',
        'who asks: logins, tokens, profiles; TLS and proxies',
        'What flags do not say, the environment says, then the profile. The command line can be read by every user '
        'of the machine: leave keys and tokens in files or in the environment.',
        'Profiles are in ~/.config/napix/config.toml (or $XDG_CONFIG_HOME/napix): [profiles.NAME] with any of login, '
        'key, token, ca_certs and proxy. "@file" is what is in a file there too.',
    ),
    Topic(
        'exit',
        'the exit codes',
        [
            ('0', 'all answered below 400; or --need or --min-ok is met'),
            ('1', 'some failed'),
            ('2', 'bad usage; nothing was sent'),
            ('3', 'nothing answered'),
            ('124', 'the deadline of the run ended it'),
            ('130', 'interrupted'),
        ],
        'Ctrl-C shows who has not answered yet, a second one ends the run. SIGTERM ends it with 143.',
    ),
]

#: What `napix saga` does; the overview has it among the commands.
SAGA = Topic(
    'saga',
    'sagas that crashed: what they did, and how to undo it',
    '"napix saga show JOURNAL" tells of each step of a saga what became of it, and what undoes it; on a terminal '
    'as a table, else as lines with tabs: wait, state, status, step, undo, error.',
    '"napix saga undo JOURNAL" undoes what the saga has done whose process died. What is committed or undone is '
    'left alone. It takes the flags of credentials, and --timeout, --connect-timeout and --deadline. What it could '
    'not undo, and steps of which nobody knows, are named; a second run tries again only what is left.',
    [
        ('0', 'all is undone, or there was nothing to do'),
        ('1', 'something is not undone, or unknown'),
        ('2', 'the journal cannot be read, or is in use'),
    ],
)

EXAMPLES = [
    ('napix get web[1-100].example /status', 'ask a hundred servers'),
    ('napix post @filers /storage/ size:=1000000 --token @token', 'send JSON to a group'),
    ('napix get @web /version --fold --timeout 5', 'who runs which version'),
    ('napix put . /ntp server=10.0.0.1 --hostfile hosts --joblog log --resume', 'take up again'),
]


def screen() -> str:
    """The overview; it fits a screen of 24 lines and 80 columns."""
    lines = [
        f'Usage: {SYNOPSIS[0]}',
        *(f'       {line}' for line in SYNOPSIS[1:]),
        f'{SUMMARY[0].upper()}{SUMMARY[1:]}.',
        '',
    ]
    lines += _table(
        [
            ('METHOD', 'get, post, put, patch, delete, head, options, or any other in capitals'),
            ('HOSTS', "web[1-9].example:8002, https://a,b, @group, '.' with --hostfile"),
            ('URL', 'a path such as /status; without HOSTS http://web[1-9].example/status'),
            ('ITEM', 'key=value key:=json param==value Header:value field@file @file'),
        ]
    )
    lines += ['', 'napix help TOPIC tells more, with all flags; napix help --json tells of one:']
    lines += _table([(topic.name, topic.line) for topic in TOPICS])
    lines += ['']
    lines += [f'  $ {command}' for command, _ in EXAMPLES[:3]]
    return '\n'.join(lines) + '\n'


def text_about(name: str) -> str | None:
    """The text about a topic or a flag for a terminal; ``None`` if there is none of this name."""
    for topic in (*TOPICS, SAGA):
        if topic.name == name:
            return _topic_text(topic)
    return next((_flag_text(flag) for flag in FLAGS if {name, f'--{name}'} & {*flag.opts}), None)


def _topic_text(topic: Topic) -> str:
    return '\n'.join([f'{topic.name}: {topic.line}', *_body(topic)]) + '\n'


def _flag_text(flag: Flag) -> str:
    """Its help, and what its topic says of it."""
    (topic,) = (topic for topic in TOPICS if topic.name == flag.topic)
    names = re.compile(rf'(?<![\w-])({"|".join(map(re.escape, flag.opts))})(?![\w-])').search
    told = [text for text in topic.paragraphs if isinstance(text, str) and names(text)]
    lines = _table([(flag.written, flag.help or '')])
    for paragraph in [*told, f'"napix help {topic.name}" tells more.']:
        lines += ['', *_wrapped(paragraph)]
    return '\n'.join(lines) + '\n'


def _body(topic: Topic) -> Iterator[str]:
    for paragraph in topic.paragraphs:
        yield ''
        yield from _table(paragraph) if isinstance(paragraph, list) else _wrapped(paragraph)
    if topic.flags:
        yield ''
        yield from _table([(flag.written, flag.help or '') for flag in topic.flags])


def _wrapped(paragraph: str) -> list[str]:
    return textwrap.wrap(paragraph, WIDTH, break_on_hyphens=False, break_long_words=False)


def _table(rows: list[tuple[str, str]]) -> list[str]:
    """Two columns: what to write, and what it means."""
    width = max(len(written) for written, _ in rows)
    lines = []
    for written, meaning in rows:
        lines += textwrap.wrap(
            meaning,
            WIDTH,
            initial_indent=f'  {written:<{width}}  ',
            subsequent_indent=' ' * (width + 4),
            break_on_hyphens=False,
        )
    return lines
