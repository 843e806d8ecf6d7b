"""Error documents, as our servers write them: capped at 8 error objects and 16 KiB."""

from __future__ import annotations

import json
import traceback
import uuid
from http import HTTPStatus
from itertools import islice
from typing import Any

from .checks import is_number
from .error_shapes import MAX_TEXT, OF_CALL, answer_of, branches, parse, pruned, skipped
from .errors import HTTPError, NapixError
from .masking import MASK, Shown, cut, is_field, mask, sentence
from .secret_names import is_secret_field

__all__ = ['document_of', 'encode']

#: Error objects in a document, and bytes of it, at most.
MAX_OBJECTS = 8
MAX_BYTES = 16 * 1024
_MAX_MEMBERS = 32
_LONGEST = 8 * MAX_TEXT
_LONGEST_REASON = 200
#: Longest texts, tried one after the other until a document is small enough.
_TEXT_LIMITS = (MAX_TEXT, 500, 120, 30, 8)
#: Members that are kept where space is short.
_KNOWN = (
    'type',
    'title',
    'status',
    'instance',
    'trace_id',
    'error_class',
    'error_text',
    'request',
    'remote_call',
    'remote_status',
    'remote_elapsed',
)
_WHERE = frozenset(['traceback', 'filename', 'line'])
_FURTHER = frozenset(['remote_error', 'remote_errors'])


# Writing -------------------------------------------------------------------------------------------------------------


def document_of(
    exc: BaseException, status: int, method: str, path: str, trace_id: str | None = None, expose_traceback: bool = False
) -> dict[str, object]:
    """The document that reports a failure to the caller: napix's members beside those of RFC 9457.

    An :class:`HTTPError`, or an exception raised ``from`` one, brings the call that failed and what it was answered;
    a group of several brings them all. :func:`encode` bounds it, and takes out what is secret.

    :param status: of the answer that it goes with.
    :param path: of the request that failed, without its query.
    :param expose_traceback: with our own traceback.
    """
    document: dict[str, object] = {
        'type': 'about:blank',
        'title': Shown(_title(status)),
        'status': status,
        'instance': f'urn:uuid:{uuid.uuid4()}',
        **({'trace_id': trace_id} if trace_id else {}),
        'error_class': Shown(type(exc).__name__),
        'error_text': _text(exc),
        'request': {'method': method, 'path': path},
    }
    if expose_traceback:
        document |= _traceback(exc)
    calls = failed_calls(exc)
    if len(calls) == 1:
        document |= _call(calls[0])
    elif not calls and isinstance(exc, HTTPError):
        document |= exc.document_members
    elif calls:
        more = max(len(calls) - MAX_OBJECTS, 0)
        document['remote_errors'] = [_call(one) for one in calls[:MAX_OBJECTS]] + [{'truncated': more}] * bool(more)
    return document


def failed_calls(exc: BaseException) -> list[HTTPError]:
    """The calls to other servers that an exception comes from: itself, its causes, or all that a group holds."""
    calls, seen, left = [], set(), [exc]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        members = getattr(one, 'exceptions', None)
        if isinstance(one, HTTPError) and one.request is not None:
            calls.append(one)
        elif isinstance(members, tuple):
            left += [member for member in reversed(members) if isinstance(member, BaseException)]
        elif one.__cause__ is not None:
            left.append(one.__cause__)
    return calls


def _call(error: HTTPError) -> dict[str, Any]:
    """The members that describe a failed call; our own error stands in for an answer that never came."""
    elapsed = error.elapsed
    answer = error.remote_error
    if answer is None:
        answer = {'error_class': Shown(error._kind), 'error_text': _text(error)}
    return {
        'remote_call': error.remote_call,
        'remote_status': error.status or None,
        'remote_elapsed': None if elapsed is None else round(elapsed, 6),
        'remote_error': answer,
        **error.document_members,
    }


def _text(exc: BaseException) -> str:
    # Without what str() adds: the hops, which the document has as its parts, and the number of exceptions in a group.
    of_parts = isinstance(exc, HTTPError) or isinstance(getattr(exc, 'exceptions', None), tuple)
    try:
        text = str(exc.message if of_parts and hasattr(exc, 'message') else exc)
        return Shown(cut(sentence(text) if isinstance(exc, NapixError) else mask(text), _LONGEST))
    except Exception:
        return f'<{type(exc).__name__} that has no text>'


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return 'Error'


def _traceback(exc: BaseException) -> dict[str, Any]:
    """Where an exception came from, in the members that napix gives it."""
    frames = [
        {'filename': frame.filename, 'line': frame.lineno, 'in': frame.name, 'call': frame.line}
        for frame in traceback.extract_tb(exc.__traceback__, limit=-_MAX_MEMBERS)
    ]
    if not frames:
        return {}
    return {'filename': frames[-1]['filename'], 'line': frames[-1]['line'], 'traceback': frames}


def encode(document: dict[str, object], expose_traceback: bool = False) -> bytes:
    """The document as JSON without secrets, of 8 error objects and 16 KiB at most, and inert in a page of HTML.

    What goes first are calls in the middle of the chain, then tracebacks, then the length of texts; never the root.

    :param expose_traceback: whether tracebacks may stay.
    """
    data = b''
    for size in _TEXT_LIMITS:
        for where in (True, False) if expose_traceback and size == MAX_TEXT else (False,):
            data = _inert(json.dumps(_shaped(document, MAX_OBJECTS, size, where)))
            if len(data) <= MAX_BYTES:
                return data
    return data


def _inert(text: str) -> bytes:
    return text.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026').encode('ascii')


# The shape -----------------------------------------------------------------------------------------------------------

#: An error object of a chain, and the number of calls that were taken out before it.
Link = tuple[Any, int]


def _shaped(document: Any, objects: int, size: int, where: bool) -> Any:
    """A copy with so many error objects at most, and texts of such a size."""
    links = _links(document, through=objects < 3)
    calls, more = branches(links[-1][0]) if objects >= 3 else ([], 0)
    if calls:  # leave some room for them
        links = _without_middle(links, max(objects - min(len(calls), objects // 2), 2))
    else:
        links = _without_middle(links, objects)
    shaped, below = _object(links[-1][0], size, where), links[-1][1]
    if calls:
        room = max(objects - _count(links), 1)
        kept = calls[:room]
        shaped['remote_errors'] = [_shaped(one, room // len(kept) + _is_call(one), size, where) for one in kept]
        if more + len(calls) > len(kept):
            shaped['remote_errors'].append({'truncated': more + len(calls) - len(kept)})
    for link, before in reversed(links[:-1]):
        whole = _object(link, size, where)
        whole['remote_error'] = _marked(shaped, below)
        shaped, below = whole, before
    return _marked(shaped, below)


def _marked(shaped: Any, count: int) -> Any:
    return {'truncated': count, 'remote_error': shaped} if count else shaped


def _is_call(entry: dict[Any, Any]) -> bool:
    """Whether an entry of a fan-out describes only a call, and the error is the answer to that call."""
    return (
        entry.get('remote_error') is not None
        and not isinstance(entry.get('remote_errors'), list)
        and 'error_class' not in entry
    )


def _links(document: Any, through: bool) -> list[Link]:
    """The chain from the outermost error object to the root, or to a fan-out.

    :param through: follow the first call of a fan-out, and count the others as taken out.
    """
    links: list[Link] = [(document, 0)]
    seen = {id(document)}
    while isinstance(document, dict):
        calls, count = branches(document)
        if calls and not through:
            break
        if calls:
            count += len(calls) - 1
            links[-1] = {**document, **{name: calls[0].get(name) for name in OF_CALL}}, links[-1][1]
        further, taken_out = skipped(answer_of(calls[0]) if calls else document.get('remote_error'))
        if further is None or id(further) in seen:
            break
        seen.add(id(further))
        links.append((further, count + taken_out))
        document = further
    return links


def _count(links: list[Link]) -> int:
    """The objects that a chain is written as, with the marks of what was taken out."""
    return sum(2 if count else 1 for _, count in links)


def _without_middle(links: list[Link], objects: int) -> list[Link]:
    """The chain in so many objects at most: its beginning and its root, and before that the mark."""
    if _count(links) <= objects or len(links) <= min(objects, 2):
        return links
    *others, (root, count) = links
    room = objects - 2 if objects > 2 else objects - 1
    kept = 0
    while kept < len(others) and _count(others[: kept + 1]) <= room:
        kept += 1
    dropped = others[kept:]
    return [*others[:kept], (root, count + len(dropped) + sum(before for _, before in dropped))]


def _object(link: Any, size: int, where: bool) -> Any:
    """One error object, without those behind it."""
    if not isinstance(link, dict):
        bounded = _bounded(parse(link).error_text if size < MAX_TEXT and isinstance(link, list) else link, where)
        return _fitting(bounded, size)
    shaped: dict[str, Any] = {}
    for name in _KNOWN:
        value = link.get(name)
        if name in link and (value is None or isinstance(value, (str, int, float))):
            shaped[name] = _fitting(_bounded(value, where) if isinstance(value, str) else pruned(value, 0, [9]), size)
        elif name == 'request' and isinstance(value, dict):
            given = _bounded(value, where)
            shaped[name] = (
                given
                if size == MAX_TEXT
                else {
                    part: _fitting(given[part], size) for part in ('method', 'path') if isinstance(given.get(part), str)
                }
            )
    if size < MAX_TEXT:
        for name, text in zip(('error_class', 'error_text'), parse(link), strict=False):
            if text is not None:
                shaped[name] = _fitting(_bounded(text, where), size)
        return shaped | _saga(link.get('saga'), size)
    others = {
        name: value
        for name, value in islice(link.items(), 2 * _MAX_MEMBERS)
        if name not in shaped and name not in _FURTHER and name != 'traceback'
    }
    shaped |= _bounded(others, where)
    if where and isinstance(link.get('traceback'), list):
        shaped['traceback'] = _bounded(link['traceback'][-_MAX_MEMBERS:], where)
    return shaped


def _saga(lists: Any, size: int) -> dict[str, Any]:
    """What was rolled back, in short: who caused a saga has to know of it where little else has room."""
    if not isinstance(lists, dict) or size < _TEXT_LIMITS[2]:
        return {}
    kept = {name: lists[name] for name in ('undone', 'not_undone', 'unknown') if isinstance(lists.get(name), list)}
    return {
        'saga': {
            name: [_fitting(mask(text), size) for text in texts[:MAX_OBJECTS] if isinstance(text, str)]
            for name, texts in kept.items()
        }
    }


def _bounded(value: Any, where: bool) -> Any:
    """A copy of decoded JSON of a bounded size, without secrets."""
    return _masked(pruned(value, MAX_TEXT, [MAX_BYTES]), where)


def _masked(value: Any, where: bool) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {
            mask(name): MASK if is_secret_field(name) and not _is_answer(member) else _masked(member, where)
            for name, member in value.items()
            if where or name not in _WHERE
        }
    if isinstance(value, list):
        if len(value) == 2 and isinstance(value[0], str) and is_field(value[0]):
            return [value[0], MASK]  # a field as a pair
        return [_masked(member, where) for member in value]
    if is_number(value):
        text = str(value)
        return value if mask(text) == text else MASK
    return value


def _is_answer(value: Any) -> bool:
    """Whether it says yes, no, or nothing, which is no credential."""
    return value is None or isinstance(value, bool)


def _fitting(value: Any, size: int) -> Any:
    """A text of so many bytes at most as it is written; where there is room enough, it is left as it is."""
    if size == MAX_TEXT or not isinstance(value, str):
        return value
    for index, char in enumerate(value):
        size -= 1 if ' ' <= char <= '~' and char not in _ESCAPED else 6 if char <= '\uffff' else 12
        if size < 0:
            return f'{value[:index]}…'
    return value


_ESCAPED = frozenset('"\\<>&')
