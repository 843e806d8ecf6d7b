"""Reads the query of a request to the API.

All of it raises :class:`BadRequest`, naming the parameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .counts import OUTCOMES, STATES
from .listing import Filter
from .problems import BadRequest

__all__ = ['filter_of', 'flag', 'is_number', 'number', 'wants_csv']

is_number: Callable[[str], re.Match[str] | None] = re.compile(r'[0-9]{1,15}', re.ASCII).fullmatch
_is_weight = re.compile(r'\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*', re.ASCII).fullmatch
#: Characters of a text by which runs are filtered.
_LONGEST_TEXT = 200


def number(query: dict[str, str], name: str, default: int) -> int:
    """A whole number."""
    text = query.get(name)
    if text is None:
        return default
    if not is_number(text):
        raise BadRequest(f'{name}: a whole number')
    return int(text)


def flag(query: dict[str, str], name: str) -> bool:
    """0, 1, true or false; false where it is not there."""
    text = query.get(name, '0')
    if text not in ('0', '1', 'true', 'false'):
        raise BadRequest(f'{name}: 0 or 1')
    return text in ('1', 'true')


def wants_csv(query: dict[str, str], accept: str) -> bool:
    """Whether results are CSV: as the query says, else as the media types do."""
    form = query.get('format')
    if form is None:
        weights = dict(map(_weight, accept.lower().split(',')))
        lines = max(weights.get(media, 0.0) for media in ('application/x-ndjson', 'application/*', '*/*'))
        return weights.get('text/csv', 0.0) > lines
    if form not in ('csv', 'ndjson'):
        raise BadRequest('format: csv or ndjson')
    return form == 'csv'


def _weight(item: str) -> tuple[str, float]:
    """A media type of ``Accept``, and its weight (RFC 9110 §12.4.2)."""
    media, *parameters = item.split(';')
    found = [match[1] for match in map(_is_weight, parameters) if match]
    return media.strip(), float(found[0]) if found else 1.0


def filter_of(query: dict[str, str]) -> Filter:
    """Which runs are to be listed."""
    states = tuple(filter(None, query.get('state', '').split(',')))
    outcomes = tuple(filter(None, query.get('outcome', '').split(',')))
    for name, given, known in ('state', states, STATES), ('outcome', outcomes, tuple(OUTCOMES)):
        if not set(given).issubset(known):
            raise BadRequest(f'{name}: one or more of {", ".join(known)}, with commas between them')
    text = query.get('text', '')
    if len(text) > _LONGEST_TEXT:
        raise BadRequest(f'text: {_LONGEST_TEXT} characters at most')
    return Filter(states, outcomes, tuple(text.split()))
