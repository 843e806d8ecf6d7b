"""A body that is saved: whole or not at all, into a file that stays what it was otherwise."""

from __future__ import annotations

import errno
import os
import resource
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest

from napixclient import Client, TruncatedBody
from napixclient._http.saving import save
from napixclient.resources import Resource
from tests.kit import CLOSE, READ, FaultServer, serve

pytestmark = pytest.mark.usefixtures('oracle')

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')


def said(body: bytes, missing: int = 0) -> bytes:
    """An answer, of which so many bytes do not come."""
    return b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % (len(body) + missing) + body


def saved(path: Any, body: bytes = b'new body') -> int:
    """Get a body and save it."""
    with (
        FaultServer([READ, said(body)]) as server,
        Client(server.host) as client,
        client.request('GET', '/', stream=True) as found,
    ):
        return found.save(path)  # type: ignore[attr-defined, no-any-return]


def not_saved(path: Any) -> None:
    """Get a body that breaks off, and save it."""
    with (
        FaultServer([READ, said(b'half', 4), CLOSE]) as server,
        Client(server.host) as client,
        pytest.raises(TruncatedBody),
    ):
        client.request('GET', '/', stream=True).save(path)  # type: ignore[attr-defined]


def mode_of(path: Any) -> int:
    """Its permissions."""
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that others can get into."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root; who has none stays what he is."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def owned(path: Path, owner: int = NOBODY) -> Path:
    """The same, given to somebody."""
    if os.geteuid() == 0:
        os.chown(path, owner, owner)
    return path


@pytest.mark.parametrize('name', ['nothing/', 'nothing/.', 'new/nothing/'])
def test_the_name_of_a_directory_makes_no_file(place: Path, name: str) -> None:
    """As `open` says: what ends in a slash is a directory."""
    with (
        FaultServer([READ, said(b'new')]) as server,
        Client(server.host) as client,
        client.request('GET', '/', stream=True) as found,
        pytest.raises(OSError),
    ):
        found.save(f'{place}/{name}')  # type: ignore[attr-defined]
    assert not list(place.iterdir())


# What stays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('mode', [0o600, 0o640, 0o644, 0o666, 0o755, 0o200, 0o777])
def test_permissions_stay(place: Path, mode: int) -> None:
    """A file is as private, or as public, as it was: by `save`, and by what uses it."""
    path = place / 'key.pem'
    path.write_bytes(b'a much longer old body')
    path.chmod(mode)
    assert saved(path) == 8
    assert mode_of(path) == mode
    with serve(lambda *_: (200, {}, 'again')) as server, closing(Resource(server.host)) as one:
        assert one.download('/', path) == 5
    assert mode_of(path) == mode
    path.chmod(0o600)
    assert (path.read_bytes(), os.listdir(place)) == (b'again', ['key.pem'])


@pytest.mark.parametrize('umask', [0, 0o022, 0o027, 0o077])
def test_a_new_file_has_the_permissions_of_a_new_file(place: Path, umask: int) -> None:
    """What was not there is made as `open` makes it; the umask of the process, which all threads share, is not touched."""
    before = os.umask(umask)
    try:
        saved(place / 'new')
        with open(place / 'other', 'wb'):
            pass
    finally:
        assert os.umask(before) == umask
    assert mode_of(place / 'new') == mode_of(place / 'other') == 0o666 & ~umask


@as_root
@pytest.mark.parametrize('links', [1, 2])
def test_owner_and_group_stay(place: Path, links: int) -> None:
    """A file belongs to whom it belonged."""
    path = owned(place / 'file') if (place / 'file').write_bytes(b'old') else place
    path.chmod(0o640)
    if links == 2:
        os.link(path, place / 'link')
    saved(path)
    found = path.stat()
    assert (found.st_uid, found.st_gid, mode_of(path), path.read_bytes()) == (NOBODY, NOBODY, 0o640, b'new body')


@pytest.mark.parametrize('old', [b'', b'old', b'a much longer old body'])
def test_hard_links_stay(place: Path, old: bytes) -> None:
    """Each name of a file shows the new body, when it is whole, and none of the old one behind it."""
    path, link = place / 'file', place / 'link'
    path.write_bytes(old)
    path.chmod(0o640)
    os.link(path, link)
    not_saved(link)
    assert path.read_bytes() == old
    assert saved(link) == 8
    assert os.path.samefile(path, link) and path.read_bytes() == b'new body'
    assert (mode_of(path), sorted(os.listdir(place))) == (0o640, ['file', 'link'])
    assert saved(path, b'') == 0
    assert link.read_bytes() == b''


def test_symbolic_links_stay(place: Path) -> None:
    """Links of links lead to the new body, and one that leads nowhere to a file that is made there."""
    (place / 'sub').mkdir()
    target, first, second, nowhere = place / 'sub' / 'file', place / 'first', place / 'second', place / 'nowhere'
    target.write_bytes(b'old')
    target.chmod(0o600)
    first.symlink_to('sub/file')
    second.symlink_to('first')
    nowhere.symlink_to('sub/made')
    saved(second)
    saved(nowhere)
    assert [path.is_symlink() for path in (first, second, nowhere, target)] == [True] * 3 + [False]
    assert (mode_of(target), target.read_bytes(), nowhere.read_bytes()) == (0o600, b'new body', b'new body')
    assert sorted(os.listdir(place / 'sub')) == ['file', 'made']
    (place / 'loop').symlink_to('loop')
    (place / 'astray').symlink_to('none/file')
    for path in place / 'loop', place / 'astray':
        with pytest.raises(OSError):
            saved(path)


def attribute(path: Path, name: str, value: bytes) -> None:
    """Set it, where the file system has such."""
    try:
        os.setxattr(path, name, value)
    except OSError as exc:
        pytest.skip(f'no {name} here: {exc}')


def test_attributes_stay(place: Path) -> None:
    """What else is attached to a file is there afterwards."""
    path = place / 'file'
    path.write_bytes(b'old')
    attribute(path, 'user.origin', b'elsewhere')
    saved(path)
    assert (os.getxattr(path, 'user.origin'), path.read_bytes()) == (b'elsewhere', b'new body')


def test_an_access_list_stays(place: Path) -> None:
    """Who has no access by the list gets none; its mask, which stands where the group's bits are, is no right of the group's."""
    path = place / 'file'
    path.write_bytes(b'old')
    # acl(5): user::rw-, user:1:r--, group::---, mask::r--, other::---
    entries = struct.pack('<I', 2) + b''.join(
        struct.pack('<HHI', *entry)
        for entry in ((1, 6, 0xFFFFFFFF), (2, 4, 1), (4, 0, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
    )
    attribute(path, 'system.posix_acl_access', entries)
    saved(path)
    assert os.getxattr(path, 'system.posix_acl_access') == entries
    assert (mode_of(path), path.read_bytes()) == (0o640, b'new body')


@pytest.mark.parametrize('links', [1, 2])
def test_no_body_is_run_as_somebody_else(place: Path, links: int) -> None:
    """Set-user-ID and set-group-ID are dropped, as a write drops them."""
    path = place / 'program'
    path.write_bytes(b'old')
    path.chmod(0o6755)
    if links == 2:
        os.link(path, place / 'link')
    saved(path)
    assert mode_of(path) == 0o755


# Without the right to ------------------------------------------------------------------------------------------------


def test_a_directory_in_which_nothing_can_be_made(place: Path) -> None:
    """A file that may be written is written, when its body is whole; one that is not there is an error."""
    path = place / 'file'
    path.write_bytes(b'a much longer old body')
    owned(path).chmod(0o600)
    place.chmod(0o555)
    try:
        with as_nobody():
            not_saved(path)
            assert path.read_bytes() == b'a much longer old body'
            assert saved(path) == 8
            assert (path.read_bytes(), mode_of(path), os.listdir(place)) == (b'new body', 0o600, ['file'])
            with pytest.raises(PermissionError):
                saved(place / 'new')
    finally:
        place.chmod(0o755)


def test_a_file_that_may_not_be_written(place: Path) -> None:
    """It is an error before anything is read, also where the directory would let us replace it; the body can go elsewhere."""
    owned(place)
    path = place / 'file'
    path.write_bytes(b'old')
    owned(path).chmod(0o444)
    with as_nobody(), FaultServer([READ, said(b'new')]) as server, Client(server.host) as client:
        found: Any = client.request('GET', '/', stream=True)
        with pytest.raises(PermissionError):
            found.save(path)
        assert (path.read_bytes(), os.listdir(place)) == (b'old', ['file'])
        assert found.save(place / 'other') == 3


@as_root
def test_a_file_of_somebody_else(place: Path) -> None:
    """Who may write it, and cannot give a file to its owner, writes into it: the owner stays, and so do the permissions."""
    owned(place)
    path = place / 'file'
    path.write_bytes(b'old')
    path.chmod(0o606)
    with as_nobody():
        not_saved(path)
        assert saved(path) == 8
    found = path.stat()
    assert (found.st_uid, found.st_gid, mode_of(path), os.listdir(place)) == (0, 0, 0o606, ['file'])
    assert path.read_bytes() == b'new body'


# Broken off ----------------------------------------------------------------------------------------------------------


def writing(data: bytes, then: Callable[[], object] = lambda: None) -> Callable[[Any], int]:
    """Writes a body, and does something when it is whole."""

    def write(file: Any) -> int:
        file.write(data)
        file.flush()
        then()
        return len(data)

    return write


@pytest.fixture
def limit() -> Iterator[Callable[[int], None]]:
    """Sets how large a file may get, which is as good as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize('links', [0, 1, 2])
def test_no_room(place: Path, limit: Callable[[int], None], links: int) -> None:
    """A body for which there is no room leaves the old file as it was, and nothing else."""
    path = place / 'file'
    if links:
        path.write_bytes(b'old')
    if links == 2:
        os.link(path, place / 'link')
    names = sorted(os.listdir(place))
    limit(100_000)
    with pytest.raises(OSError) as caught:
        saved(path, b'x' * 200_000)
    assert caught.value.errno == errno.EFBIG
    assert sorted(os.listdir(place)) == names
    assert not links or path.read_bytes() == b'old'


def test_no_room_when_it_is_whole(place: Path, limit: Callable[[int], None]) -> None:
    """That is so, too, where the room ends when the body is whole and is to be written into the file."""
    path = place / 'file'
    path.write_bytes(b'old')
    os.link(path, place / 'link')
    with pytest.raises(OSError) as caught:
        save(path, writing(b'x' * 200_000, lambda: limit(100_000)))
    assert (caught.value.errno, path.read_bytes(), sorted(os.listdir(place))) == (errno.EFBIG, b'old', ['file', 'link'])


@pytest.mark.parametrize('end', [gevent.GreenletExit, gevent.Timeout, KeyError])
def test_interrupted_while_it_is_written(place: Path, end: type[BaseException]) -> None:
    """Who is interrupted while a whole body is written into a file hears of it, and leaves all of the body there."""
    path, body = place / 'file', b'x' * (8 << 20)
    path.write_bytes(b'old')
    os.link(path, place / 'link')
    caught: list[BaseException] = []

    def run() -> None:
        try:
            save(path, writing(body))
        except BaseException as exc:
            caught.append(exc)

    saver = gevent.spawn(run)
    with open(path, 'rb', buffering=0) as file:
        while file.read(1) != b'x':
            gevent.sleep(0)
            file.seek(0)
    assert not saver.dead
    mine = end()
    gevent.kill(saver, mine)
    saver.join()
    assert caught == [mine]
    assert path.read_bytes() == body


def test_others_have_their_turn(place: Path) -> None:
    """While a large body is written into a file, other greenlets run."""
    path, turns = place / 'file', 0
    path.write_bytes(b'old')
    os.link(path, place / 'link')
    saver = gevent.spawn(save, path, writing(b'x' * (16 << 20)))
    while not saver.dead:
        turns += 1
        gevent.sleep(0)
    assert turns >= 16


# What has no name ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('there', [False, True])
def test_a_path_in_bytes(place: Path, there: bool, resume: bool) -> None:
    """It is one as for `open`, of a name that is not in UTF-8 too; a directory is none."""
    path = os.fsencode(place) + b'/\xff'
    if there:
        Path(os.fsdecode(path)).write_bytes(b'old')
    with serve(lambda *_: b'new body') as server, Client(server.host) as client:
        assert client.get('/', stream=True).save(path, resume=resume) == 8  # type: ignore[arg-type]
        with pytest.raises(OSError), client.get('/', stream=True) as answer:
            answer.save(os.fsencode(place) + b'/none/', resume=resume)  # type: ignore[arg-type]
    assert os.listdir(os.fsencode(place)) == [b'\xff'] and Path(os.fsdecode(path)).read_bytes() == b'new body'


def test_what_is_known_by_its_descriptor(place: Path) -> None:
    """A pipe and a file that was removed are written to through the name of their descriptor."""
    reading, writing_end = os.pipe()
    try:
        assert saved(f'/dev/fd/{writing_end}') == 8
        assert os.read(reading, 99) == b'new body'
    finally:
        os.close(reading)
        os.close(writing_end)
    with open(place / 'file', 'w+b') as file:
        os.unlink(place / 'file')
        assert saved(f'/dev/fd/{file.fileno()}') == 8
        assert (file.read(), os.listdir(place)) == (b'new body', [])
