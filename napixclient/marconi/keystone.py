"""Keystone's identity API, version 3: what is posted to it, and what a token is. Does no I/O."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from ..masking import hide

__all__ = ['Credential', 'NoEndpoint', 'Token', 'identity_url']

#: A token is renewed when a tenth of its life is left: at most, and at least, so many seconds before its end.
_SOONEST, _LATEST = 30.0, 1.0
_is_id = re.compile(r'[0-9a-f]{32}').fullmatch


class NoEndpoint(LookupError):
    """The catalogue has no endpoint for messaging; the text lists those that it has."""


def identity_url(auth_url: str) -> str:
    """The address of version 3 of the API, for an address with or without the version.

    :raises ValueError: for another version.
    """
    if not isinstance(auth_url, str) or not auth_url:
        raise ValueError(f'auth_url is where Keystone is, such as https://keystone.example:5000, not {auth_url!r}')
    url = auth_url.rstrip('/').removesuffix('/auth/tokens')
    version = re.search(r'/v(\d[\d.]*)$', url)
    if version and version[1] != '3':
        raise ValueError(f'auth_url: version {version[1]} of the identity API is not spoken here, only version 3')
    return url if version else f'{url}/v3'


class Credential:
    """What proves to Keystone who asks; no ``repr`` and no log shows its secret."""

    def __init__(
        self,
        username: str | None,
        password: str | None,
        token: str | None,
        application_credential: tuple[str, str] | None,
        domain: str,
        tenant: str | None,
    ) -> None:
        if sum(secret is not None for secret in (password, token, application_credential)) != 1:
            raise ValueError(
                'with auth_url, exactly one of password (or apikey), token and application_credential is needed'
            )
        if password is not None and not username:
            raise ValueError('a password needs a username')
        self._domain = {'id' if domain == 'default' or _is_id(domain) else 'name': domain}
        self._scope = (
            None
            if tenant is None
            else {'project': {'id': tenant} if _is_id(tenant) else {'name': tenant, 'domain': self._domain}}
        )
        self._method, self._proof = self._told(username, password, token, application_credential)
        #: Whether a new token lives longer: one that is made from a token expires with that.
        self.lasting: bool = token is None

    def _told(
        self,
        username: str | None,
        password: str | None,
        token: str | None,
        application_credential: tuple[str, str] | None,
    ) -> tuple[str, dict[str, object]]:
        if application_credential is not None:
            if len(application_credential) != 2 or isinstance(application_credential, str):
                raise ValueError('application_credential is its id and its secret: (id, secret)')
            id, secret = application_credential
            hide(self, secret)
            self._scope = None  # it belongs to one project
            return 'application_credential', {'id': id, 'secret': secret}
        if token is not None:
            hide(self, token)
            return 'token', {'id': token}
        hide(self, password or '')
        return 'password', {'user': {'name': username, 'password': password, 'domain': self._domain}}

    def body(self) -> dict[str, object]:
        """What to post to ``/auth/tokens``."""
        auth: dict[str, object] = {'identity': {'methods': [self._method], self._method: self._proof}}
        if self._scope is not None:
            auth['scope'] = self._scope
        return {'auth': auth}

    def __repr__(self) -> str:
        return f'<Credential {self._method}>'


class Token:
    """A token, and what Keystone says of it.

    Its life is counted from when it was requested, by our own clock, as Keystone's may differ.

    :param asked: ``time.monotonic()`` when it was requested.
    :param lasting: false for a token that cannot be renewed for longer: one that was made from another token.
    :raises ValueError: for a document that does not describe a token.
    """

    def __init__(self, value: str | None, document: Any, asked: float, lasting: bool = True) -> None:
        try:
            if not value:
                raise ValueError('X-Subject-Token is missing')
            token = document['token']
            self.expires: datetime = datetime.fromisoformat(token['expires_at'].replace('Z', '+00:00'))
            issued = datetime.fromisoformat(token['issued_at'].replace('Z', '+00:00'))
            self.username: str | None = token.get('user', {}).get('name')
            self.project: str | None = (token.get('project') or {}).get('id')
            self.catalog: list[dict[str, Any]] = token.get('catalog') or []
            life = (self.expires - issued) / timedelta(seconds=1)
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise ValueError(f'Keystone answered with something that is no token: {exc!r}') from exc
        hide(self, value)
        self.value = value
        self.ends: float = asked + life
        self.renew_at: float = self.ends - min(max(life / 10, _LATEST), _SOONEST) if lasting else float('inf')

    @property
    def fresh(self) -> bool:
        """Whether it need not be renewed yet."""
        return monotonic() < self.renew_at

    @property
    def alive(self) -> bool:
        """Whether it has not expired, as far as we know."""
        return monotonic() < self.ends

    def endpoint(self, region: str | None) -> str:
        """The public endpoint of messaging.

        :raises NoEndpoint: when the catalogue does not say.
        """
        known = []
        for service in self.catalog:
            for one in service.get('endpoints', []):
                place = one.get('region_id') or one.get('region')
                known.append(f'{service.get("type")} ({one.get("interface")}, {place})')
                if service.get('type') == 'messaging' and one.get('interface') == 'public' and region in (None, place):
                    return str(one['url'])
        where = '' if region is None else f' in the region {region}'
        raise NoEndpoint(
            f'the catalogue has no public endpoint of type messaging{where}; it has: '
            f'{", ".join(known) or "nothing, for the token belongs to no project: give tenant"}'
        )

    def __repr__(self) -> str:
        return f'<Token expires:{self.expires.isoformat()}>'
