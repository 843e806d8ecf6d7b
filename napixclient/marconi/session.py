"""Sends requests to one Zaqar for a connection: adds the fields that say who asks, and renews a refused token."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate

from ..rest.client import Success
from ..rest.responses import Response
from .errors import ErrorBase, Unauthorized
from .keystone import Token
from .tokens import FixedToken, Tokens, used
from .versions import SEGMENTS, locate, newest
from .wire import SUCCESS, Wire

__all__ = ['NO_ERROR', 'Session']

#: Any status that is no error.
NO_ERROR = range(100, 400)


class Session:
    """The requests of one connection: where they go, and as whom.

    :param endpoint: the address of Zaqar, with or without a version of the API.
    :param version: the version to speak if the endpoint names none; ``None`` until :meth:`find_version` asks.
    :param open_wire: opens a client of an address; called with the address and with ``verify``.
    :param verify: how certificates are checked unless a request says otherwise.
    :param fields: the fields that say who asks, apart from the token.
    """

    root: str
    prefix: str

    def __init__(
        self,
        endpoint: str,
        version: str | None,
        open_wire: Callable[[str, bool | str], Wire],
        verify: bool | str,
        authenticator: Tokens | FixedToken | None,
        fields: Mapping[str, str],
    ) -> None:
        self.root, self.prefix, found = locate(endpoint)
        self.version: str = found or version or ''
        self._open_wire, self._verify = open_wire, verify
        self._authenticator, self._who = authenticator, fields
        self._client_id = str(uuid.uuid4())
        self._date, self._length = formatdate(usegmt=True), 0
        self._wires: dict[bool | str, Wire] = {}
        self._trusting(verify)  # refuses what is no endpoint

    def find_version(self) -> None:
        """Choose the newest version that the server lists, unless the version is known.

        :raises ErrorBase: when the server fails, or lists no version that is spoken here.
        """
        if not self.version:
            listed = self.send('GET', '/', success=NO_ERROR).json
            try:
                self.version = newest([each['id'] for each in listed['versions']])
            except (KeyError, TypeError, ValueError):
                raise ErrorBase(
                    'no version of the API',
                    0,
                    f'{self.root} lists none of {", ".join(SEGMENTS)}: give version, or the endpoint of a Zaqar.',
                ) from None
        self.prefix = self.prefix or f'/{SEGMENTS[self.version]}'

    @property
    def headers(self) -> list[tuple[str, str | None]]:
        """The fields of a request that do not say who asks; date and length are those of the last request."""
        wire = self._trusting(self._verify)
        return [
            ('host', wire.authority),
            ('date', self._date),
            *((name, wire.fields[name]) for name in ('accept', 'accept-encoding')),
            ('content-length', str(self._length)),
        ]

    def send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        fields: Iterable[tuple[str, str]] = (),
        success: Success = SUCCESS,
        verify: bool | str | None = None,
    ) -> Response:
        """Send a request, and wait for its answer; if the server refuses a token of Keystone's, send it with another.

        :param target: path and query below the root, quoted.
        :raises ErrorBase: for a status that is no success, or when there was no answer.
        """
        wire = self._trusting(self._verify if verify is None else verify)
        own = self._fields(fields)
        self._length = len(body or b'')
        taken: list[Token] = []
        reset = used.set(taken)
        try:
            return wire.ask(method, target, body, own, success)
        except Unauthorized:
            # Keystone's own refusal carried no token of ours.
            if not taken or not isinstance(self._authenticator, Tokens):
                raise
            self._authenticator.renewed(taken[-1])
            return wire.ask(method, target, body, own, success)
        finally:
            used.reset(reset)

    def _fields(self, fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        self._date = formatdate(usegmt=True)
        ours = {'Date': self._date, 'Client-ID': self._client_id, **self._who}
        given = list(fields)
        named = {name.lower() for name, _ in given}
        return [*given, *((name, value) for name, value in ours.items() if name.lower() not in named)]

    def _trusting(self, verify: bool | str) -> Wire:
        wire = self._wires.get(verify)
        if wire is None:
            wire = self._wires[verify] = self._open_wire(self.root, verify)
        return wire
