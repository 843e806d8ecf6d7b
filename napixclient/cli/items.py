"""Request items in the syntax of HTTPie: they make the query, the header and the body of a request.

``key=value``, ``key:=json``, ``param==value``, ``Header:value``, ``Header;``, ``field@file``, ``@file``; with ``@``
after the separator the value is read from a file. A backslash before a separator makes it an ordinary character.
"""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Callable, Iterable
from typing import BinaryIO, NamedTuple
from urllib.parse import urlencode

from ..masking import hide_fields
from ..messages import Body, Request, dump_json, load_json, multipart_body
from .filling import Filler
from .hostfiles import read_bytes
from .hostvars import BadVars

__all__ = ['BadItem', 'Content', 'Items', 'Upload', 'read_text']

#: The longest comes first where several begin at the same place.
_find_separator = re.compile(r':=@|==@|=@|:@|:=|==|=|:|@|;').search
#: Bytes from which a body is read while it is sent, instead of being held in memory.
_LARGE = 2**20


class BadItem(ValueError):
    """An item that is malformed, or whose file cannot be read."""


class Upload(NamedTuple):
    """A file that is sent as a field of a form."""

    path: str
    name: str
    data: bytes | BinaryIO
    content_type: str


class Content(NamedTuple):
    """What the items contribute to the request to one host."""

    query: str
    headers: list[tuple[str, str]]
    body: Body | None


class Items:
    """The items of a command line, parsed and checked once.

    :param filler: fills in what stands for something else in them.
    :raises BadItem: for a malformed item.
    """

    def __init__(self, texts: Iterable[str], filler: Filler | None = None) -> None:
        self.filler: Filler = filler or Filler()
        self.headers: list[tuple[str, str]] = []
        self.params: list[tuple[str, str]] = []
        self.fields: list[tuple[str, str | Upload]] = []  # of JSON or of a form; uploads among them
        self.file: str | None = None  # whose content is the body
        self._body: Body | None = None
        self._type: str | None = None
        for text in texts:
            self._take(text)
        if self.file is not None and self.fields:
            raise BadItem(f'"@{self.file}" is the whole body: it goes with no fields')
        self.is_form: bool = any(isinstance(value, Upload) for _, value in self.fields)
        try:
            # The host does not matter: headers that are refused are refused now.
            Request('host', 'GET', '/', None, self.headers)
        except ValueError as exc:
            raise BadItem(str(exc)) from exc
        written = [
            *self.headers,
            *self.params,
            *((name, value) for name, value in self.fields if isinstance(value, (str, _Json))),
        ]
        hide_fields(
            self,
            (
                (name, value.strip('"') if isinstance(value, _Json) else value)
                for name, value in written
                if not (self.filler.has_variables and self.filler.fills(value))  # a name is no secret
            ),
        )
        self.per_host: bool = any(map(self.filler.fills, (text for pair in written for text in pair)))
        self._same = None if self.per_host else self._make('')

    def for_host(self, host: str) -> Content:
        """What is sent to this host."""
        return self._make(host) if self._same is None else self._same

    def _take(self, text: str) -> None:
        name, separator, value = _split(text)
        if separator in (':=@', '==@', '=@', ':@'):
            value, separator = read_text(value, text), separator[:-1]
        if not name and separator != '@':
            raise BadItem(f'{text!r} has no name before "{separator}"')
        match separator:
            case '=':
                self.fields.append((name, value))
            case ':=':
                self.fields.append((name, _json(value, text, self.filler.has_variables)))
            case '==':
                self.params.append((name, value))
            case ':':
                if not value.strip():
                    raise BadItem(f'{text!r} has no value; an empty header is written {name + ";"!r}')
                self.headers.append((name, value.strip()))
            case ';':
                if value:
                    raise BadItem(f'{text!r}: nothing follows the ";" of an empty header')
                self.headers.append((name, ''))
            case _:
                self._take_file(name, value, text)

    def _take_file(self, name: str, path: str, text: str) -> None:
        if name:
            self.fields.append((name, Upload(path, os.path.basename(path), _open(path, text), _type_of(path))))
            return
        if self.file is not None:
            raise BadItem(f'"@{self.file}" and {text!r}: there is one body')
        self.file = path
        self._body = _open(path, text)
        self._type = None if path == '-' else _type_of(path)

    def _make(self, host: str) -> Content:
        def fill(text: str) -> str:
            return self.filler.fill(text, host)

        headers = [(fill(name), fill(value)) for name, value in self.headers]
        body, content_type = self._body_of(fill, host)
        if content_type is not None and not any(name.lower() == 'content-type' for name, _ in headers):
            headers.append(('Content-Type', content_type))
        return Content(urlencode([(fill(name), fill(value)) for name, value in self.params]), headers, body)

    def _body_of(self, fill: Callable[[str], str], host: str) -> tuple[Body | None, str | None]:
        """The body and its type."""
        if self.is_form:
            return multipart_body([(fill(name), _part(value, fill)) for name, value in self.fields])
        if self.fields:
            values = {
                fill(name): self._json_for(name, value, host) if isinstance(value, _Json) else fill(value)
                for name, value in self.fields
                if not isinstance(value, Upload)
            }
            return dump_json(values, 'the body'), 'application/json'
        return self._body, self._type

    def _json_for(self, name: str, value: str, host: str) -> object:
        try:
            return self.filler.fill_json(value, host)
        except BadVars:
            raise
        except ValueError as exc:
            raise BadItem(f'{f"{name}:={value}"!r:.200} is not JSON for {host}: {exc}') from exc


class _Json(str):
    """The text of a JSON value."""

    __slots__ = ()


def _part(value: str | Upload, fill: Callable[[str], str]) -> str | tuple[str, bytes | BinaryIO, str]:
    """A field of a form."""
    return value[1:] if isinstance(value, Upload) else fill(value)


def _split(text: str) -> tuple[str, str, str]:
    """Name, separator and value. The first separator that is not escaped counts."""
    start = 0
    while found := _find_separator(text, start):
        if text[found.start() - 1 : found.start()] != '\\':
            name = re.sub(r'\\([:=@;\\])', r'\1', text[: found.start()])
            return name, found[0], text[found.end() :]
        start = found.start() + 1
    raise BadItem(f'{text!r} is not an item: key=value, key:=json, param==value, Header:value, field@file or @file')


def _json(value: str, text: str, has_variables: bool) -> _Json:
    try:
        # It is parsed again for each host, as {host} may stand in it.
        load_json(value, finite=True)
    except ValueError as exc:
        if has_variables and '{' in value:  # it may become JSON for each host
            return _Json(value)
        raise BadItem(f'{text!r}: what follows ":=" is not JSON that can be sent: {exc}') from exc
    return _Json(value)


def read_text(path: str, text: str) -> str:
    """The text in a file, without its final line break; ``-`` is standard input.

    :param text: the item as it was written, for the error.
    :raises BadItem: when it cannot be read.
    """
    try:
        return _read(path, text).decode('utf-8-sig').removesuffix('\n').removesuffix('\r')
    except UnicodeDecodeError as exc:
        raise BadItem(f'{text!r}: the file is not a text in UTF-8') from exc


def _read(path: str, text: str) -> bytes:
    try:
        return read_bytes(os.path.expanduser(path))
    except (OSError, ValueError) as exc:
        raise BadItem(f'{text!r}: cannot read the file: {getattr(exc, "strerror", None) or exc}') from exc


def _open(path: str, text: str) -> bytes | BinaryIO:
    """The content of a file, or the open file if it is large; it can be sent to many hosts at once."""
    try:
        size = 0 if path == '-' else os.stat(os.path.expanduser(path)).st_size
        return _read(path, text) if size < _LARGE else open(os.path.expanduser(path), 'rb')
    except (OSError, ValueError) as exc:
        raise BadItem(f'{text!r}: cannot read the file: {getattr(exc, "strerror", None) or exc}') from exc


def _type_of(path: str) -> str:
    return mimetypes.guess_type(path)[0] or 'application/octet-stream'
