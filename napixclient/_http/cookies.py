"""Adapts ``http.cookiejar`` to our messages: which cookies a request carries, and which an answer sets.

A jar is the caller's object, with a lock in it: it is only ever asked in a greenlet.
"""

from __future__ import annotations

from email.message import Message
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlsplit

from ..messages import Headers, Request, Response

__all__ = ['add_cookies', 'keep_cookies', 'sets_cookies']


def add_cookies(jar: CookieJar, request: Request) -> Request:
    """The request with the cookies that the jar has for it; its own ``Cookie`` field wins."""
    asked = _Asked(request)
    jar.add_cookie_header(asked)  # type: ignore[arg-type]
    if not asked.added:
        return request
    return request._copy(request.url, Headers([*request.headers.multi_items(), *asked.added.items()]))


def sets_cookies(response: Response) -> bool:
    """Whether there is anything to keep."""
    return b'\r\nset-cookie' in response.head.lower()


def keep_cookies(jar: CookieJar, request: Request, response: Response) -> None:
    """Give the jar the cookies that an answer sets."""
    message = Message()
    for name, value in response.headers.multi_items():
        message[name] = value  # appends
    jar.extract_cookies(_Said(message), _Asked(request))  # type: ignore[arg-type]


class _Asked:
    """A request as far as ``http.cookiejar`` looks at one (its documentation lists these)."""

    unverifiable = False

    def __init__(self, request: Request) -> None:
        self._request = request
        self.full_url = request.full_url
        parts = urlsplit(self.full_url)
        self.type, self.host = parts.scheme, parts.netloc
        self.origin_req_host = parts.hostname or ''
        self.added: dict[str, str] = {}

    def get_full_url(self) -> str:
        return self.full_url

    def has_header(self, name: str) -> bool:
        return name in self._request.headers

    def get_header(self, name: str, default: Any = None) -> Any:
        return self._request.headers.get(name, default)

    def header_items(self) -> list[tuple[str, str]]:
        return list(self._request.headers.multi_items())

    def add_unredirected_header(self, name: str, value: str) -> None:
        self.added[name] = value


class _Said:
    """An answer, likewise."""

    def __init__(self, message: Message) -> None:
        self._message = message

    def info(self) -> Message:
        return self._message
