"""The connection to a Zaqar: who we are, where it is, and which version of its API we speak."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import formatdate
from enum import Enum
from typing import Any

from ..messages import Headers, parse_origin
from ..rest.quoting import fields_of
from ..rest.responses import Response
from .errors import ErrorBase, Unauthorized
from .keystone import Credential, NoEndpoint, Token, identity_url
from .models import Presigned
from .tokens import FixedToken, Tokens, used
from .wire import SUCCESS, Wire, encoded

__all__ = ['Connection', 'Http']

#: The versions of the API, and how they are written in an address.
VERSIONS = {'1.0': 'v1', '1.1': 'v1.1', '2.0': 'v2'}
_NAMES = {'1': '1.0', '1.0': '1.0', '1.1': '1.1', '2': '2.0', '2.0': '2.0'}
#: Any status that is no error.
_NO_ERROR = range(100, 400)
_version_in = re.compile(r'/v(\d+(?:\.\d+)?)/*$').search


class Http(str, Enum):
    """Methods of a request (RFC 9110 §9, RFC 5789)."""

    GET = 'GET'
    HEAD = 'HEAD'
    POST = 'POST'
    PUT = 'PUT'
    PATCH = 'PATCH'
    DELETE = 'DELETE'
    OPTIONS = 'OPTIONS'


class Connection:
    """Knows who asks and where, and sends the requests.

    With ``auth_url`` it gets a token from Keystone when it is made, another shortly before that one expires, and
    another when it is refused. Without, there is no authentication, and ``endpoint`` is needed.

    :param username: of the user; part of a password's proof, and of the ``repr``.
    :param apikey: another name of ``password``.
    :param password: of the user.
    :param token: of Keystone. With ``auth_url`` a token for ``tenant`` is made of it; without, it is sent as it is.
    :param application_credential: ``(id, secret)``.
    :param auth_url: where Keystone is, with or without ``/v3``.
    :param domain: of user and project: ``default``, an id, or a name.
    :param tenant: the project, by name or id; by default that of the user. Without authentication it is what is sent
        as ``X-Project-ID``.
    :param region: of the endpoint in Keystone's catalogue; the first one by default.
    :param endpoint: where Zaqar is, instead of what the catalogue says.
    :param verify: ``False`` to accept any certificate, or the path of a file of certificates to trust.
    :param version: 1, 1.1 or 2, as a number or a text, with or without ``v``; by default the newest that the server
        lists. An endpoint that ends in a version keeps it.
    :param presigned: what :meth:`Queue.share` returned, instead of an account.
    :param options: those of :class:`napixclient.rest.Client`: ``max_concurrency``, ``timeout``, ``ca_certs`` and so on.
    :raises ValueError: for arguments that make no sense, or not together.
    :raises Unauthorized: when Keystone does not accept what proves who asks.
    :raises ErrorBase: when Keystone or Zaqar fails, or the catalogue has no endpoint.
    """

    def __init__(
        self,
        username: str | None = None,
        *,
        apikey: str | None = None,
        password: str | None = None,
        token: str | None = None,
        application_credential: tuple[str, str] | None = None,
        auth_url: str | None = None,
        domain: str = 'default',
        tenant: str | int | None = None,
        region: str | None = None,
        endpoint: str | None = None,
        verify: bool | str = True,
        version: int | float | str | None = None,
        presigned: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if apikey is not None and password is not None:
            raise ValueError('apikey is another name of password: give one of them')
        if auth_url is None and endpoint is None:
            raise ValueError('auth_url or endpoint is needed: where Keystone is, or where Zaqar is')
        wanted = None if version is None else _version_of(version)
        self._options, self._verify = options, verify
        self._username = username
        self._tenant = None if tenant is None else str(tenant)
        self._presigned: Presigned | None = None
        self._authenticator: Tokens | FixedToken | None = None
        self._keystone: Wire | None = None
        self._wires: dict[bool | str, Wire] = {}
        if presigned is not None:
            if auth_url is not None or token is not None:
                raise ValueError('presigned takes the place of an account: give no auth_url and no token')
            self._presigned = Presigned(presigned)
            wanted = wanted or '2.0'  # what is signed is the path, with the only version that has this
            self._tenant = self._presigned['project']
        try:
            if auth_url is not None:
                first = self._authenticate(
                    auth_url,
                    Credential(
                        username,
                        apikey if password is None else password,
                        token,
                        application_credential,
                        domain,
                        self._tenant,
                    ),
                )
                endpoint = endpoint or _endpoint_of(first, region)
            elif token is not None:
                self._authenticator = FixedToken(token)
            assert endpoint is not None
            self._locate(endpoint, wanted)
        except BaseException:
            self.close()
            raise

    def _authenticate(self, auth_url: str, credential: Credential) -> Token:
        self._keystone = self._wire(identity_url(auth_url), None, self._verify)
        self._authenticator = Tokens(self._keystone, credential)
        token = self._authenticator.current
        self._username = self._username or token.username
        self._tenant = token.project or self._tenant
        return token

    def _wire(self, endpoint: str, authenticator: Any, verify: bool | str) -> Wire:
        trusted = {'ca_certs': verify} if isinstance(verify, str) else {'verify': bool(verify)}
        return Wire(endpoint, authenticator=authenticator, **{**self._options, **trusted})

    def _locate(self, endpoint: str, wanted: str | None) -> None:
        """Find out which version is spoken, and at what address."""
        self._root, self._version, self._prefix = endpoint.rstrip('/'), wanted or '', ''
        self._date, self._length = formatdate(usegmt=True), 0
        found = _version_in(endpoint)
        if found:
            self._version, self._prefix = _version_of(found[1]), found[0].rstrip('/')
            self._root = endpoint[: found.start()]
        self._client_id = str(uuid.uuid4())
        self._trusting(self._verify)  # refuses what is no endpoint
        if not self._version:
            self._version = self._newest()
        self._prefix = self._prefix or f'/{VERSIONS[self._version]}'

    def _newest(self) -> str:
        listed = self._send('GET', '/', success=_NO_ERROR).json
        try:
            ids = [_NAMES[one['id']] for one in listed['versions'] if one['id'] in _NAMES]
            return max(ids, key=float)
        except (KeyError, TypeError, ValueError):
            raise ErrorBase(
                'no version of the API',
                0,
                f'{self._root} lists none of {", ".join(VERSIONS)}: give version, or the endpoint of a Zaqar.',
            ) from None

    # -- what it knows ---------------------------------------------------------------------------------------------

    @property
    def tenant(self) -> str | None:
        """The id of the project; without Keystone what was given."""
        return self._tenant

    @property
    def username(self) -> str | None:
        """The name of the user."""
        return self._username

    @property
    def version(self) -> str:
        """Of the API: ``1.0``, ``1.1`` or ``2.0``."""
        return self._version

    @property
    def _current(self) -> Token | None:
        return self._authenticator.current if isinstance(self._authenticator, Tokens) else None

    @property
    def token(self) -> str | None:
        """The token as it is now; ``None`` without authentication."""
        if isinstance(self._authenticator, FixedToken):
            return self._authenticator.value
        return None if self._current is None else self._current.value

    @property
    def expires(self) -> datetime | None:
        """When the token expires, by Keystone's clock: an aware datetime; ``None`` without one of Keystone's."""
        return None if self._current is None else self._current.expires

    @property
    def host(self) -> str:
        """The address of the API: ``https://marconi.example/v1``."""
        return f'{self._root}{self._prefix}'

    @property
    def headers(self) -> Headers:
        """The fields of a request: a mapping whose ``repr`` masks the token.

        ``date`` and ``content-length`` are those of the last request.
        """
        ours = self._main._core.settings.headers
        fields = [
            ('x-auth-token', self.token),
            ('x-project-id', self._tenant),
            ('host', parse_origin(self._main._endpoint.host).authority),
            ('date', self._date),
            ('accept', ours['accept']),
            ('accept-encoding', ours['accept-encoding']),
            ('content-length', str(self._length)),
        ]
        return Headers([(name, value) for name, value in fields if value is not None])

    # -- asking ----------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str | Http,
        path: str = '',
        headers: Mapping[str, Any] | None = None,
        data: Any = None,
        verify: bool | str | None = None,
    ) -> Response:
        """Send a request, and wait for its answer.

        :param method: ``Http.GET``, or ``'GET'``.
        :param path: below :attr:`host`, with its query, quoted as it is to be sent; ``''`` is the home document.
        :param headers: fields, instead of the connection's own of these names.
        :param data: a text or bytes, by default as JSON.
        :param verify: as for the connection, for this request.
        :raises ErrorBase: for a status of 400 or above, or when there was no answer.
        """
        if data is not None and not isinstance(data, (str, bytes)):
            raise TypeError(f'data is a text or bytes, such as json.dumps(…), not {type(data).__name__}')
        method = method.value if isinstance(method, Http) else method
        path = path if path.startswith('/') else f'/{path}'
        return self._send(
            method,
            f'{self._prefix}{path}',
            data.encode() if isinstance(data, str) else data,
            fields_of(headers or ()),
            _NO_ERROR,
            verify,
        )

    def _ask(self, method: str, path: str, body: Any = None, fields: Iterable[tuple[str, str]] = ()) -> Response:
        """What the other objects ask with: below the version, and only a 2xx will do."""
        data = body if body is None or isinstance(body, bytes) else encoded(body)
        return self._send(method, f'{self._prefix}{path}', data, fields)

    def _send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        fields: Iterable[tuple[str, str]] = (),
        success: Any = SUCCESS,
        verify: bool | str | None = None,
    ) -> Response:
        wire = self._main if verify is None else self._trusting(verify)
        own = self._fields(fields)
        self._length = len(body or b'')
        taken: list[Token] = []
        reset = used.set(taken)
        try:
            return wire.ask(method, target, body, own, success)
        except Unauthorized:
            # One that comes from Keystone itself was sent with no token of ours.
            if not taken or not isinstance(self._authenticator, Tokens):
                raise
            self._authenticator.renewed(taken[-1])
            return wire.ask(method, target, body, own, success)
        finally:
            used.reset(reset)

    def _fields(self, fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        self._date = formatdate(usegmt=True)
        ours = {'Date': self._date, 'Client-ID': self._client_id}
        if self._presigned is not None:
            ours |= self._presigned.headers()
        elif self._tenant is not None:
            ours['X-Project-ID'] = self._tenant
        given = list(fields)
        named = {name.lower() for name, _ in given}
        return [*given, *((name, value) for name, value in ours.items() if name.lower() not in named)]

    @property
    def _main(self) -> Wire:
        return self._trusting(self._verify)

    def _trusting(self, verify: bool | str) -> Wire:
        wire = self._wires.get(verify)
        if wire is None:
            wire = self._wires[verify] = self._wire(self._root, self._authenticator, verify)
        return wire

    # -- ends ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is under way and close the connections. May be repeated."""
        for wire in (self._keystone, *self._wires.values()):
            if wire is not None:
                wire.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        expires = None if self.expires is None else self.expires.isoformat(timespec='milliseconds')
        return f'<MarconiConnection user:{self._username} expires:{expires}>'


def _version_of(given: Any) -> str:
    version = None if isinstance(given, bool) else _NAMES.get(str(given).lower().removeprefix('v'))
    if version is None:
        raise ValueError(f'version is 1, 1.1 or 2, not {given!r}')
    return version


def _endpoint_of(token: Token, region: str | None) -> str:
    try:
        return token.endpoint(region)
    except NoEndpoint as exc:
        raise ErrorBase('no endpoint for messaging', 0, f'{exc}.') from None
