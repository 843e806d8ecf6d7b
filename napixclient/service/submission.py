"""Reads and checks what is posted to ``/runs``, and writes it down for the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import count, islice
from typing import Any, NamedTuple, TypeVar

import gevent
from urllib3 import Retry

from .._http.options import Simultaneous
from ..allow import Allow
from ..checks import is_number, is_whole
from ..hosts import BadHosts, expand, sizes_of
from ..messages import (
    FINITE,
    IDEMPOTENT,
    OwnOptions,
    Request,
    RequestOptions,
    json_text,
    load_json,
    parse_origin,
    plain_request,
)
from ..secret_names import is_secret_field
from .rows import TOGETHER, Alike
from .secrets import Secrets, mask_url, secret_parameters, secrets_of_body
from .slices import SLICE, loads

__all__ = [
    'BadSubmission',
    'Item',
    'Options',
    'Submission',
    'kept',
    'kept_all',
    'politely',
    'read_json',
    'read_submission',
    'restored',
    'submission_of',
    'target_text',
]

_T = TypeVar('_T')

#: Statuses after which ``retries`` tries again.
RETRIED = (429, 502, 503, 504)
#: Fields that belong to the connection, not to the caller.
FORBIDDEN = frozenset(
    [
        'host',
        'content-length',
        'transfer-encoding',
        'connection',
        'keep-alive',
        'proxy-connection',
        'te',
        'trailer',
        'upgrade',
        'expect',
    ]
)
LONGEST_SECONDS = 86400.0
MOST_RETRIES = 20
MOST_SIMULTANEOUS = 1000
#: Things that are looked at before others have their turn.
_AT_ONCE = 250
#: Methods with a url of which a submission's reader knows how they are written.
_MOST_PLAIN = 4096


class BadSubmission(ValueError):
    """What was posted cannot be run; the text says which part, and why."""


class Options(NamedTuple):
    """How a run is run."""

    simultaneous: Simultaneous = 2
    timeout: float | None = None
    deadline: float | None = None
    retries: int = 0
    need: int | None = None
    ordered: bool = False
    redirect: bool = False


class Item(NamedTuple):
    """One request of a run.

    :param tag: without the secrets of the run, as it is shown; so is ``url``.
    :param given: the request; or its options, where it has no fields and no body: it is then made when it is sent.
        ``None`` where it cannot be sent any more.
    :param target: the members ``method`` and ``url`` in JSON.
    """

    number: int
    tag: Any
    host: str
    method: str
    url: str
    given: Request | OwnOptions | None
    secret: bool
    target: str = ''

    @property
    def request(self) -> Request | None:
        """What is sent."""
        given = self.given
        if isinstance(given, OwnOptions):
            return plain_request(self.host, self.method, self.url, None, None, self.number, given)
        return given

    @property
    def members(self) -> str:
        """``tag``, ``host``, ``method`` and ``url``: members of an object in JSON, as store and result have them.

        :raises ValueError, RecursionError: for a tag that cannot be written.
        """
        tag = 'null' if self.tag is None else _encode(self.tag)
        return f'"tag":{tag},"host":{_quoted(self.host)},{self.target or target_text(self.method, self.url)}'


class Submission(NamedTuple):
    """What is to be run."""

    items: list[Item]
    options: Options
    secrets: Secrets


def read_submission(data: bytes, most: int, allow: Allow) -> Submission:
    """Read the body of ``POST /runs``.

    :param most: requests at most.
    :raises BadSubmission: naming the part.
    """
    return submission_of(_object(read_json(data), 'the body'), most, allow)


def submission_of(document: dict[str, Any], most: int, allow: Allow) -> Submission:
    """Check what was decoded, which is used up.

    :param most: requests at most.
    :raises BadSubmission: naming the part.
    """
    options = _options({name: document.pop(name) for name in Options._fields if name in document})
    secrets = Secrets()
    reader = _Items(options, allow, secrets)
    items = list(politely(map(reader.read, count(), _requests(document, most))))
    if options.need is not None and options.need > len(items):
        raise BadSubmission(f'need: {options.need} of {len(items)} requests cannot succeed')
    if secrets:
        items = [_shown(item, secrets) for item in politely(items)]
    return Submission(items, options, secrets)


def politely(things: Iterable[_T]) -> Iterator[_T]:
    """The same things; now and then all others have their turn."""
    left = iter(things)
    while some := list(islice(left, _AT_ONCE)):
        yield from some
        if len(some) == _AT_ONCE:
            gevent.sleep(0)


# Its shape ------------------------------------------------------------------------------------------------------------


def read_json(data: bytes) -> Any:
    """What is posted.

    :raises BadSubmission: where it is no JSON that can be sent on.
    """
    try:
        if len(data) <= SLICE:
            return load_json(data, finite=True)  # whose error says where
        return loads(json_text(data), **FINITE)
    except RecursionError as exc:
        raise BadSubmission('the body is JSON that is nested too deep') from exc
    except ValueError as exc:
        raise BadSubmission(f'the body is not JSON that can be sent on: {exc}') from exc


def _requests(document: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
    """Each request as an object; a node set with one request is one for each host."""
    hosts = document.pop('hosts', None)
    if hosts is None:
        requests = document.pop('requests', None)
        _no_others(document, 'the body', ())
        if not isinstance(requests, list) or not requests:
            raise BadSubmission('requests: a list of at least one request, or hosts with a request, is missing')
        if len(requests) > most:
            raise BadSubmission(f'requests: at most {most} in one run, not {len(requests)}')
        requests.reverse()
        for number in range(len(requests)):
            one = requests.pop()  # so that the next takes its room in memory
            yield one if isinstance(one, dict) else _object(one, f'requests[{number}]')
        return
    request: Any
    if 'request' in document:
        request = document.pop('request')
    elif isinstance(document.get('requests'), list) and len(document['requests']) == 1:
        (request,) = document.pop('requests')
    else:  # its parts beside the hosts
        request = {name: document.pop(name) for name in _PARTS if name in document}
    _no_others(document, 'the body', ())
    request = _object(request, 'request')
    if 'host' in request:
        raise BadSubmission('request: has no host of its own beside hosts')
    for host in _hosts(hosts, most):
        yield {**request, 'host': host}


_PARTS = ('method', 'url', 'headers', 'body', 'tag')
_KNOWN = frozenset(['host', *_PARTS])


def _hosts(given: Any, most: int) -> Iterable[str]:
    texts = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise BadSubmission('hosts: a node set such as "web[1-100]:8002", or a list of them')
    if any(char in text for text in texts for char in '@*?'):
        raise BadSubmission('hosts: groups, and "*" for their hosts, are not known here; write the hosts out')
    # Behind each comma is one more host, at least: what is far too long is not even read.
    if sum(text.count(',') for text in texts) >= most or sum(map(_size, texts)) > most:
        raise BadSubmission(f'hosts: at most {most} in one run')
    found: dict[str, None] = {}
    try:
        for host in politely(name for text in texts for name in expand(text)):
            found[host] = None
    except BadHosts as exc:
        raise BadSubmission(f'hosts: {exc}') from exc
    if not found:
        raise BadSubmission('hosts: the node set is empty')
    return found


def _size(text: str) -> int:
    """Hosts that a node set may come to: it is not expanded before that is known to be few."""
    size = 0
    with suppress(BadHosts):  # which is told when it is expanded
        for more in politely(sizes_of(text)):
            size += more
    return size


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadSubmission(f'{name}: an object, not {_kind(value)}')
    return value


def _no_others(document: dict[str, Any], name: str, known: Iterable[str]) -> None:
    others = sorted(set(document).difference(known))
    if others:
        raise BadSubmission(f'{name}: {others[0][:100]!r} is not known')


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace('none', 'null')
    return (
        'an object'
        if isinstance(value, dict)
        else 'a list'
        if isinstance(value, list)
        else 'a text'
        if isinstance(value, str)
        else 'a number'
    )


# Its parts ------------------------------------------------------------------------------------------------------------


def _options(given: dict[str, Any]) -> Options:
    given = {name: value for name, value in given.items() if value is not None}
    if given.get('simultaneous', 'auto') != 'auto':
        given['simultaneous'] = _whole(given['simultaneous'], 'simultaneous', 1, MOST_SIMULTANEOUS)
    for name in 'timeout', 'deadline':
        if name in given:
            value = given[name]
            if not is_number(value) or not 0 < value <= LONGEST_SECONDS:
                raise BadSubmission(f'{name}: seconds above 0, at most {LONGEST_SECONDS:g}')
    if 'retries' in given:
        given['retries'] = _whole(given['retries'], 'retries', 0, MOST_RETRIES)
    if 'need' in given:
        given['need'] = _whole(given['need'], 'need', 1, None)
    for name in 'ordered', 'redirect':
        if not isinstance(given.get(name, False), bool):
            raise BadSubmission(f'{name}: true or false, not {_kind(given[name])}')
    return Options(**given)


def _whole(value: Any, name: str, least: int, most: int | None) -> int:
    if isinstance(value, float) and value.is_integer():  # JSON knows no difference
        value = int(value)
    if not is_whole(value) or value < least or (most is not None and value > most):
        bounds = f'at least {least}' if most is None else f'from {least} to {most}'
        raise BadSubmission(f'{name}: a whole number {bounds}')
    return value


class _Items:
    """Reads the requests of one submission; what many of them have in common is looked at once."""

    def __init__(self, options: Options, allow: Allow, secrets: Secrets) -> None:
        self._allow = allow
        self._secrets = secrets
        self._options = _own_options(options)
        self._hosts: dict[str, str] = {}  # that may be asked: one text for each
        self._plain: dict[tuple[str, str], tuple[str, str, str]] = {}  # method and url, as they are sent and in JSON

    def read(self, number: int, given: dict[str, Any]) -> Item:
        """One of them, as it was posted.

        :raises BadSubmission: naming its number, and the part.
        """
        if not _KNOWN.issuperset(given):
            _no_others(given, f'requests[{number}]', _KNOWN)
        get = given.get
        host: Any = get('host')
        if host.__class__ is not str or host not in self._hosts:
            self._check_host(number, host)
        host = self._hosts[host]
        if get('body') is None and get('headers') is None:
            method, url = get('method', 'GET'), get('url', '/')
            plain = self._plain.get((method, url)) if method.__class__ is url.__class__ is str else None
            if plain is not None:
                method, url, target = plain
                return _new_item(Item, (number, get('tag'), host, method, url, self._options, False, target))
        try:
            return self._read_any(number, host, given)
        except (ValueError, RecursionError) as exc:
            raise BadSubmission(f'requests[{number}]: {exc}') from exc

    def _read_any(self, number: int, host: str, given: dict[str, Any]) -> Item:
        method, url, tag = given.get('method', 'GET'), given.get('url', '/'), given.get('tag')
        headers, body = given.get('headers'), given.get('body')
        if headers is not None:
            headers = _headers(headers, f'requests[{number}]') or None
        if body is not None and not isinstance(body, (dict, list, str)):
            raise BadSubmission(f'requests[{number}].body: an object, a list, a text or null, not {_kind(body)}')
        secret = False
        request = plain_request(host, method, url, body, headers, number, self._options)
        asked, written, url, method = url, method, request.url, request.method
        in_body = () if body is None else _secrets_in(body, request)
        if headers or in_body or '=' in url:
            secret = self._secrets.of_request(url, (headers or {}).items(), in_body)
            url = mask_url(url)
        elif body is None and len(self._plain) < _MOST_PLAIN:
            self._plain[written, asked] = method, url, target_text(method, url)
        return _new_item(Item, (number, tag, host, method, url, request, secret, target_text(method, url)))

    def _check_host(self, number: int, host: Any) -> None:
        where = f'requests[{number}]'
        if not isinstance(host, str):
            raise BadSubmission(f'{where}.host: a text such as "name:8002" is missing')
        if not host.isascii():
            raise BadSubmission(f'{where}.host: {host[:100]!r} is not ASCII; write such a name as its xn--… form')
        try:
            self._allow.check_literal(parse_origin(host))
        except ValueError as exc:
            raise BadSubmission(f'{where}: {exc}') from exc
        self._hosts[host] = host


def _secrets_in(body: Any, request: Request) -> list[str]:
    """The secrets of a body; a large one is looked through in a thread, so that all others have their turn."""
    if isinstance(request.body, bytes) and len(request.body) > SLICE:
        found: list[str] = gevent.get_hub().threadpool.apply(secrets_of_body, (body,))
        return found
    return secrets_of_body(body)


def _headers(given: Any, where: str) -> dict[str, str]:
    headers = _object(given, f'{where}.headers')
    for name, value in headers.items():
        if name.replace('_', '-').lower() in FORBIDDEN:  # many a server takes one for the other
            raise BadSubmission(f'{where}.headers: {name} cannot be set; it follows from the request')
        if not isinstance(value, str):
            raise BadSubmission(f'{where}.headers: {name[:100]!r} has a text as its value, not {_kind(value)}')
    return headers


@lru_cache(64)
def _own_options(options: Options) -> OwnOptions:
    """What of a run's options each of its requests has; the same for all."""
    given: RequestOptions = {}
    if options.timeout is not None:
        given['timeout'] = options.timeout
    if options.retries:
        given['retries'] = Retry(
            options.retries, redirect=0, status_forcelist=RETRIED, backoff_factor=0.1, backoff_jitter=0.1
        )
    if options.redirect:
        given['redirect'] = True
    return Request('any', 'GET', '/', **given).options


def _shown(item: Item, secrets: Secrets) -> Item:
    try:
        body = item.given.body if isinstance(item.given, Request) else None
        secrets.without([[[[body]]]])  # some deeper than where it is kept
        tag, url = secrets.without(item.tag), secrets.without(item.url)
        if url == item.url:
            return item._replace(tag=tag)
        return item._replace(tag=tag, url=url, given=item.request, target=target_text(item.method, url))
    except RecursionError as exc:
        raise BadSubmission(f'requests[{item.number}]: nested too deep') from exc


# For the store --------------------------------------------------------------------------------------------------------


def kept(item: Item, given: Request | OwnOptions | None, secrets: Secrets | None) -> str:
    """What is kept of a request, in JSON: all of it only where it has no secrets.

    :param given: that of the item, or its request.
    :param secrets: of all requests of the run, ``None`` where there are none: one may have in its body what is
        another's.
    :raises BadSubmission: for what cannot be written down.
    """
    try:
        if given is None or item.secret:
            return f'{{{item.members}}}'
        if isinstance(given, OwnOptions):
            if secrets is None:
                return f'{{{item.members},"headers":{{}},"body":null}}'
            given = item.request
            assert given is not None
        headers = dict(given.headers.multi_items()) if given.headers.block else {}
        if secrets:
            sent = {'url': given.url, 'headers': headers, 'body': given.body}
            if secrets.without(sent) != sent:  # masked it would be another request
                return f'{{{item.members}}}'
        if given.url is not item.url:
            item = item._replace(url=given.url, target='')
        body = 'null' if given.body is None else _body_text(given)
        return f'{{{item.members},"headers":{_encode(headers) if headers else "{}"},"body":{body}}}'
    except (ValueError, TypeError, RecursionError) as exc:
        raise BadSubmission(f'requests[{item.number}]: cannot be written down: {exc}') from exc


def _kept_or_part(item: Item, secrets: Secrets | None) -> str:
    """All of a request, or what is no secret of it, and where its secrets were: so it can be asked again with them."""
    text = kept(item, item.given, secrets)
    if (secrets is None and not item.secret) or text != f'{{{item.members}}}':
        return text
    given = item.request
    assert given is not None
    try:
        return f'{text[:-1]},{_parts_of(item, given, secrets or Secrets())}}}'
    except (ValueError, TypeError, RecursionError) as exc:
        raise BadSubmission(f'requests[{item.number}]: cannot be written down: {exc}') from exc


def _parts_of(item: Item, given: Request, secrets: Secrets) -> str:
    """The members ``kept``, without secrets, and ``wants``."""
    headers = dict(given.headers.multi_items()) if given.headers.block else {}
    shown = {
        name: value for name, value in headers.items() if not is_secret_field(name) and secrets.without(value) == value
    }
    masks_body = given.body is not None and (
        bool(_secrets_in(given.body, given)) or secrets.without(given.body) != given.body
    )
    wants = {
        'headers': [name for name in headers if name not in shown],
        'parameters': secret_parameters(given.url),
        'body': masks_body,
        'url': mask_url(given.url) != item.url,
    }
    body = 'null' if given.body is None or masks_body else _body_text(given)
    return f'"kept":{{"headers":{_encode(shown)},"body":{body}}},"wants":{_encode(wants)}'


def kept_all(items: list[Item], secrets: Secrets | None) -> Iterator[str | Alike]:
    """What is kept of requests; those that are alike together.

    :raises BadSubmission: for what cannot be written down.
    """
    for start in politely(range(0, len(items), TOGETHER)):
        some = items[start : start + TOGETHER]
        if secrets is None and isinstance(some[0].given, OwnOptions) and _are_alike(some):
            yield _kept_alike(some)
        else:
            yield from [_kept_or_part(item, secrets) for item in some]


def _are_alike(items: list[Item]) -> bool:
    """Whether they differ in host and tag only."""
    return all([item[part] for item in items].count(items[0][part]) == len(items) for part in (_GIVEN, _TARGET))


_GIVEN, _TARGET = (Item._fields.index(name) for name in ('given', 'target'))


def _kept_alike(items: list[Item]) -> Alike:
    try:
        hosts, tags = _encode([item.host for item in items]), _encode([item.tag for item in items])
    except (ValueError, RecursionError) as exc:
        raise BadSubmission(f'requests[{items[0].number}] and those after it: cannot be written down: {exc}') from exc
    return Alike(len(items), f'{{{items[0].target},"hosts":{hosts},"tags":{tags}}}')


def _body_text(given: Request) -> str:
    """The body in JSON, which that of an object or a list is as it is sent."""
    text: str = _encode(given.body) if isinstance(given.body, str) else given.payload.decode('ascii')
    return text


def target_text(method: str, url: str) -> str:
    """The members ``method`` and ``url`` in JSON."""
    return f'"method":{_quoted(method)},"url":{_quoted(url)}'


_new_item: Callable[..., Item] = tuple.__new__  # Item(…) costs twice as much
_quoted = json.encoder.encode_basestring_ascii
_encode = json.JSONEncoder(separators=(',', ':'), allow_nan=False).encode


def restored(number: int, document: dict[str, Any], options: Options, sent: bool) -> Item:
    """A request from the store; without a ``request`` where it must not be sent, or cannot.

    :param sent: whether it may have been sent before.
    """
    tag, host, method, url = (document[name] for name in ('tag', 'host', 'method', 'url'))
    request = None
    if 'headers' in document and (not sent or method in IDEMPOTENT):
        body, headers = document['body'], document['headers']
        request = plain_request(host, method, url, body, headers, number, _own_options(options))
    return Item(number, tag, host, method, url, request, False)
