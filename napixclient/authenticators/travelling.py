"""How the library's own authenticators travel: described here, made anew in another process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from . import Authenticator
from .digest import Digest
from .fields import BasicAuth, BearerToken, LoginAuthenticator, TokenIdentifier

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
    for kind, made in _KINDS.items():
        if type(authenticator) is made:
            return kind, authenticator.parameters()
    *names, last = (made.__name__ for made in _KINDS.values())
    raise ValueError(
        f"an authenticator that travels is one of the library's own: {', '.join(names)} or {last}, not "
        f'{type(authenticator).__name__}'
    )


def restored(kind: str, parameters: Iterable[Parameter]) -> Authenticator:
    """The authenticator that was described so.

    :raises ValueError: for an unknown kind, and for parameters that make no sense.
    """
    if kind not in _KINDS:
        raise ValueError(f'unknown kind of authenticator: {kind!r}')
    made: Callable[..., Authenticator] = _KINDS[kind]
    return made(*parameters)


_KINDS: Mapping[str, type[LoginAuthenticator | TokenIdentifier | BearerToken | BasicAuth | Digest]] = {
    'login': LoginAuthenticator,
    'token': TokenIdentifier,
    'bearer': BearerToken,
    'basic': BasicAuth,
    'digest': Digest,
}
