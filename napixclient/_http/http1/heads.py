"""What the head of a response says (RFC 9112): its validity, the framing of its body, whether the connection persists.

Pure functions of one whole head, which is given without its last CRLF CRLF.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ...errors import InvalidResponse
from ...masking import mask
from ...messages import Headers

__all__ = [
    'UNASKED_UPGRADE',
    'Framing',
    'check_head',
    'check_version',
    'framing_of',
    'keep_alive_of',
    'leads_on',
    'names_coding',
    'names_keep_alive',
    'names_special',
    'persists',
    'says_close',
    'unfolded',
]

UNASKED_UPGRADE = '101 Switching Protocols, which nobody asked for'

#: Finds Transfer-Encoding or Content-Encoding. The pattern begins with a character that has no case, which makes the
#: search fast.
names_coding = re.compile(rb'-encoding:', re.IGNORECASE).search
names_keep_alive = re.compile(rb'-alive:', re.IGNORECASE).search
#: Finds all that either of these finds. It may find more, and is faster than a pattern with two whole words.
names_special = re.compile(rb'-[ea](?:ncoding|live):', re.IGNORECASE).search
#: Finds a Location that is not empty.
leads_on = re.compile(rb'\r\nlocation:[ \t]*[^ \t\r]', re.IGNORECASE).search

_keep_alive = re.compile(rb'\r\nkeep-alive:([^\r]*)', re.IGNORECASE).search
_parameters = re.compile(rb'(?:\A|[,;\s])(timeout|max)[ \t]*=[ \t]*"?([0-9]{1,9})(?![0-9.e])', re.IGNORECASE).findall
_split_at_folds = re.compile(rb'\r\n[ \t]+').split
_folds_nothing = re.compile(rb'\A[^\r]*\r\n[ \t]|\r\n[ \t]+(?:\r\n|\Z)').search


def unfolded(head: bytes) -> bytes:
    """Return the head with a space in place of each fold (RFC 9112 §5.2).

    :raises InvalidResponse: for a fold right after the first line (§2.2), or a folded line of white space alone: each
        reader would guess differently which field it continues.
    """
    if b'\r\n ' not in head and b'\r\n\t' not in head:
        return head
    if _folds_nothing(head) is not None:
        raise InvalidResponse('a line of the head begins with white space and continues no field (RFC 9112 §2.2, §5.2)')
    *folded, last = _split_at_folds(head)
    return b' '.join([*(line.rstrip(b' \t') for line in folded), last])


def check_version(head: bytes) -> None:
    """Refuse all versions but HTTP/1.1 and HTTP/1.0.

    :raises InvalidResponse: for another one.
    """
    if not head.startswith((b'HTTP/1.1 ', b'HTTP/1.0 ')):
        raise InvalidResponse(f'neither HTTP/1.1 nor HTTP/1.0: {mask(repr(head[:20]))}')


def check_head(head: bytes, status: int, max_fields: int) -> None:
    """Refuse what llhttp lets through, other versions apart.

    :raises InvalidResponse: for a NUL, a status below 100, more than ``max_fields`` fields.
    """
    # A field takes 4 bytes or more.
    if len(head) > max_fields * 4 and head.count(b'\r\n') > max_fields:
        raise InvalidResponse(f'the head has more than {max_fields} fields')
    if b'\0' in head:  # llhttp accepts it in the reason
        raise InvalidResponse('NUL in the head (RFC 9110 §5.5)')
    if status < 100:  # from 600 on it is processed as a 5xx
        raise InvalidResponse(f'status {status} is not between 100 and 999 (RFC 9110 §15)')


class Framing(NamedTuple):
    """How a head says that its body is framed and coded."""

    chunked: bool
    #: Bytes, where there is a Content-Length.
    length: int | None
    #: The Content-Encoding, ``None`` where the body is not coded.
    coding: str | None


def framing_of(head: bytes) -> Framing:
    """Read the fields that say where the body ends and how it is coded (RFC 9112 §6.1, §6.3).

    :param head: llhttp has accepted it, so that a Content-Length is a number.
    :raises InvalidResponse: for a transfer coding other than chunked, or for one beside a Content-Length.
    """
    fields = Headers.of_block(head)
    transfer = fields.get('transfer-encoding')
    length = fields.get('content-length')
    if transfer is not None:
        if _listed(transfer) != ['chunked']:
            raise InvalidResponse(f'unknown Transfer-Encoding {mask(repr(transfer))}')
        if length is not None:
            raise InvalidResponse('both Content-Length and Transfer-Encoding')
    coding = fields.get('content-encoding')
    if coding is not None and coding.strip().lower() in ('', 'identity'):
        coding = None
    return Framing(transfer is not None, None if length is None else int(length), coding)


def persists(head: bytes) -> bool:
    """Whether the connection outlives the answer, as its head says (RFC 9112 §9.3)."""
    options = _connection_options(head)
    return 'close' not in options and (head.startswith(b'HTTP/1.1 ') or 'keep-alive' in options)


def says_close(head: bytes) -> bool:
    """Whether the connection ends with the answer, as its head says in so many words."""
    return 'close' in _connection_options(head)


def keep_alive_of(head: bytes) -> tuple[int | None, int | None]:
    """Read ``Keep-Alive`` (RFC 2068 §19.7.1).

    :returns: the seconds for which the server keeps an idle connection, and the number of requests that it still
        accepts over it; ``None`` for what the head does not say.
    """
    field = _keep_alive(head)
    parsed = {} if field is None else {name.lower(): int(number) for name, number in _parameters(field[1])}
    return parsed.get(b'timeout'), parsed.get(b'max')


def _connection_options(head: bytes) -> list[str]:
    """What ``Connection`` lists (RFC 9110 §7.6.1), and its forerunner, which llhttp heeds as well."""
    fields = Headers.of_block(head)
    return _listed(f'{fields.get("connection", "")},{fields.get("proxy-connection", "")}')


def _listed(value: str) -> list[str]:
    """The elements of a list, in lower case; empty ones do not count (RFC 9110 §5.6.1.2)."""
    elements = (element.strip(' \t').lower() for element in value.split(','))
    return [element for element in elements if element]
