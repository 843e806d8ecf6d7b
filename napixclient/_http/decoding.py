"""Content codings undone (RFC 9110 §8.4), bounded in size and depth, without I/O.

gzip and deflate by zlib itself, brotli and zstd by urllib3's decoders: its decoder of gzip takes a spoilt second member
for padding, and its decoder of deflate cannot tell whether the end has come.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

from urllib3.response import _get_decoder
from urllib3.util.request import ACCEPT_ENCODING as URLLIB3_CODINGS

from ..errors import BodyTooLarge, InvalidResponse, TruncatedBody

__all__ = ['ACCEPT_ENCODING', 'Decoder']

MAX_CODINGS = 5
#: Decoded bytes that are made at a time: bounds both memory and the time for which the hub stands still.
STEP = 256 * 1024
#: Bytes given to zlib at a time: what lies behind the end of a member is copied.
_SLICE = 4096
#: Rounds in a row that may yield nothing while some stage still holds input.
_MAX_EMPTY_ROUNDS = 1000
_GZIP_MAGIC = b'\x1f\x8b'
_zeros = re.compile(rb'\0*').match


class Decoder:
    """Undoes the codings of one body, piece by piece.

    :param coding: the value of ``Content-Encoding``.
    :param max_body: bound of the decoded size in bytes, ``None`` for none.
    :raises ProtocolError: for more than five codings. One that is not known leaves the body as it is.
    """

    def __init__(self, coding: str, max_body: int | None) -> None:
        names = [name.strip().lower() for name in coding.split(',') if name.strip().lower() not in ('', 'identity')]
        if len(names) > MAX_CODINGS:
            raise InvalidResponse(f'{len(names)} content codings, more than {MAX_CODINGS}')
        #: Whether each coding is; else the body stays as it is.
        self.known = all(name in _STAGES for name in names)
        self._stages: list[Any] = [_STAGES[name](name) for name in reversed(names)] if self.known else []
        self._max_body = max_body
        self._size = 0
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded pieces, each of a bounded size, that these bytes make.

        :raises ProtocolError: for bytes that do not decode, :class:`BodyTooLarge` above the bound.
        """
        self._fed = self._fed or bool(data)
        if not self._stages:
            if data:
                yield self._counted(data)
            return
        empty = 0
        while empty < _MAX_EMPTY_ROUNDS:
            piece, more = self._run(data)
            data = b''
            if piece:
                empty = 0
                yield self._counted(piece)
            elif more:
                empty += 1
            else:
                return
        raise InvalidResponse('the body does not decode: its codings make no progress')

    def _run(self, data: bytes) -> tuple[bytes, bool]:
        """One piece, and whether there may be more although it is empty."""
        begin = 0
        if not data:  # who holds input back gets no more: brotli refuses, others pile it up
            begin = max((at for at, stage in enumerate(self._stages) if stage.has_unconsumed_tail), default=0)
        more = begin > 0
        try:
            for stage in self._stages[begin:]:
                data = stage.decompress(data, max_length=STEP)
                more = more or bool(data) or stage.has_unconsumed_tail
        except Exception as exc:  # each library has errors of its own
            raise InvalidResponse(f'the body does not decode: {exc}') from exc
        return data, more

    def _counted(self, piece: bytes) -> bytes:
        self._size += len(piece)
        if self._max_body is not None and self._size > self._max_body:
            raise BodyTooLarge(f'the decoded body is larger than {self._max_body} bytes')
        return piece

    def finish(self) -> None:
        """The body has ended.

        :raises TruncatedBody: when a coding has not; a body of no bytes at all is whole (HEAD, 204, 304).
        """
        if self._fed and not all(map(_ended, self._stages)):
            raise TruncatedBody('the body ended before its content coding did')


class _Inflater:
    """gzip (RFC 1952, any number of members, then padding) or deflate (RFC 1950, or bare RFC 1951 as some send it)."""

    def __init__(self, name: str) -> None:
        self._gzip = name != 'deflate'
        self._obj = zlib.decompressobj(31 if self._gzip else 15)
        self._begun: bytes | None = None if self._gzip else b''  # of deflate: what to try again as bare
        self._data = b''
        self._at = 0  # of the data: what has been given to zlib
        self._padded = False  # whether what follows the last member is no other one
        #: Whether the last call stopped because it had made enough.
        self.has_unconsumed_tail = False

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most so many bytes of what these, and those held back before, decode to."""
        if data:
            self._data, self._at = self._data[self._at :] + data, 0
        made = bytearray()
        while len(made) < max_length and (not self._obj.eof or self._next_member()):
            piece = self._data[self._at : self._at + _SLICE]
            new = self._inflate(piece, max_length - len(made))
            taken = len(piece) - len(self._obj.unconsumed_tail or self._obj.unused_data)
            made += new
            self._at += taken
            if not new and not taken:  # zlib had its chance to give out what it still held
                break
        self.has_unconsumed_tail = len(made) >= max_length
        return bytes(made)

    def _next_member(self) -> bool:
        if self._gzip and not self._padded:
            self._at = _zeros(self._data, self._at).end()  # type: ignore[union-attr]  # it always matches
            begins = self._data[self._at : self._at + 2]
            if begins == _GZIP_MAGIC:
                self._obj = zlib.decompressobj(31)
                return True
            if _GZIP_MAGIC.startswith(begins):
                return False  # it may be still to come
            self._padded = True
        self._at = len(self._data)
        return False

    def _inflate(self, piece: bytes, room: int) -> bytes:
        if self._begun is None:
            return self._obj.decompress(piece, room)
        self._begun += piece
        try:
            made = self._obj.decompress(piece, room)
        except zlib.error:
            self._obj = zlib.decompressobj(-15)
            begun, self._begun = self._begun, None
            return self._obj.decompress(begun, room)
        if made:
            self._begun = None
        return made

    @property
    def ended(self) -> bool:
        """Whether the coding is at its end."""
        return self._obj.eof and self._at == len(self._data)


def _ended(stage: Any) -> bool:
    if isinstance(stage, _Inflater):
        return stage.ended
    inner = stage._obj
    end = getattr(inner, 'eof', None)  # zstd; the other name is brotli's
    if end is None:
        end = inner.is_finished()
    return bool(end)


def _is_bounded(name: str) -> bool:
    """Whether the decoder of that coding is there, and stops when it has made enough: brotli before 1.2 does not."""
    if name not in URLLIB3_CODINGS.split(','):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        try:
            _get_decoder(name).decompress(b'', max_length=1)
        except Warning:
            return False
    return True


_STAGES: dict[str, Any] = {
    'gzip': _Inflater,
    'x-gzip': _Inflater,
    'deflate': _Inflater,
    **{name: _get_decoder for name in ('br', 'zstd') if _is_bounded(name)},
}
#: What is offered to servers: gzip and deflate always, br and zstd where their libraries are there.
ACCEPT_ENCODING = ', '.join(name for name in _STAGES if name != 'x-gzip')
