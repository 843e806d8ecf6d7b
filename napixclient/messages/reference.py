"""URLs as callers write them, references to other resources as answers have them, and where both lead (RFC 3986).

``urllib.parse`` is not used for it: it drops what is empty (segments of a path, a query, ``;``), and takes ``http:g``
for a relative reference.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..masking import mask
from .origin import UNIX, parse_origin, without_userinfo
from .target import checked_target

__all__ = ['REDIRECTS', 'Reference', 'lead', 'resolve', 'split_reference', 'split_url', 'written']

#: Answers that lead elsewhere, where they have a Location (RFC 9110 §15.4).
REDIRECTS = frozenset([301, 302, 303, 307, 308])
# RFC 3986, appendix B, but for the scheme, which is one by §3.1 only: "12:30" is a path.
_split = re.compile(
    r'(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?', re.DOTALL
).fullmatch
_leading_dots = re.compile(r'(?:\.\.?/)*(?:\.\.?\Z)?').match
_segments = re.compile(r'/[^/]*|[^/]+').findall


#: How the server behind a Unix socket names itself.
_NAMES_OF_UNIX = frozenset([('http', 'localhost'), ('http', 'localhost:80')])


class Reference(NamedTuple):
    """The components of a reference (RFC 3986 §3); what is ``None`` is not there, which is not the same as empty."""

    scheme: str | None
    authority: str | None
    path: str
    query: str | None
    fragment: str | None

    @property
    def target(self) -> str:
        """Path and query as they go on the request line (RFC 9112 §3.2.1)."""
        path = self.path or '/'
        return path if self.query is None else f'{path}?{self.query}'

    def __str__(self) -> str:  # §5.3
        scheme = '' if self.scheme is None else f'{self.scheme}:'
        authority = '' if self.authority is None else f'//{self.authority}'
        query = '' if self.query is None else f'?{self.query}'
        fragment = '' if self.fragment is None else f'#{self.fragment}'
        return f'{scheme}{authority}{self.path}{query}{fragment}'


def split_reference(text: str) -> Reference:
    """The components of a reference; any text is one."""
    match = _split(text)
    assert match is not None
    return Reference(*match.groups())


def resolve(base: str, reference: str) -> Reference:
    """What a reference stands for, seen from a base (RFC 3986 §5.2.2, strictly).

    :param base: an absolute URI.
    """
    home, given = split_reference(base), split_reference(reference)
    if given.scheme is not None or given.authority is not None:
        return given._replace(
            scheme=home.scheme if given.scheme is None else given.scheme, path=_without_dots(given.path)
        )
    if not given.path:
        return home._replace(query=home.query if given.query is None else given.query, fragment=given.fragment)
    path = given.path if given.path.startswith('/') else _merged(home, given.path)
    return home._replace(path=_without_dots(path), query=given.query, fragment=given.fragment)


def _merged(base: Reference, path: str) -> str:
    """§5.2.3."""
    if base.authority is not None and not base.path:
        return f'/{path}'
    return base.path[: base.path.rfind('/') + 1] + path


def _without_dots(path: str) -> str:
    """§5.2.4, in one pass."""
    path = path[_leading_dots(path).end() :]  # type: ignore[union-attr]  # it always matches
    segments: list[str] = _segments(path)
    kept: list[str] = []
    for segment in segments:
        if segment == '/..':
            del kept[-1:]
        elif segment != '/.':
            kept.append(segment)
    if segments and segments[-1] in ('/.', '/..'):
        kept.append('/')
    return ''.join(kept)


def lead(base: str, reference: str) -> tuple[str, str]:
    """Where a reference in an answer leads: a host, as :class:`Request` takes it, and the request's target.

    A fragment is not sent. Tabs are dropped, as browsers do. Nothing leads to a Unix socket but what came from it: then
    ``http://localhost``, by which its server knows itself, is that socket.

    :param base: the URL that answered.
    :raises ValueError: when it is not http or https, or no request can be sent there.
    """
    found, home = resolve(base, reference.replace('\t', '')), split_reference(base)
    if (home.scheme or '').lower() == UNIX and (
        found[:2] == home[:2] or ((found.scheme or '').lower(), (found.authority or '').lower()) in _NAMES_OF_UNIX
    ):
        return f'{UNIX}://{home.authority}', checked_target(found.target)
    return _place_of(found, 'only http and https are followed')


def split_url(url: object) -> tuple[str, str]:
    """An absolute URL as a host, as :class:`Request` takes it, and the request's target.

    A fragment is not sent. ``http+unix://%2Frun%2Fx.sock/path`` is a Unix socket and a path; ``unix:///run/x.sock`` has
    no room for a path, and asks for ``/``.

    :raises ValueError: for what is none, one of another scheme, or one that has credentials, or where no request can be
        sent.
    """
    if not isinstance(url, str):
        raise ValueError(f'a URL is a text such as "http://name:8002/path", not {url!r}')
    if url != url.strip():
        raise ValueError(f'white space around a URL: {mask(repr(without_userinfo(url)))}')
    found = split_reference(url)
    if found.scheme is None or found.authority is None:
        shown = mask(repr(without_userinfo(url)))
        raise ValueError(f'not an absolute URL: {shown}; expected http://name:port/path or https://name/path')
    if '@' in found.authority:
        raise ValueError(
            f'credentials do not belong into a URL: {mask(repr(without_userinfo(url)))}; give them as authenticator= '
            'to the client or the pool, such as authenticator=BasicAuth(user, password)'
        )
    scheme = found.scheme.lower()
    if scheme == UNIX and found.authority:
        host = f'{UNIX}://{found.authority}'
        parse_origin(host)
        return host, checked_target(found.target)
    if scheme == 'unix' and not found.authority and found.query is None:  # all of its path is the socket's
        host = f'unix://{found.path}'
        parse_origin(host)
        return host, '/'
    if scheme in ('unix', UNIX):
        raise ValueError(
            f'not the URL of a Unix socket: {mask(repr(url))}; expected unix:///run/x.sock, or with a path '
            'http+unix://%2Frun%2Fx.sock/path'
        )
    if scheme in ('http', 'https') and not found.authority:
        raise ValueError(f'not an absolute URL: {mask(repr(url))}; it names no host')
    return _place_of(found, f'unknown scheme in URL {mask(repr(url))}: http, https, unix and {UNIX} are known')


def _place_of(found: Reference, unknown: str) -> tuple[str, str]:
    """Where a request goes that asks for this: the host, and the target.

    :param unknown: what the error says for a scheme that is neither http nor https.
    """
    scheme = (found.scheme or '').lower()
    if scheme not in ('http', 'https'):
        raise ValueError(unknown)
    if not found.authority:  # RFC 9110 §4.2.1
        raise ValueError('it names no host')
    host = f'{scheme}://{found.authority.removesuffix(":")}'  # RFC 9110 §4.2.3: without a number, the scheme's own
    parse_origin(host)
    return host, checked_target(found.target)


def written(value: str) -> str:
    """A reference in a field as the server wrote it: in UTF-8 where it is not ASCII, as browsers read it."""
    try:
        return value.encode('latin-1').decode()
    except UnicodeError:
        return value
