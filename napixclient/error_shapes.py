"""The shapes of error documents, parsed: napix's own, RFC 9457, OpenStack, plain texts. The cap is not here.

Nothing here raises, whatever was sent, and no document takes long to read, however large it is.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from math import isfinite
from typing import NamedTuple

from .checks import is_number, is_whole
from .masking import cut

__all__ = ['Nested', 'ParsedError', 'answer_of', 'branches', 'nested', 'parse', 'pruned', 'skipped']

#: Characters of another server's text that a text of ours quotes at most.
MAX_TEXT = 2000
#: Calls of a fan-out that are listed, and truncation marks in a row that are followed.
MAX_BRANCHES = 64
_DEEPEST = 6
_BROADEST = 32
_MOST_ERRORS = 8
#: Seconds, and calls taken out, that are believed; larger numbers are nonsense.
_LONGEST = 1e9
_MOST_SKIPPED = 10**6


class ParsedError(NamedTuple):
    """What an error document says about a failure; ``None`` where it says nothing."""

    error_class: str | None
    error_text: str | None
    traceback: list[object] | None


class Nested(NamedTuple):
    """A failed call that a server made itself, and the document that answered it."""

    call: str | None
    status: int | None
    elapsed: float | None
    document: object
    cut: int = 0  # calls that were taken out before this one, or in its place where it has no document


def parse(document: object) -> ParsedError:
    """Read napix's object, RFC 9457, OpenStack's, Zaqar's and Google's faults, HTML, and anything else as text."""
    if document is None:
        return ParsedError(None, None, None)
    if isinstance(document, str):
        return ParsedError(None, _str(_text_of(document)), None)
    if not isinstance(document, dict):
        return ParsedError(None, _compact(document), None)
    error_class, error_text = _str(document.get('error_class')), _str(document.get('error_text'))
    if error_class or error_text:
        traceback = document.get('traceback')
        return ParsedError(error_class, error_text, traceback if isinstance(traceback, list) else None)
    return _foreign(document, 0)


def _foreign(document: dict[str, object], depth: int) -> ParsedError:
    """An object that is not napix's."""
    error, errors = document.get('error'), document.get('errors')
    if isinstance(error, dict) and depth < _DEEPEST:  # Google, Keystone
        return _foreign(error, depth + 1)
    title = next((text for key in _TITLES if (text := _str(document.get(key))) and text != 'about:blank'), None)
    if isinstance(errors, list) and depth < _DEEPEST:  # OpenStack: [{…}, …]
        found = [
            _foreign(one, depth + 1) if isinstance(one, dict) else ParsedError(None, _str(one), None)
            for one in errors[:_MOST_ERRORS]
        ]
        text = '; '.join(one.error_text for one in found if one.error_text)
        if text:
            return ParsedError(title or found[0].error_class, text, None)
    if len(document) == 1:
        ((name, value),) = document.items()
        if isinstance(value, dict) and depth < _DEEPEST and any(_str(value.get(key)) for key in _TEXTS):
            return ParsedError(
                _str(name), _foreign(value, depth + 1).error_text, None
            )  # OpenStack: {"badRequest": {…}}
        if (text := _str(value)) and name not in _NO_TEXTS:
            return ParsedError(None, text, None)
    texts = list(dict.fromkeys(text for key in _TEXTS if (text := _str(document.get(key)))))
    if isinstance(error, str) and error:
        if texts and title is None:
            title = error  # OAuth: RFC 6749 §5.2
        elif error not in (title, *texts):
            texts.append(error)
    if not texts:
        return ParsedError(None, _str(document.get('title')) or _compact(document), None)
    return ParsedError(title, ': '.join(texts), None)


def fault(document: object) -> tuple[str | None, list[object]]:
    """The bare text of a failure, where a document separates it from the kind of failure, and the details beside it."""
    for _ in range(_DEEPEST):
        inner = _inner(document)
        if inner is None:
            break
        document = inner
    if not isinstance(document, dict) or _str(document.get('error_class')) or _str(document.get('error_text')):
        return None, []
    if isinstance(document.get('errors'), list):  # OpenStack: [{…}, …]
        return _str(document.get('message')), document['errors']
    texts: list[object] = [text for key in _TEXTS[1:] if (text := _str(document.get(key)))]
    details = document.get('details')
    if details not in (None, '', [], {}) and not isinstance(details, str):
        texts = details if isinstance(details, list) else [details]
    return _str(document.get('message')), texts


def _inner(document: object) -> dict[str, object] | None:
    """The object within that describes the failure: Google's and Keystone's ``error``, OpenStack's only member."""
    if not isinstance(document, dict):
        return None
    error = document.get('error')
    if isinstance(error, dict):
        return error
    value = next(iter(document.values())) if len(document) == 1 else None
    return value if isinstance(value, dict) and any(_str(value.get(key)) for key in _TEXTS) else None


#: Members that hold the text of a failure, by the names that different servers use.
_TEXTS = ('message', 'detail', 'description', 'details', 'error_description')
#: Those that name its kind.
_TITLES = ('title', 'status', 'code', 'type')
#: Those that describe the call behind, not the failure itself.
OF_CALL = ('remote_call', 'remote_status', 'remote_elapsed')
_NO_TEXTS = frozenset([*OF_CALL, 'remote_error', 'remote_errors', 'traceback'])


def nested(document: object) -> list[Nested]:
    """The calls to further servers that a document lists; several where a fan-out failed.

    A last entry with nothing but ``cut`` stands for those of a fan-out that it leaves out.
    """
    calls, more = branches(document)
    if calls or more:
        return [_nested(one) for one in calls] + [Nested(None, None, None, None, more)] * bool(more)
    if not isinstance(document, dict) or document.get('remote_error') is None:
        return []
    return [_nested(document)]


def branches(document: object) -> tuple[list[dict[str, object]], int]:
    """The calls of a fan-out, each an object with its ``remote_error``, and how many more the document leaves out."""
    several = document.get('remote_errors') if isinstance(document, dict) else None
    if not isinstance(several, list):
        return [], 0
    calls: list[dict[str, object]] = []
    more = max(len(several) - MAX_BRANCHES, 0)
    for one in several[:MAX_BRANCHES]:
        if isinstance(one, dict) and 'remote_error' not in one and 'error_class' not in one and _truncated(one):
            more += _truncated(one)
        elif isinstance(one, dict):
            calls.append(one)
        elif _str(one):
            calls.append({'remote_error': one})
    return calls, more


def answer_of(entry: dict[str, object]) -> object:
    """What a call was answered; an entry of a fan-out may be that error itself."""
    if entry.get('remote_error') is not None:
        return entry['remote_error']
    return entry if len(entry) > sum(name in entry for name in (*OF_CALL, 'remote_error')) else None


def skipped(document: object) -> tuple[object, int]:
    """The error behind the marks of what was taken out of the middle of a chain, and how many calls those were."""
    count = 0
    for _ in range(MAX_BRANCHES):
        if not isinstance(document, dict) or not _truncated(document) or document.get('remote_error') is None:
            break
        count += _truncated(document)
        document = document['remote_error']
    return document, min(count, _MOST_SKIPPED)


def _truncated(document: dict[str, object]) -> int:
    count = document.get('truncated')
    return min(max(count, 1), _MOST_SKIPPED) if is_whole(count) else 0


def _nested(document: dict[str, object]) -> Nested:
    answer, count = skipped(answer_of(document))
    return Nested(
        _str(document.get('remote_call')),
        _status(document.get('remote_status')),
        _seconds(document.get('remote_elapsed')),
        answer,
        count,
    )


def _status(value: object) -> int | None:
    return value if is_whole(value) and 0 <= value < 1000 else None


def _seconds(value: object) -> float | None:
    return value if is_number(value) and 0 <= value < _LONGEST else None


def _str(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def pruned(value: object, size: int, room: list[int], depth: int = 0) -> object:
    """A copy of decoded JSON, bounded in depth and breadth; what is left out shows as ``…``.

    :param size: characters of each text at most.
    :param room: one number, what is left of the characters of the whole; lowered by those of the copy.
    """
    if room[0] <= 0:
        return '…'
    room[0] -= 2
    if isinstance(value, str):
        text = cut(value, min(size, room[0] + 1))
        room[0] -= len(text)
        return text
    if isinstance(value, dict) and depth < _DEEPEST:
        return {
            pruned(name if isinstance(name, str) else f'<{type(name).__name__}>', 100, room): pruned(
                member, size, room, depth + 1
            )
            for name, member in islice(value.items(), _BROADEST)
        }
    if isinstance(value, (list, tuple)) and depth < _DEEPEST:
        return [pruned(member, size, room, depth + 1) for member in value[:_BROADEST]]
    if value is None or isinstance(value, bool) or (isinstance(value, int) and value.bit_length() <= 64):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    return f'<{type(value).__name__}>'


def _compact(value: object) -> str | None:
    """What nobody knows how to read, as JSON."""
    if isinstance(value, dict):
        value = dict(islice(((name, member) for name, member in value.items() if name not in _NO_TEXTS), _BROADEST))
        if not value:
            return None
    return cut(json.dumps(pruned(value, MAX_TEXT, [2 * MAX_TEXT]), ensure_ascii=False), MAX_TEXT)


def _text_of(text: str) -> str:
    """A page of HTML as the text that its reader would see; anything else as it is."""
    start = _page(text)
    if start is None:
        return text
    from html import unescape  # its table of two thousand characters is for pages only

    head, page = text[: start.start(1)], cut(text[start.start(1) :], 20 * MAX_TEXT)
    return ' '.join(f'{head} {unescape(_tags(" ", _hidden(" ", page)))}'.split())


_page = re.compile(
    r'(?is)\A\s*(?:"[^"\n]*"\s*)?'
    r'(<(?:!doctype html|html|head|body|h1|title|center|pre|p|\?xml)\b)'
).search
_hidden = re.compile(r'(?is)<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)').sub
_tags = re.compile(r'<[^<>]*>').sub
