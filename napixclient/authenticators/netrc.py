"""User names and passwords from a file in the format of ``.netrc``."""

from __future__ import annotations

import os
from netrc import NetrcParseError
from netrc import netrc as read_netrc

from ..masking import mask
from ..messages import Request, parse_origin
from .fields import BasicAuth

__all__ = ['NetrcAuth']


class NetrcAuth:
    """``Authorization: Basic …`` for the hosts that a ``.netrc`` file has an entry for, or a ``default``.

    The file is read once, when this is made. A request with an ``Authorization`` of its own keeps that. Other hosts
    are sent nothing, and so is another origin that a redirect leads to. No environment variable names another file.

    :param path: of the file. Default: ``~/.netrc``, which need not be there.
    :raises ValueError: if the file cannot be read or makes no sense. As Python's ``netrc``, it refuses a ``~/.netrc``
        with passwords that others may read.
    """

    blocking = False

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path: str = os.path.expanduser('~/.netrc') if path is None else os.fspath(path)
        self._default: BasicAuth | None = None
        self._by_host: dict[str, BasicAuth] = {}
        try:
            # Without a name Python's own looks where we do, and checks who may read the file.
            entries = read_netrc(None if path is None else self.path).hosts
        except FileNotFoundError as exc:
            if path is not None:
                raise ValueError(f'cannot read {self.path}: {exc.strerror}') from exc
            return
        except (OSError, UnicodeDecodeError) as exc:
            raise ValueError(
                f'cannot read {self.path}: {getattr(exc, "strerror", None) or type(exc).__name__}'
            ) from exc
        except NetrcParseError as exc:
            # What it says of a line quotes that; what it says of who may read the file begins so.
            said = exc.msg if exc.msg.startswith('~/.netrc ') else f'line {exc.lineno} makes no sense as .netrc'
            raise ValueError(f'{self.path}: {said}') from None
        for host, (login, _, password) in entries.items():
            if login or password:
                self._add(host, login or '', password or '')

    def _add(self, host: str, login: str, password: str) -> None:
        try:
            signer = BasicAuth(login, password)
        except ValueError as exc:
            raise ValueError(f'{self.path}: the entry of {host}: {exc}') from None
        if host == 'default':
            self._default = signer
        else:
            self._by_host[host.lower()] = signer

    def __call__(self, request: Request) -> Request:
        """Return the request with the password for its host, where there is one and the request brings none itself."""
        signer = self._by_host.get(parse_origin(request.host).host, self._default)
        return request if signer is None or 'authorization' in request.headers else signer(request)

    def __repr__(self) -> str:
        return mask(f'NetrcAuth({self.path!r})')
