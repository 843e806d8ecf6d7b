"""Forms (multipart/form-data, RFC 7578): files and iterables in them are read while they are sent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from urllib3.fields import RequestField, guess_content_type
from urllib3.filepost import choose_boundary

from ..checks import is_number
from .headers import NO_HEADERS, Headers
from .options import Multipart
from .source import Source

__all__ = ['multipart_body']


class MultipartSource(Source):
    """A form with files in it.

    :param parts: what goes out, in its order.
    """

    __slots__ = ()

    def __init__(self, parts: list[bytes | Source]) -> None:
        super().__init__(tuple(parts))
        lengths = [part.length if isinstance(part, Source) else len(part) for part in parts]
        known = [length for length in lengths if length is not None]
        self.length: int | None = sum(known) if len(known) == len(lengths) else None

    def _sources(self) -> Iterator[Source]:
        return (part for part in self.stream if isinstance(part, Source))

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent (once more): nothing was read yet of what cannot be read again."""
        return all(source.repeatable for source in self._sources())

    @property
    def rereadable(self) -> bool:
        """Whether all in it can be read again."""
        return all(source.rereadable for source in self._sources())

    def pieces(self, sent: int = 0) -> Iterator[bytes]:
        """All of it, from its beginning: it is no file of which a part could have been sent already."""
        assert not sent
        for part in self.stream:
            if isinstance(part, Source):
                yield from part.pieces()
            else:
                yield part


def multipart_body(fields: Multipart) -> tuple[bytes | Source, str]:
    """A form, and its Content-Type: bytes where all fields are in memory, else what reads the files in it.

    :raises TypeError: for a value that cannot be a field.
    :raises ValueError: for one that cannot be sent as it is.
    """
    boundary = choose_boundary()
    parts: list[bytes | Source] = []
    written: list[bytes] = []  # of what follows the last file
    for field in _fields_of(fields):
        written.append(b'--%b\r\n%b' % (boundary.encode(), _head_of(field)))
        data = _data_of(field)
        if isinstance(data, Source):
            parts += [b''.join(written), data]
            written.clear()
        else:
            written.append(data)
        written.append(b'\r\n')
    written.append(b'--%b--\r\n' % boundary.encode())
    body = b''.join(written)
    return MultipartSource([*parts, body]) if parts else body, f'multipart/form-data; boundary={boundary}'


def _fields_of(fields: Multipart) -> Iterator[RequestField]:
    if not isinstance(fields, (Mapping, Iterable)) or isinstance(fields, (str, bytes)):
        raise TypeError(f'multipart is a mapping or pairs of names and values, not {type(fields).__name__}')
    for entry in fields.items() if isinstance(fields, Mapping) else fields:
        if isinstance(entry, RequestField):
            yield entry
            continue
        name, value = entry
        if isinstance(name, bytes):
            name = name.decode()
        if not isinstance(name, str):
            raise TypeError(f'the name of a field is a text, not {type(name).__name__}')
        yield _field_of(name, value)


def _field_of(name: str, value: object) -> RequestField:
    content_type: object = None
    fields = NO_HEADERS
    if isinstance(value, (tuple, list)):
        if len(value) not in (2, 3, 4):
            raise ValueError(
                f'field {name!r}: a file is (file name, value), (file name, value, content type) or '
                '(file name, value, content type, headers)'
            )
        file_name, value, *given = value
        fields = Headers(given[1]) if len(given) > 1 else fields
    elif hasattr(value, 'read'):
        file_name, given = _name_of(value) or name, []
    else:
        file_name, given = None, [None]
        if not isinstance(value, (str, bytes, bytearray, memoryview)) and not is_number(value):
            raise TypeError(
                f'field {name!r}: a value is a text, bytes, a number or a file, not {type(value).__name__}; '
                'an iterable needs a file name: ("name", iterable)'
            )
    if isinstance(file_name, bytes):
        file_name = os.fsdecode(file_name)
    if not isinstance(file_name, (str, type(None))):
        raise TypeError(f'field {name!r}: a file name is a text, not {type(file_name).__name__}')
    content_type = given[0] if given else None if file_name is None else guess_content_type(file_name)
    if not isinstance(content_type, (str, type(None))):
        raise TypeError(f'field {name!r}: a content type is a text, not {type(content_type).__name__}')
    field = RequestField(name, value, file_name, dict(fields))  # type: ignore[arg-type]  # which only keeps the value
    field.make_multipart(content_type=content_type)
    return field


def _name_of(file: object) -> str | None:
    """The name of a file, without its directories; ``None`` where it has none."""
    name = getattr(file, 'name', None)
    if isinstance(name, (str, bytes)) and name:
        shown = os.path.basename(os.fsdecode(name))
        return None if shown.startswith('<') else shown  # such as <stdin>
    return None


def _head_of(field: RequestField) -> bytes:
    """The header of a part, with the empty line behind it; names are escaped as HTML says (RFC 7578 §4.2).

    :raises ValueError: for CR, LF or NUL in it.
    """
    for name, value in field.headers.items():
        if any(mark in f'{name}{value}' for mark in '\r\n\0'):
            raise ValueError(f'CR, LF and NUL are not allowed in the header of a part: {name}: {value!r}')
    # A file name that is not in UTF-8 goes out as it is on the disk.
    return field.render_headers().encode('utf-8', 'surrogateescape')


def _data_of(field: RequestField) -> bytes | Source:
    data: object = field.data
    if is_number(data):
        data = str(data)
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if isinstance(data, (list, tuple)):  # it is in memory, and so is its length
        return b''.join(Source(data).pieces())
    if isinstance(data, Mapping) or not (hasattr(data, 'read') or hasattr(data, '__iter__')):
        raise TypeError(
            f'a value of a form is a text, bytes, a number, a file or an iterable of bytes, not {type(data).__name__}'
        )
    return Source(data)
