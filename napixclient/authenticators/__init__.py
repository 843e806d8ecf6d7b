"""Authenticators: they prove to a server who sends a request, and may answer its challenge (401, 407).

An authenticator is a callable ``Request -> Request`` (``None`` leaves the request unchanged). It is called again for
every attempt. One with the class attribute ``blocking = False`` promises to do no I/O and to take no lock, and is
called in place; any other runs in a greenlet of its own.

One with a method ``challenged`` answers challenges, as ``Digest`` does: see ``Authenticator``.

fields       those that sign each request by itself
digest       Digest (RFC 7616)
oauth2       tokens by the client credentials of OAuth 2.0
netrc        passwords from a ``.netrc`` file
challenges   reads the fields of challenges
fetching     how an authenticator asks somebody else
travelling   how those of the library are described to another process
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..messages import Request
from .digest import Digest
from .fields import AnonAuthenticator, BasicAuth, BearerToken, LoginAuthenticator, TokenIdentifier
from .netrc import NetrcAuth
from .oauth2 import OAuth2ClientCredentials

__all__ = [
    'AnonAuthenticator',
    'Authenticator',
    'BasicAuth',
    'BearerToken',
    'Credentials',
    'Digest',
    'LoginAuthenticator',
    'NetrcAuth',
    'OAuth2ClientCredentials',
    'TokenIdentifier',
    'authenticator_of',
]

#: A callable that is called for each attempt of a request, and returns what is sent: ``None`` for the request as it is.
#:
#: With the attribute ``blocking = False`` it promises to do no I/O and to take no lock, and is called in place.
#:
#: One with a method ``challenged(request, response)`` answers challenges (RFC 9110 §11.4). The method is called with a
#: request as it was sent and the 401 that came, or the 407 of a proxy, in a greenlet; it may block. It returns the
#: request to send, or ``None``: then the answer is the outcome. The request keeps its slot meanwhile, and its
#: connection where the server keeps it. What is sent so counts neither in ``attempts`` nor in ``retries``. One attempt
#: has one answer to a server and one to a proxy, and one more to each that says that all was right but the nonce
#: (``stale=true``). Nobody is asked behind a redirect to another origin, where credentials do not follow.
#:
#: One with a method ``informed(request, response)`` is told of answers with ``Authentication-Info`` (RFC 9110 §11.6.3),
#: in place.
Authenticator = Callable[[Request], Request | None]
#: What clients take as their authenticator: one, or ``{'login': …, 'key': …}``.
Credentials = Authenticator | Mapping[str, str | bytes]


def checked(returned: object) -> Request | None:
    """What an authenticator returned.

    :raises TypeError: when it is something else, such as what an ``async`` function returns.
    """
    if returned is not None and not isinstance(returned, Request):
        raise TypeError(f'an authenticator returns a Request or None, not {type(returned).__name__}')
    return returned


def authenticator_of(given: Credentials | None) -> Authenticator | None:
    """Turn the ``authenticator`` argument of ``Client`` and ``ClientPool`` into a callable; ``None`` is anonymous.

    :raises ValueError: if it is neither a callable, nor a mapping of ``login`` and ``key``, nor ``None``.
    """
    if given is None or type(given) is AnonAuthenticator:
        return None
    if isinstance(given, Mapping):
        if set(given) != {'login', 'key'}:
            raise ValueError(f"a mapping as authenticator has 'login' and 'key', not {sorted(map(str, given))}")
        return LoginAuthenticator(given['login'], given['key'])  # type: ignore[arg-type]  # which it checks
    if callable(given) and not isinstance(given, type):
        if not callable(getattr(given, 'challenged', authenticator_of)):
            raise ValueError('challenged, where an authenticator has it, is a method: challenged(request, response)')
        return given
    raise ValueError(f"an authenticator is a callable, {{'login': …, 'key': …}} or None, not {type(given).__name__}")
