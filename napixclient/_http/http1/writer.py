"""Writes requests as HTTP/1.1 (RFC 9112), without I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...messages import Headers, Origin, Request

__all__ = ['INLINE', 'DefaultFields', 'ForwardingWriter', 'RequestWriter']

#: Bodies of at most so many bytes are written in one piece with the head.
INLINE = 65536
_EXPECT = b'\r\nExpect: 100-continue'
_SENDS_BODY = frozenset(['POST', 'PUT', 'PATCH'])
_names_propagated = re.compile(rb'\r\n(?:trace(?:parent|state)|x-(?:request-id|napix-(?:via|timeout))):').search


def _left_of(propagated: str, lowered: bytes) -> str:
    """The propagated fields without those that the caller sets; a ``tracestate`` belongs to its ``traceparent``."""
    if b'\r\ntraceparent:' in lowered:
        lowered += b'\r\ntracestate:'
    return ''.join(
        f'\r\n{field}'
        for field in propagated.split('\r\n')[1:]
        if f'\r\n{field.partition(":")[0].lower()}:'.encode() not in lowered
    )


def _marked(fields: Headers) -> list[tuple[bytes, bytes]]:
    """Each field as it is written, behind the mark by which it is found in a block of lowered ones."""
    # A block of ours is checked already; to make each of its fields anew was a third of what an origin costs.
    lines = [b'\r\n%b' % line for line in fields.block.split(b'\r\n')[1:]]
    return [(b'%b:' % line.partition(b':')[0].lower(), line) for line in lines]


class DefaultFields:
    """Fields that go with every request that does not set them itself, as they are written: made once for all origins.

    :param ranged: those of requests with a ``Range``, where they are others.
    """

    __slots__ = ('authorizes', 'marked', 'marks', 'propagates', 'ranged', 'text')

    def __init__(self, fields: Headers, ranged: Headers | None = None) -> None:
        self.marked: list[tuple[bytes, bytes]] = _marked(fields)
        self.ranged: list[tuple[bytes, bytes]] = self.marked if ranged is None else _marked(ranged)
        #: All marks.
        self.marks: bytes = b''.join(mark for mark, _ in self.marked)
        self.text: str = b''.join(line for _, line in self.marked).decode('latin-1')
        self.authorizes: bool = any(mark == b'\r\nauthorization:' for mark, _ in self.marked)
        self.propagates: bool = _names_propagated(self.marks) is not None


class RequestWriter:
    """Writes the heads of the requests to one origin: the constant part is made once.

    :param authority: the value of ``Host``.
    :param defaults: fields that go with every request that does not set them itself.
    :param ranged: the same for requests with a ``Range``, where those are others.
    """

    __slots__ = ('_authorizes', '_defaults', '_host', '_open', '_propagates')

    def __init__(self, authority: str, defaults: Headers | DefaultFields, ranged: Headers | None = None) -> None:
        fields = self._defaults = DefaultFields(defaults, ranged) if isinstance(defaults, Headers) else defaults
        host = f' HTTP/1.1\r\nHost: {authority}'
        self._host = host.encode('latin-1')
        self._open = host + fields.text
        self._authorizes, self._propagates = fields.authorizes, fields.propagates

    def write(self, request: Request, line: bytes = b'', propagated: str = '') -> bytes:
        """The head, and with it the body where that is bytes and small: to copy a large one takes its time.

        :param line: one more field, already written, for a request that has none of its own.
        :param propagated: fields, already written, of which those are sent that the request does not set itself.
        """
        payload, block = request.payload, request.headers.block or line
        if payload is None and request.method not in _SENDS_BODY and not self._propagates:
            if not block:
                return f'{request.method} {request.url}{self._open}{propagated}\r\n\r\n'.encode('latin-1')
            if block is line and not self._authorizes:
                return b'%b%b\r\n\r\n' % (
                    f'{request.method} {request.url}{self._open}{propagated}'.encode('latin-1'),
                    line,
                )
        lowered = block.lower()
        if self._propagates or _names_propagated(lowered):
            propagated = _left_of(propagated, self._defaults.marks + lowered)
        parts = [f'{request.method} {request.url}'.encode('latin-1'), self._host]
        defaults = self._defaults.ranged if b'\r\nrange:' in lowered else self._defaults.marked
        parts += [line for mark, line in defaults if mark not in lowered]
        parts += [propagated.encode('latin-1'), block, *self._body(request, lowered)]
        return b''.join(parts)

    def _body(self, request: Request, lowered: bytes) -> list[bytes]:
        """The fields that describe the body, the end of the head, and the body where that goes with it.

        :param lowered: the request's own fields.
        """
        payload, parts = request.payload, []
        if isinstance(payload, bytes):
            if isinstance(request.body, (Mapping, list)) and b'\r\ncontent-type:' not in lowered + self._defaults.marks:
                parts.append(b'\r\nContent-Type: application/json')
            expects = request.options.expect and request.expects
            if expects:
                parts.append(_EXPECT)
            parts.append(b'\r\nContent-Length: %d\r\n\r\n' % len(payload))
            if len(payload) <= INLINE and not expects:
                parts.append(payload)
        elif payload is not None:
            if request.expects:
                parts.append(_EXPECT)
            parts.append(
                b'\r\nTransfer-Encoding: chunked\r\n\r\n'
                if payload.length is None
                else b'\r\nContent-Length: %d\r\n\r\n' % payload.length
            )
        else:  # RFC 9110 §8.6: a method that expects content says that there is none
            parts.append(b'\r\nContent-Length: 0\r\n\r\n' if request.method in _SENDS_BODY else b'\r\n\r\n')
        return parts


class ForwardingWriter(RequestWriter):
    """Writes for a proxy: the target in absolute form (RFC 9112 §3.2.2), the fields for the proxy with each request.

    A class of its own, so that without a proxy nothing is asked.
    """

    __slots__ = ('_prefix',)

    def __init__(self, origin: Origin, defaults: Headers, fields: Headers, ranged: Headers | None = None) -> None:
        def both(own: Headers) -> Headers:
            return Headers([*(pair for pair in own.multi_items() if pair[0] not in fields), *fields.multi_items()])

        super().__init__(origin.authority, both(defaults), None if ranged is None else both(ranged))
        self._prefix = str(origin).encode('latin-1')

    def write(self, request: Request, line: bytes = b'', propagated: str = '') -> bytes:
        """The asterisk form is that of an empty path (RFC 9112 §3.2.4)."""
        method, _, rest = super().write(request, line, propagated).partition(b' ')
        return b'%b %b%b' % (method, self._prefix, rest[1:] if request.url == '*' else rest)
