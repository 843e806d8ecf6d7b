"""Responses: what a server answered, decoded when it is asked for. Imports requests and headers."""

from __future__ import annotations

import json
import re
from typing import Any

from .headers import Headers
from .request import Request

__all__ = ['Response', 'new_response']

_scan_json: Any = json.JSONDecoder().scan_once      # type: ignore[attr-defined]
_new_object = object.__new__
#: Texts larger than this are decoded anew each time they are asked for, not kept twice in memory.
_KEPT_TEXT = 65536


class Response:
    """A complete answer.

    ``status`` is its status, ``data`` its body as bytes (content coding undone), ``elapsed`` the seconds from the
    first byte sent to the last byte received, ``request`` the request as its caller made it.

    A content coding is not undone in a part of a body (206), with ``decode=False``, and where it is not known. Then
    ``data``, and ``text`` and ``json()`` which are made of it, are as ``Content-Encoding`` in ``headers`` says.
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
        return self._decoded(self.data)

    def _decoded(self, data: bytes) -> str:
        match = _charset(self.headers.get('content-type', ''))
        charset = match[1] if match else 'utf-8'
        try:
            # Codecs of Python's that are no charsets: one takes a minute for a megabyte, others warn.
            if charset.lower().replace('_', '-') in ('punycode', 'idna', 'unicode-escape', 'raw-unicode-escape'):
                charset = 'utf-8'
            return data.decode(charset, 'replace')
        except (LookupError, ValueError):       # no such charset, or another of those
            return data.decode('utf-8', 'replace')

    def _beginning(self, longest: int) -> str:
        """The first so many bytes as text; of a body that is still coded, only that it is."""
        if type(self._body) is bytes:
            return f'({len(self._body)} bytes in the content coding {self.headers.get("content-encoding")})'
        return self._decoded(self.data[:longest])

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
        """The decoded JSON where the Content-Type says JSON and it parses, else the text; ``None`` without a body.

        The bytes, where there is a content coding that is not undone.
        """
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


_UNREAD: Any = ...                          # which pickle knows


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
