"""Where a redirect leads, and what of a request goes there (RFC 9110 §15.4). Imports messages and errors."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from ..errors import ProtocolError
from ..messages import Headers, Response, parse_origin
from .pending import Hop, PendingResponse

__all__ = ['MovedResponse', 'next_hop', 'without_credentials', 'without_expectation']

REDIRECTS = frozenset([301, 302, 303, 307, 308])
MAX_REDIRECTS = 10
#: Fields that are for the origin that the caller named, and for no other.
CREDENTIALS = frozenset(['authorization', 'cookie', 'proxy-authorization', 'x-auth-token'])


class MovedResponse(Response):
    """An answer of another URL than the request's own."""

    __slots__ = ('_url',)

    def __init__(self, response: Response, url: str) -> None:
        super().__init__(response.request, response.status, response._head, response._payload, response.elapsed,
                         response.attempts)
        self._url = url

    @property
    def url(self) -> str:
        """The URL that answered."""
        return self._url


def without_credentials(headers: Headers) -> Headers:
    """The fields that may go to another origin than the one that the caller named."""
    return Headers(pair for pair in headers.multi_items() if pair[0].lower() not in CREDENTIALS)


def next_hop(pending: PendingResponse, response: Response, default: bool) -> Hop | None:
    """What to send next; ``None`` when the answer is to be handed out as it is.

    :param default: whether redirects are followed where the request does not say.
    :raises ProtocolError: when the redirect cannot be followed.
    """
    wanted = pending.request._options.redirect
    if response.status not in REDIRECTS or not (default if wanted is None else wanted):
        return None
    location = _location(response)
    if not location:
        return None
    followed = 1 if pending._hop is None else pending._hop.followed + 1
    if followed > MAX_REDIRECTS:
        raise ProtocolError(f'more than {MAX_REDIRECTS} redirects', response=response, phase='read')
    request = pending._current
    try:
        host, url = _target(f'{request._base()}{request.url}', location)
        foreign = parse_origin(host) != parse_origin(request.host)
        if foreign:
            changes: dict[str, Any] = {'host': host, 'headers': without_credentials(request.headers)}
        else:
            changes = {'headers': request.headers}
        method = _method(request.method, response.status)
        if method != request.method:
            changes |= {'method': method, 'body': None, 'headers': _without_content(changes['headers'])}
        elif not request._repeatable:
            raise ValueError('it asks for the body once more, which cannot be read again')
        hop = request.replace(url=url, **changes)
    except ValueError as exc:
        raise ProtocolError(f'cannot follow the redirect {response.status} to {location[:200]!r}: {exc}',
                            response=response, phase='read') from exc
    return Hop(hop, followed, foreign or (pending._hop is not None and pending._hop.foreign), pending._attempts)


def without_expectation(pending: PendingResponse) -> Hop:
    """The same once more, after a 417 (RFC 9110 §10.1.1)."""
    hop, request = pending._hop, pending._current.replace(expect=False)
    return Hop(request, 0 if hop is None else hop.followed, hop is not None and hop.foreign, pending._attempts)


def _location(response: Response) -> str:
    """The target as the server wrote it, which is UTF-8 where it is not ASCII, as browsers read it."""
    location = response.headers.get('location', '').strip()
    try:
        return str(location.encode('latin-1').decode())
    except UnicodeError:
        return str(location)


def _target(base: str, location: str) -> tuple[str, str]:
    """Host and url of a target, which may be relative (RFC 9110 §10.2.2).

    :raises ValueError: when it is not http or https, or no place that a request can be sent to.
    """
    parts = urlsplit(urljoin(base, location))
    if parts.scheme not in ('http', 'https'):
        raise ValueError('only http and https are followed')
    if not parts.netloc:
        raise ValueError('it names no host')
    path = parts.path if parts.path.startswith('/') else f'/{parts.path}'
    host = parts.netloc if parts.scheme == 'http' else f'https://{parts.netloc}'
    return host, f'{path}?{parts.query}' if parts.query else path


def _method(method: str, status: int) -> str:
    if (status == 303 and method != 'HEAD') or (status in (301, 302) and method == 'POST'):
        return 'GET'
    return method


def _without_content(headers: Headers) -> Headers:
    """Without the fields that describe a body."""
    return Headers(pair for pair in headers.multi_items() if not pair[0].lower().startswith('content-'))
