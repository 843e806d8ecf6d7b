"""Where a redirect leads, and what of a request goes there (RFC 9110 §15.4)."""

from __future__ import annotations

from typing import Any

from ..errors import ProtocolError
from ..masking import mask
from ..messages import REDIRECTS, Headers, Request, Response, lead, parse_origin, written
from ..secret_names import is_secret_field
from .pending import PendingResponse, Redirect

__all__ = ['MAX_REDIRECTS', 'MovedResponse', 'redirect_of', 'without_credentials', 'without_expectation']

#: Redirects of one request that are followed, unless its client says otherwise.
MAX_REDIRECTS = 10
#: Fields that tell of the body, beside those that begin with ``Content-`` (RFC 9110 §15.4).
OF_CONTENT = frozenset(['digest', 'repr-digest', 'last-modified', 'expect'])


class MovedResponse(Response):
    """An answer of another URL than the request's own."""

    __slots__ = ('_url',)
    _url: str

    @classmethod
    def of(cls, response: Response, url: str) -> MovedResponse:
        """The same answer, with the URL that answered."""
        self = cls.from_response(response)
        self._url = url
        return self

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self._url


def without_credentials(headers: Headers) -> Headers:
    """The fields that may go to another origin than the one that the caller named."""
    return Headers(pair for pair in headers.multi_items() if not is_secret_field(pair[0]))


def redirect_of(
    pending: PendingResponse, response: Response, default: bool, most: int = MAX_REDIRECTS
) -> Redirect | None:
    """What to send next; ``None`` when the answer is to be handed out as it is.

    :param default: whether redirects are followed where the request does not say.
    :param most: redirects of one request that are followed.
    :raises ProtocolError: when the redirect cannot be followed.
    """
    wanted = pending.asked.options.redirect
    if response.status not in REDIRECTS or not (default if wanted is None else wanted):
        return None
    locations = _locations(response)
    if not locations:
        return None
    followed = 1 if pending.redirect is None else pending.redirect.followed + 1
    if followed > most:
        raise ProtocolError(
            f'more than {most} redirect{"" if most == 1 else "s"}',
            response=response,
            phase='read',
            elapsed=response.elapsed,
        )
    request = pending.current
    try:
        if len(set(locations)) > 1:
            raise ValueError('it has several targets')
        target, foreign = _moved(request, response.status, locations[0])
    except ValueError as exc:
        where = mask(repr(locations[0][:200]))
        raise ProtocolError(
            f'cannot follow the redirect {response.status} to {where}: {exc}',
            response=response,
            phase='read',
            elapsed=response.elapsed,
        ) from exc
    return Redirect(
        target, followed, foreign or (pending.redirect is not None and pending.redirect.foreign), pending.attempts
    )


def _moved(request: Request, status: int, location: str) -> tuple[Request, bool]:
    """What is sent instead of a request, and whether that goes to another origin.

    :raises ValueError: when it cannot be sent.
    """
    target, url = lead(_base(request), location)
    origin = parse_origin(target)
    foreign = origin != parse_origin(request.host)
    if foreign:  # in our own spelling: a server may think of many, and a pool keeps all
        host = origin.authority if origin.scheme == 'http' else str(origin)
        changes: dict[str, Any] = {'host': host, 'headers': without_credentials(request.headers)}
    else:
        changes = {'headers': request.headers}
    method = _method(request.method, status)
    if method != request.method:
        changes |= {'method': method, 'body': None, 'headers': _without_content(changes['headers'])}
    elif not request.repeatable:
        raise ValueError('it asks for the body once more, which cannot be read again')
    return request.replace(url=url, **changes), foreign


def without_expectation(pending: PendingResponse) -> Redirect:
    """The same once more, after a 417 (RFC 9110 §10.1.1)."""
    before, request = pending.redirect, pending.current.replace(expect=False)
    return Redirect(
        request, 0 if before is None else before.followed, before is not None and before.foreign, pending.attempts
    )


def _base(request: Request) -> str:
    """What the target is relative to; the asterisk form stands for the server itself."""
    return request.full_url[:-1] if request.url == '*' else request.full_url


def _locations(response: Response) -> list[str]:
    """The targets."""
    return [written(value) for value in response.headers.getlist('location') if value]


def _method(method: str, status: int) -> str:
    if (status == 303 and method != 'HEAD') or (status in (301, 302) and method == 'POST'):
        return 'GET'
    return method


def _without_content(headers: Headers) -> Headers:
    """Without the fields that describe a body."""
    return Headers(
        pair
        for pair in headers.multi_items()
        if not pair[0].lower().startswith('content-') and pair[0].lower() not in OF_CONTENT
    )
