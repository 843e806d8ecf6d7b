"""Content codings undone (RFC 9110 §8.4), bounded in size and depth, without I/O. By urllib3's decoders.

What urllib3 leaves open is closed here: a body that ends before its coding does is an error, not a short success.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from urllib3.exceptions import DecodeError
from urllib3.response import GzipDecoderState, _get_decoder
from urllib3.util.request import ACCEPT_ENCODING

from ..errors import BodyTooLarge, InvalidResponse, TruncatedBody

__all__ = ['ACCEPT_ENCODING', 'Decoder']

MAX_CODINGS = 5
#: Decoded bytes that are made at a time: bounds both memory and the time for which the hub stands still.
STEP = 256 * 1024
#: Steps in a row that may yield nothing while a stage of several still holds input.
MAX_EMPTY_STEPS = 1000
_KNOWN = frozenset(['gzip', 'x-gzip', 'deflate', *(name.strip() for name in ACCEPT_ENCODING.split(','))])


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
        known = all(name in _KNOWN for name in names)
        self._stages: list[Any] = [_get_decoder(name) for name in reversed(names)] if known else []
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
        while empty < MAX_EMPTY_STEPS:
            piece = self._run(data)
            data = b''
            if piece:
                empty = 0
                yield self._counted(piece)
            elif not any(stage.has_unconsumed_tail for stage in self._stages):
                return
            else:
                empty += 1
        raise InvalidResponse('the body does not decode: its codings make no progress')

    def _run(self, data: bytes) -> bytes:
        try:
            for stage in self._stages:
                data = stage.decompress(data, max_length=STEP)
        except (DecodeError, zlib.error, EOFError, ValueError, OSError) as exc:
            raise InvalidResponse(f'the body does not decode: {exc}') from exc
        except Exception as exc:            # brotli and zstd raise errors of their own
            raise InvalidResponse(f'the body does not decode: {exc}') from exc
        return data

    def _counted(self, piece: bytes) -> bytes:
        self._size += len(piece)
        if self._max_body is not None and self._size > self._max_body:
            raise BodyTooLarge(f'the decoded body is larger than {self._max_body} bytes')
        return piece

    def finish(self) -> None:
        """The body has ended.

        :raises TruncatedBody: when a coding has not; a body of no bytes at all is whole (HEAD, 204, 304).
        """
        if not self._fed:
            return
        for stage in self._stages:
            if not _ended(stage):
                raise TruncatedBody('the body ended before its content coding did')


def _ended(stage: Any) -> bool:
    if getattr(stage, '_state', None) == GzipDecoderState.SWALLOW_DATA:
        return True                         # bytes behind the last gzip member are padding
    inner = stage._obj
    for name in ('eof', 'is_finished'):     # zlib and zstd; brotli
        end = getattr(inner, name, None)
        if end is not None:
            return bool(end() if callable(end) else end)
    return True
