"""Finds the final head of a response in what is received, without I/O (RFC 9112 §2.2, RFC 9110 §15.2)."""

from __future__ import annotations

from ...errors import InvalidResponse
from .heads import UNASKED_UPGRADE, check_version, unfolded
from .llhttp import check_by_llhttp

__all__ = ['HeadBuffer']

#: Responses 1xx before the final one; a server that sends more is not going to answer.
MAX_INFORMATIONAL = 20
_END = b'\r\n\r\n'


class HeadBuffer:
    """Keeps what is received of one response until its final head is whole; drops blank lines and 1xx before it.

    ``begin`` comes first.

    :param max_bytes: bound of each head, in bytes.
    """

    __slots__ = ('_blank', '_end', '_informational', '_max_bytes', '_received', '_searched', 'apart', 'continued')

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def begin(self, apart: bool) -> None:
        """Expect another response.

        :param apart: whether llhttp sees each head alone, mended, and not before it is whole; else it has already seen
            all that is kept.
        """
        self.apart: bool = apart
        self._received: bytes | bytearray | None = None
        self._searched = 0  # bytes of that in which no head ends
        self._end = 0  # where what follows the final head begins
        self._blank = 0  # bytes of blank lines that were dropped
        self._informational = 0
        self.continued: bool = False  # whether a 100 came: the server wants the body

    def add(self, data: bytes) -> None:
        """Keep what the last read brought."""
        received = self._received
        if received is None:
            self._received = data
        else:
            if isinstance(received, bytes):
                received = self._received = bytearray(received)
            received += data

    def find(self) -> bytes | None:
        """The final head, without its last CRLF CRLF; ``None`` while it is not whole.

        :raises InvalidResponse: for a head that is too large, a 1xx that is not valid, a 101, or too many 1xx.
        """
        received = self._received
        assert received is not None
        while (end := received.find(_END, self._searched)) >= 0:
            self._searched = 0
            if received[0] in b'\r\n':  # RFC 9112 §2.2: an empty line before the status line
                self._blank += len(received)
                received = received.lstrip(b'\r\n')
                self._blank -= len(received)
                continue
            if end > self._max_bytes:
                raise self._too_large()
            head = bytes(received[:end])
            if head[9:10] != b'1':
                self._received = received
                self._end = end + len(_END)
                return unfolded(head) if self.apart else head
            self._drop_informational(head)
            received = received[end + len(_END) :]
        self._searched = max(len(received) - 3, 0)  # the last three bytes may begin an end
        self._received = received
        if len(received) + self._blank - 3 > self._max_bytes:
            size = len(received.lstrip(b'\r\n'))
            blank = self._blank + len(received) - size
            if max(size - 3, blank) > self._max_bytes:
                raise self._too_large()
        return None

    def _too_large(self) -> InvalidResponse:
        return InvalidResponse(f'the head is larger than {self._max_bytes} bytes')

    def _drop_informational(self, head: bytes) -> None:
        check_version(head)
        if head[9:12] == b'101':
            raise InvalidResponse(UNASKED_UPGRADE)
        if self.apart:
            check_by_llhttp(unfolded(head))
        self.continued |= head[9:12] == b'100'
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise InvalidResponse(f'more than {MAX_INFORMATIONAL} answers 1xx')

    @property
    def received(self) -> bytes:
        """What is kept."""
        return b'' if self._received is None else bytes(self._received)

    @property
    def folded(self) -> bool:
        """Whether what is kept has a folded line."""
        return self._received is not None and (b'\r\n ' in self._received or b'\r\n\t' in self._received)

    @property
    def ends_chunks(self) -> bool:
        """Whether what is kept ends as a chunked body without trailers does."""
        return self._received is not None and self._received.endswith(b'\r\n0\r\n\r\n')

    @property
    def rest_size(self) -> int:
        """How many bytes follow the final head."""
        return 0 if self._received is None else len(self._received) - self._end

    def take_rest(self) -> bytes:
        """Hand out what follows the final head, and keep nothing."""
        rest = self.received[self._end :]
        self.drop()
        return rest

    def drop(self) -> None:
        """Keep nothing."""
        self._received = None

    @property
    def started(self) -> bool:
        """Whether anything of the response has come."""
        return self._received is not None or self._informational > 0

    @property
    def stray(self) -> bool:
        """Whether what is kept is no response at all, as the rest of an earlier one would be."""
        return self._received is not None and not b'HTTP/'.startswith(bytes(self._received[:5]))
