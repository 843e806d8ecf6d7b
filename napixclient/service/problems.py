"""What the service answers where it does not do what is asked."""

from __future__ import annotations

from ..wsgi.refusals import Refusal

__all__ = [
    'BadRequest',
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
    def __init__(self, text: str, **fields: str) -> None:
        super().__init__(text)
        self.fields: tuple[tuple[str, str], ...] = tuple(
            (name.replace('_', '-'), value) for name, value in fields.items()
        )


class BadRequest(_Problem):
    """What was asked makes no sense."""

    status = 400


class NotFound(_Problem):
    """There is nothing at this path."""

    status = 404


class MethodNotAllowed(_Problem):
    """Not with this method."""

    status = 405


class RequestTimeout(_Problem):
    """The body does not come."""

    status = 408


class TooLarge(_Problem):
    """The body is too large."""

    status = 413


class UnsupportedMediaType(_Problem):
    """The body is in a form that is not read."""

    status = 415


class UpgradeRequired(_Problem):
    """This is for WebSockets."""

    status = 426


class URITooLong(_Problem):
    """The request line is too long."""

    status = 414


class FieldsTooLarge(_Problem):
    """The header fields are too many, or too long."""

    status = 431


class VersionNotSupported(_Problem):
    """Another HTTP than 1.x."""

    status = 505


class Unavailable(_Problem):
    """Not now."""

    status = 503
