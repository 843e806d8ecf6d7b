"""The errors that the service answers itself, each with its status."""

from __future__ import annotations

from ..wsgi.refusals import Refusal

__all__ = [
    'BadRequest',
    'Conflict',
    'FieldsTooLarge',
    'MethodNotAllowed',
    'NotFound',
    'RequestTimeout',
    'TooLarge',
    'URITooLong',
    'Unavailable',
    'UnsupportedMediaType',
    'UpgradeRequired',
    'VersionNotSupported',
]


class _Problem(Refusal):
    """A refusal; further keyword arguments are fields of its answer."""

    def __init__(self, text: str, **fields: str) -> None:
        super().__init__(text)
        self.fields: tuple[tuple[str, str], ...] = tuple(
            (name.replace('_', '-'), value) for name, value in fields.items()
        )


class BadRequest(_Problem):
    """The request makes no sense."""

    status = 400


class NotFound(_Problem):
    """Nothing is at this path."""

    status = 404


class MethodNotAllowed(_Problem):
    """The path does not support this method."""

    status = 405


class RequestTimeout(_Problem):
    """The request did not arrive in time."""

    status = 408


class Conflict(_Problem):
    """The run does not stand so that this could be done."""

    status = 409


class TooLarge(_Problem):
    """The body is too large."""

    status = 413


class UnsupportedMediaType(_Problem):
    """The service does not read bodies of this media type."""

    status = 415


class UpgradeRequired(_Problem):
    """The path serves WebSockets only."""

    status = 426


class URITooLong(_Problem):
    """The request line is too long."""

    status = 414


class FieldsTooLarge(_Problem):
    """The header fields are too many, or too long."""

    status = 431


class VersionNotSupported(_Problem):
    """The request is not HTTP/1.x."""

    status = 505


class Unavailable(_Problem):
    """The service cannot answer now."""

    status = 503
