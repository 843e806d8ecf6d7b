"""Responses: what a server answered, decoded when it is asked for, and the error that it stands for."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeVar

from ..error_shapes import MAX_TEXT
from ..error_texts import one_line, words
from ..errors import HTTPError, RemoteError
from ..masking import cut, hide_fields
from ..members import head_of
from ..peer import AnyPeer, Route
from .headers import Headers
from .json_codec import is_json, is_json_sequence, json_text, load_json
from .request import Request, Shared, one_of

__all__ = [
    'Response',
    'beginning',
    'body_member',
    'error_of',
    'exact_text',
    'is_coded',
    'new_response',
    'read_later',
    'says_json',
    'written_json',
]

_R = TypeVar('_R', bound='Response')
_new_object = object.__new__
#: Texts larger than this are decoded anew each time they are asked for, not kept twice in memory.
_KEPT_TEXT = 65536
#: Characters that an error reads of an answer that is not a JSON object, and of its reason phrase.
_LONGEST = 8 * MAX_TEXT
_LONGEST_REASON = 200


class Response:
    """A complete answer.

    ``status`` is its status, ``data`` its body as bytes (content coding undone), ``elapsed`` the seconds from the
    first byte sent to the last byte received, ``request`` the request as its caller made it, ``peer`` the address that
    answered.

    A content coding is not undone in a part of a body (206), with ``decode=False``, and where it is not known. Then
    ``data``, and ``text`` and ``json()`` which are made of it, are as ``Content-Encoding`` in ``headers`` says.
    """

    __slots__ = ('_body', 'head', 'payload', '_asked', 'attempts', 'elapsed', 'route', 'status', 'trailer_block')
    _asked: Request  # as long as nobody has looked at it perhaps a shared one
    status: int
    elapsed: float
    attempts: int
    head: bytes
    payload: bytes
    trailer_block: bytes  # the trailers, each behind a CRLF; not set where there are none, as mostly
    _body: Any
    route: Route | None  # of the connection that it came over
    #: The worker of a cluster that asked, ``number/of@host``; ``None`` where no worker did.
    worker: str | None = None

    def __init__(
        self, request: Request, status: int, head: bytes, data: bytes, elapsed: float, attempts: int = 1
    ) -> None:
        self._asked = request
        self.status = status
        self.head = head
        self.payload = data
        self.elapsed = elapsed
        self.attempts = attempts
        self.route = None
        self._body = _UNREAD

    @classmethod
    def from_response(cls: type[_R], answer: Response, data: bytes | None = None) -> _R:
        """The same answer as an instance of this class.

        :param data: the body, where it is another than ``answer.data``.
        """
        self = cls(
            answer.request,
            answer.status,
            answer.head,
            answer.data if data is None else data,
            answer.elapsed,
            answer.attempts,
        )
        self.route = answer.route
        if data is None and type(answer._body) is bytes:  # still coded
            self._body = answer._body
        if trailers := answer.trailers.block:
            self.trailer_block = trailers
        return self

    @property
    def request(self) -> Request:
        """The request as its caller made it."""
        asked = self._asked
        if asked.tag is Shared:
            asked = self._asked = one_of(asked)
        return asked

    @request.setter
    def request(self, request: Request) -> None:
        self._asked = request

    @property
    def data(self) -> bytes:
        """The body as bytes."""
        return self.payload

    @property
    def headers(self) -> Headers:
        """The header fields; each is decoded when it is asked for."""
        headers = _new_object(Headers)
        headers.block = self.head
        return headers

    @property
    def trailers(self) -> Headers:
        """The fields behind the body of a chunked answer (RFC 9110 §6.5), as they came; empty where there are none.

        They stay apart from ``headers``: nothing in them frames, routes, signs or describes the answer (§6.5.1), and no
        cookie in them is kept.
        """
        return Headers.of_block(getattr(self, 'trailer_block', b''))

    def conditional(self) -> Headers:
        """The header fields that ask for the same again only if it has changed, else for a 304 (RFC 9110 §13.1).

        ``If-None-Match`` where the answer has an ETag, ``If-Modified-Since`` where it has a Last-Modified. A 304
        without them stands for what it was asked with.
        """
        fields, asked = self.headers, self.request.headers if self.status == 304 else Headers()
        found = {
            name: fields.getlist(validator) or asked.getlist(name)
            for name, validator in (('If-None-Match', 'etag'), ('If-Modified-Since', 'last-modified'))
        }
        return Headers([(name, values[0]) for name, values in found.items() if len(set(values)) == 1])

    @property
    def reason(self) -> str:
        """The reason phrase of the status line; often empty."""
        return self.head.split(b'\r\n', 1)[0][13:].decode('latin-1').strip()

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self._asked.full_url

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    def raise_for_status(self: _R) -> _R:
        """The response itself, if its status is below 400.

        :raises RemoteError: the error that it is.
        """
        if self.status >= 400:
            raise error_of(self)
        return self

    def as_dict(self) -> dict[str, Any]:
        """The response as ``napix --json`` writes it, without ``index``.

        Its members are ``host``, ``method``, ``url`` (without secrets), ``status``, ``ms`` (milliseconds from the first
        byte sent; ``None`` if none was), ``attempts``, ``peer`` (a list of address and port, or the path of a Unix
        socket), ``tried`` (a list of these), ``body`` (JSON as it is decoded, other text as a text, and what is no text
        as ``{'base64': …}``; ``None`` without one, and where it is streamed) and ``error``, which is ``None``.
        """
        return {**head_of(self), 'body': body_member(self) if self.payload else None, 'error': None}

    @property
    def peer(self) -> AnyPeer | None:
        """The :class:`Peer` that answered, behind a proxy that proxy; of a Unix socket the path.

        ``None`` where no connection is known, as in an answer that somebody made by hand.
        """
        return None if self.route is None else self.route.peer

    @property
    def tried(self) -> tuple[AnyPeer, ...]:
        """The addresses that were tried when its connection was opened, in that order (RFC 8305)."""
        return () if self.route is None else self.route.tried

    @property
    def text(self) -> str:
        """The body as text, by the charset of its Content-Type, else UTF-8; what does not decode is replaced."""
        return self._decoded(self.data)

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode(self._encoding, 'replace')
        except (LookupError, ValueError):  # no such charset
            return data.decode('utf-8', 'replace')

    @property
    def _encoding(self) -> str:
        """The charset of the Content-Type, else UTF-8."""
        match = _charset(self.headers.get('content-type', ''))
        charset = match[1] if match else 'utf-8'
        # Codecs of Python's that are no charsets: one takes a minute for a megabyte, others warn.
        if charset.lower().replace('_', '-') in ('punycode', 'idna', 'unicode-escape', 'raw-unicode-escape'):
            return 'utf-8'
        return charset

    def json(self) -> Any:
        """The body, decoded from JSON, whatever its Content-Type.

        A byte order mark is ignored (RFC 8259 §8.1); a number beyond the range of a double is ``inf`` or ``-inf``.

        :raises ValueError: when it is not JSON; ``NaN`` and ``Infinity`` are none.
        """
        data = self.data
        try:
            return load_json(data)
        except UnicodeDecodeError:
            return load_json(self._json_text())

    def _json_text(self) -> str:
        """The characters of what is called JSON: in Unicode, else by the charset of its Content-Type.

        :raises ValueError: when they are neither.
        """
        data = self.data
        try:
            return json_text(data)
        except UnicodeDecodeError as exc:
            try:
                return data.decode(self._encoding)
            except LookupError:
                raise exc from None

    def iter_json(self) -> Iterator[Any]:
        """A decoded value for each line of the body, as NDJSON has them; empty lines are skipped.

        Where the Content-Type is ``application/json-seq``, for each text behind a record separator (RFC 7464).

        :raises ValueError: for a line that is not JSON, naming its number. A new iteration goes on behind it, where
            the answer is streamed.
        """
        in_sequence = is_json_sequence(self.headers.get('content-type', ''))
        for number, line in self._lines(b'\x1e' if in_sequence else b'\n'):
            if number == 1:
                line = line.removeprefix(b'\xef\xbb\xbf')
            if not line.strip():
                continue
            try:
                value = load_json(line)
                if in_sequence and not line[-1:].isspace() and not isinstance(value, (str, list, dict)):
                    raise ValueError('it may be cut off, as no white space follows (RFC 7464 §2.4)')
            except ValueError as exc:
                # Before the first separator stands nothing.
                where = f'text {number - 1}' if in_sequence else f'line {number}'
                raise ValueError(f'{where} of the body is not JSON: {exc}') from exc
            yield value

    def _lines(self, end: bytes) -> Iterator[tuple[int, bytes]]:
        """What stands between these ends, without them, and its number from 1."""
        return enumerate(self.data.split(end), 1)

    @property
    def body(self) -> Any:
        """The decoded JSON where the Content-Type says JSON and it parses, else the text; ``None`` without a body.

        The bytes, where there is a content coding that is not undone.
        """
        body = self._body
        if body is not _UNREAD:
            return body
        data = self.payload if type(self) is Response else self.data
        if not data:
            body = None
        elif (kind := _content_type(self.head)) is not None and _is_json(kind):
            try:
                body = load_json(data)  # what json() begins with, two calls shorter
            except ValueError:
                body = self._json_or_text()
        else:
            body = self.text
            if len(data) > _KEPT_TEXT:
                return body
        self._body = body
        return body

    def _json_or_text(self) -> Any:
        try:
            return self.json()
        except ValueError:
            return self.text

    def keep_coded(self) -> None:
        """Have ``body`` be the bytes as they came: they are in a content coding that is not undone, and no text."""
        self._body = self.payload

    def break_off(self, error: Exception) -> None:
        """End the body with an error: of a complete answer there is nothing left to end."""

    def __repr__(self) -> str:
        return f'<Response {self.status} {self.reason}>' if self.reason else f'<Response {self.status}>'


_UNREAD: Any = ...  # which pickle knows


def new_response(
    request: Request,
    status: int,
    head: bytes,
    data: bytes,
    elapsed: float,
    route: Route | None,
    kind: type[Response] = Response,
) -> Any:
    """``Response(…)``, or one of this kind; a function, because to call a class costs Python three times as much."""
    response = _new_object(kind)
    response._asked = request
    response.status = status
    response.head = head
    response.payload = data
    response.elapsed = elapsed
    response.attempts = 1
    response.route = route
    response._body = _UNREAD
    return response


# What is shown of a body ---------------------------------------------------------------------------------------------


def says_json(response: Response) -> bool:
    """Whether the body is JSON by its Content-Type, and in no content coding."""
    head = response.head
    at = head.find(b'\r\nContent-Type: ')
    if at < 0 or not head.startswith(b'application/json\r', at + 16):  # as most say it
        kind = _content_type(head)
        if kind is None or not _is_json(kind):
            return False
    return not is_coded(response)


def written_json(response: Response) -> str | None:
    """The body as it was written, without a byte order mark, if it is JSON and says so: all its numbers are kept."""
    if is_coded(response) or not is_json(response.headers.get('content-type', '')):
        return None
    try:
        text = response._json_text()
        load_json(text)
    except ValueError:
        return None
    return text


def body_member(response: Response) -> Any:
    """The body as a member of a JSON object: JSON as it is decoded, other text as a text, the rest in base 64."""
    body = response.body
    if not isinstance(body, (str, bytes)) or written_json(response) is not None:
        return body
    text = exact_text(response)
    return {'base64': b64encode(response.data).decode()} if text is None else text


def exact_text(response: Response) -> str | None:
    """The body as a text of which the same bytes can be made; ``None`` where it is none.

    It is none in a content coding, or where the bytes are not of its charset, or there is a NUL among the characters.
    """
    if is_coded(response):
        return None
    try:
        text = response.data.decode(response._encoding)
    except (LookupError, ValueError):
        return None
    return None if '\0' in text else text


def beginning(response: Response, longest: int) -> str:
    """The first so many bytes as text; of a body that is still coded, only that it is."""
    if is_coded(response):
        return f'({len(response.data)} bytes in the content coding {response.headers.get("content-encoding")})'
    return response._decoded(response.data[:longest])


def is_coded(response: Response) -> bool:
    """Whether the body is in a content coding that is not undone."""
    return type(response._body) is bytes


# The error that it stands for ----------------------------------------------------------------------------------------


def error_of(response: Response, kind: type[HTTPError] = RemoteError, by: str = '') -> HTTPError:
    """The error that an answer of 400 or above stands for.

    ``remote_error`` is the decoded object when the server sent a JSON object, else ``"404 NOT FOUND" the body``. It is
    read when somebody asks for it: a document may be large, and answers come in a callback of the loop.

    :param by: who said so, if not the server that was asked.
    """
    error = kind(by, request=response.request, response=response, phase='read', elapsed=response.elapsed)
    error.attempts = response.attempts
    error.read_when_asked(_read)
    return error


def read_later(error: HTTPError) -> None:
    """Let an error with a message of its own read the ``remote_error`` from its answer when it is first asked for."""
    error.read_when_asked(_read_beside)


def _read(error: HTTPError, by: str) -> tuple[str, Any]:
    """The message and the ``remote_error`` of an answer."""
    message, remote_error = _parsed(error)
    return f'{message} ({by})' if by else message, remote_error


def _read_beside(error: HTTPError, message: str) -> tuple[str, Any]:
    return message, _parsed(error)[1]


def _parsed(error: HTTPError) -> tuple[str, Any]:
    response = error.response
    assert response is not None
    hide_fields(error, response.request.headers.multi_items())  # the server may have echoed them
    body = response.body if is_json(response.headers.get('content-type', '')) else None
    if isinstance(body, dict):
        return one_line(f'{_status_line(response)} {words(body)}'.rstrip()), body
    text = body if isinstance(body, str) else beginning(response, _LONGEST)
    text = f'{_status_line(response)} {cut(text, MAX_TEXT)}'.rstrip()
    return words(text), text


def _status_line(response: Response) -> str:
    reason = cut(response.reason, _LONGEST_REASON)
    return f'"{response.status} {reason}"' if reason else f'"{response.status}"'


# Its type, at once ---------------------------------------------------------------------------------------------------

_find_content_type = re.compile(rb'\r\ncontent-type:([^\r;]*)', re.IGNORECASE).search


def _content_type(head: bytes) -> bytes | None:
    """The value of the field, perhaps with its parameters; in its usual spelling it is found ten times as fast."""
    at = head.find(b'\r\nContent-Type: ')
    if at < 0:
        match = _find_content_type(head)
        return None if match is None else match[1]
    end = head.find(b'\r', at + 2)
    return head[at + 16 :] if end < 0 else head[at + 16 : end]


@lru_cache(64)
def _is_json(value: bytes) -> bool:
    return is_json(value.decode('latin-1'))


_charset = re.compile(r'charset\s*=\s*"?([^\s";]+)', re.IGNORECASE).search
