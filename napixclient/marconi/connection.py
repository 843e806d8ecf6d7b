"""The connection to a Zaqar: who we are, where it is, and which version of its API we speak."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any

from .._http.options import SharedOptions, Simultaneous
from .._options import Unpack, lists, refuse_unknown
from ..messages import Headers
from ..rest.quoting import Fields, fields_of
from ..rest.responses import Response
from .errors import ErrorBase
from .keystone import Credential, NoEndpoint, Token, identity_url
from .models import Presigned
from .session import NO_ERROR, Session
from .tokens import FixedToken, Tokens
from .versions import version_of
from .wire import Wire

__all__ = ['Connection', 'Http']


class Http(str, Enum):
    """Methods of a request (RFC 9110 §9, RFC 5789)."""

    GET = 'GET'
    HEAD = 'HEAD'
    POST = 'POST'
    PUT = 'PUT'
    PATCH = 'PATCH'
    DELETE = 'DELETE'
    OPTIONS = 'OPTIONS'


@lists(SharedOptions)
class ConnectionOptions(SharedOptions, total=False):
    """The options of :class:`Connection`.

    :param max_concurrency: ``int``, requests in flight at most, or ``'auto'`` to learn from the answers how many the
        server can take, from 2 to 64. Default: 10.
    :param base_headers: a mapping or pairs, fields of every request. Default: ``None``.
    :param log_bodies: ``bool``, show bodies, too, where requests are logged. Default: ``False``.
    """

    max_concurrency: Simultaneous
    base_headers: Fields | None
    log_bodies: bool


@lists(ConnectionOptions)
class Connection:
    """Knows who asks and where, and sends the requests.

    With ``auth_url`` it gets a token from Keystone at once, a new one shortly before that expires, and a new one when
    Zaqar refuses it. Without ``auth_url`` there is no authentication, and ``endpoint`` is required.

    :param username: the user's name; a password needs it, and the ``repr`` shows it.
    :param apikey: another name for ``password``.
    :param password: the user's password.
    :param token: a token of Keystone's. With ``auth_url`` the connection exchanges it for one for ``tenant``; without,
        it sends the token as it is.
    :param application_credential: ``(id, secret)``.
    :param auth_url: the address of Keystone, with or without ``/v3``.
    :param domain: the domain of user and project: ``default``, an id, or a name.
    :param tenant: the project, by name or id; by default the user's. Without Keystone it is sent as ``X-Project-ID``,
        which version 2 requires.
    :param region: the region of the endpoint in Keystone's catalogue; by default that of the first endpoint.
    :param endpoint: the address of Zaqar, instead of the one in the catalogue.
    :param verify: ``False`` to accept any certificate, or the path of a file of certificates to trust.
    :param version: 1, 1.1 or 2, as a number or a text, with or without ``v``; by default the newest that the server
        lists. A version at the end of the endpoint takes precedence.
    :param presigned: what :meth:`Queue.share` returned, instead of an account.
    :param options: those of :class:`napixclient.rest.Client`, but for its ``verify``:
    :raises ValueError: for arguments that make no sense, or not together.
    :raises TypeError: for an option that there is not.
    :raises Unauthorized: when Keystone rejects the credentials.
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
        **options: Unpack[ConnectionOptions],
    ) -> None:
        refuse_unknown(Connection, options, ConnectionOptions.__optional_keys__)
        if apikey is not None and password is not None:
            raise ValueError('apikey is another name of password: give one of them')
        if auth_url is None and endpoint is None:
            raise ValueError('auth_url or endpoint is needed: where Keystone is, or where Zaqar is')
        wanted = None if version is None else version_of(version)
        access = None if presigned is None else _access_of(presigned, auth_url, token)
        self._options, self._verify = options, verify
        self._username, self._tenant = username, None if tenant is None else str(tenant)
        self._authenticator: Tokens | FixedToken | None = None
        self._wires: list[Wire] = []
        try:
            if auth_url is not None:
                secret = apikey if password is None else password
                proof = Credential(username, secret, token, application_credential, domain, self._tenant)
                endpoint = self._authenticate(auth_url, proof, endpoint, region)
            elif token is not None:
                self._authenticator = FixedToken(token)
            assert endpoint is not None
            self.session: Session = self._open_session(endpoint, wanted, access)  # what clients and queues ask with
        except BaseException:
            self.close()
            raise

    def _authenticate(self, auth_url: str, credential: Credential, endpoint: str | None, region: str | None) -> str:
        """Get the first token; the address of Zaqar."""
        keystone = _open_wire(self._wires, self._options, None, identity_url(auth_url), self._verify)
        self._authenticator = Tokens(keystone, credential)
        token = self._authenticator.current
        self._username = self._username or token.username
        self._tenant = token.project or self._tenant
        return endpoint or _endpoint_of(token, region)

    def _open_session(self, endpoint: str, version: str | None, access: Presigned | None) -> Session:
        if access is not None:
            self._tenant = access['project']
            version = version or '2.0'  # the only version that has this; its path is part of what is signed
            fields = access.headers()
        else:
            fields = {} if self._tenant is None else {'X-Project-ID': self._tenant}
        open_wire = partial(_open_wire, self._wires, self._options, self._authenticator)
        session = Session(endpoint, version, open_wire, self._verify, self._authenticator, fields)
        session.find_version()
        return session

    # -- what it knows ---------------------------------------------------------------------------------------------

    @property
    def tenant(self) -> str | None:
        """The id of the project; without Keystone the ``tenant`` that was given."""
        return self._tenant

    @property
    def username(self) -> str | None:
        """The name of the user."""
        return self._username

    @property
    def version(self) -> str:
        """The version of the API: ``1.0``, ``1.1`` or ``2.0``."""
        return self.session.version

    @property
    def token(self) -> str | None:
        """The token as it is now; ``None`` without authentication."""
        return None if self._authenticator is None else self._authenticator.value

    @property
    def expires(self) -> datetime | None:
        """When the token expires, by Keystone's clock: an aware datetime; ``None`` without one of Keystone's."""
        return None if self._authenticator is None else self._authenticator.expires

    @property
    def host(self) -> str:
        """The address of the API: ``https://marconi.example/v1``."""
        return f'{self.session.root}{self.session.prefix}'

    @property
    def headers(self) -> Headers:
        """The fields of a request: a mapping whose ``repr`` masks the token.

        ``date`` and ``content-length`` are those of the last request.
        """
        fields = [('x-auth-token', self.token), ('x-project-id', self._tenant), *self.session.headers]
        return Headers([(name, value) for name, value in fields if value is not None])

    # -- asking ----------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str | Http,
        path: str = '',
        headers: Mapping[str, object] | None = None,
        data: str | bytes | None = None,
        verify: bool | str | None = None,
    ) -> Response:
        """Send a request, and wait for its answer.

        :param method: ``Http.GET``, or ``'GET'``.
        :param path: below :attr:`host`, with its query, quoted as it is to be sent; ``''`` is the home document.
        :param headers: fields that replace the connection's own of the same names.
        :param data: the body: a text (sent as UTF-8) or bytes; its type is JSON unless ``headers`` has another.
        :param verify: as for the connection, for this request only.
        :raises ErrorBase: for a status of 400 or above, or when there was no answer.
        """
        if data is not None and not isinstance(data, (str, bytes)):
            raise TypeError(f'data is a text or bytes, such as json.dumps(…), not {type(data).__name__}')
        return self.session.send(
            method.value if isinstance(method, Http) else method,
            f'{self.session.prefix}{path if path.startswith("/") else f"/{path}"}',
            data.encode() if isinstance(data, str) else data,
            fields_of(headers or ()),
            NO_ERROR,
            verify,
        )

    # -- ends ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is under way and close the connections. May be repeated."""
        for wire in self._wires:
            wire.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        expires = None if self.expires is None else self.expires.isoformat(timespec='milliseconds')
        return f'<MarconiConnection user:{self._username} expires:{expires}>'


def _open_wire(
    opened: list[Wire],
    options: Mapping[str, Any],
    authenticator: Tokens | FixedToken | None,
    address: str,
    verify: bool | str,
) -> Wire:
    """Open a client of this address, and add it to those opened."""
    trusted = {'ca_certs': verify} if isinstance(verify, str) else {'verify': bool(verify)}
    opened.append(Wire(address, authenticator=authenticator, **{**options, **trusted}))
    return opened[-1]


def _endpoint_of(token: Token, region: str | None) -> str:
    try:
        return token.endpoint(region)
    except NoEndpoint as exc:
        raise ErrorBase('no endpoint for messaging', 0, f'{exc}.') from None


def _access_of(presigned: Mapping[str, object], auth_url: str | None, token: str | None) -> Presigned:
    if auth_url is not None or token is not None:
        raise ValueError('presigned takes the place of an account: give no auth_url and no token')
    return Presigned(presigned)
