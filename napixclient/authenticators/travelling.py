"""How the library's own authenticators travel: described here, made anew in another process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from . import Authenticator
from .digest import Digest
from .fields import BasicAuth, BearerToken, LoginAuthenticator, TokenIdentifier
from .oauth2 import OAuth2ClientCredentials, of_parameters

__all__ = ['Description', 'described', 'restored']

#: A part of what an authenticator is made of.
Parameter = str | bytes | float | None
#: Kind and parameters of an authenticator.
Description = tuple[str, tuple[Parameter, ...]]


def described(authenticator: Authenticator | None) -> Description | None:
    """What one of the library's own authenticators is made of, secrets included: its kind, and what that takes.

    :raises ValueError: for any other, which is code that works in its own process only.
    """
    if authenticator is None:
        return None
    for kind, made in _OWN.items():
        if type(authenticator) is made:
            return kind, authenticator.parameters()
    *names, last = (made.__name__ for made in _OWN.values())
    raise ValueError(
        f"an authenticator that travels is one of the library's own: {', '.join(names)} or {last}, not "
        f'{type(authenticator).__name__}'
    )


def restored(kind: str, parameters: Iterable[Parameter]) -> Authenticator:
    """The authenticator that was described so.

    :raises ValueError: for an unknown kind, and for parameters that make no sense.
    """
    if kind not in _OWN:
        raise ValueError(f'unknown kind of authenticator: {kind!r}')
    made: Callable[..., Authenticator] = of_parameters if kind == 'oauth2' else _OWN[kind]
    try:
        return made(*parameters)
    except TypeError as exc:
        raise ValueError(f'parameters that make no {kind} authenticator: {exc}') from exc


_Own = LoginAuthenticator | TokenIdentifier | BearerToken | BasicAuth | Digest | OAuth2ClientCredentials
_OWN: Mapping[str, type[_Own]] = {
    'login': LoginAuthenticator,
    'token': TokenIdentifier,
    'bearer': BearerToken,
    'basic': BasicAuth,
    'digest': Digest,
    'oauth2': OAuth2ClientCredentials,
}
