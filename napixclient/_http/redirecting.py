"""Where a redirect leads, and what of a request goes there (RFC 9110 §15.4). Imports wire, messages and errors."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from ..errors import ProtocolError
from ..messages import Headers, Origin, Response, parse_origin
from .pending import Hop, PendingResponse
from .wire import REDIRECTS

__all__ = ['MovedResponse', 'next_hop', 'without_credentials', 'without_expectation']

MAX_REDIRECTS = 10
#: Fields that are for the origin that the caller named, and for no other.
CREDENTIALS = frozenset(['authorization', 'cookie', 'proxy-authorization', 'x-auth-token', 'x-subject-token'])
#: Fields that tell of the body, beside those that begin with ``Content-`` (RFC 9110 §15.4).
OF_CONTENT = frozenset(['digest', 'repr-digest', 'last-modified', 'expect'])


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
    locations = _locations(response)
    if not locations:
        return None
    followed = 1 if pending._hop is None else pending._hop.followed + 1
    if followed > MAX_REDIRECTS:
        raise ProtocolError(f'more than {MAX_REDIRECTS} redirects', response=response, phase='read',
                            elapsed=response.elapsed)
    request = pending._current
    try:
        origin, url = _target(f'{request._base()}{request.url.removeprefix("*")}', locations)
        foreign = origin != parse_origin(request.host)
        if foreign:                             # in our own spelling: a server may think of many, and a pool keeps all
            host = origin.authority if origin.scheme == 'http' else str(origin)
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
        raise ProtocolError(f'cannot follow the redirect {response.status} to {locations[0][:200]!r}: {exc}',
                            response=response, phase='read', elapsed=response.elapsed) from exc
    return Hop(hop, followed, foreign or (pending._hop is not None and pending._hop.foreign), pending._attempts)


def without_expectation(pending: PendingResponse) -> Hop:
    """The same once more, after a 417 (RFC 9110 §10.1.1)."""
    hop, request = pending._hop, pending._current.replace(expect=False)
    return Hop(request, 0 if hop is None else hop.followed, hop is not None and hop.foreign, pending._attempts)


def _locations(response: Response) -> list[str]:
    """The targets as the server wrote them, in UTF-8 where they are not ASCII, as browsers read it."""
    targets = []
    for value in filter(None, response.headers.getlist('location')):
        try:
            targets.append(value.encode('latin-1').decode())
        except UnicodeError:
            targets.append(value)
    return targets


def _target(base: str, locations: list[str]) -> tuple[Origin, str]:
    """Origin and url of a target, which may be relative (RFC 9110 §10.2.2).

    :raises ValueError: when it is not http or https, or no place that a request can be sent to.
    """
    if len(set(locations)) > 1:
        raise ValueError('it leads to several places')
    given = urlsplit(locations[0])
    if given.scheme not in ('', 'http', 'https'):
        raise ValueError('only http and https are followed')
    if not given.netloc and (given.scheme or locations[0].startswith('//')):    # RFC 9110 §4.2.1
        raise ValueError('it names no host')
    parts = urlsplit(urljoin(base, locations[0]))
    path = parts.path if parts.path.startswith('/') else f'/{parts.path}'
    origin = parse_origin(f'{parts.scheme}://{parts.netloc.removesuffix(":")}')     # RFC 9110 §4.2.3: the scheme's own
    return origin, f'{path}?{parts.query}' if parts.query else path


def _method(method: str, status: int) -> str:
    if (status == 303 and method != 'HEAD') or (status in (301, 302) and method == 'POST'):
        return 'GET'
    return method


def _without_content(headers: Headers) -> Headers:
    """Without the fields that describe a body."""
    return Headers(pair for pair in headers.multi_items()
                   if not pair[0].lower().startswith('content-') and pair[0].lower() not in OF_CONTENT)
