"""Requests as a journal keeps them: what is to be sent, without secrets. No I/O."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from ..masking import mask
from ..messages import Request
from ..secret_names import is_secret_field, is_secret_parameter
from .undos import Draft

__all__ = ['Record', 'draft_of', 'holds_secrets', 'record_of', 'record_of_draft', 'without_secrets']

#: A request in JSON: ``host``, ``method``, ``url``, ``headers``, and the body as ``body``, ``text`` or ``base64``;
#: ``withheld`` where it cannot be sent without the secret that is left out.
Record = dict[str, Any]


def record_of(request: Request, key_field: str) -> Record:
    """A request as a journal keeps it.

    :param key_field: the name of the field of idempotency keys, which are no secrets.
    """
    return _record(request.host, request.method, request.url, request.body, request.headers.multi_items(), key_field)


def record_of_draft(draft: Draft, key_field: str) -> Record:
    """The same of one that may have templates in it, and no host of its own."""
    return _record(draft.host, draft.method, draft.url, draft.body, draft.headers, key_field)


def _record(
    host: str | None, method: str, url: str, body: Any, headers: Iterable[tuple[str, Any]], key_field: str
) -> Record:
    record: Record = {'method': method, 'url': url if '?' not in url else without_secrets(url)}
    if host is not None:
        record['host'] = host
    kept = [
        (name, value if isinstance(value, (str, int, float)) else bytes(value).decode('latin-1'))
        for name, value in headers
        if name.lower() == key_field.lower() or not is_secret_field(name)
    ]
    kept = [(name, value) for name, value in kept if not isinstance(value, str) or mask(value) == value]
    if kept:
        record['headers'] = [list(pair) for pair in kept]
    shown = mask(record['url'])
    if shown != record['url'] or (body is not None and holds_secrets(body)):
        record['url'] = shown
        record['withheld'] = True
    elif isinstance(body, (bytes, bytearray, memoryview)):
        record['base64'] = b64encode(body).decode()
    elif isinstance(body, str):
        record['text'] = body
    elif body is not None:
        record['body'] = dict(body) if isinstance(body, Mapping) else body
    return record


def draft_of(record: Mapping[str, Any]) -> Draft | None:
    """The request of a record; ``None`` where a secret is missing that it cannot do without.

    :raises ValueError: for what is no record.
    """
    try:
        if record.get('withheld'):
            return None
        body = record.get('body', record.get('text'))
        if 'base64' in record:
            body = b64decode(record['base64'])
        headers = tuple((str(name), value) for name, value in record.get('headers', ()))
        host, method, url = record.get('host'), record['method'], record['url']
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError(f'{record!r:.200} is no request') from exc
    if not isinstance(method, str) or not isinstance(url, str) or not isinstance(host, (str, type(None))):
        raise ValueError(f'{record!r:.200} is no request')
    return Draft(host, method, url, body, headers)


def without_secrets(url: str) -> str:
    """The URL without the parameters of its query that carry credentials: who sends it signs it anew."""
    path, mark, query = url.partition('?')
    if not mark:
        return url
    kept = [pair for pair in query.split('&') if not is_secret_parameter(unquote_plus(pair.partition('=')[0]))]
    return f'{path}?{"&".join(kept)}' if kept else path


def holds_secrets(body: object) -> bool:
    """Whether a body has a secret in it, by its names or because it is known for one."""
    if isinstance(body, Mapping):
        return any(is_secret_field(str(name)) or holds_secrets(member) for name, member in body.items())
    if isinstance(body, (list, tuple)):
        return any(map(holds_secrets, body))
    if isinstance(body, (bytes, bytearray, memoryview)):
        body = bytes(body).decode('utf-8', 'replace')
    return isinstance(body, str) and mask(body) != body
