"""Header fields (RFC 9110 §5), kept as they are on the wire."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from ..checks import is_number
from ..masking import MASK
from ..secret_names import is_secret_field

__all__ = ['Headers']

_Default = TypeVar('_Default')

is_token: Callable[[str], re.Match[str] | None] = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_ends_line = re.compile(rb'[\x00\r\n]').search


class Headers(Mapping[str, str]):
    """Header fields: a frozen, case-insensitive mapping that keeps repeated fields (RFC 9110 §5.3).

    ``headers['name']`` joins the values of a repeated field with ``', '``; ``getlist`` gives each of them.

    :param fields: a mapping, pairs of name and value, or other ``Headers``. Values are texts, bytes or numbers.
    :raises ValueError: for a name that is not a token, or CR, LF or NUL in a value.
    """

    # One CRLF stands before each field; in a response the status line stands before the first.
    __slots__ = ('block',)
    block: bytes

    def __init__(self, fields: Mapping[str, object] | Iterable[tuple[str, object]] = ()) -> None:
        if isinstance(fields, Headers):
            self.block = fields.block
            return
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        self.block = b''.join(_field_line(name, value) for name, value in pairs)

    @classmethod
    def of_block(cls, block: bytes) -> Headers:
        """The fields in a block, as they are on the wire, each behind a CRLF."""
        self = cls.__new__(cls)
        self.block = block
        return self

    def __getitem__(self, name: str) -> str:
        values = (_finders.get(name) or _finder(name))(self.block)
        if len(values) == 1:
            return values[0].rstrip(b' \t').decode('latin-1')  # type: ignore[no-any-return]
        if not values:
            raise KeyError(name)
        return ', '.join(value.rstrip(b' \t').decode('latin-1') for value in values)

    @overload
    def get(self, name: str, default: None = None) -> str | None: ...

    @overload
    def get(self, name: str, default: _Default) -> str | _Default: ...

    def get(self, name: str, default: object = None) -> object:
        """The value of a field, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def getlist(self, name: str) -> list[str]:
        """The values of all fields of that name, in the order received."""
        return [value.rstrip(b' \t').decode('latin-1') for value in _finder(name)(self.block)]

    get_all = getlist

    def multi_items(self) -> list[tuple[str, str]]:
        """Every field as a pair of name and value, repeated ones too, in the order received."""
        pairs = (line.partition(':') for line in self.block.decode('latin-1').split('\r\n')[1:])
        return [(name, value.strip(' \t')) for name, _, value in pairs]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(_finder(name)(self.block))

    def __iter__(self) -> Iterator[str]:
        return iter(
            {name.lower(): name for name, _ in reversed(self.multi_items())}[key]
            for key in dict.fromkeys(name.lower() for name, _ in self.multi_items())
        )

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.multi_items()})

    def __bool__(self) -> bool:
        return b'\r\n' in self.block

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return self._lowered() == Headers(other)._lowered()
        except ValueError:
            return False

    def _lowered(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in self.multi_items():
            found.setdefault(name.lower(), []).append(value)
        return found

    def __hash__(self) -> int:
        return hash(frozenset((name, tuple(values)) for name, values in self._lowered().items()))

    def __repr__(self) -> str:
        shown = [(name, MASK if is_secret_field(name) else value) for name, value in self.multi_items()]
        return f'Headers({shown!r})'


_finders: dict[str, Any] = {}


def _finder(name: Any) -> Any:
    """What finds the values of a field of that name in a block; remembered, for few names are asked for often."""
    found = _finders.get(name)
    if found is None:
        if not isinstance(name, str):
            raise KeyError(name)
        pattern = re.escape(name.encode('latin-1', 'replace')) if is_token(name) else b'(?!)'
        found = re.compile(rb'\r\n%s:[ \t]*([^\r]*)' % pattern, re.IGNORECASE).findall
        if len(_finders) < 1000:
            _finders[name] = found
    return found


def _field_line(name: object, value: object) -> bytes:
    if isinstance(name, bytes):
        name = name.decode('latin-1')
    if not isinstance(name, str) or not is_token(name):
        raise ValueError(f'not the name of a header field (RFC 9110 §5.1): {name!r}')
    if is_number(value):
        value = str(value)
    if isinstance(value, str):
        try:
            value = value.encode('latin-1')
        except UnicodeEncodeError:
            raise ValueError(f'header {name}: only latin-1 can be sent; encode the value to bytes first') from None
    if not isinstance(value, bytes):
        raise ValueError(f'header {name}: the value is a text, bytes or a number, not {type(value).__name__}')
    if _ends_line(value):
        raise ValueError(f'header {name}: CR, LF and NUL are not allowed in a value')
    return b'\r\n%s: %s' % (name.encode('latin-1'), value.strip(b' \t'))


NO_HEADERS = Headers()
