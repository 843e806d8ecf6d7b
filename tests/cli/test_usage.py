"""Bad usage, help, the man page, completion: what needs no server."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import gevent.subprocess
import pytest

from napixclient import __version__
from napixclient.cli.elsewhere import hint
from napixclient.cli.options import FLAGS
from tests import kit
from tests.cli.programs import at_once, environment, napix
from tests.cli.servers import answering

BAD: list[tuple[list[str | bytes], str]] = [
    ([], 'nothing to do: napix METHOD HOSTS URL sends requests, napix --help tells more'),
    (['get'], "Missing argument 'HOSTS'"),
    (['get', 'a'], "Missing argument 'URL'"),
    (['got', 'a', '/'], "'got' is neither a method nor a command"),
    (['G@T', 'a', '/'], 'not a method'),
    (['CONNECT', 'a', '/'], 'CONNECT makes a tunnel'),
    (['get', 'a', 'captains'], '\'captains\' does not begin with "/"'),
    (['get', '/captains', 'a'], '\'a\' does not begin with "/": give a path such as /captains, after the hosts'),
    (['get', 'a', 'http://a/captains'], 'does not begin with "/"'),
    (['get', 'a', '/x#y'], 'a fragment is never sent'),
    (['get', 'a', '/x\ny'], 'control characters'),
    (['get', 'a', '/[5-1]'], "[5-1] is not a range: '5-1' is empty"),
    (['get', 'a', '/[1-5/0]'], "[1-5/0] is not a range: '1-5/0' is empty"),
    (['get', 'a', f'/[1-{10**15}]'], 'has more than 15 digits'),
    (['get', 'a,b', f'/[1-{10**15 - 1}]'], '2e+15 requests are more than a run can have'),
    (['get', 'web[1-', '/'], "'web[1-' is not a node set"),
    (['get', 'a,,b', '/'], 'a comma with no host beside it'),
    (['get', '@no-such-group', '/'], "'@no-such-group' names no host"),
    (['get', '', '/'], 'no hosts'),
    (['get', 'a!a', '/'], 'no hosts'),
    (['get', 'a,b', '/', '-x', 'a', '-x', 'b'], 'no hosts: all of them are excluded'),
    (['get', 'a', '/', '-x', 'web[1-'], "'web[1-' is not a node set"),
    (['get', '.', '/'], '"." stands for the hosts of a file: name one with --hostfile FILE'),
    (['get', '-', '/', '--hostfile', '-'], '"-" is standard input, which can be read only once'),
    (['post', '-', '/', 'a=@-'], '"-" is standard input, which can be read only once'),
    (['get', 'a:port', '/'], "not a host: 'a:port'"),
    (['get', 'a:99999', '/'], "not a host: 'a:99999'"),
    (['get', '::1', '/'], 'an IPv6 address is written in brackets'),
    (['get', 'ftp://a', '/'], 'unknown scheme'),
    (['get', 'a/x', '/'], "not a host: 'a/x'"),
    (['get', 'a', '/', '--hostfile', 'no/such/file'], 'cannot read no/such/file: No such file or directory'),
    (['get', 'a', '/', '--hostfile', '/'], 'cannot read /: Is a directory'),
    (['get', '.', '/', '--hostfile', os.devnull], 'no hosts'),
    (['get', 'a', '/', '--groups', 'no/such/file'], 'cannot read no/such/file: No such file or directory'),
    (['get', 'a', '/', '--groups', 'README.md'], ': expected "name: node set", not'),
    (
        ['get', '@all', '/'],
        "'@all' names no host: there is no such group; groups are looked for in /dev/null/napix/groups",
    ),
    (['get', '*', '/'], "'*' names no host: there are no groups; groups are looked for in /dev/null/napix/groups"),
    (['get', 'a', '/', '-x', '@compute'], "'@compute' names no host"),
    (['get', 'web[1_000]', '/'], "'1_000' is no range"),
    (['get', 'web[1-99999999]', '/'], 'names more than 1000000 hosts'),
    (['get', 'a', '/[3-1]'], '[3-1] is not a range'),
    (['post', 'a', '/', 'item'], "'item' is not an item: key=value, key:=json, param==value, Header:value"),
    (['post', 'a', '/', 'a:={'], '\'a:={\': what follows ":=" is not JSON'),
    (['post', 'a', '/', 'a:=NaN'], '\'a:=NaN\': what follows ":=" is not JSON'),
    (['post', 'a', '/', 'a:=1e400'], '1e400 is beyond the range of a double'),
    (['post', 'a', '/', 'a:={"b": [-1e999]}'], 'b[0]: -1e999 is beyond the range of a double'),
    (['post', 'a', '/', f'a:={"9" * 5000}'], 'digits'),
    (['post', 'a', '/', f'a:={"[" * 100_000}'], 'nested too deep'),
    (['post', 'a', '/', '=x'], '\'=x\' has no name before "="'),
    (['post', 'a', '/', 'X:'], "'X:' has no value; an empty header is written 'X;'"),
    (['post', 'a', '/', 'X;y'], 'nothing follows the ";" of an empty header'),
    (['post', 'a', '/', 'Host:b'], 'the Host header follows from the host of the request'),
    (['post', 'a', '/', 'X y:b'], 'header'),
    (['post', 'a', '/', '@no-such-file'], "'@no-such-file': cannot read the file: No such file or directory"),
    (['post', 'a', '/', 'x@/'], "'x@/': cannot read the file: Is a directory"),
    (['post', 'a', '/', '@README.md', 'a=b'], '"@README.md" is the whole body: it goes with no fields'),
    (['post', 'a', '/', '@README.md', '@LICENSE'], 'there is one body'),
    *(
        (['get', 'a', '/', flag, value], f"'{flag}': {complaint}" if "'-" not in complaint else complaint)
        for flag, value, complaint in [
            ('--simultaneous', '0', '\'0\' is neither a whole number from 1 up nor "auto"'),
            ('--simultaneous', 'many', "'many' is neither"),
            ('--max-connections', '-2', ''),
            ('--retries', '-1', '-1 is not'),
            ('--timeout', '0', '0 is not a number of seconds above 0'),
            ('--timeout', '-1.5', '-1.5 is not a number of'),
            ('--timeout', 'nan', 'nan is not'),
            ('--timeout', 'inf', 'inf is not'),
            ('--connect-timeout', '1x', "'1x' is not a number of seconds, nor a time such as 500ms, 5s"),
            ('--timeout', '1s1m', "'1s1m' is not a number of seconds"),
            ('--deadline', '0ms', '0ms is not a number of seconds above 0'),
            ('--deadline', '', "'' is not a number of seconds"),
            ('--watch', '-1s', "'-1s' is not a number"),
            ('--duration', '5 s', "'5 s' is not a number of seconds"),
            ('--max-redirects', '-1', '-1 is not in the range'),
            ('--template', '', 'it is empty'),
            ('--bearer', '', 'it is empty'),
            ('--deadline', '0', '0 is not'),
            ('--rate', '0', '0 is not a number of requests a second above 0'),
            ('--rate-per-host', 'x', "'x' is not"),
            ('--serial', '0', '0 is not in the range'),
            ('--max-fail', 'x', "'x' is not a valid integer"),
            ('--retries', '1.5', "'1.5' is not a valid integer"),
            ('--repeat', '', "'' is not a valid integer"),
            ('--need', '0', '0 is not in the range'),
            ('--pick', '0', '0 is not in the range'),
            ('--repeat', '0', '0 is not in the range'),
            ('--min-ok', '101%', "'101%' is out of range"),
            ('--min-ok', 'x%', "'x%' is neither a number nor a percentage"),
            ('--min-ok', '-1', "'-1' is out of range"),
            ('--login', '', 'it is empty'),
            ('--token', '', 'it is empty; is the variable it comes from set?'),
            ('--proxy', '', 'it is empty'),
        ]
        if complaint
    ),
    (['get', 'a', '/', '-f', '-2'], '-2 is not in the range'),
    (['get', 'a', '/', '--timeout'], 'requires an argument'),
    (['get', 'a', '/', '--json', '--fold'], '--json and --fold exclude each other'),
    (['get', 'a', '/', '--json', '--diff'], '--json and --fold exclude each other'),
    (['get', 'a', '/', '--csv', '--json'], '--json and --csv exclude each other'),
    (
        ['get', 'a', '/', '--csv', '-b'],
        '--csv and --fold exclude each other: answers are shown one by one, or together',
    ),
    (['get', 'a', '/', '--template', '{nobody}'], '{nobody} is no member; there are index, host, method, url, status'),
    (
        ['get', 'a', '/', '--template', '{status.code}'],
        '{status.code}: status has no members; peer, tried, headers, body, error have',
    ),
    (['get', 'a', '/', '--template', '{error.kind}'], 'error has class, text, chain'),
    (['get', 'a', '/', '--template', '{}'], '{} is no member'),
    (['get', 'a', '/', '--template', 'a } b'], 'a "}" with no counterpart; write }} for a brace'),
    (['get', 'a', '/', '--template', '{host'], 'a "{" with no counterpart'),
    (['get', 'a/x'], "Missing argument 'URL'; a URL begins with http:// or https://, unlike 'a/x'"),
    (['get', 'ftp://a/x'], "a URL begins with http:// or https://, unlike 'ftp://a/x'"),
    (['http://a/x'], "'http://a/x' is neither a method nor a command; the method comes first: napix get http://a/x"),
    (['get', 'http://a/x', 'captains'], "'captains' is not an item"),
    (['get', 'http://nemo:pa55word@a/x'], 'a URL with a user name in it: give it with --auth NAME:PASSWORD'),
    (['get', 'http:///x'], "'http:///x' names no host"),
    (['get', 'http://a:port/x'], "'http://a:port/x': not a host: 'a:port'"),
    (['get', 'http://web[1-/x'], "'web[1-/x' is not a node set"),
    (['get', 'http://a/x#y'], 'a fragment is never sent'),
    (['get', 'http://a/x', '--hostfile', 'README.md'], '--hostfile and URLs exclude each other'),
    (['get', 'http://a/x', '-x', 'a'], 'no hosts: all of them are excluded'),
    (['get', 'a', '/x', '--urls', 'README.md'], '--urls is in the place of HOSTS and URL: leave these out'),
    (['get', 'http://a', '/x', '--urls', 'README.md'], '--urls is in the place of HOSTS and URL: leave these out'),
    (['get', '--urls', 'no/such/file'], 'cannot read no/such/file: No such file or directory'),
    (['get', '--urls', 'LICENSE'], "LICENSE, line 1: 'MIT License' is no URL: one begins with http:// or https://"),
    (['get', '--urls', os.devnull], 'no hosts: there is no URL in the file of --urls'),
    (['get', 'http://a/[1-1000001]', 'http://b/'], 'more than 1,000,000 different URLs'),
    (['get', 'a', '/', '--watch', '1', '--joblog', 'log'], '--watch and --joblog exclude each other'),
    (['get', 'a', '/', '--duration', '1s', '--serial', '1'], '--serial and --duration exclude each other'),
    (['get', 'a', '/', '--bearer', 'a\nb'], '--bearer: header Authorization: CR, LF and NUL are not allowed'),
    (['get', 'a', '/', '--auth', 'a:b\x01'], '--auth: user name and password are texts without control characters'),
    (['get', 'a', '/', '--bearer', 't', '--auth', 'a:b'], '--bearer and --auth exclude each other'),
    (['get', 'a', '/', '--token', 't', '--digest', 'a:b'], '--token and --digest exclude each other'),
    (['get', 'a', '/', '--auth', 'a:b', '--netrc'], '--auth and --netrc exclude each other'),
    (['get', 'a', '/', '--auth', 'nemo'], '--auth takes NAME:PASSWORD; there is no ":"'),
    (['get', 'a', '/', '--auth', '@MANIFEST.in'], 'NAME:PASSWORD; there is no ":" in the file MANIFEST.in'),
    (['get', 'a', '/', '--bearer', '@no-such-file'], "'--bearer @no-such-file': cannot read the file"),
    (['get', 'a', '/', '--key', 'k', '--bearer', 't'], '--key and --bearer exclude each other'),
    (['get', 'a', '/', '--vars', 'LICENSE'], '--vars LICENSE: a file of variables ends in .csv, .json, .yaml or .yml'),
    (['get', 'a', '/', '--vars', 'no-such.csv'], 'cannot read no-such.csv: No such file or directory'),
    (['get', 'a', '/', '--curl', '--dry-run'], '--curl and --dry-run exclude each other'),
    (['get', 'a', '/', '--resume'], '--resume needs the job log of the run to take up: name it with --joblog FILE'),
    (['get', 'a', '/', '--joblog', '/'], 'cannot write the job log /: Is a directory'),
    (['get', 'a', '/', '--joblog', '/', '--resume'], 'cannot read the job log /: Is a directory'),
    (['get', 'a', '/', '--failed-out', 'no/such/file'], 'cannot write no/such/file: No such file or directory'),
    (['get', 'a', '/', '-o', 'README.md'], 'cannot write README.md: File exists'),
    (['get', 'a', '/', '--login', 'root'], '--login without a key: set NAPIX_KEY in the environment, or give --key'),
    (['get', 'a', '/', '--key', 'toor'], '--key without --login: say whose key it is with --login NAME'),
    (['get', 'a', '/', '--login', 'root', '--key', 'k', '--token', 't'], '--login and --token exclude each other'),
    (['get', 'a', '/', '--token', b'\xff'], 'the login, the key or the token is not a text in UTF-8'),
    (['get', 'a', '/', '--login', 'root', '--key', b'\xff'], 'is not a text in UTF-8'),
    (['get', 'a', '/', '--token', '@no-such-file'], "'--token @no-such-file': cannot read the file"),
    (['get', 'a', '/', '--token', f'@{os.devnull}'], f'--token @{os.devnull}: the file is empty'),
    (['get', 'a', '/', '--cacert', 'no-such-file'], 'cannot load the certificates'),
    (['get', 'a', '/', '--cert', 'README.md'], 'cannot load the certificates'),
    (['get', 'a', '/', '--proxy', 'gopher://a'], 'proxy is a URL'),
    (['get', 'a', '/', '--proxy', 'http://p', '--no-proxy', '<x>'], 'no_proxy: expected hosts'),
    (['get', 'a', '/', '--nonsense'], '--nonsense'),
    (['get', 'a', '/', '-H', 'X: y'], "No such option '-H': header fields are items behind the URL, Name:value"),
    (['post', 'a', '/', '--data', '{}'], "'--data': what is sent are items behind the URL, key=value, key:=json or"),
    (['post', 'a', '/', '--data={}'], "'--data': what is sent are items"),
    (['post', 'a', '/', '--form', 'a=b'], "'--form': a form is what has a file among its items, field@file"),
    (['-X', 'POST', 'http://a/'], "'-X': the method comes first, as in napix post HOSTS URL"),
    (['get', 'a', '/', '-u', 'a:b'], "'-u': --auth @FILE has a name and a password"),
    (['get', 'a', '/', '-c', '5'], "'-c': --simultaneous N is for each host, --max-connections N for all"),
    (['get', 'a', '/', '-z', '5s'], "'-z': it is --duration TIME here"),
    (['get', '-w', 'a', '/'], "'-w': the hosts come behind the method"),
    (['get', 'a', '/', '--json=1'], "'--json' does not take a value"),
    (['get', b'\xff', '/'], 'not a host'),
    (['get', 'a', b'/\xff'], 'codec'),
    (['demo', 'extra'], 'Got unexpected extra argument (extra)'),
    (['man', 'extra'], "'man' takes nothing behind it"),
    (
        ['help', 'nonsense'],
        "'nonsense' is no topic of the help: hosts, items, limits, output, resume, credentials, exit",
    ),
    (['--help', 'hosts', 'items'], "'hosts items' is no topic of the help"),
    (['completion'], 'name the shell: napix completion bash|zsh|fish'),
    (['completion', 'tcsh'], 'name the shell: napix completion bash|zsh|fish'),
]


@pytest.mark.parametrize('first', range(4))
def test_bad_usage(first: int) -> None:
    """Bad usage is 2 and one line that names the mistake, never a traceback."""
    wrong, cases = [], BAD[first::4]
    for start in range(0, len(cases), 8):
        part = cases[start : start + 8]
        for (words, complaint), (code, out, err) in zip(part, at_once(*(words for words, _ in part)), strict=True):
            if (code, out) != (2, '') or not re.fullmatch(r'napix: [^\n]+\n', err) or complaint not in err:
                wrong.append((words, complaint, code, out, err))
    assert wrong == []


def test_bad_usage_sends_nothing(tmp_path: Path) -> None:
    """One bad host among good ones: nobody is asked, and no file is touched."""
    (tmp_path / 'hosts').write_text('a\nweb[1-\n')
    with answering() as server:
        code, _, _ = napix('get', f'{server.host},a:port', '/', '--joblog', tmp_path / 'log')
        assert (code, server.requests, (tmp_path / 'log').exists()) == (2, [], False)
        code, _, err = napix('get', server.host, '/', '--hostfile', tmp_path / 'hosts')
        assert (code, server.requests) == (2, [])
    assert f"{tmp_path}/hosts, line 2: 'web[1-' is not a node set" in err


def test_times_of_the_service() -> None:
    """`napix serve` takes times as the other commands do, and refuses what is none by the name of the flag."""
    names = ['--header-timeout', '--slow-timeout', '--ping-every', '--ping-timeout', '--drain-timeout', '--keep-days']
    good = [
        ['serve', *(word for name in names for word in (name, time)), '--bind', 'x'] for time in ('1m30s', '7', 'inf')
    ]
    for code, _, err in at_once(*good, ['serve', '--drain-timeout', '0', '--bind', 'x']):
        assert (code, "'--bind': 'x' is not ADDRESS:PORT" in err) == (2, True), err
    for name, (code, _, err) in zip(names, at_once(*(['serve', name, '1x'] for name in names)), strict=True):
        assert (code, f"'{name}': '1x' is not a number of seconds, nor a time" in err) == (2, True), err
    for name in names[:4]:
        assert f"'{name}': 0s is not in the range of times: it is above 0" in napix('serve', name, '0s').err


def test_numbers_of_all_commands() -> None:
    """What is no number is called none; nobody has to know what click calls an integer range."""
    lines = [
        ['get', 'a', '/', '-n', 'x'],
        ['demo', '--port', 'x'],
        ['serve', '--max-runs', 'x'],
        ['worker', '--broker', 'amqp://a', '--number', 'x'],
        ['cluster', 'status', '--broker', 'amqp://a', '--lanes', 'x'],
    ]
    for words, (code, _, err) in zip(lines, at_once(*lines), strict=True):
        assert (code, err.endswith(": 'x' is not a valid integer\n")) == (2, True), (words, err)
    err = napix('worker', '--broker', 'amqp://a', '--rate-per-host', 'x').err
    assert err.endswith(": 'x' is not a valid number\n")
    assert 'RANGE' not in napix('demo', '--help').out


def test_what_is_no_store() -> None:
    """`napix serve` says which stores there are, whatever SQLAlchemy has to say, and repeats no password of a URL."""
    for store, complaint in (
        ('mysql://nemo:pa55word@a/b', 'cannot open the store: mysql is not one of postgresql, sqlite'),
        ('runs.sqlite pa55word', 'not a store; expected a URL: sqlite:///PATH or postgresql://HOST/DATABASE'),
    ):
        code, _, err = napix('serve', '--bind', '127.0.0.1:0', '--store', store)
        assert (code, err.endswith(f'napix: {complaint}\n'), 'pa55word' in err) == (2, True, False), err


@pytest.mark.parametrize('name', ['', 'nope', 'nope.x.Names', 'napixclient.dmeo.Names', 'napixclient.demo.Nmaes'])
def test_a_resolver_that_there_is_not(name: str) -> None:
    """One line says which variable names it, as the line of the examples to export may be mistyped; no traceback."""
    for words in ['get', 'web1.example', '/'], ['demo', '--serve', '--port', '0']:
        code, out, err = napix(*words, fresh=True, GEVENT_RESOLVER=name)
        last = err.splitlines()[-1]
        assert (code, out) == (2, ''), err
        assert last.startswith(f'napix: GEVENT_RESOLVER={name} in the environment names no class: '), err


def test_both_variables() -> None:
    """A login and a token in the environment: which one is meant?"""
    code, _, err = napix('get', 'a', '/', NAPIX_LOGIN='a', NAPIX_TOKEN='b')
    assert (code, err) == (2, 'napix: NAPIX_LOGIN and NAPIX_TOKEN are both set: sign the requests, or send a token\n')


def test_hints_are_about_flags_that_there_are_not() -> None:
    """A flag that is declared, now or later, has its own meaning: no hint speaks of it."""
    assert hint('-H') and not [name for flag in FLAGS for name in flag.opts if hint(name)]


# Help ----------------------------------------------------------------------------------------------------------------


def test_version() -> None:
    """--version tells it, from a start as users make it."""
    assert napix('--version', fresh=True) == (0, f'napix {__version__}\n', '')
    assert napix('-V').out == f'napix {__version__}\n'


def test_the_version_needs_little() -> None:
    """--version loads neither the engine nor what only other commands print."""
    done = kit.run_program(
        """
import sys
before = {*sys.modules}  # a tracer's
from napixclient.cli import main
sys.argv = ['napix', '--version']
code = main()
watched = {'gevent', 'urllib3', 'rich', 'napixclient.errors', 'napixclient.pool', 'napixclient.cli.help'}
print(code, sorted(watched & {*sys.modules} - before))
""",
        patched=False,
    )
    assert done == (0, f'napix {__version__}\n0 []\n', '')


def test_a_run_loads_what_it_needs() -> None:
    """What sends requests patches its process first, and loads no table, no groups and no entities of HTML."""
    with answering() as server:
        done = kit.run_program(
            """
import sys
before = {*sys.modules}  # a tracer's
from gevent import monkey
from napixclient.cli import main
sys.argv = ['napix', 'get', sys.argv[1], '/', '--quiet']
code = main()
ours = {f'napixclient.cli.{name}' for name in ('help', 'csv_format', 'template', 'folding', 'varfiles', 'watch', 'curl')}
watched = {'rich', 'ClusterShell', 'configparser', 'html.entities', 'yaml', *ours}
print(code, monkey.is_module_patched('socket'), sorted(watched & {*sys.modules} - before))
""",
            server.host,
            patched=False,
        )
    assert done == (0, '0 True []\n', '')
    assert len(server.requests) == 1


@pytest.mark.parametrize('loaded', [True, False])
def test_a_run_looks_for_no_plug_ins(loaded: bool) -> None:
    """To patch the process a run does not look through all that is installed; a service does, and has its plug-ins."""
    with answering() as server:
        done = kit.run_program(
            """
import importlib, sys
looked = []
if sys.argv[1] == 'True':
    from importlib import metadata
    metadata.entry_points = lambda **asked: looked.append(asked) or ()
from napixclient.cli import main
sys.argv = ['napix', 'get', sys.argv[2], '/', '--quiet']
code = main()
print(code, len(looked), importlib.metadata.__name__ == 'importlib.metadata')
""",
            loaded,
            server.host,
            patched=False,
        )
    assert done == (0, '0 0 True\n', '')


def test_the_service_patches() -> None:
    """`napix serve` patches its process before what it needs is loaded."""
    done = kit.run_program(
        """
import sys
from gevent import monkey
from napixclient.cli import main
sys.argv = ['napix', 'serve', '--help']
main()
print(monkey.is_module_patched('socket'), monkey.is_module_patched('threading'))
""",
        patched=False,
    )
    assert (done.code, done.err) == (0, '')
    assert done.out.endswith('\nTrue True\n')


def test_help_fits_a_screen() -> None:
    """--help fits 24 lines of 80 columns, wherever it stands, and names all topics."""
    shown = at_once(
        ['--help'], ['-h'], ['get', '--help'], ['get', 'a', '/', '--json', '-h'], ['man', '--help'], ['help']
    )
    assert len({one.out for one in shown}) == 1
    code, out, err = shown[0]
    assert (code, err) == (0, '')
    assert out.startswith('Usage: napix METHOD HOSTS URL')
    assert len(out.splitlines()) < 24
    assert all(len(line) <= 80 for line in out.splitlines())


@pytest.mark.parametrize('name', ['demo', 'serve', 'worker', 'cluster'])
def test_help_of_a_command(name: str) -> None:
    """A command with flags of its own has its help behind it and before it."""
    behind, before = at_once([name, '--help'], ['help', name])
    assert before == behind
    assert before.code == 0 and before.out.startswith(f'Usage: napix {name} ')


def test_topics() -> None:
    """Behind it are topics, in which every flag is told of."""
    topics = ['hosts', 'items', 'limits', 'output', 'resume', 'credentials', 'exit']
    shown = [one.out for one in at_once(*(['help', topic] for topic in topics))]
    assert napix('--help', 'hosts').out == shown[0]
    overview = napix('--help').out
    for topic, text in zip(topics, shown, strict=True):
        assert f'\n  {topic} ' in overview
        assert text.startswith(f'{topic}: ')
        assert all(len(line) <= 80 for line in text.splitlines())
    for flag in FLAGS:
        assert any(f'  {flag.written}  ' in text for text in shown), flag.written


def test_help_of_a_flag() -> None:
    """A flag is a topic too, by each of its names: its help, what its topic says of it, and the name of that."""
    for words in ['help', '--json'], ['--help', '--json'], ['help', 'json']:
        code, out, err = napix(*words)
        assert (code, err, all(len(line) <= 80 for line in out.splitlines())) == (0, '', True)
        assert out.startswith('  --json  Show each answer as a JSON object on a line.\n\nAn object of --json has index')
        assert out.endswith('\n\n"napix help output" tells more.\n')
    for flag, one in zip(FLAGS, at_once(*(['help', flag.opts[0]] for flag in FLAGS)), strict=True):
        assert one.out.startswith(f'  {flag.written}  '), flag.written
    assert napix('help', 'output').out.startswith('output: ')
    assert napix('help', '-n').out.startswith('  -n, --repeat N  ')
    overview = napix('--help').out
    for name in 'get', 'man', 'completion':
        assert napix('help', name).out == overview
    for flag in '--csv', '--watch', '--vars', '--json', '--template', '--diff', '--urls', '--joblog':
        assert flag in overview


# The man page --------------------------------------------------------------------------------------------------------


def test_man_page() -> None:
    """`napix man` has every flag and topic, is the page in docs/napix.1, and is good roff."""
    page = napix('man').out
    assert page == (kit.ROOT / 'docs' / 'napix.1').read_text(), 'renew it: napix man > docs/napix.1'
    for flag in FLAGS:
        assert all(name.replace('-', '\\-') in page for name in flag.opts)
    groff = shutil.which('groff')
    if groff is None:
        pytest.skip('groff is not installed')
    done = gevent.subprocess.run(
        [groff, '-man', '-Tutf8', '-ww', '-P-c'],
        input=page.encode(),
        stdout=gevent.subprocess.PIPE,
        stderr=gevent.subprocess.PIPE,
    )
    shown = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b'')
    for part in 'NAME', 'SYNOPSIS', 'EXIT STATUS', '--rate-per-host N', 'web[1-9]!web3', '{"base64": ...}':
        assert part in re.sub('.\x08', '', shown)


# Completion ----------------------------------------------------------------------------------------------------------


def completed(*words: str, **env: str) -> list[str]:
    """What is offered for the last of these words, as fish asks."""
    # Whatever the words are, they go by the environment.
    out = napix(
        _NAPIX_COMPLETE='fish_complete', COMP_WORDS=' '.join(['napix', *words]), COMP_CWORD=words[-1], **env
    ).out
    return [line.partition(',')[2].split('\t')[0] for line in out.splitlines()]


def test_completion(tmp_path: Path) -> None:
    """Methods and commands, flags, groups, topics and shells are offered, files where a file is wanted."""
    (tmp_path / 'napix').mkdir()
    (tmp_path / 'napix' / 'groups').write_text('web: a\nwide: b\nfilers: c\n')
    assert {'get', 'post', 'demo', 'help'} <= set(completed(''))
    assert completed('GE') == ['GET']
    assert completed('get', 'a', '/', '--max') == ['--max-connections', '--max-redirects', '--max-fail']
    assert set(completed('get', 'a', '/', '--')) >= {name for flag in FLAGS for name in flag.opts if name[1] == '-'}
    assert completed('get', 'x,@w', XDG_CONFIG_HOME=str(tmp_path)) == ['x,@web', 'x,@wide']
    assert completed('help', 'ex') == ['exit']
    assert completed('completion', '') == ['bash', 'zsh', 'fish']
    assert completed('demo', '--') == ['--serve', '--port', '--ca-certs', '--help']
    assert completed('serve', '--max-b') == ['--max-body']
    assert completed('cluster', '') == ['key', 'status']
    out = napix(_NAPIX_COMPLETE='fish_complete', COMP_WORDS='napix get . / --hostfile ', COMP_CWORD='').out
    assert out.startswith('file,')


BASH = r"""
source <(napix completion bash)
complete -p napix
COMP_WORDS=(napix get a / --rate-) COMP_CWORD=4; _napix_completion napix; echo "${COMPREPLY[@]}"
COMP_WORDS=(napix help "") COMP_CWORD=2; _napix_completion napix; echo "${COMPREPLY[@]}"
"""
ZSH = r"""
autoload -Uz compinit; compinit -u -d "$HOME/dump"
source <(napix completion zsh)
print $_comps[napix]
compadd() { print -r -- ${(P)@[-1]} }
_describe() { print -r -- ${(P)3} }
words=(napix get a / --rate-) CURRENT=5; _napix_completion
words=(napix help "") CURRENT=3; _napix_completion
"""
FISH = r"""
napix completion fish | source
complete -C 'napix get a / --rate-'
complete -C 'napix help '
"""


@pytest.mark.parametrize(
    ('shell', 'script'), [('bash', BASH), ('zsh', ZSH), ('fish', FISH)], ids=['bash', 'zsh', 'fish']
)
def test_completion_in_the_shells(shell: str, script: str, tmp_path: Path) -> None:
    """What `napix completion` prints works in the shells themselves."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f'{shell} is not installed')
    program = tmp_path / 'napix'
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m napixclient "$@"\n')
    program.chmod(0o755)
    env = environment(PATH=f'{tmp_path}:{os.environ["PATH"]}', HOME=str(tmp_path))
    done = gevent.subprocess.run(
        [path, '-c', script], env=env, stdout=gevent.subprocess.PIPE, stderr=gevent.subprocess.STDOUT, cwd=tmp_path
    )
    out = done.stdout.decode()
    assert '--rate-per-host' in out
    assert {'hosts', 'items', 'exit'} <= set(re.findall(r'[a-z]+', out))
