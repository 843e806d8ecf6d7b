"""Profiles of the configuration: who asks, and by what way, for the command and the service."""

from __future__ import annotations

import os
import sys

from .authenticators import LoginAuthenticator, TokenIdentifier
from .hosts import config_home

__all__ = ['Profile', 'authenticator_of_profile', 'config_directory', 'read_profile']

SETTINGS = ('login', 'key', 'token', 'ca_certs', 'proxy')
Profile = dict[str, str]


def config_directory() -> str:
    """The directory of the settings of ``napix``."""
    return os.path.join(config_home(), 'napix')


def read_profile(name: str) -> Profile:
    """The profile of that name in ``config.toml``.

    :raises ValueError: if there is none, or it makes no sense.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    path = os.path.join(config_directory(), 'config.toml')
    try:
        with open(path, 'rb') as file:
            profiles = tomllib.load(file).get('profiles', {})
    except OSError as exc:
        raise ValueError(f'profile {name!r}: cannot read {path}: {exc.strerror}') from exc
    except ValueError as exc:  # TOMLDecodeError, UnicodeDecodeError
        raise ValueError(f'{path} is not TOML: {exc}') from exc
    profile = profiles.get(name) if isinstance(profiles, dict) else None
    if not isinstance(profile, dict):
        raise ValueError(f'{path} has no [profiles.{name}]')
    for setting, value in profile.items():
        if setting not in SETTINGS:
            raise ValueError(f'{path}: [profiles.{name}] has {setting!r}; known are {", ".join(SETTINGS)}')
        if not isinstance(value, str) or not value:
            raise ValueError(f'{path}: {setting} of [profiles.{name}] is a text that is not empty')
    return profile


def authenticator_of_profile(profile: Profile) -> LoginAuthenticator | TokenIdentifier | None:
    """What signs requests in the name of a profile.

    :raises ValueError: for a login without a key, a login and a token, or a file that cannot be read.
    """
    login, key, token = (_content(profile.get(name)) for name in ('login', 'key', 'token'))
    if login and token:
        raise ValueError('the profile has both a login and a token: sign the requests, or send a token')
    if token:
        return TokenIdentifier(token)
    if not login:
        return None
    if not key:
        raise ValueError('the profile has a login without a key')
    return LoginAuthenticator(login, key)


def _content(value: str | None) -> str | None:
    """The value, or the content of the file that is named with ``@``."""
    if value is None or not value.startswith('@'):
        return value
    try:
        with open(os.path.expanduser(value[1:]), encoding='utf-8') as file:
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f'the profile names {value}, which cannot be read') from exc
    if not text:
        raise ValueError(f'the profile names {value}, which is empty')
    return text
