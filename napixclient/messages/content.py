"""The content of a request as other libraries take it: ``json=``, ``data=`` and ``files=``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from .json_codec import dump_json

__all__ = ['FORM', 'JSON', 'Content', 'content_of', 'form_of', 'given_files', 'is_form', 'multipart_of']

FORM = 'application/x-www-form-urlencoded'
JSON = 'application/json'


class Content(NamedTuple):
    """A body, with its type unless that follows from it; or the fields of a multipart form."""

    body: object
    type: str | None = None
    multipart: Any = None


def content_of(body: object, multipart: object, json: object, data: object, files: object) -> Content:
    """What is to be sent.

    :raises ValueError: where more than one of them is given, but for ``data`` with ``files``.
    :raises TypeError: for what is of no use in its place.
    """
    files = given_files(files)
    named = {'body': body, 'multipart': multipart, 'json': json, 'data': data, 'files': files}
    given = [name for name, value in named.items() if value is not None]
    if len(given) > 1 and given != ['data', 'files']:
        raise ValueError(f'{given[0]} and {given[1]} exclude each other')
    if multipart is not None or files is not None:
        return Content(None, None, multipart_of(data, files) if multipart is None else multipart)
    if json is not None:
        return Content(json) if isinstance(json, (Mapping, list)) else Content(dump_json(json, 'json'), JSON)
    if is_form(data):
        return Content(form_of(data), FORM)
    return Content(body if data is None else data)


def is_form(data: object) -> bool:
    """Whether it is the fields of a form: a mapping, a list, or a tuple of pairs; one of texts are pieces of a body."""
    return isinstance(data, (Mapping, list)) or (
        isinstance(data, tuple) and bool(data) and all(isinstance(one, (tuple, list)) for one in data)
    )


def form_of(data: object) -> bytes:
    """The fields of a form as the body that a browser sends.

    :raises TypeError: for what is none.
    """
    return urlencode(list(_fields(data))).encode()


def given_files(files: object) -> object:
    """Those that were given; ``None`` where there is none among them: what a program has collected may be nothing."""
    return None if isinstance(files, (Mapping, list, tuple)) and not files else files


def multipart_of(data: object, files: object) -> list[tuple[str, object]]:
    """Files, behind the fields of a form, as the fields of a multipart form.

    :raises TypeError: for what is none.
    """
    if data is not None and not is_form(data):
        raise TypeError(f'beside files, data is a mapping or pairs, not {type(data).__name__}')
    fields: list[tuple[str, object]] = [
        (name, value if isinstance(value, bytes) else str(value)) for name, value in _fields(data or ())
    ]
    return [*fields, *((name, _file(name, value)) for name, value in _pairs(files, 'files'))]


def _fields(data: object) -> Iterator[tuple[Any, Any]]:
    """Names and values: that of a list repeats its name, and ``None`` is left out."""
    for name, value in _pairs(data, 'data'):
        single = isinstance(value, (str, bytes, Mapping)) or hasattr(value, 'read') or not isinstance(value, Iterable)
        for one in [value] if single else value:  # type: ignore[attr-defined]  # it was asked
            if isinstance(one, Mapping) or hasattr(one, 'read'):
                raise TypeError(
                    f'data: {name!r} is a {type(one).__name__}, which no form has; '
                    'what is nested is sent by json=, and files by files='
                )
            if one is not None:
                yield name, one


def _pairs(given: object, what: str) -> Iterator[tuple[Any, object]]:
    """Those of a mapping, or of a list of pairs. Errors do not show them, because they may be secret."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise TypeError(f'{what} is a mapping or pairs of name and value, not {type(given).__name__}')
    for pair in given.items() if isinstance(given, Mapping) else given:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                f'{what} is a mapping or pairs of name and value; a {type(pair).__name__} in it is no pair. '
                'A list is sent as JSON by json='
            )
        yield pair[0], pair[1]


def _file(name: str, given: Any) -> object:
    """A file of a form; a text or bytes alone is the content of one with the name of its field."""
    if isinstance(given, (tuple, list)) or hasattr(given, 'read'):
        return given
    if not isinstance(given, (str, bytes, bytearray, memoryview)):
        raise TypeError(f'files: {name!r} is a file, a text or bytes, or (name, file), not {type(given).__name__}')
    return name, given
