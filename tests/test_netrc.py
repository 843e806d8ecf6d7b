"""Passwords from a file in the format of `.netrc`."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest

from napixclient import Client, ClientPool, Request
from napixclient.authenticators import NetrcAuth
from tests.helpers_digest import curl
from tests.kit import serve

pytestmark = pytest.mark.usefixtures('tidy')


def written(directory: Path, text: str, mode: int = 0o600) -> Path:
    """A file with that text."""
    path = directory / '.netrc'
    path.write_text(text)
    path.chmod(mode)
    return path


def proof(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
    """Tell how the caller proved who asks."""
    return 200, {'Content-Type': 'text/plain'}, headers.get('authorization', 'nothing')


FILE = """\
#ours
machine 127.0.0.1 login nemo password "a long secret" account x
machine SERVER.example
    login ned
    password land
macdef init
    bye

machine only.example login alone
"""
NEMO, NED = 'Basic bmVtbzphIGxvbmcgc2VjcmV0', 'Basic bmVkOmxhbmQ='


@pytest.mark.parametrize(
    ('host', 'expected'),
    [
        ('127.0.0.1:8002', NEMO),
        ('https://127.0.0.1', NEMO),
        ('server.EXAMPLE', NED),
        ('https://server.example:8443', NED),
        ('only.example', 'Basic YWxvbmU6'),
        ('www.server.example', None),
        ('[::1]:80', None),
    ],
)
def test_whose_entry(host: str, expected: str | None, tmp_path: Path) -> None:
    """An entry is for all ports of its host, and for no other host."""
    request = Request(host, 'GET', '/', headers={'X-A': 'b'})
    assert NetrcAuth(written(tmp_path, FILE))(request).headers.get('authorization') == expected


def test_a_field_of_its_own(tmp_path: Path) -> None:
    """A request that brings its own proof keeps that, as with curl."""
    request = Request('127.0.0.1', 'GET', '/', headers={'authorization': 'Own it'})
    assert NetrcAuth(written(tmp_path, FILE))(request) is request


def test_the_default(tmp_path: Path) -> None:
    """`default` is for all other hosts."""
    me = NetrcAuth(str(written(tmp_path, FILE + '\ndefault login nobody password pw')))
    assert me(Request('elsewhere.example', 'GET', '/')).headers['authorization'] == 'Basic bm9ib2R5OnB3'
    assert me(Request('127.0.0.1', 'GET', '/')).headers['authorization'] == NEMO


def test_curl_beside_us(tmp_path: Path) -> None:
    """We send what curl sends."""
    path = written(tmp_path, 'machine 127.0.0.1 login nemo password nautilus')
    with serve(proof) as server:
        with Client(server.host, NetrcAuth(path)) as client:
            ours = client.request('GET', '/').text
        assert ours == curl('--netrc-file', str(path), f'http://{server.host}/') != 'nothing'


def test_the_file_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it is `~/.netrc`, which need not be there; no environment variable names another."""
    monkeypatch.setenv('HOME', str(tmp_path))
    other = written(tmp_path, FILE).rename(tmp_path / 'other')
    monkeypatch.setenv('NETRC', str(other))
    request = Request('127.0.0.1', 'GET', '/')
    assert NetrcAuth()(request) is request
    path = written(tmp_path, FILE)
    assert NetrcAuth()(request).headers['authorization'] == NEMO
    path.chmod(0o644)
    if os.getuid() == path.stat().st_uid:
        with pytest.raises(ValueError, match='permissive'):
            NetrcAuth()


def test_redirects(tmp_path: Path) -> None:
    """Another origin that a redirect leads to is sent nothing, though there is an entry for it."""
    me = NetrcAuth(written(tmp_path, FILE))
    with serve(proof) as foreign:
        with serve(lambda *_: (302, {'Location': f'http://{foreign.host}/'}, None)) as server:
            with ClientPool(me, redirect=True) as pool:
                pool.request(server.host, 'GET', '/')
                pool.request(foreign.host, 'GET', '/')
                assert sorted(outcome.text for outcome in pool.wait()) == [NEMO, 'nothing']  # type: ignore[union-attr]
        assert server.requests[0].headers['authorization'] == NEMO


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('machine', 'line 1 makes no sense'),
        ('\nnonsense secret', 'line 2 makes no sense'),
        ('machine a login b:c password secret', 'the entry of a: a user name with a colon'),
    ],
)
def test_what_makes_no_sense(text: str, said: str, tmp_path: Path) -> None:
    """A file that cannot be read, or makes no sense, is a ValueError that shows nothing of it but the line."""
    with pytest.raises(ValueError, match=said) as caught:
        NetrcAuth(written(tmp_path, text))
    assert 'secret' not in str(caught.value)
    for path in tmp_path / 'none', tmp_path:
        with pytest.raises(ValueError, match='cannot read'):
            NetrcAuth(path)
    (tmp_path / 'binary').write_bytes(b'\xff\xfe machine')
    with pytest.raises(ValueError, match='cannot read'):
        NetrcAuth(tmp_path / 'binary')


def test_nothing_shows_the_passwords(tmp_path: Path) -> None:
    """The repr has the path only, and an error masks what the file has."""
    me = NetrcAuth(written(tmp_path, FILE))
    gc.collect()
    assert repr(me) == f'NetrcAuth({str(tmp_path / ".netrc")!r})'
    with serve(lambda *_: (403, {'Content-Type': 'text/plain'}, 'not a long secret')) as server:
        with Client(server.host, me) as client:
            pending = client.submit('GET', '/')
            pending.wait()
            assert 'a long secret' not in str(pending.exception)
