"""The options of ``Client`` and ``ClientPool``, checked once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from http.cookiejar import CookieJar
from typing import Any, NamedTuple, TypeVar

from gevent import ssl
from urllib3 import Retry
from urllib3 import Timeout as Timeouts

from .._options import refuse_unknown
from .._version import __version__
from ..checks import is_number, is_whole, true_or_false, whole_number
from ..errors import HTTPError
from ..masking import hide, hide_fields
from ..messages import Headers, Origin, Request, Response, retry_of
from ..secret_names import add_secret_names
from .connect.proxies import NoProxy, Proxy, proxy_of
from .decoding import ACCEPT_ENCODING
from .options import Options, Resolver
from .pending import NEVER

__all__ = ['Clocks', 'Settings']

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
IDLE_SECONDS = 30.0
MAX_BODY = 64 * 2**20
#: A rate that is no bound on any machine.
_FASTEST = 1e9
_T = TypeVar('_T')


class Clocks(NamedTuple):
    """Seconds to connect, between two reads, and in all; ``NEVER`` is no bound."""

    connect: float
    read: float
    total: float


class Settings:
    """What :class:`Options` say, checked once.

    :raises ValueError: for a value that makes no sense.
    """

    def __init__(
        self,
        *,
        max_connections: int | None = None,
        timeout: float | Timeouts | None = None,
        retries: Retry | int | bool | None = None,
        retry_budget: tuple[float, float] | None = (0.2, 10),
        max_body: int | None = None,
        decode: bool = True,
        headers: Mapping[str, object] | None = None,
        verify: bool = True,
        ca_certs: str | None = None,
        cert: str | tuple[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        assert_hostname: str | bool | None = None,
        assert_fingerprint: str | None = None,
        server_hostname: str | None = None,
        ssl_minimum_version: ssl.TLSVersion | None = None,
        proxy: str | None = None,
        no_proxy: str | Iterable[str] | None = None,
        resolver: Resolver | None = None,
        redirect: bool = False,
        cookies: CookieJar | None = None,
        rate: float | None = None,
        on_request: Callable[[Request], object] | None = None,
        on_response: Callable[[Response], object] | None = None,
        on_error: Callable[[HTTPError], object] | None = None,
        idle_seconds: float = IDLE_SECONDS,
        max_idle: int | None = None,
        max_header_bytes: int = 65536,
        max_header_fields: int = 256,
        secret_names: Iterable[str] = (),
    ) -> None:
        add_secret_names(secret_names)  # before anything may be told
        # A request that carries all defaults is what checks those that requests can set as well.
        Request('host', 'GET', '/', timeout=timeout, max_body=max_body)
        self.max_connections: int | None = (
            None if max_connections is None else whole_number(max_connections, 'max_connections')
        )
        self.clocks: Clocks = Clocks(CONNECT_TIMEOUT, READ_TIMEOUT, NEVER)
        if timeout is not None:
            self.clocks = self.clocks_of(timeout)
        self.retries: Retry | None = retry_of(retries)
        self.retry_budget: tuple[float, float] | None = _budget(retry_budget)
        self.max_body = max_body
        self.decode: bool = true_or_false(decode, 'decode')
        #: The fields of a request of a range. A range is one of the coded bytes (RFC 9110 §14.1.2), so no coding is
        #: wanted; without the field any would be acceptable (§12.5.3).
        self.ranged: Headers = self._headers(headers, 'identity')
        #: Those of any other.
        self.headers: Headers = self.ranged if 'range' in self.ranged else self._headers(headers, ACCEPT_ENCODING)
        if assert_hostname is not False:
            _text(assert_hostname, 'assert_hostname')
        self.assert_hostname = assert_hostname
        self.assert_fingerprint: str | None = _fingerprint(assert_fingerprint)
        self.server_hostname: str | None = _text(server_hostname, 'server_hostname')
        self._proxy = proxy_of(proxy)
        hide_fields(self, self.headers.multi_items())
        if self._proxy is not None:
            hide_fields(self, self._proxy.fields.multi_items())
            if self._proxy.credentials is not None:
                hide(self, self._proxy.credentials[1])
        self._no_proxy = NoProxy(no_proxy)
        self.resolver: Resolver | None = _callable(resolver, 'resolver')
        self.redirect: bool = true_or_false(redirect, 'redirect')
        if cookies is not None and not isinstance(cookies, CookieJar):
            raise ValueError(f'cookies is an http.cookiejar.CookieJar, not {cookies!r}')
        self.cookies = cookies
        self.rate: float | None = _rate(rate)
        self.on_request: Callable[[Request], object] | None = _callable(on_request, 'on_request')
        self.on_response: Callable[[Response], object] | None = _callable(on_response, 'on_response')
        self.on_error: Callable[[HTTPError], object] | None = _callable(on_error, 'on_error')
        self.idle_seconds: float = _idle_seconds(idle_seconds)
        if max_idle is not None and (not is_whole(max_idle) or max_idle < 0):
            raise ValueError(f'max_idle is a number of connections, not {max_idle!r}')
        self.max_idle = max_idle
        self.max_header_bytes: int = whole_number(max_header_bytes, 'max_header_bytes')
        self.max_header_fields: int = whole_number(max_header_fields, 'max_header_fields')
        if not isinstance(verify, bool):
            raise ValueError(f'verify is True or False, not {verify!r}; a file of certificates goes to ca_certs')
        self.verify = verify
        self._given_context = ssl_context
        self._ca_certs = ca_certs
        self._cert = cert
        if ssl_minimum_version is not None and not isinstance(ssl_minimum_version, ssl.TLSVersion):
            raise ValueError(f'ssl_minimum_version is a member of ssl.TLSVersion, not {ssl_minimum_version!r}')
        self._minimum_version = ssl_minimum_version
        self._context: ssl.SSLContext | None = None
        if ssl_context is not None:
            if not isinstance(ssl_context, ssl.SSLContext):
                raise ValueError(
                    'ssl_context is a gevent.ssl.SSLContext: that of the standard library would block '
                    'every other greenlet during its handshake'
                )
            if ca_certs is not None or cert is not None or not verify or ssl_minimum_version is not None:
                raise ValueError(
                    'ssl_context excludes verify, ca_certs, cert and ssl_minimum_version: set them on the context'
                )
        elif ca_certs is not None or cert is not None or ssl_minimum_version is not None:
            self.ssl_context()  # now, so that a file that cannot be read is told where it was named

    @classmethod
    def of(cls, taker: Callable[..., object], options: Options) -> Settings:
        """Those that a public class was given by keyword.

        :raises TypeError: for an option that there is not.
        """
        refuse_unknown(taker, options, Options.__optional_keys__)
        return cls(**options)

    def ssl_context(self) -> ssl.SSLContext:
        """The one context of this configuration, made on first use: reading the system's certificates takes 20 ms.

        :raises ValueError: when a file of certificates cannot be read.
        """
        if self._given_context is not None:
            return self._given_context
        if self._context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = self._minimum_version or ssl.TLSVersion.TLSv1_2
            context.post_handshake_auth = True  # a server may ask for a certificate later (RFC 8446 §4.6.2)
            if not self.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            try:
                if self._ca_certs is not None:
                    context.load_verify_locations(self._ca_certs)
                elif self.verify:
                    context.load_default_certs()
                if self._cert is not None:
                    files = (self._cert, None) if isinstance(self._cert, str) else tuple(self._cert)
                    if len(files) != 2:
                        raise TypeError('cert is the path of a file, or a pair of them')
                    context.load_cert_chain(files[0], files[1], _refuse_encrypted)
            except (OSError, ssl.SSLError, TypeError) as exc:
                raise ValueError(
                    f'cannot load the certificates of ca_certs={self._ca_certs!r}, cert={self._cert!r}: {exc}'
                ) from exc
            self._context = context
        return self._context

    def proxy_for(self, origin: Origin) -> Proxy | None:
        """The proxy through which the origin is reached, if any."""
        return None if self._proxy is None or self._no_proxy.covers(origin) else self._proxy

    def clocks_of(self, timeout: float | Timeouts) -> Clocks:
        """Read a request's ``timeout``; what it leaves open is the default."""
        connect, read, _ = self.clocks
        if not isinstance(timeout, Timeouts):
            return Clocks(connect, read, timeout)
        return Clocks(
            _seconds(timeout._connect, connect), _seconds(timeout._read, read), _seconds(timeout.total, NEVER)
        )

    @staticmethod
    def _headers(given: Mapping[str, object] | None, codings: str) -> Headers:
        if given is not None and not isinstance(given, Mapping):
            raise ValueError(f'headers is a mapping of names to values, not {type(given).__name__}')
        fields = dict(Headers(given or {}).multi_items())
        Request('host', 'GET', '/', headers=fields)  # refuses those that frame a message
        own = {name.lower() for name in fields}
        if 'content-length' in own:
            raise ValueError('headers: Content-Length follows from the body of each request; leave it out')
        defaults = {
            'User-Agent': f'napixclient/{__version__}',
            'Accept': 'application/json',
            'Accept-Encoding': codings,
        }
        return Headers({**{name: value for name, value in defaults.items() if name.lower() not in own}, **fields})


def _seconds(value: Any, default: float) -> float:
    """One member of a ``urllib3.Timeout``: a number, ``None`` for no bound, or its mark for "not given"."""
    if value is Timeouts.DEFAULT_TIMEOUT:
        return default
    return NEVER if value is None else float(value)


def _refuse_encrypted() -> str:
    """OpenSSL would ask for the password on the terminal, and every greenlet would wait for it."""
    raise ValueError('cert: its key is encrypted; there is no way to give its password, but ssl_context')


def _rate(value: Any) -> float | None:
    if value is None:
        return None
    if not is_number(value) or not 0 < value <= _FASTEST:
        raise ValueError(f'rate is a number of requests a second, above 0, not {value!r}')
    return float(value)


def _idle_seconds(value: Any) -> float:
    if not is_number(value) or not value > 0:
        raise ValueError(f'idle_seconds is a number of seconds above 0, not {value!r}')
    return float(value)


def _text(value: Any, name: str) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError(f'{name} is a text that is not empty, not {value!r}')
    return value


def _fingerprint(value: Any) -> str | None:
    digits = _text(value, 'assert_fingerprint')
    if digits is not None and not re.fullmatch(
        r'(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})', digits.replace(':', '').lower()
    ):
        raise ValueError(f'assert_fingerprint is a digest in hex (SHA-256: 64 digits), not {value!r}')
    return digits


def _budget(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        share, rate = (float(part) for part in value)
    except (TypeError, ValueError):
        share = rate = -1
    if not (share >= 0 and rate >= 0):
        raise ValueError(f'retry_budget is (share of the requests, retries a second), not {value!r}')
    return share, rate


def _callable(value: _T, name: str) -> _T:
    if value is not None and not callable(value):
        raise ValueError(f'{name} is called, so it must be callable, not {value!r}')
    return value
