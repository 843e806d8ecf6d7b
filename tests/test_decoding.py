"""Content codings undone: whole or an error, bounded in size, depth and time."""

from __future__ import annotations

import gzip
import random
import time
import tracemalloc
import zlib

import brotli
import hypothesis
import pytest
from backports import zstd
from hypothesis import strategies as st

from napixclient import BodyTooLarge, InvalidResponse, ProtocolError, TruncatedBody
from napixclient._http.decoding import STEP, Decoder
from tests import kit

TEXT = b'{"captains": ["Ahab", "Nemo", "Hook"]}' * 40
NOISE = random.Random(0).randbytes(5000)


def gz(data: bytes) -> bytes:
    """The gzip coding (RFC 1952), the same in each run."""
    return gzip.compress(data, mtime=0)


def raw(data: bytes) -> bytes:
    """Deflate without the zlib wrapper: what some servers mean by ``deflate``."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def decode(coding: str, data: bytes, max_body: int | None = None, size: int = 2**30) -> bytes:
    """The whole body, given to the decoder in pieces of that size."""
    decoder = Decoder(coding, max_body)
    parts = [part for at in range(0, len(data), size) for part in decoder.feed(data[at : at + size])]
    decoder.finish()
    return b''.join(parts)


CODED = {
    'gzip': ('gzip', gz(TEXT)),
    'x-gzip': ('x-gzip', gz(TEXT)),
    'upper case': (' GZIP ', gz(TEXT)),
    'two members': ('gzip', gz(TEXT[:500]) + gz(TEXT[500:])),
    'an empty member first': ('gzip', gz(b'') + gz(TEXT)),
    'many members': ('gzip', b''.join(gz(TEXT[at : at + 20]) for at in range(0, len(TEXT), 20))),
    'deflate, zlib': ('deflate', zlib.compress(TEXT)),
    'deflate, raw': ('deflate', raw(TEXT)),
    'noise': ('gzip', gz(NOISE)),
    'gzip of gzip': ('gzip, gzip', gz(gz(TEXT))),
    'gzip of deflate': ('deflate, gzip', gz(zlib.compress(TEXT))),
    'deflate of gzip': ('gzip,deflate', zlib.compress(gz(TEXT))),
    'five': ('gzip, gzip, gzip, gzip, gzip', gz(gz(gz(gz(gz(TEXT)))))),
    'identity among them': ('identity, gzip,, identity', gz(TEXT)),
}
PLAIN = {name: NOISE if name == 'noise' else TEXT for name in CODED}


@pytest.mark.parametrize('name', CODED)
@pytest.mark.parametrize('size', [1, 2, 7, 100, 2**30])
def test_codings(name: str, size: int) -> None:
    """Every coding is undone, in whatever pieces it comes, the last coding first (RFC 9110 §8.4)."""
    coding, data = CODED[name]
    assert decode(coding, data, size=size) == PLAIN[name]


@pytest.mark.parametrize(
    'name', [name for name in CODED if name not in ('two members', 'an empty member first', 'many members')]
)
def test_cut_short(name: str) -> None:
    """A body that ends before its coding does, at whichever byte, is truncated: never a short success."""
    coding, data = CODED[name]
    for at in range(1, len(data), max(len(data) // 300, 1)):
        with pytest.raises(TruncatedBody):
            decode(coding, data[:at])


def test_second_member_cut_short() -> None:
    """Cut between two gzip members nobody can tell; cut within the second it is truncated."""
    first, second = gz(TEXT), gz(TEXT)
    for at in range(1, len(second)):
        with pytest.raises(TruncatedBody):
            decode('gzip', first + second[:at])


@pytest.mark.parametrize('coding', ['gzip', 'deflate', 'gzip, deflate', 'unknown', ''])
def test_nothing_is_whole(coding: str) -> None:
    """A body of no bytes is whole whatever its coding: HEAD, 204 and 304 have none."""
    assert decode(coding, b'') == b''
    decoder = Decoder(coding, 0)
    assert list(decoder.feed(b'')) == []
    decoder.finish()


@pytest.mark.parametrize('name', ['gzip', 'deflate, zlib', 'deflate, raw'])
def test_empty_body_that_is_coded(name: str) -> None:
    """The coding of nothing is nothing."""
    coding = CODED[name][0]
    data = {'gzip': gz, 'deflate, zlib': zlib.compress, 'deflate, raw': raw}[name](b'')
    assert decode(coding, data) == decode(coding, data, size=1) == b''


@pytest.mark.parametrize('coding', ['br2', 'compress', 'klingon', 'gzip, klingon', 'klingon, gzip', 'aes128gcm'])
def test_unknown_is_left_as_it_is(coding: str) -> None:
    """Where one coding is not known, the body stays as it came, as its Content-Encoding says."""
    data = gz(TEXT)
    assert decode(coding, data, size=100) == data


@pytest.mark.parametrize('coding', ['', 'identity', 'identity, identity', ',', ' , '])
def test_no_coding(coding: str) -> None:
    """No coding, or only that of that name, changes nothing."""
    assert decode(coding, TEXT, size=7) == TEXT


@pytest.mark.parametrize('coding', ['gzip, ' * 5 + 'gzip', ','.join(['deflate'] * 1000), 'klingon,' * 6])
def test_too_many(coding: str) -> None:
    """More than five codings are an error before a byte is read."""
    with pytest.raises(ProtocolError):
        Decoder(coding, None)


@pytest.mark.parametrize('data', [b'x', b'\0' * 20, b'plain text', TEXT, b'\x1f\x8b' + TEXT], ids=range(5))
def test_garbage(data: bytes) -> None:
    """What is not in its coding is an error, and the reason tells that it is the coding."""
    for coding in ('gzip', 'deflate'):
        with pytest.raises(ProtocolError):
            decode(coding, data)


@pytest.mark.parametrize('at', [-1, -5, -8, 15, 40])
def test_spoiled(at: int) -> None:
    """A flipped bit, in data, checksum or length, is an error."""
    data = bytearray(gz(TEXT))
    data[at] ^= 0x10
    with pytest.raises(ProtocolError):
        decode('gzip', bytes(data))


@pytest.mark.parametrize('at', [-1, -5, 200, 2000])
def test_spoiled_second_member(at: int) -> None:
    """A second gzip member that breaks half-way is an error, not the end: nobody gets half an answer."""
    data = bytearray(gz(NOISE))
    data[at] ^= 0x10
    with pytest.raises(ProtocolError):
        decode('gzip', gz(TEXT) + bytes(data))


@pytest.mark.parametrize('trailing', [b'\0', b'\0' * 512, b'garbage garbage', b'\r\n\r\n'])
@pytest.mark.parametrize('name', ['gzip', 'deflate, zlib', 'deflate, raw'])
def test_trailing_garbage(name: str, trailing: bytes) -> None:
    """Padding behind the end of the coding is dropped, or the body is an error; it is never part of the body."""
    coding, data = CODED[name]
    for size in (1, 2**30):
        try:
            assert decode(coding, data + trailing, size=size) == TEXT
        except ProtocolError:
            assert trailing.strip(b'\0')  # zeros are what tapes and some servers pad with


@pytest.mark.parametrize('size', [1, 2, 7, 2**30])
def test_padding(size: int) -> None:
    """Zeros between two gzip members are padding; what follows other padding is no member, however it is cut."""
    assert decode('gzip', gz(TEXT) + bytes(5) + gz(TEXT) + bytes(5), size=size) == TEXT + TEXT
    assert decode('gzip', gz(TEXT) + b'\0x' + gz(TEXT), size=size) == TEXT


@pytest.mark.parametrize('inner', ['gzip', 'deflate', 'br', 'zstd'])
@pytest.mark.parametrize('outer', ['gzip', 'deflate', 'br', 'zstd'])
def test_large_in_two(inner: str, outer: str) -> None:
    """Two codings of a body that both take several steps to undo."""
    packers = {
        'gzip': gz,
        'deflate': zlib.compress,
        'br': lambda data: brotli.compress(data, quality=1),
        'zstd': zstd.compress,
    }
    plain = random.Random(0).randbytes(700_000).hex().encode()
    assert decode(f'{inner}, {outer}', packers[outer](packers[inner](plain))) == plain


# Bounds --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', CODED)
def test_bound(name: str) -> None:
    """A body as large as the bound is accepted, one byte more is not."""
    coding, data = CODED[name]
    plain = PLAIN[name]
    assert decode(coding, data, max_body=len(plain)) == plain
    with pytest.raises(BodyTooLarge):
        decode(coding, data, max_body=len(plain) - 1)


@pytest.mark.timed
@pytest.mark.parametrize('nested', [1, 2, 3])
def test_bomb(nested: int) -> None:
    """A bomb of 400 MB ends at the bound, in little memory and time, however it is nested."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b''.join(packer.compress(bytes(2**20)) for _ in range(400)) + packer.flush()
    for _ in range(nested - 1):
        data = gz(data)
    tracemalloc.start()
    try:
        began = time.process_time()
        with pytest.raises(BodyTooLarge):
            decode(', '.join(['gzip'] * nested), data, max_body=10**6)
        assert time.process_time() - began < kit.limit(1)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('coding', ['gzip', 'deflate', 'gzip, gzip'])
def test_pieces_are_bounded(coding: str) -> None:
    """However much a received piece decodes to, it comes out in steps of a bounded size."""
    data = gz(bytes(5 * STEP)) if coding.startswith('gzip') else zlib.compress(bytes(5 * STEP))
    if coding == 'gzip, gzip':
        data = gz(data)
    decoder = Decoder(coding, None)
    sizes = [len(piece) for piece in decoder.feed(data)]
    decoder.finish()
    assert sum(sizes) == 5 * STEP and max(sizes) <= STEP


@pytest.mark.parametrize('pack', [gz, zlib.compress, raw], ids=['gzip', 'zlib', 'raw'])
def test_sizes_about_a_step(pack: object) -> None:
    """A body that ends just behind a step is whole: what the coding still holds back then is fetched."""
    coding = 'gzip' if pack is gz else 'deflate'
    for size in [*range(STEP - 3, STEP + 260, 3), *range(2 * STEP, 2 * STEP + 520, 13)]:
        plain = b'a' * size
        assert decode(coding, pack(plain)) == plain, size  # type: ignore[operator]


@pytest.mark.timed
@pytest.mark.parametrize('count', [100_000])
def test_endless_empty_members(count: int) -> None:
    """Two megabytes of empty gzip members hold the hub no longer than two megabytes of anything else."""
    data = gz(b'') * count
    decoder = Decoder('gzip', 10**6)
    longest, before = 0.0, time.process_time()
    for _ in decoder.feed(data):
        now = time.process_time()
        longest, before = max(longest, now - before), now
    assert max(longest, time.process_time() - before) < kit.limit(0.5)


def test_large_body_is_linear() -> None:
    """A body that does not shrink takes time in proportion to its size, not to its square."""

    def seconds(size: int) -> float:
        data = zlib.compress(random.Random(1).randbytes(size), 1)
        began = time.process_time()
        assert len(decode('deflate', data)) == size
        return time.process_time() - began

    seconds(2**20)
    small, large = min(seconds(2 * 2**20) for _ in range(3)), seconds(16 * 2**20)
    assert large < 8 * small * 4 + 0.05


@hypothesis.given(
    st.binary(max_size=300), st.sampled_from(['gzip', 'deflate', 'gzip, deflate', 'x-gzip']), st.integers(1, 50)
)
def test_any_bytes(data: bytes, coding: str, size: int) -> None:
    """Whatever is received decodes or is a ProtocolError, the same however it is cut."""
    outcomes = []
    for cut in (size, 2**30):
        try:
            outcomes.append(decode(coding, data, size=cut))
        except ProtocolError as exc:
            outcomes.append(type(exc))
    assert outcomes[0] == outcomes[1]


@hypothesis.given(
    st.lists(st.binary(max_size=2000), max_size=4), st.sampled_from([gz, zlib.compress, raw]), st.integers(1, 3000)
)
def test_any_body(parts: list[bytes], pack: object, size: int) -> None:
    """Whatever was packed comes out as it was."""
    plain = b''.join(parts)
    coding = 'gzip' if pack is gz else 'deflate'
    assert decode(coding, pack(plain), size=size) == plain  # type: ignore[operator]


def test_errors_are_invalid_responses() -> None:
    """What does not decode is malformed, not truncated."""
    with pytest.raises(InvalidResponse):
        decode('gzip', b'plain text')
