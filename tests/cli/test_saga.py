"""`napix saga`: shows what a journal tells, undoes it, and says how that went by its exit code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from napixclient import ClientPool
from napixclient.saga import Saga
from tests.cli.programs import napix, on_terminal
from tests.saga.world import World, located

STEP = {'event': 'step', 'step': 0, 'wait': 1, 'method': 'PUT', 'url': '/a', 'undo_timeout': 0.5}


@pytest.fixture
def world() -> Iterator[World]:
    """What the sagas have changed."""
    with World() as one:
        yield one


def written(path: Path, world: World, **changes: object) -> Path:
    """The journal of a saga that crashed while its one step was in flight."""
    head = {
        'event': 'saga',
        'version': 1,
        'id': 'x',
        'undo_timeout': 0.5,
        'undone_on': [],
        'key_field': 'Idempotency-Key',
    }
    undo = [{'method': 'DELETE', 'url': '/a', 'host': world.host}]
    step = {**STEP, 'name': f'PUT {world.url}/a', 'host': world.host, 'undo': undo, **changes}
    path.write_text(''.join(f'{json.dumps(line)}\n' for line in (head, step)))
    return path


def test_undo_undoes_and_is_done_then(tmp_path: Path, world: World) -> None:
    """0 when all is undone, and when there is nothing to do."""
    path = written(tmp_path / 'j', world)
    world.things['/a'] = {}
    code, out, err = napix('saga', 'undo', path)
    assert (code, err) == (0, '') and out == f'saga\tundone\nundone\tPUT {world.url}/a\n' and not world.things
    world.requests.clear()
    assert napix('saga', 'undo', path)[0] == 0 and not world.requests
    with ClientPool() as pool, Saga(pool, path) as saga:
        saga.call(world.host, 'POST', '/b', undo=located)
    assert napix('saga', 'undo', path) == (0, 'saga\tcommitted\n', '') and world.things


def test_undo_says_what_is_left(tmp_path: Path, world: World) -> None:
    """1 when something is not undone, or unknown."""
    failing = written(tmp_path / 'j', world, undo=[{'method': 'DELETE', 'url': '/fail'}])
    code, out, _ = napix('saga', 'undo', failing)
    assert code == 1 and out.startswith('saga\tnot undone\nnot undone\tPUT') and '500' in out
    lost = written(tmp_path / 'k', world, undo='callable')
    code, out, _ = napix('saga', 'undo', lost)
    assert code == 1 and f'unknown\tPUT {world.url}/a' in out


def test_what_cannot_be_read_or_is_in_use(tmp_path: Path, world: World) -> None:
    """2, with a word why; `show` works all the same on one that is in use."""
    other = tmp_path / 'other'
    other.write_text('no journal\n')
    for path, text in (other, 'no journal'), (tmp_path / 'none', 'No such file'), (tmp_path, 'directory'):
        for action in 'undo', 'show':
            code, out, err = napix('saga', action, path)
            assert code == 2 and out == '' and text in err
    path = tmp_path / 'j'
    with ClientPool() as pool, Saga(pool, path) as saga:
        saga.call(world.host, 'POST', '/b', undo=located)
        code, _, err = napix('saga', 'undo', path)
        assert code == 2 and 'in use' in err
        code, out, _ = napix('saga', 'show', path)
        assert code == 0 and f'POST {world.url}/b' in out
    for words in (
        [],
        ['look'],
        ['show'],
        ['undo', path, 'more'],
        ['show', path, '--token', 'x'],
        ['undo', path, '--json'],
    ):
        assert napix('saga', *words)[0] == 2


def test_show_prints_plain_lines_in_a_pipe_and_a_table_on_a_terminal(tmp_path: Path, world: World) -> None:
    """Uncut, with tabs; the table has the same."""
    long = '/a/' + 'x' * 300
    path = written(tmp_path / 'j', world, undo=[{'method': 'DELETE', 'url': long}], name=f'PUT {world.url}\x1b[2J/a')
    code, out, err = napix('saga', 'show', path)
    assert (code, err) == (0, '') and not world.requests
    assert out == f'saga\trunning\n1\tunknown\t\tPUT {world.url}\\x1b[2J/a\tDELETE {long}\t\n'
    code, screen, _ = on_terminal('saga', 'show', path, columns=120)
    assert code == 0 and 'unknown' in screen and 'undo' in screen and '\x1b[2J' not in screen


def test_undo_takes_credentials_and_times(tmp_path: Path, world: World) -> None:
    """The flags of the other commands, and their variables."""
    path = written(tmp_path / 'j', world)
    token = tmp_path / 'token'
    token.write_text('s3cret')
    assert napix('saga', 'undo', path, '--token', f'@{token}', '--timeout', '5', '--connect-timeout', '2')[0] == 0
    assert world.requests[-1].path == '/a?token=s3cret'
    path = written(tmp_path / 'j', world)
    assert napix('saga', 'undo', path, NAPIX_LOGIN='root', NAPIX_KEY='toor')[0] == 0
    assert 'authorization' in world.requests[-1].headers
    path = written(tmp_path / 'j', world, undo=[{'method': 'PUT', 'url': '/mute'}], undo_timeout=60)
    code, _, err = napix('saga', 'undo', path, '--deadline', '0.3')
    assert code == 1 and 'deadline' in err and os.path.exists(path)
    assert napix('saga', 'undo', path, '--login', 'root')[0] == 2


def test_help_tells_of_it() -> None:
    """As a topic, and behind the command."""
    code, out, _ = napix('help', 'saga')
    assert code == 0 and 'napix saga undo JOURNAL' in out
    assert napix('saga', '--help')[1] == out
