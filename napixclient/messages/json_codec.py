"""What is JSON, how it is read and how it is written, for all of napixclient."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from math import isfinite
from typing import Any

__all__ = ['FINITE', 'dump_json', 'is_json', 'is_json_sequence', 'json_text', 'load_json', 'redump_json']

#: Types of one JSON text whose names end without "+json": those of the MIME Sniffing Standard, their elder spellings,
#: the home document of draft-nottingham-json-home and what AWS calls its own.
_JSON = frozenset(
    [
        'application/json',
        'text/json',
        'application/x-json',
        'text/x-json',
        'application/json-home',
        'application/x-amz-json-1.0',
        'application/x-amz-json-1.1',
    ]
)
#: Lines of JSON, though its name ends in what RFC 6839 gives to one text.
_LINES = 'application/stream+json'


@lru_cache(64)
def is_json(content_type: str) -> bool:
    """Whether that Content-Type says that the body is a JSON text: ``application/json``, ``*/*+json`` (RFC 6839 §3.1).

    Lines (``application/x-ndjson``) and sequences (RFC 7464) of them are none.
    """
    media = _media(content_type)
    return media in _JSON or (media.endswith('+json') and media != _LINES)


@lru_cache(64)
def is_json_sequence(content_type: str) -> bool:
    """Whether it says that each JSON text in the body follows a record separator (RFC 7464, RFC 8091)."""
    return _media(content_type).endswith(('/json-seq', '+json-seq'))


def _media(content_type: str) -> str:
    """The type and subtype (RFC 9110 §8.3.1) in small letters; nothing where they are not two tokens."""
    media = re.split('[;,]', content_type, maxsplit=1)[0].strip(' \t').lower()
    return media if _is_media(media) else ''


_is_media = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+/[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch


# Reading -------------------------------------------------------------------------------------------------------------


class _OutOfRange(ValueError):
    """A number that a double cannot hold."""


def _refuse(name: str) -> Any:
    raise ValueError(f'{name} is not JSON (RFC 8259 §6)')


def _finite(text: str) -> float:
    number = float(text)
    if isfinite(number):
        return number
    raise _OutOfRange(f'{text:.40} is beyond the range of a double (RFC 8259 §6)')


_decoder: Any = json.JSONDecoder(parse_constant=_refuse)
_scan = _decoder.scan_once
#: Hooks for ``json.loads`` that refuse what could not be written as JSON again.
FINITE: dict[str, Any] = {'parse_constant': _refuse, 'parse_float': _finite}
_decode_finite = json.JSONDecoder(**FINITE).decode


def load_json(data: bytes | str, finite: bool = False) -> Any:
    """Read a JSON text. A byte order mark before it is ignored (RFC 8259 §8.1); ``NaN`` and ``Infinity`` are not JSON.

    A number beyond the range of a double is read as ``inf`` or ``-inf``; an integer is read exactly, if it has no more
    digits than Python converts (``sys.get_int_max_str_digits``). Of members with the same name the last one counts.

    :param data: bytes in UTF-8, or in UTF-16 or UTF-32.
    :param finite: refuse such numbers: what is read is to be written again.
    :raises UnicodeDecodeError: which is a ``ValueError``, for bytes that are no text.
    :raises ValueError: when it is not JSON, or nested deeper than Python reads.
    """
    if finite:
        return _load_finite(data)
    try:
        text = data if isinstance(data, str) else data.decode()
        value, end = _scan(text, 0)
        if end == len(text):
            return value
    except (StopIteration, ValueError, RecursionError):
        pass
    return _load(_decoder.decode, data)  # white space around it, a byte order mark, or an error to be told


def _load(decode: Callable[[str], Any], data: bytes | str) -> Any:
    try:
        return decode(json_text(data))
    except RecursionError as exc:
        raise ValueError('the JSON is nested too deep') from exc


def _load_finite(data: bytes | str) -> Any:
    try:
        return _load(_decode_finite, data)
    except _OutOfRange as exc:
        found = _infinite(load_json(data))
        raise ValueError(f'{found[0]}: {exc}' if found and found[0] else str(exc)) from None


def json_text(data: bytes | str) -> str:
    """The characters of a JSON text, without a byte order mark.

    :raises UnicodeDecodeError: for bytes that are neither UTF-8 nor what their beginning says.
    """
    if isinstance(data, str):
        return data.removeprefix('\ufeff')
    return data.decode(json.detect_encoding(data))  # of which those that a mark tells take it off


# Writing -------------------------------------------------------------------------------------------------------------

_encode = json.JSONEncoder(separators=(',', ':'), allow_nan=False).encode


def dump_json(value: object, what: str = 'the value') -> bytes:
    """Write JSON, as short as it can be and in ASCII.

    :param what: what the error says that it is.
    :raises ValueError: for a number that JSON has not, infinite or NaN (RFC 8259 §6), saying where it stands; for what
        is nested too deep, or within itself.
    :raises TypeError: for an object that has no form in JSON.
    """
    try:
        return _encode(value).encode()
    except RecursionError as exc:
        raise ValueError(f'{what} cannot be written as JSON: it is nested too deep') from exc
    except ValueError as exc:
        found = _infinite(value)
        if found is None:  # a circle, or more digits than Python converts
            raise ValueError(f'{what} cannot be written as JSON: {exc}') from exc
        place, number = found
        raise ValueError(
            f'{what} cannot be written as JSON, which has no {number} (RFC 8259 §6): '
            f'it stands {f"at {place}" if place else "alone"}'
        ) from exc


def redump_json(
    value: object, *, indent: int | None = None, separators: tuple[str, str] | None = None, ensure_ascii: bool = True
) -> str:
    """Write what was read as JSON: a number beyond a double as ``1e999``, not as Python's ``Infinity``.

    The other parameters are those of ``json.dumps``.

    :raises RecursionError: when it is nested too deep.
    """
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=ensure_ascii)
    return _tokens(_as_json, text) if 'Infinity' in text or 'NaN' in text else text


_tokens = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|Infinity|NaN').sub


def _as_json(found: re.Match[str]) -> str:
    return {'Infinity': '1e999', 'NaN': 'null'}.get(found[0], found[0])


def _infinite(value: object) -> tuple[str, float] | None:
    """A number that is not finite and where it stands, such as ``requests[1].tag``; ``None`` where there is none."""
    left: list[tuple[str, Any]] = [('', value)]
    seen: set[int] = set()
    while left:
        place, one = left.pop()
        if isinstance(one, float) and not isfinite(one):
            return place, one
        if not isinstance(one, (dict, list, tuple)) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            left += [(_below(place, name), member) for name, member in reversed(one.items())]
            left += [(f'a name in {place or "it"}', name) for name in one if isinstance(name, float)]
        else:
            left += [(f'{place}[{at}]', member) for at, member in reversed(list(enumerate(one)))]
    return None


def _below(place: str, name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        return f'{place}[{name!r:.40}]'
    return f'{place}.{name:.40}' if place else f'{name:.40}'
