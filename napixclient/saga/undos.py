"""What undoes a step: as a caller gives it, and as requests once the answer is known. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..messages import (
    METHODS,
    Fields,
    Headers,
    Request,
    Response,
    Source,
    in_capitals,
    lead,
    parse_origin,
    plain_request,
)
from .idempotency import with_key
from .templates import OWN, Answers, fill, fill_url, has_templates, is_template

__all__ = ['Draft', 'Find', 'Maker', 'Undo', 'UndoSpec', 'draft_of_parts', 'drafts_of', 'find_of', 'undo_of']

#: One request as data: ``(method, url[, body[, headers]])``, with the host before, or a :class:`Request`.
Find = tuple[object, ...] | Request
#: What a callable returns: one request, several that are sent one after the other, or nothing to undo.
Made = Find | Sequence[Find] | None
Maker = Callable[[Response], Made]
#: What ``undo=`` takes.
UndoSpec = Find | Sequence[Find] | Maker | None

_has_scheme = re.compile(r'[A-Za-z][A-Za-z0-9+.-]*://').match
# Of the tokens that a method may be: in small letters one that few know is a mistake most likely.
_is_method = re.compile('[A-Z][A-Z0-9_-]*').fullmatch


class Draft(NamedTuple):
    """One request as data, in which templates may stand for parts of the answer."""

    host: str | None  # None: that of the step
    method: str
    url: str
    body: Any
    headers: tuple[tuple[str, Any], ...]
    given: Request | None = None  # where the caller made one: its options stay

    @property
    def needs_answer(self) -> bool:
        """Whether there is a template in it."""
        return (
            ('{' in self.url and has_templates(self.url))
            or (self.body is not None and has_templates(self.body))
            or (bool(self.headers) and has_templates(self.headers))
        )

    def request(self, base: Request, answers: Answers) -> Request:
        """The request, for a step.

        An absolute URL is taken apart, a relative one resolved against the step's (RFC 3986 §5.2).

        :raises TemplateError: when a template finds nothing.
        :raises ValueError: when no such request can be sent.
        """
        if self.given is not None and not self.needs_answer:
            return self.given
        host, url = self.host or base.host, fill_url(self.url, answers) if '{' in self.url else self.url
        if not url.startswith('/') or url.startswith('//'):
            host, url = _led(host if self.host else None, base, url)
        body = fill(self.body, answers) if has_templates(self.body) else self.body
        headers = [(name, fill(value, answers)) for name, value in self.headers] if self.headers else None
        if self.given is not None:
            return self.given.replace(host=host, url=url, body=body, headers=headers)
        return plain_request(host, self.method, url, body, headers)


def _led(host: str | None, base: Request, url: str) -> tuple[str, str]:
    """Where a reference leads; within the origin of its base the host stays as it was written."""
    if host is None:
        host, start = base.host, base.full_url
    else:
        start = f'{parse_origin(host)}/'
    led, target = lead(start, url)
    return (host, target) if parse_origin(led) == parse_origin(host) else (led, target)


class Undo:
    """What undoes a step.

    :param drafts: its requests, in the order in which they are sent.
    :param make: makes them of the answer, where they are no data.
    """

    __slots__ = ('drafts', 'make', 'needs_answer')

    def __init__(self, drafts: tuple[Draft, ...], make: Maker | None = None) -> None:
        self.drafts: tuple[Draft, ...] = drafts
        self.make: Maker | None = make
        #: Whether it cannot be known without the answer.
        self.needs_answer: bool = make is not None or any(draft.needs_answer for draft in drafts)

    def requests(self, base: Request, answer: Response | None, header: str) -> tuple[Request, ...]:
        """The requests that undo the step, each that is not idempotent with a key of its own.

        :param base: the request of the step.
        :param answer: its answer; ``None`` where there is none and none is needed.
        :param header: the name of the field that keys are sent in.
        :raises Exception: whatever the callable raises; ``TypeError`` and ``ValueError`` for what is no request.
        """
        drafts, answers = self.drafts, {} if answer is None else {OWN: answer}
        if self.make is not None:
            assert answer is not None
            made = self.make(answer)
            if (plain := _plain(made, base, header)) is not None:
                return (plain,)
            drafts = () if made is None else drafts_of(made, 'what undo= returned')
        return tuple([with_key(draft.request(base, answers), header) for draft in drafts])


#: An undo whose requests are known from the start.
KNOWN = Undo(())


def _plain(given: Any, base: Request, header: str) -> Request | None:
    """The request of ``(method, path)``, in a fifth of the time; ``None`` for all else."""
    if type(given) is not tuple or len(given) != 2:
        return None
    method, url = given
    if type(url) is not str or url[:1] != '/' or url[1:2] == '/' or '{' in url or method not in METHODS:
        return None
    return with_key(plain_request(base.host, method, url, None, None), header)


def undo_of(given: object, base: Request, header: str) -> tuple[Undo | None, tuple[Request, ...] | None]:
    """Read what ``undo=`` was given: the undo, and its requests where they need no answer.

    :raises TypeError: for nonsense.
    """
    if given is None:
        return None, ()
    if callable(given) and not isinstance(given, Request):
        return Undo((), given), None
    try:
        if (plain := _plain(given, base, header)) is not None:
            return KNOWN, (plain,)
    except (TypeError, ValueError) as exc:
        raise TypeError(f'undo cannot be sent: {exc}') from exc
    undo = Undo(drafts_of(given, 'undo'))
    if not undo.drafts:
        raise TypeError('undo is an empty list: if there is nothing to undo, say undo=None')
    if undo.needs_answer:
        return undo, None
    try:
        return undo, undo.requests(base, None, header)
    except ValueError as exc:
        raise TypeError(f'undo cannot be sent: {exc}') from exc


def find_of(given: object, base: Request) -> Request | None:
    """Read what ``find=`` was given.

    :raises TypeError: for what is no request, or needs the answer that there is not.
    """
    if given is None:
        return None
    if not isinstance(given, (tuple, Request)):
        raise TypeError(f'find is a tuple ([host, ]method, url[, …]) or a Request, not {type(given).__name__}')
    draft = _draft(given, 'find')
    if draft.needs_answer:
        raise TypeError('find has a template, but it is asked where there is no answer')
    try:
        return draft.request(base, {})
    except ValueError as exc:
        raise TypeError(f'find cannot be sent: {exc}') from exc


def drafts_of(given: object, what: str) -> tuple[Draft, ...]:
    """Read one request or a list of them.

    :param what: what the error calls it.
    :raises TypeError: for nonsense.
    """
    if isinstance(given, Draft):
        return (given,)
    if isinstance(given, (tuple, Request)):
        return (_draft(given, what),)
    if isinstance(given, list):
        return tuple(_draft(one, what) for one in given)
    raise TypeError(
        f'{what} is a tuple ([host, ]method, url[, body[, headers]]), a Request, a list of these'
        f'{", a callable of the answer" if what == "undo" else ""} or None, not {type(given).__name__}'
    )


def _draft(given: object, what: str) -> Draft:
    if isinstance(given, Draft):
        return given
    if isinstance(given, Request):
        body = given.body
        if isinstance(given.payload, Source):
            raise TypeError(f'{what}: a body that is sent again and again is a dict, a list, a text or bytes')
        return Draft(given.host, given.method, given.url, body, tuple(given.headers.multi_items()), given)
    if not isinstance(given, tuple):
        raise TypeError(f'{what}: each is a tuple ([host, ]method, url[, body[, headers]]) or a Request, not {given!r}')
    return draft_of_parts(*_parts(given, what), what)


def draft_of_parts(host: Any, method: Any, url: Any, body: Any, headers: Any, what: str) -> Draft:
    """A request of its parts; the host may be ``None``.

    :param what: what the error calls it.
    :raises TypeError: for nonsense.
    """
    if not isinstance(method, str) or not _is_method(in_capitals(method)) or method == 'CONNECT':
        raise TypeError(f'{what}: {method!r} is no method')
    method = in_capitals(method)
    if not isinstance(url, str):
        raise TypeError(f'{what}: a url is a text, not {url!r}')
    if not isinstance(body, (Mapping, list, str, bytes, bytearray, type(None))):
        raise TypeError(f'{what}: a body that is sent again and again is a dict, a list, a text or bytes')
    if host is not None:
        try:
            parse_origin(host)
        except ValueError as exc:
            raise TypeError(f'{what}: {exc}') from exc
    return Draft(host, method, url, body, () if headers is None else _fields(headers, what))


def _fields(headers: Any, what: str) -> tuple[tuple[str, Any], ...]:
    fields: Fields = headers
    pairs: Iterable[Any] = fields.items() if isinstance(fields, Mapping) else fields
    try:
        pairs = tuple(pairs)
        Headers(pairs)
    except (TypeError, ValueError) as exc:
        raise TypeError(f'{what}: {exc}') from exc
    return pairs


def _parts(given: tuple[Any, ...], what: str) -> tuple[Any, Any, Any, Any, Any]:
    """Host, method, url, body and headers: which of these the first is, the first that can be a URL tells."""
    if 2 <= len(given) <= 5:
        padded = (*given, None, None, None)
        if (len(given) == 2 or _is_url(given[1])) and len(given) < 5:
            return (None, *padded[:4])
        if _is_url(given[2]):
            return padded[:5]
        if _is_known(given[0]) and len(given) < 5:  # a relative one
            return (None, *padded[:4])
        if _is_known(given[1]):
            return padded[:5]
    raise TypeError(f'{what} is a tuple ([host, ]method, url[, body[, headers]]), not {given!r}')


def _is_known(item: object) -> bool:
    return isinstance(item, str) and in_capitals(item) in METHODS


def _is_url(item: object) -> bool:
    return isinstance(item, str) and bool(item.startswith('/') or _has_scheme(item) or is_template(item))
