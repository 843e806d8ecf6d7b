"""Credentials, TLS, proxies and our own address: from flags, then the environment, then a profile."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import TypedDict

from ..authenticators import Authenticator, LoginAuthenticator, TokenIdentifier
from ..messages import parse_origin
from ..profiles import Profile, read_profile
from .hostfiles import name_of
from .items import BadItem, read_text
from .options import Asked

__all__ = ['BadCredentials', 'ConnectionOptions', 'authenticator_of', 'connection_options', 'profile_of']


class ConnectionOptions(TypedDict, total=False):
    """Options of :class:`ClientPool` for TLS, proxies and our own address."""

    verify: bool
    ca_certs: str
    cert: str
    proxy: str
    no_proxy: list[str]
    source_address: str


class BadCredentials(ValueError):
    """The credentials make no sense, or a file cannot be read."""


def _environ(name: str) -> str | None:
    """The value of a variable; ``None`` if it is empty or not set."""
    return os.environ.get(name) or None


# The configuration ---------------------------------------------------------------------------------------------------


def profile_of(asked: Asked) -> Profile:
    """The profile named by flag or environment; an empty one if none is named.

    :raises BadCredentials: if no profile has that name, or the profile makes no sense.
    """
    name = asked.profile or _environ('NAPIX_PROFILE')
    if name is None:
        return {}
    try:
        return read_profile(name)
    except ValueError as exc:
        raise BadCredentials(str(exc)) from exc


# Credentials ---------------------------------------------------------------------------------------------------------


#: The flags that say who asks, of which there is one at most, and what each does.
_WAYS = {
    'login': 'sign the requests',
    'token': 'send a token',
    'bearer': 'send a token in a header field',
    'auth': 'send name and password',
    'digest': 'prove that you know the password',
    'netrc': 'send what ~/.netrc has',
}
#: The authenticators of flags that no variable and no profile stands for, by their names in the library.
_OWN = {'bearer': 'BearerToken', 'auth': 'BasicAuth', 'digest': 'Digest', 'netrc': 'NetrcAuth'}


def authenticator_of(asked: Asked, profile: Profile) -> Authenticator | None:
    """What proves who asks; flags come before the environment, and that before the profile.

    :raises BadCredentials: for a login without a key, a key without a login, and two of them at once.
    """
    given = [name for name in _WAYS if getattr(asked, name)]
    if len(given) > 1:
        one, other = given[:2]
        raise BadCredentials(f'--{one} and --{other} exclude each other: {_WAYS[one]}, or {_WAYS[other]}')
    try:
        if given and given[0] in _OWN:
            if asked.key:
                raise BadCredentials(f'--key and --{given[0]} exclude each other: the key is that of --login')
            return _own(asked, given[0])
        return _of_napix(asked, profile)
    except UnicodeEncodeError as exc:
        raise BadCredentials('the login, the key or the token is not a text in UTF-8') from exc
    except BadItem as exc:
        raise BadCredentials(str(exc)) from exc


def _own(asked: Asked, name: str) -> Authenticator:
    """The authenticator of ``--bearer``, ``--auth``, ``--digest`` or ``--netrc``."""
    flag, given = f'--{name}', getattr(asked, name)
    parts = [] if name == 'netrc' else _parts(flag, name, given)
    from .. import authenticators

    made: Callable[..., Authenticator] = getattr(authenticators, _OWN[name])
    try:
        authenticator = made(*parts)
    except UnicodeEncodeError:
        raise
    except ValueError as exc:
        raise BadCredentials(f'{flag}: {exc}') from exc
    if parts:
        _warn_of_secret(asked, flag, given)
    return authenticator


def _parts(flag: str, name: str, given: str) -> list[str]:
    """What a flag was given: a token, or a name and a password."""
    secret = _secret(flag, given)
    parts = [secret] if name == 'bearer' else secret.split(':', 1)
    if name != 'bearer' and len(parts) < 2:
        where = f' in the file {given[1:]}' if given.startswith('@') else ''
        raise BadCredentials(f'{flag} takes NAME:PASSWORD; there is no ":"{where}')
    return parts


def _of_napix(asked: Asked, profile: Profile) -> LoginAuthenticator | TokenIdentifier | None:
    """What signs the requests or adds the token to the query."""
    login, token = asked.login, asked.token
    if asked.key and not login:
        login = _environ('NAPIX_LOGIN') or profile.get('login')
        if token or not login:
            raise BadCredentials('--key without --login: say whose key it is with --login NAME')
    if not login and not token:
        login, token = _environ('NAPIX_LOGIN'), _environ('NAPIX_TOKEN')
        if login and token:
            raise BadCredentials('NAPIX_LOGIN and NAPIX_TOKEN are both set: sign the requests, or send a token')
    if not login and not token:
        login, token = profile.get('login'), profile.get('token')
        if login and token:
            raise BadCredentials('the profile has both a login and a token: sign the requests, or send a token')
    if token:
        authenticator = TokenIdentifier(_secret('--token', token))
        _warn_of_secret(asked, '--token', asked.token, 'NAPIX_TOKEN')
        return authenticator
    if not login:
        return None
    key = asked.key or _environ('NAPIX_KEY') or profile.get('key')
    if not key:
        raise BadCredentials('--login without a key: set NAPIX_KEY in the environment, or give --key @FILE')
    signer = LoginAuthenticator(login, _secret('--key', key))
    _warn_of_secret(asked, '--key', asked.key, 'NAPIX_KEY')
    return signer


def _warn_of_secret(asked: Asked, flag: str, given: str | None, variable: str | None = None) -> None:
    """Warn: every user of the machine sees command lines in the list of processes. ``--curl`` sends nothing."""
    if given and not given.startswith('@') and not asked.curl:
        instead = f'give {flag} @FILE' + (f', or set {variable}' if variable else '')
        print(f'napix: {flag}: a secret on the command line shows in the list of processes; {instead}', file=sys.stderr)


def _secret(flag: str, value: str) -> str:
    """The secret itself, or the content of the file named after an ``@``."""
    text = read_text(value[1:], f'{flag} {value}').strip() if value.startswith('@') else value
    if not text:
        raise BadCredentials(f'{flag} {value}: the file is empty')
    return text


# TLS and proxies -----------------------------------------------------------------------------------------------------


def connection_options(asked: Asked, profile: Profile, hosts: Iterable[str]) -> ConnectionOptions:
    """The options of the pool for TLS and proxies.

    :raises BadCredentials: if the environment names two proxies for one run, and for a source that is no address.
    """
    options: ConnectionOptions = {'verify': not asked.insecure}
    ca_certs = asked.cacert or profile.get('ca_certs')
    if ca_certs:
        options['ca_certs'] = os.path.expanduser(ca_certs)
    if asked.cert:
        options['cert'] = os.path.expanduser(asked.cert)
    if asked.source:
        try:
            ip_address(asked.source)
        except ValueError:
            raise BadCredentials(f'--source takes an address such as 10.0.0.5, not {asked.source!r}') from None
        options['source_address'] = asked.source
    proxy = asked.proxy or profile.get('proxy')
    straight = asked.no_proxy if asked.no_proxy is not None else _variable('no_proxy')
    without = [entry.strip() for entry in (straight or '').split(',') if entry.strip()]
    if not proxy:
        proxy, more = _of_environment(list(hosts))
        without += more
    if proxy:
        options['proxy'], options['no_proxy'] = proxy, without
    return options


def _variable(name: str) -> str | None:
    return _environ(name) or _environ(name.upper())


def _of_environment(hosts: list[str]) -> tuple[str | None, list[str]]:
    """The proxy that the environment names for these hosts, and the hosts for which it names none.

    Like curl it ignores ``HTTP_PROXY``, which is a header of the request in a CGI program.
    """
    others = _variable('all_proxy')
    proxies = {'https': _variable('https_proxy') or others, 'http': _environ('http_proxy') or others}
    origins = {host: parse_origin(host) for host in hosts}
    schemes = {host: origin.scheme for host, origin in origins.items() if origin.socket_path is None}
    wanted = {proxies[scheme] for scheme in schemes.values()}
    named = wanted - {None}
    if len(named) > 1:
        raise BadCredentials(
            'https_proxy and http_proxy name two proxies, and there are hosts for both: name one with --proxy'
        )
    if not named:
        return None, []
    proxy = named.pop()
    assert proxy is not None
    without = (
        [] if None not in wanted else [_with_port(host) for host, scheme in schemes.items() if proxies[scheme] is None]
    )
    return proxy if '://' in proxy else f'http://{proxy}', without


def _with_port(host: str) -> str:
    origin = parse_origin(host)
    name = name_of(host)
    return name if name.endswith(f':{origin.port}') else f'{name}:{origin.port}'
