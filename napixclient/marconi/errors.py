"""What the Marconi client raises.

ErrorBase                    a ClientError: title, description, code
├── MalformedRequest         400, and other faults of a request: 406, 411, 413, 414, 415, 422
├── Unauthorized             401: no token, or none that is accepted
├── Forbidden                403
├── NotFound                 404
├── MethodNotAllowed         405
├── Conflict                 409
├── TooManyRequests          429
├── ServerError              500 and above
│   └── ServiceUnavailable       502, 503, 504: the store or the server is down; a later request may succeed
├── NoAnswer                 0: refused, timed out, broken off; ``__cause__`` tells which
└── Unsupported              0: this version of the API cannot do that
"""

from __future__ import annotations

from typing import Any

from ..error_texts import one_line
from ..masking import sentence
from ..rest.errors import ClientError

__all__ = [
    'Conflict',
    'ErrorBase',
    'Forbidden',
    'MalformedRequest',
    'MethodNotAllowed',
    'NoAnswer',
    'NotFound',
    'ServerError',
    'ServiceUnavailable',
    'TooManyRequests',
    'Unauthorized',
    'Unsupported',
    'add_remark',
    'class_of',
]


class ErrorBase(ClientError):
    """Root of what the Marconi client raises; its text is ``NotFound (404): Not found``, then the description.

    :param title: what happened, in short.
    :param code: the HTTP status, 0 without an answer.
    :param description: what happened, in a sentence.
    """

    #: Of a post: the ids of the messages that were stored before it failed, in the order of the messages.
    posted: list[str]
    #: Of a post: the messages that may have been stored or not.
    uncertain: list[Any]
    #: Of a post: the messages that were not stored.
    unposted: list[Any]

    def __init__(self, title: str = '', code: int = 0, description: str = '') -> None:
        super().__init__(title, code, description or None)
        self.posted, self.uncertain, self.unposted = [], [], []
        self._remark = ''

    @property
    def code(self) -> int:
        """The HTTP status, 0 without an answer."""
        return self.status

    @property
    def title(self) -> str:
        """What happened, in short: in the server's words, if it has any."""
        return one_line(str(self._parsed.get('title') or self.message))

    @property
    def description(self) -> str:
        """What happened, in a sentence: the server's, and what the client adds to it."""
        parsed = self._parsed
        own = '' if self.response is not None else '; '.join(map(str, self.details))
        parts = parsed.get('description'), parsed.get('message'), own, self._remark
        return sentence(' '.join(one_line(str(part)) for part in parts if part))

    @property
    def _parsed(self) -> dict[str, Any]:
        """What the server says: Zaqar at the top; Keystone, and its middleware in Zaqar, under ``error``."""
        parsed = self.remote_error
        if isinstance(parsed, dict):
            return parsed['error'] if isinstance(parsed.get('error'), dict) else parsed
        return {}

    def __str__(self) -> str:
        text = f'{type(self).__name__} ({self.code}): {self.title}'
        return sentence(f'{text}\n{self.description}' if self.description else text)


class MalformedRequest(ErrorBase):
    """The server does not accept the request as it is (400 and similar)."""


class Unauthorized(ErrorBase):
    """No token, or none that is accepted (401)."""


class Forbidden(ErrorBase):
    """Not for this user, or not in this state: only its claim's id deletes a claimed message (403)."""


class NotFound(ErrorBase):
    """There is no such queue, message or claim; or no longer (404)."""


class MethodNotAllowed(ErrorBase):
    """The resource does not support the method (405)."""


class Conflict(ErrorBase):
    """Somebody else has changed the resource meanwhile (409)."""


class TooManyRequests(ErrorBase):
    """The client has sent too many requests (429)."""


class ServerError(ErrorBase):
    """The server failed (500 and above)."""


class ServiceUnavailable(ServerError):
    """The server, or the store behind it, is down (502, 503, 504); a later request may succeed."""


class NoAnswer(ErrorBase):
    """Nobody answered; ``__cause__`` is the core's error, which says why."""


class Unsupported(ErrorBase):
    """This version of the API cannot do that; no request was sent."""


_CLASSES: dict[int, type[ErrorBase]] = {
    **dict.fromkeys((400, 406, 411, 413, 414, 415, 422), MalformedRequest),
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    409: Conflict,
    429: TooManyRequests,
    **dict.fromkeys((502, 503, 504), ServiceUnavailable),
    0: NoAnswer,
}


def class_of(status: int) -> type[ErrorBase]:
    """The class of the error for a status; 0 is no answer."""
    return _CLASSES.get(status, ServerError if status >= 500 else ErrorBase)


def add_remark(error: ErrorBase, remark: str) -> None:
    """Put what the client knows about an error behind the server's description of it."""
    error._remark = remark
