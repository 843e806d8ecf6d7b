"""Requests, responses and headers: frozen values. Imports nothing of ours.

A ``Request`` is checked once, when it is made (RFC 9110 §5 and §7, RFC 9112 §3), so that what lies below may write
it as it stands. ``Headers`` keeps a block of raw fields and looks a field up when it is asked for: most answers are
never asked for more than one or two.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from urllib3 import Retry
from urllib3 import Timeout as Timeouts
from urllib3.exceptions import LocationParseError
from urllib3.filepost import encode_multipart_formdata
from urllib3.util import parse_url

__all__ = ['Headers', 'Origin', 'Request', 'Response', 'parse_origin']

_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_target = re.compile(r'/[!$-~]*|\*').fullmatch           # visible ASCII but '"' and '#'
_is_plain_host = re.compile(r'([0-9A-Za-z](?:[0-9A-Za-z.-]*[0-9A-Za-z])?)(?::([0-9]{1,5}))?').fullmatch
_is_host = re.compile(r'[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._~%-]+)?\]').fullmatch
_has_control = re.compile(r'[\x00-\x1f\x7f]').search
_ends_line = re.compile(rb'[\x00\r\n]').search
_scan_json: Any = json.JSONDecoder().scan_once      # type: ignore[attr-defined]
_new_object = object.__new__
_DEFAULT_PORTS = {'http': 80, 'https': 443}
#: Texts larger than this are decoded anew each time they are asked for, not kept twice in memory.
_KEPT_TEXT = 65536


class Origin(NamedTuple):
    """Scheme, host and port: what a connection leads to (RFC 9110 §4.3.1)."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The value of the ``Host`` field: the port only where it is not the scheme's own (RFC 9110 §7.2)."""
        # A zone is the client's own business: RFC 6874 §4.
        host = f'[{self.host.partition("%")[0]}]' if ':' in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f'{host}:{self.port}'

    def __str__(self) -> str:
        return f'{self.scheme}://{self.authority}'


def parse_origin(host: str) -> Origin:
    """Read ``name``, ``name:8002``, ``[::1]:80``, ``http://name`` or ``https://name:8443``.

    :raises ValueError: for anything else, an unknown scheme, a path, credentials or a port out of range.
    """
    if not isinstance(host, str):
        raise ValueError(f'a host is a text such as "name:8002", not {host!r}')
    origin = _origins.get(host)
    if origin is None:
        if len(_origins) >= _REMEMBERED:
            _origins.clear()
        origin = _origins[host] = _parse_origin(host)
    return origin


_origins: dict[str, Origin] = {}


def _parse_origin(host: str) -> Origin:
    if (match := _is_plain_host(host)) and 0 < int(match[2] or 80) < 65536:
        return Origin('http', match[1].lower(), int(match[2] or 80))
    expected = 'expected name, name:port, [ipv6]:port, http://name or https://name:port'
    if not host or _has_control(host) or ' ' in host:
        raise ValueError(f'not a host: {host!r}; {expected}')
    if '/' in host.partition('://')[2 if '://' in host else 0].removesuffix('/') or any(c in host for c in '@?#\\'):
        raise ValueError(f'not a host: {host!r}; {expected}, without credentials, path or query')
    if host.count(':') > 1 and '[' not in host and '://' not in host:
        raise ValueError(f'not a host: {host!r}; an IPv6 address is written in brackets, [::1]:80')
    try:
        url = parse_url(host if '://' in host else f'http://{host}')
    except LocationParseError as exc:
        raise ValueError(f'not a host: {host!r}; {expected}') from exc
    if url.scheme not in _DEFAULT_PORTS:
        raise ValueError(f'unknown scheme in host {host!r}: http and https are known')
    if not url.host or not _is_host(url.host) or host.rstrip('/').endswith(':') or url.auth is not None \
            or ('%' in host and '[' not in host):
        raise ValueError(f'not a host: {host!r}; {expected}')
    if url.port == 0:
        raise ValueError(f'port out of range in host {host!r}')
    return Origin(url.scheme, url.host.strip('[]').lower(), url.port or _DEFAULT_PORTS[url.scheme])


class Headers(Mapping[str, str]):
    """Header fields: a frozen, case-insensitive mapping that keeps repeated fields (RFC 9110 §5.3).

    ``headers['name']`` joins the values of a repeated field with ``', '``; ``getlist`` gives each of them.

    :param fields: a mapping, pairs of name and value, or other ``Headers``. Values are texts, bytes or numbers.
    :raises ValueError: for a name that is not a token, or CR, LF or NUL in a value.
    """

    # One CRLF stands before each field; in a response the status line stands before the first.
    __slots__ = ('_block',)
    _block: bytes

    def __init__(self, fields: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        if isinstance(fields, Headers):
            self._block = fields._block
            return
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        self._block = b''.join(_field_line(name, value) for name, value in pairs)

    @classmethod
    def _of_block(cls, block: bytes) -> Headers:
        self = cls.__new__(cls)
        self._block = block
        return self

    def __getitem__(self, name: str) -> str:
        values = (_finders.get(name) or _finder(name))(self._block)
        if len(values) == 1:
            return values[0].rstrip(b' \t').decode('latin-1')  # type: ignore[no-any-return]
        if not values:
            raise KeyError(name)
        return ', '.join(value.rstrip(b' \t').decode('latin-1') for value in values)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def getlist(self, name: str) -> list[str]:
        """The values of all fields of that name, in the order received."""
        return [value.rstrip(b' \t').decode('latin-1') for value in _finder(name)(self._block)]

    get_all = getlist

    def multi_items(self) -> list[tuple[str, str]]:
        """Every field as a pair of name and value, repeated ones too, in the order received."""
        pairs = (line.partition(':') for line in self._block.decode('latin-1').split('\r\n')[1:])
        return [(name, value.strip(' \t')) for name, _, value in pairs]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(_finder(name)(self._block))

    def __iter__(self) -> Iterator[str]:
        return iter({name.lower(): name for name, _ in reversed(self.multi_items())}[key]
                    for key in dict.fromkeys(name.lower() for name, _ in self.multi_items()))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.multi_items()})

    def __bool__(self) -> bool:
        return b'\r\n' in self._block

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
        shown = [(name, '***' if name.lower() in _SECRET_FIELDS else value) for name, value in self.multi_items()]
        return f'Headers({shown!r})'


_finders: dict[str, Any] = {}


def _finder(name: Any) -> Any:
    """What finds the values of a field of that name in a block; remembered, for few names are asked for often."""
    found = _finders.get(name)
    if found is None:
        if not isinstance(name, str):
            raise KeyError(name)
        pattern = re.escape(name.encode('latin-1', 'replace')) if _is_token(name) else b'(?!)'
        found = re.compile(rb'\r\n%s:[ \t]*([^\r]*)' % pattern, re.IGNORECASE).findall
        if len(_finders) < 1000:
            _finders[name] = found
    return found


_SECRET_FIELDS = frozenset(
    ['authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-auth-token', 'x-subject-token'])


def _field_line(name: Any, value: Any) -> bytes:
    if isinstance(name, bytes):
        name = name.decode('latin-1')
    if not isinstance(name, str) or not _is_token(name):
        raise ValueError(f'not the name of a header field (RFC 9110 §5.1): {name!r}')
    if isinstance(value, (int, float)) and not isinstance(value, bool):
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


_NO_HEADERS = Headers()


class _Options(NamedTuple):
    """What one request sets for itself; ``None`` is its client's default."""

    timeout: float | Timeouts | None = None
    retries: Retry | None = None
    stream: bool = False
    max_body: int | None = None


NO_OPTIONS = _Options()


class _Draft:
    """A request that is being put together. It becomes a ``Request`` by a change of its class, for to write past the
    ``__setattr__`` of a frozen object costs ten times as much.
    """

    __slots__ = ('_options', '_payload', 'body', 'headers', 'host', 'method', 'tag', 'url')
    host: str
    method: str
    url: str
    body: Any
    headers: Headers
    tag: Any
    _payload: Any
    _options: _Options


class Request(_Draft):
    """One request: frozen, and checked when it is made.

    :param host: where to, as its caller writes it: ``name``, ``name:8002``, ``https://name:8443``.
    :param method: ``GET``, ``POST`` … as RFC 9110 §9 has it; case counts.
    :param url: path and query, beginning with ``/``. Spaces and what is not ASCII are percent-encoded.
    :param body: ``dict`` (or another mapping) and ``list`` go as JSON; ``str`` (UTF-8), ``bytes``, files and iterables
        of bytes as they are.
    :param headers: a mapping or pairs; ``Host`` and ``Transfer-Encoding`` are the client's own business.
    :param params: a mapping or pairs to add to the query.
    :param timeout: seconds in all, or :class:`urllib3.Timeout`.
    :param retries: a :class:`urllib3.Retry`, a number, or ``False`` for none at all.
    :param tag: anything; it comes back as ``answer.request.tag``.
    :param stream: hand the answer out at its head, to be read in pieces.
    :param max_body: the largest body that is accepted, in bytes, as sent and as decoded.
    :param multipart: fields as :func:`urllib3.encode_multipart_formdata` takes them, instead of ``body``.
    :raises ValueError: for a part that cannot be sent as it is; ``TypeError`` for a body of another kind.
    """

    __slots__ = ()

    def __new__(cls, host: str, method: str, url: str, body: Any = None,
                headers: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None, *,
                params: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
                timeout: float | Timeouts | None = None, retries: Retry | int | bool | None = None,
                tag: Any = None, stream: bool = False, max_body: int | None = None, multipart: Any = None) -> Request:
        """Check the parts and make the request of them."""
        if multipart is None and params is None and timeout is None and retries is None and not stream \
                and max_body is None:
            return plain_request(host, method, url, body, headers, tag)
        if multipart is not None:
            if body is not None:
                raise ValueError('body and multipart exclude each other')
            body, content_type = encode_multipart_formdata(multipart)
            headers = [*(pair for pair in Headers(headers or ()).multi_items() if pair[0].lower() != 'content-type'),
                       ('Content-Type', content_type)]
        if params is not None:
            url = _target(url, params)
        _check_timeout(timeout)
        _check_size(max_body)
        request: Any = plain_request(host, method, url, body, headers, tag)
        _set_options(request, _Options(timeout, retry_of(retries), bool(stream), max_body))
        return request  # type: ignore[no-any-return]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f'a Request is frozen: use replace({name}=…)')

    def __delattr__(self, name: str) -> None:
        raise AttributeError('a Request is frozen')

    @property
    def timeout(self) -> float | Timeouts | None:
        """Seconds in all, :class:`urllib3.Timeout`, or ``None`` for the client's default."""
        return self._options.timeout

    @property
    def retries(self) -> Retry | None:
        """A :class:`urllib3.Retry`, or ``None`` for the client's default."""
        return self._options.retries

    @property
    def stream(self) -> bool:
        """Whether the answer is handed out at its head."""
        return self._options.stream

    @property
    def max_body(self) -> int | None:
        """The largest body that is accepted, in bytes, or ``None`` for the client's default."""
        return self._options.max_body

    @property
    def authority(self) -> str:
        """What is sent as ``Host``."""
        return parse_origin(self.host).authority

    def replace(self, **changes: Any) -> Request:
        """A new request with some parts changed: ``request.replace(headers={…})``."""
        parts: dict[str, Any] = {name: getattr(self, name) for name in _PARTS if name not in changes}
        changed = Request(**parts, **changes)
        if 'body' not in changes and 'multipart' not in changes:
            # What was checked, whatever became of the caller's object since.
            _Draft.__dict__['_payload'].__set__(changed, self._payload)
        return changed

    __replace__ = replace

    def _copy(self, url: str, headers: Headers) -> Request:
        """The same with another target and other fields that need no checks: what an authenticator makes."""
        changed: Any = _new_object(_Draft)
        changed.host = self.host
        changed.method = self.method
        changed.url = url
        changed.headers = headers
        changed.tag = self.tag
        changed.body = self.body
        changed._payload = self._payload
        changed._options = self._options
        changed.__class__ = Request
        return changed  # type: ignore[no-any-return]

    def _with_query(self, pair: str) -> Request:
        """The same with a pair, which is quoted already, added to the query; the asterisk form has none."""
        if self.url == '*':
            return self
        return self._copy(f'{self.url}{"&" if "?" in self.url else "?"}{pair}', self.headers)

    def _with_line(self, name: bytes, line: bytes) -> Request:
        """The same with one more header field, which is written already, in place of those of that name.

        :param name: lowered.
        """
        if self.headers is not _NO_HEADERS:
            others = [other for other in self.headers._block.split(b'\r\n')[1:]
                      if other.partition(b':')[0].lower() != name]
            line = b''.join(b'\r\n' + other for other in others) + line
        headers = _new_object(Headers)
        headers._block = line
        return self._copy(self.url, headers)

    def __reduce__(self) -> Any:
        return _remade, tuple(getattr(self, name) for name in _Draft.__slots__)

    def __str__(self) -> str:
        return f'{self.method} {self._base()}{self.url}'

    def __repr__(self) -> str:
        return f'<Request {self}>'

    def _base(self) -> str:
        host = self.host.rstrip('/')
        return host if '://' in host else f'http://{host}'


_set_options = _Draft.__dict__['_options'].__set__


def plain_request(host: str, method: str, url: str, body: Any, headers: Any, tag: Any = None) -> Request:
    """``Request`` without options. A function of its own: to call a class costs Python three times as much."""
    if host.__class__ is not str or host not in _origins:
        parse_origin(host)
    if method.__class__ is not str or method not in _KNOWN_METHODS:
        _check_method(method)
    if url.__class__ is not str or url not in _targets:
        url = _checked_target(url)
    draft: Any = _new_object(_Draft)
    draft.host = host
    draft.method = method
    draft.url = url
    draft.tag = tag
    draft.body = body
    draft._options = NO_OPTIONS
    if headers is None and body is None:
        draft.headers = _NO_HEADERS
        draft._payload = None
    else:
        fields = Headers(headers or ())
        draft._payload = _payload_of(body)
        draft.headers = _checked_fields(fields, draft._payload)
    draft.__class__ = Request
    return draft  # type: ignore[no-any-return]


def _check_method(method: Any) -> None:
    if not isinstance(method, str) or not _is_token(method):
        raise ValueError(f'not a method (RFC 9110 §9.1): {method!r}')
    if method == 'CONNECT':
        raise ValueError('CONNECT makes a tunnel (RFC 9110 §9.3.6), which is not for requests')


def _checked_target(url: Any) -> str:
    """Targets that passed are remembered: a fan-out asks many hosts for the same one."""
    if not (isinstance(url, str) and _is_target(url)):
        url = _target(url, None)
    if len(url) < 200:
        if len(_targets) >= _REMEMBERED:
            _targets.clear()
        _targets.add(url)
    return url  # type: ignore[no-any-return]


_REMEMBERED = 8192
_targets: set[str] = set()


def _remade(*values: Any) -> Request:
    """For pickle and copy."""
    draft: Any = _new_object(_Draft)
    for name, value in zip(_Draft.__slots__, values, strict=True):
        setattr(draft, name, value)
    draft.__class__ = Request
    return draft  # type: ignore[no-any-return]


_KNOWN_METHODS = frozenset(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
_PARTS = ('host', 'method', 'url', 'body', 'headers', 'timeout', 'retries', 'tag', 'stream', 'max_body')


def _target(url: Any, params: Any) -> str:
    """Path and query as they go on the request line (RFC 9112 §3.2.1)."""
    if not isinstance(url, str):
        raise ValueError(f'a url is a text such as "/path?query", not {url!r}')
    if _has_control(url):
        raise ValueError(f'control characters such as CR, LF and NUL are not allowed in a url: {url!r}')
    if url == '*' and params:
        raise ValueError('the asterisk form of a url takes no params (RFC 9112 §3.2.4)')
    if url != '*' and not url.startswith('/'):
        raise ValueError(f'a url is a path that begins with "/" (the host is an argument of its own): {url!r}')
    if '#' in url:
        raise ValueError(f'a fragment is never sent; leave out what follows "#" or write it as %23: {url!r}')
    if params is not None:
        query = params if isinstance(params, str) else urlencode(
            list(params.items()) if isinstance(params, Mapping) else list(params), doseq=True)
        if query:
            url = f'{url}{"&" if "?" in url else "?"}{query}'
    return quote(url, safe="%/?:@!$&'()*+,;=[]-._~|{}^`\\<>")


def _payload_of(body: Any) -> Any:
    """Bytes ready to be sent, or the file or iterable that they will be read from."""
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, (Mapping, list)):
        body = dict(body) if isinstance(body, Mapping) else body
        return json.dumps(body, separators=(',', ':'), allow_nan=False).encode()
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytearray, memoryview)):
        return bytes(body)
    if hasattr(body, 'read') or hasattr(body, '__iter__'):
        return Source(body, _length_of(body))
    raise TypeError(f'a body is a dict, list, text, bytes, file or iterable of bytes, not {type(body).__name__}')


def _checked_fields(fields: Headers, payload: Any) -> Headers:
    """Refuse the fields that frame the message: two opinions on its length are how requests are smuggled."""
    if not fields:
        return fields
    lowered = fields._block.lower()
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


_LONGEST = float('inf')


def _check_timeout(timeout: Any) -> None:
    if timeout is None or isinstance(timeout, Timeouts):
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= _LONGEST:
        raise ValueError(f'timeout is a number of seconds above 0 or urllib3.Timeout, not {timeout!r}')


def retry_of(retries: Any) -> Retry | None:
    """Read ``retries=``; ``None`` is the default of nothing but one free resend.

    :raises ValueError: for what is neither a ``Retry``, nor a number of 0 or more, nor ``False``.
    """
    if retries is None or isinstance(retries, Retry):
        return retries
    if retries is False or (isinstance(retries, int) and retries is not True and retries >= 0):
        return Retry(retries, redirect=0)
    raise ValueError(f'retries is urllib3.Retry, a number of 0 or more, or False, not {retries!r}')


def _check_size(size: Any) -> None:
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise ValueError(f'max_body is a number of bytes, not {size!r}')


class Source(NamedTuple):
    """A body that is read while it is sent, and its length where it tells one."""

    stream: Any
    length: int | None


def _length_of(source: Any) -> int | None:
    """Bytes that are left to read from a file, ``None`` where it cannot tell."""
    try:
        if not isinstance(source.read(0), bytes):   # a text file counts in characters
            return None
        here = source.tell()
        end = source.seek(0, os.SEEK_END)
        source.seek(here)
        return max(int(end) - int(here), 0)
    except Exception:                           # whatever the caller's object raises: it is told when it is read
        return None


class Response:
    """A complete answer.

    ``status`` is its status, ``data`` its body as bytes (content decoding undone), ``elapsed`` the seconds from the
    first byte sent to the last byte received, ``request`` the request as its caller made it.
    """

    __slots__ = ('_body', '_head', '_payload', 'attempts', 'elapsed', 'request', 'status')
    request: Request
    status: int
    elapsed: float
    attempts: int
    _head: bytes
    _payload: bytes
    _body: Any

    def __init__(self, request: Request, status: int, head: bytes, data: bytes, elapsed: float,
                 attempts: int = 1) -> None:
        self.request = request
        self.status = status
        self._head = head
        self._payload = data
        self.elapsed = elapsed
        self.attempts = attempts
        self._body = _UNREAD

    @property
    def data(self) -> bytes:
        """The body as bytes."""
        return self._payload

    @property
    def headers(self) -> Headers:
        """The header fields; each is decoded when it is asked for."""
        headers = _new_object(Headers)
        headers._block = self._head
        return headers

    @property
    def reason(self) -> str:
        """The reason phrase of the status line; often empty."""
        return self._head.split(b'\r\n', 1)[0][13:].decode('latin-1').strip()

    @property
    def url(self) -> str:
        """The URL that answered."""
        return f'{self.request._base()}{self.request.url}'

    @property
    def text(self) -> str:
        """The body as text, by the charset of its Content-Type, else UTF-8; what does not decode is replaced."""
        match = _charset(self.headers.get('content-type', ''))
        try:
            return self.data.decode(match[1] if match else 'utf-8', 'replace')
        except (LookupError, ValueError):       # no such charset, or one of Python's codecs that is none
            return self.data.decode('utf-8', 'replace')

    def json(self) -> Any:
        """The body, decoded from JSON.

        :raises ValueError: when it is not JSON.
        """
        data = self.data
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return json.loads(data)         # UTF-16 or UTF-32, or an error that says so
        try:
            value, end = _scan_json(text, 0)
        except (StopIteration, ValueError, RecursionError):
            end = -1
        if end == len(text):
            return value
        try:                                    # white space around it, a byte order mark, or an error to be told
            return json.loads(data)
        except RecursionError as exc:
            raise ValueError('the JSON is nested too deep') from exc

    @property
    def body(self) -> Any:
        """The decoded JSON where the Content-Type says JSON and it parses, else the text; ``None`` without a body."""
        body = self._body
        if body is not _UNREAD:
            return body
        data = self._payload if type(self) is Response else self.data
        if not data:
            body = None
        elif _says_json(self._head):
            try:
                body = self.json()
            except ValueError:
                body = self.text
        else:
            body = self.text
            if len(data) > _KEPT_TEXT:
                return body
        self._body = body
        return body

    def __repr__(self) -> str:
        return f'<Response {self.status} {self.reason}>' if self.reason else f'<Response {self.status}>'


_UNREAD = object()


def new_response(request: Request, status: int, head: bytes, data: bytes, elapsed: float) -> Response:
    """``Response(…)``; a function, because to call a class costs Python three times as much."""
    response = _new_object(Response)
    response.request = request
    response.status = status
    response._head = head
    response._payload = data
    response.elapsed = elapsed
    response.attempts = 1
    response._body = _UNREAD
    return response


_says_json = re.compile(rb'\r\ncontent-type:[^\r;]*json', re.IGNORECASE).search
_charset = re.compile(r'charset\s*=\s*"?([^\s";]+)', re.IGNORECASE).search
