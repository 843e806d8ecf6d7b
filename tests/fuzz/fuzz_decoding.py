"""The content codings, undone in pieces, against what was packed."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from napixclient import BodyTooLarge, ProtocolError, TruncatedBody
from napixclient._http.decoding import STEP, Decoder
from tests.fuzz.strategies import CODINGS, CUTS, LEVELS, PLAIN, Coding, examples, in_pieces, pack, packed


def decode(coding: str, pieces: list[bytes], max_body: int | None = None) -> bytes:
    """The whole body."""
    decoder = Decoder(coding, max_body)
    parts = [part for piece in pieces for part in decoder.feed(piece)]
    decoder.finish()
    assert all(len(part) <= 2 * STEP for part in parts)
    return b''.join(parts)


def outcome(*arguments: Any) -> bytes | type[ProtocolError]:
    """What `decode` returns, or the kind of what it raises: nothing but a ProtocolError."""
    try:
        return decode(*arguments)
    except ProtocolError as exc:
        return type(exc)


def same(one: bytes | type[ProtocolError], other: bytes | type[ProtocolError]) -> bool:
    """Whether both are errors, or the same body."""
    return one == other or (isinstance(one, type) and isinstance(other, type))


@examples(400)
@given(packed(), CUTS)
def test_whole(given_: tuple[str, bytes, bytes], cuts: list[Any]) -> None:
    """What was packed comes out as it was, however many codings there are and however it is cut."""
    coding, data, plain = given_
    assert decode(coding, in_pieces(data, cuts)) == plain


@examples(100)
@given(packed(), CUTS, st.integers(0, 100_000))
def test_bound(given_: tuple[str, bytes, bytes], cuts: list[Any], less: int) -> None:
    """A body within its bound is decoded, a larger one is BodyTooLarge."""
    coding, data, plain = given_
    assert decode(coding, in_pieces(data, cuts), len(plain)) == plain
    if plain:
        assert outcome(coding, in_pieces(data, cuts), less % len(plain)) is BodyTooLarge


@examples(60)
@given(
    st.sampled_from(CODINGS),
    PLAIN.filter(lambda plain: len(plain) <= 70_000),
    LEVELS,
    st.lists(st.integers(1, 5000), max_size=2),
    CUTS,
)
def test_cut_short(coding: Coding, plain: bytes, level: int, members: list[int], cuts: list[Any]) -> None:
    """Cut at whichever byte it is truncated, but between two members, where nobody can tell."""
    pieces = in_pieces(plain, members) if coding.members else [plain]
    packs = [coding.pack(piece, level) for piece in pieces] or [coding.pack(b'', level)]
    data = b''.join(packs)
    whole = dict(zip(itertools.accumulate(map(len, packs)), itertools.accumulate(pieces or [b'']), strict=True))
    for end in range(1, len(data), max(len(data) // 300, 1)):
        found = outcome(coding.name, in_pieces(data[:end], cuts))
        assert found == whole.get(end, TruncatedBody), end


@examples(300)
@given(
    st.sampled_from(CODINGS),
    PLAIN,
    LEVELS,
    st.lists(st.integers(1, 5000), max_size=2),
    CUTS,
    CUTS,
    st.integers(0, 100_000),
    st.binary(min_size=1, max_size=3),
    st.sampled_from(['flip', 'insert', 'delete']),
)
def test_spoilt(
    coding: Coding,
    plain: bytes,
    level: int,
    members: list[int],
    cuts: list[Any],
    others: list[Any],
    place: int,
    what: bytes,
    how: str,
) -> None:
    """What is spoilt is an error, or made no difference; where the coding has no checksum, the same for all cuts."""
    data = pack(coding, plain, level, members)
    at = place % len(data)
    start, end = data[:at], data[at:]
    data = (
        start
        + {'flip': bytes([end[0] ^ (what[0] or 1)]) + end[1:], 'insert': what + end, 'delete': end[len(what) :]}[how]
    )
    found, again = (outcome(coding.name, in_pieces(data, places)) for places in (cuts, others))
    if coding.checked and isinstance(found, bytes):
        # A member whose first bytes are spoilt passes for padding behind the one before.
        assert found == plain or (members and plain.startswith(found))
    # Its library looks at the size that a frame claims only when it gets the frame in one piece.
    if coding.name != 'zstd':
        assert same(found, again)


@examples(200)
@given(
    st.binary(max_size=300),
    st.lists(st.sampled_from(['gzip', 'deflate', 'br', 'zstd']), min_size=1, max_size=3),
    CUTS,
    CUTS,
)
def test_garbage(data: bytes, names: list[str], cuts: list[Any], others: list[Any]) -> None:
    """Any bytes decode or are a ProtocolError, the same for all cuts."""
    found, again = (outcome(','.join(names), in_pieces(data, places), 10_000_000) for places in (cuts, others))
    assert same(found, again) or 'zstd' in names
