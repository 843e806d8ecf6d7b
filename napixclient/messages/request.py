"""Requests: frozen, and checked when they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from urllib3 import Retry
from urllib3 import Timeout as Timeouts

from .._options import Unpack, lists, refuse_unknown
from ..checks import decider, is_number, is_whole
from ..masking import mask_query
from .content import content_of, given_files
from .headers import NO_HEADERS, Headers
from .json_codec import dump_json
from .methods import METHODS, method_of
from .multipart import multipart_body
from .options import Body, CallOptions, Fields, Params, RequestOptions, RequestParts, WholeOptions
from .origin import _origins, parse_origin
from .reference import split_url
from .source import Source
from .target import checked_target, remembered, target_with

__all__ = [
    'NO_OPTIONS',
    'OwnOptions',
    'Shared',
    'Request',
    'one_of',
    'plain_request',
    'request_with',
    'retry_of',
    'shared_request',
]

_new_object = object.__new__


class OwnOptions(NamedTuple):
    """What one request sets for itself; ``None`` is its client's default."""

    timeout: float | Timeouts | None = None
    retries: Retry | None = None
    stream: bool = False
    max_body: int | None = None
    redirect: bool | None = None
    expect: bool = False
    decode: bool | None = None
    retry_on: Callable[[Any], object] | None = None


NO_OPTIONS = OwnOptions()


class Shared:
    """The tag of a request that stands for several: to look at one of them makes another request. Pickle knows it."""


class _Draft:
    """A request that is being put together; a change of its class makes it a ``Request``.

    Going through the frozen ``__setattr__`` is ten times slower.
    """

    __slots__ = ('options', 'payload', 'body', 'headers', 'host', 'method', 'tag', 'url')
    host: str
    method: str
    url: str
    body: Any
    headers: Headers
    tag: Any
    payload: Any
    options: OwnOptions


@lists(RequestOptions)
class Request(_Draft):
    """One request: frozen, and checked when it is made.

    :param host: where to, as its caller writes it: ``name``, ``name:8002``, ``https://name:8443``,
        ``unix:///run/x.sock``.
    :param method: ``GET``, ``POST`` … as RFC 9110 §9 has it. The eight that everybody knows may be written in lower
        case; any other is sent as it is written, for case counts.
    :param url: path and query, beginning with ``/``. Spaces and what is not ASCII are percent-encoded.
    :param body: ``dict`` (or another mapping) and ``list`` go as JSON; ``str`` (UTF-8), ``bytes``, files and iterables
        of bytes as they are.
    :param headers: a mapping or pairs; ``Host`` and ``Transfer-Encoding`` are the client's own business.
    :param options: those of :class:`RequestOptions`:
    :raises ValueError: for a part that cannot be sent as it is.
    :raises TypeError: for a body of another kind, and for an option that there is not.
    """

    __slots__ = ()

    def __new__(
        cls,
        host: str,
        method: str,
        url: str,
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> Request:
        """Check the parts and make the request of them."""
        if not options:
            return plain_request(host, method, url, body, headers)
        return request_with(Request, host, method, url, body, headers, options)

    @classmethod
    @lists(RequestOptions)
    def from_url(
        cls,
        url: str,
        method: str = 'GET',
        body: Body | None = None,
        headers: Fields | None = None,
        **options: Unpack[RequestOptions],
    ) -> Request:
        """A request of an absolute URL: ``Request.from_url('http://name:8002/path?query')``.

        :param url: ``http://…``, ``https://…`` or ``http+unix://%2Frun%2Fx.sock/…``; a fragment is dropped.
        :param options: those of :class:`RequestOptions`:
        :raises ValueError: for what is no such URL, for one with credentials, and as :class:`Request` does.
        """
        host, target = split_url(url)
        return request_with(Request.from_url, host, method, target, body, headers, options)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f'a Request is frozen: use replace({name}=…)')

    def __delattr__(self, name: str) -> None:
        raise AttributeError('a Request is frozen')

    @property
    def timeout(self) -> float | Timeouts | None:
        """Seconds in all, :class:`urllib3.Timeout`, or ``None`` for the client's default."""
        return self.options.timeout

    @property
    def retries(self) -> Retry | None:
        """A :class:`urllib3.Retry`, or ``None`` for the client's default."""
        return self.options.retries

    @property
    def retry_on(self) -> Callable[[Any], object] | None:
        """What decides whether an outcome is tried again, or ``None`` for the client's default."""
        return self.options.retry_on

    @property
    def stream(self) -> bool:
        """Whether the answer is handed out at its head."""
        return self.options.stream

    @property
    def max_body(self) -> int | None:
        """The largest body that is accepted, in bytes, or ``None`` for the client's default."""
        return self.options.max_body

    @property
    def redirect(self) -> bool | None:
        """Whether redirects are followed, or ``None`` for the client's default."""
        return self.options.redirect

    @property
    def expect(self) -> bool:
        """Whether the server is asked before the body is sent."""
        return self.options.expect

    @property
    def decode(self) -> bool | None:
        """Whether content codings are undone, or ``None`` for the client's default."""
        return self.options.decode

    @property
    def full_url(self) -> str:
        """The absolute URL: scheme, host, path and query."""
        host = self.host.rstrip('/')
        if host[:7].lower() == 'unix://':  # the path of the socket would run into that of the URL
            host = str(parse_origin(host))
        return f'{host if "://" in host else f"http://{host}"}{self.url}'

    @property
    def authority(self) -> str:
        """What is sent as ``Host``."""
        return parse_origin(self.host).authority

    def replace(self, **changes: Unpack[RequestParts]) -> Request:
        """A new request with some parts changed: ``request.replace(headers={…})``.

        :param changes: the parts and options that :class:`Request` takes.
        :raises TypeError: for a part that there is not.
        """
        parts: dict[str, Any] = {name: getattr(self, name) for name in _PARTS if name not in changes}
        content = {**changes, 'files': given_files(changes.get('files'))}
        kept = 'body' not in changes and all(content.get(name) is None for name in _CONTENT)
        if kept:  # what was checked, whatever became of the caller's object since
            parts['body'] = self.payload
        elif 'body' not in changes:  # then the old one goes, and the type that it had
            parts |= {'body': None, 'headers': _without_type(self.headers)}
        if self.url.startswith(('/', '*')):
            changed = Request(**{**parts, **changes})
        else:  # what a proxy is told: no caller could ask for that
            changed = Request(**{**parts, 'method': 'GET', 'url': '/', **changes})
            changed = _told(changed._copy(self.url, changed.headers), self.host, self.method)
        if kept:
            _Draft.__dict__['body'].__set__(changed, self.body)
        return changed

    __replace__ = replace

    @property
    def repeatable(self) -> bool:
        """Whether the body can be sent (once more)."""
        return not isinstance(self.payload, Source) or self.payload.repeatable

    @property
    def rereadable(self) -> bool:
        """Whether the body can be sent once more when it has been sent."""
        return not isinstance(self.payload, Source) or self.payload.rereadable

    @property
    def expects(self) -> bool:
        """Whether there is a body that is held back until the server agrees."""
        payload = self.payload
        size = len(payload) if isinstance(payload, bytes) else 0 if payload is None else payload.length
        return self.options.expect and size != 0

    def _copy(self, url: str, headers: Headers) -> Request:
        """The same with another target and other fields that need no checks: what an authenticator makes."""
        changed: Any = _new_object(_Draft)
        changed.host = self.host
        changed.method = self.method
        changed.url = url
        changed.headers = headers
        changed.tag = self.tag
        changed.body = self.body
        changed.payload = self.payload
        changed.options = self.options
        changed.__class__ = Request
        return changed  # type: ignore[no-any-return]

    def held_back(self) -> Request:
        """The same with a body that is held back until the server agrees to the request (RFC 9110 §10.1.1)."""
        held = self._copy(self.url, self.headers)
        _write_options(held, self.options._replace(expect=True))
        return held

    def as_told(self, host: str, method: str, target: str) -> Request:
        """What a proxy at ``host`` is told of it: another target, and nothing that proves anything to the origin."""
        proofs = ('authorization', 'proxy-authorization')
        fields = Headers(pair for pair in self.headers.multi_items() if pair[0].lower() not in proofs)
        return _told(self._copy(target, fields), host, method)

    def with_query(self, pair: str) -> Request:
        """The same with a pair, which is quoted already, added to the query; the asterisk form has none."""
        if self.url == '*':
            return self
        return self._copy(f'{self.url}{"&" if "?" in self.url else "?"}{pair}', self.headers)

    def with_line(self, name: bytes, line: bytes) -> Request:
        """The same with one more header field, which is written already, instead of those of that name.

        :param name: lowered.
        """
        if self.headers is not NO_HEADERS:
            others = [
                other for other in self.headers.block.split(b'\r\n')[1:] if other.partition(b':')[0].lower() != name
            ]
            line = b''.join(b'\r\n' + other for other in others) + line
        headers = _new_object(Headers)
        headers.block = line
        return self._copy(self.url, headers)

    def __reduce__(self) -> Any:
        return _remade, tuple(getattr(self, name) for name in _Draft.__slots__)

    def __str__(self) -> str:
        return mask_query(f'{self.method} {self.full_url}')

    def __repr__(self) -> str:
        return f'<Request {self}>'


def shared_request(last: Request | None, host: str, method: str, url: str) -> Request:
    """A request without anything else, the last one where that is the same; it may stand for any number of calls.

    No caller ever sees it: two calls are two requests for whoever looks at them.

    :raises ValueError: for a part that cannot be sent.
    """
    if last is not None and last.url == url and last.method == method and last.host == host:
        return last
    return plain_request(host, method, url, None, None, Shared)


def one_of(shared: Request) -> Request:
    """One of the requests that a shared one stands for."""
    return plain_request(shared.host, shared.method, shared.url, None, None)


def request_with(
    taker: Callable[..., object],
    host: str,
    method: str,
    url: str,
    body: Body | None,
    headers: Fields | None,
    options: RequestOptions | WholeOptions | CallOptions,
) -> Request:
    """``Request`` with options, for one who takes them by keyword himself.

    :param taker: the public class or method that was called.
    """
    try:
        if not _CONTENT.isdisjoint(options):
            body, headers, left = _with_content(body, headers, options)
            return _request_with(host, method, url, body, headers, **left)
        return _request_with(host, method, url, body, headers, **options)
    except TypeError:  # which may be one of the body's
        refuse_unknown(taker, options, RequestOptions.__optional_keys__)
        raise


def _with_content(body: Any, headers: Any, options: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """The body that the options stand for, the fields with its type, and what is left of the options."""
    left = {name: value for name, value in options.items() if name not in _CONTENT}
    body, kind, multipart = content_of(body, *map(options.get, ('multipart', 'json', 'data', 'files')))
    if multipart is not None:
        body, kind = multipart_body(multipart)
        headers = _without_type(headers)
    elif kind is None or 'content-type' in Headers(headers or ()):
        return body, headers, left
    return body, [*Headers(headers or ()).multi_items(), ('Content-Type', kind)], left


def _without_type(headers: Any) -> list[tuple[str, str]]:
    return [pair for pair in Headers(headers or ()).multi_items() if pair[0].lower() != 'content-type']


def _request_with(
    host: str,
    method: str,
    url: str,
    body: Any,
    headers: Any,
    *,
    params: Params | None = None,
    timeout: float | Timeouts | None = None,
    retries: Retry | int | bool | None = None,
    tag: object = None,
    stream: bool = False,
    max_body: int | None = None,
    redirect: bool | None = None,
    expect: bool = False,
    decode: bool | None = None,
    retry_on: Callable[[Any], object] | None = None,
) -> Request:
    if params is not None:
        url = target_with(url, params)
    _check_timeout(timeout)
    _check_size(max_body)
    for name, value in ('redirect', redirect), ('decode', decode):
        if value is not None and not isinstance(value, bool):
            raise ValueError(f'{name} is True, False or None (the default of the client), not {value!r}')
    request: Any = plain_request(host, method, url, body, headers, tag)
    decider(retry_on, 'retry_on')
    options = OwnOptions(timeout, retry_of(retries), bool(stream), max_body, redirect, bool(expect), decode, retry_on)
    if options != NO_OPTIONS:
        _write_options(request, options)
    return request  # type: ignore[no-any-return]


def _told(copy: Request, host: str, method: str) -> Request:
    _Draft.__dict__['host'].__set__(copy, host)
    _Draft.__dict__['method'].__set__(copy, method)
    return copy


_write_options = _Draft.__dict__['options'].__set__


def plain_request(
    host: str,
    method: str,
    url: str,
    body: object,
    headers: Fields | None,
    tag: object = None,
    options: OwnOptions = NO_OPTIONS,
) -> Request:
    """``Request`` without options, or with those of another.

    A function of its own: to call a class costs Python three times as much.
    """
    if host.__class__ is not str or host not in _origins:
        parse_origin(host)
    if method.__class__ is not str or method not in METHODS:
        method = method_of(method)
    if url.__class__ is not str or url not in remembered:
        url = checked_target(url)
    draft: Any = _new_object(_Draft)
    draft.host = host
    draft.method = method
    draft.url = url
    draft.tag = tag
    draft.body = body
    draft.options = options
    if headers is None and body is None:
        draft.headers = NO_HEADERS
        draft.payload = None
    else:
        fields = Headers(headers) if headers else NO_HEADERS
        draft.payload = _payload_of(body)
        draft.headers = _checked_fields(fields, draft.payload) if headers else fields
    draft.__class__ = Request
    return draft  # type: ignore[no-any-return]


def _remade(*values: Any) -> Request:
    """For pickle and copy."""
    draft: Any = _new_object(_Draft)
    for name, value in zip(_Draft.__slots__, values, strict=True):
        setattr(draft, name, value)
    draft.__class__ = Request
    return draft  # type: ignore[no-any-return]


_PARTS = (
    'host',
    'method',
    'url',
    'body',
    'headers',
    'timeout',
    'retries',
    'tag',
    'stream',
    'max_body',
    'redirect',
    'expect',
    'decode',
    'retry_on',
)
#: Options that stand for a body.
_CONTENT = frozenset(['multipart', 'json', 'data', 'files'])


def _payload_of(body: object) -> Any:
    """Bytes ready to be sent, or the file or iterable that they will be read from."""
    if body.__class__ is dict or body.__class__ is list:  # the usual ones; to ask for a Mapping takes ten times as long
        return dump_json(body, 'the body')
    if body is None or isinstance(body, (bytes, Source)):
        return body
    if isinstance(body, (Mapping, list)):
        body = dict(body) if isinstance(body, Mapping) else body
        return dump_json(body, 'the body')
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body)
    if hasattr(body, 'read') or hasattr(body, '__iter__'):
        return Source(body)
    raise TypeError(f'a body is a dict, list, text, bytes, file or iterable of bytes, not {type(body).__name__}')


def _checked_fields(fields: Headers, payload: Any) -> Headers:
    """Refuse the fields that frame the message: two opinions on its length are how requests are smuggled."""
    if not fields:
        return fields
    lowered = fields.block.lower()
    if b'\r\nhost:' in lowered:
        raise ValueError('the Host header follows from the host of the request; it cannot be set')
    if b'\r\ntransfer-encoding:' in lowered:
        raise ValueError('Transfer-Encoding follows from the body; it cannot be set')
    if b'\r\ncontent-length:' in lowered:
        length = len(payload) if isinstance(payload, bytes) else 0 if payload is None else None
        if fields.getlist('content-length') != [str(length)]:
            raise ValueError(f'Content-Length {fields["content-length"]!r} does not fit the body; leave it out')
        return Headers(pair for pair in fields.multi_items() if pair[0].lower() != 'content-length')
    return fields


_LONGEST = 1e9  # seconds: what is added to a clock must not overflow


def _check_timeout(timeout: Any) -> None:
    if timeout is None or isinstance(timeout, Timeouts):
        return
    if not is_number(timeout) or not timeout > 0 or (timeout > _LONGEST and timeout != float('inf')):
        raise ValueError(f'timeout is a number of seconds above 0 or urllib3.Timeout, not {timeout!r}')


def retry_of(retries: object) -> Retry | None:
    """Read ``retries=``; ``None`` is the default of nothing but one free resend.

    :raises ValueError: for what is neither a ``Retry``, nor a number of 0 or more, nor ``False``.
    """
    if retries is None or isinstance(retries, Retry):
        return retries
    if retries is False or (isinstance(retries, int) and retries is not True and retries >= 0):
        return Retry(retries, redirect=0)
    raise ValueError(f'retries is urllib3.Retry, a number of 0 or more, or False, not {retries!r}')


def _check_size(size: Any) -> None:
    if size is not None and (not is_whole(size) or size < 0):
        raise ValueError(f'max_body is a number of bytes, not {size!r}')
