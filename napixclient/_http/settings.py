"""The options of ``Client`` and ``ClientPool``: their defaults, and how they are checked, once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from http.cookiejar import CookieJar
from typing import Any, Literal, NamedTuple, TypeVar

from gevent import ssl
from urllib3 import Retry
from urllib3 import Timeout as Timeouts

from .._options import refuse_unknown
from .._version import __version__
from ..authenticators import Authenticator, authenticator_of
from ..checks import decider, is_number, is_whole, true_or_false, whole_number
from ..errors import HTTPError
from ..masking import hide, hide_fields
from ..messages import Headers, Origin, Request, Response, retry_of
from ..secret_names import add_secret_names
from .connect.local_end import LocalEnd
from .connect.proxies import NoProxy, Proxy, proxy_of
from .decoding import ACCEPT_ENCODING
from .http1.writer import DefaultFields
from .options import Options, Resolver, RetryOn
from .pending import NEVER
from .redirecting import MAX_REDIRECTS
from .tls_context import TLSContext

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
        retry_on: RetryOn | None = None,
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
        proxy_auth: Authenticator | None = None,
        no_proxy: str | Iterable[str] | None = None,
        source_address: str | tuple[str, int] | None = None,
        local_port_range: tuple[int, int] | None = None,
        socket_options: Sequence[tuple[int, int, int | bytes]] | None = None,
        resolver: Resolver | None = None,
        redirect: bool = False,
        max_redirects: int = MAX_REDIRECTS,
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
        add_secret_names(secret_names)  # before anything may be shown
        # A request that carries all defaults is what checks those that requests can set as well.
        Request('host', 'GET', '/', timeout=timeout, max_body=max_body)
        self.max_connections: int | None = (
            None if max_connections is None else whole_number(max_connections, 'max_connections')
        )
        self.clocks: Clocks = Clocks(CONNECT_TIMEOUT, READ_TIMEOUT, NEVER)
        if timeout is not None:
            self.clocks = self.clocks_of(timeout)
        self.retries: Retry | None = retry_of(retries)
        self.retry_on: RetryOn | None = decider(retry_on, 'retry_on')
        self.retry_budget: tuple[float, float] | None = _budget(retry_budget)
        self.max_body = max_body
        self.decode: bool = true_or_false(decode, 'decode')
        #: The fields of a request of a range. A range is one of the coded bytes (RFC 9110 §14.1.2), so no coding is
        #: wanted; without the field any would be acceptable (§12.5.3).
        self.ranged: Headers = self._headers(headers, 'identity')
        #: Those of any other.
        self.headers: Headers = self.ranged if 'range' in self.ranged else self._headers(headers, ACCEPT_ENCODING)
        #: Both, as they are written.
        self.default_fields: DefaultFields = DefaultFields(self.headers, self.ranged)
        self.assert_hostname: str | Literal[False] | None = (
            False if assert_hostname is False else _text(assert_hostname, 'assert_hostname')
        )
        self.assert_fingerprint: str | None = _fingerprint(assert_fingerprint)
        self.server_hostname: str | None = _text(server_hostname, 'server_hostname')
        self._proxy = proxy_of(proxy)
        self.proxy_auth: Authenticator | None = _proxy_auth(proxy_auth, self._proxy)
        self._hide_secrets()
        self.no_proxy: NoProxy = NoProxy(no_proxy)
        self.local_end: LocalEnd = LocalEnd(source_address, local_port_range, socket_options)
        self.resolver: Resolver | None = _callable(resolver, 'resolver')
        self.redirect: bool = true_or_false(redirect, 'redirect')
        self.max_redirects: int = whole_number(max_redirects, 'max_redirects', least=0)
        self.cookies: CookieJar | None = _jar(cookies)
        self.rate: float | None = _rate(rate)
        self.on_request: Callable[[Request], object] | None = _callable(on_request, 'on_request')
        self.on_response: Callable[[Response], object] | None = _callable(on_response, 'on_response')
        self.on_error: Callable[[HTTPError], object] | None = _callable(on_error, 'on_error')
        self.idle_seconds: float = _idle_seconds(idle_seconds)
        self.max_idle: int | None = _max_idle(max_idle)
        self.max_header_bytes: int = whole_number(max_header_bytes, 'max_header_bytes')
        self.max_header_fields: int = whole_number(max_header_fields, 'max_header_fields')
        self.verify = verify
        self._tls = TLSContext(verify, ssl_context, ca_certs, cert, ssl_minimum_version)

    @classmethod
    def of(cls, taker: Callable[..., object], options: Options) -> Settings:
        """Those that a public class was given by keyword.

        :raises TypeError: for an option that there is not.
        """
        refuse_unknown(taker, options, Options.__optional_keys__)
        return cls(**options)

    def for_fetching(self, straight: bool = False) -> Settings:
        """Those of what an authenticator asks by itself: how to connect, and nothing that is about the requests.

        :param straight: without the proxy, for the authenticator of which it is.
        """
        own = copy(self)
        own.headers = own.ranged = self._headers(None, 'identity')
        own.default_fields = DefaultFields(own.headers)
        own.retries = own.cookies = own.rate = own.on_request = own.on_response = own.on_error = None
        own.redirect, own.decode = False, True
        own.max_connections = own.max_body = own.max_idle = None
        if straight:
            own.no_proxy = NoProxy('*')
        return own

    def _hide_secrets(self) -> None:
        """Have no text show them for as long as these settings are in use."""
        hide_fields(self, self.headers.multi_items())
        if self._proxy is not None:
            hide_fields(self, self._proxy.fields.multi_items())
            if self._proxy.credentials is not None:
                hide(self, self._proxy.credentials[1])

    def ssl_context(self) -> ssl.SSLContext:
        """The one context of this configuration, made on first use.

        :raises ValueError: when a file of certificates cannot be read.
        """
        return self._tls.get()

    def proxy_for(self, origin: Origin) -> Proxy | None:
        """The proxy through which the origin is reached, if any."""
        if self._proxy is None or origin.socket_path is not None or self.no_proxy.covers(origin):
            return None
        return self._proxy

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


def _max_idle(value: Any) -> int | None:
    if value is None:
        return None
    if not is_whole(value) or value < 0:
        raise ValueError(f'max_idle is a number of connections, not {value!r}')
    return value


def _jar(value: Any) -> CookieJar | None:
    if value is not None and not isinstance(value, CookieJar):
        raise ValueError(f'cookies is an http.cookiejar.CookieJar, not {value!r}')
    return value


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


def _proxy_auth(given: Any, proxy: Proxy | None) -> Authenticator | None:
    """The authenticator of the proxy.

    :raises ValueError: for what is none, and beside a proxy that has no use for it.
    """
    if isinstance(given, (str, tuple, Mapping)):
        raise ValueError(
            'proxy_auth is an authenticator such as Digest or BasicAuth; user and password of Basic may also go into '
            "the URL of the proxy: proxy='http://user:password@proxy.example:3128'"
        )
    authenticator = authenticator_of(given)
    if authenticator is not None and proxy is not None:
        if proxy.speaks_socks:
            raise ValueError('proxy_auth is for HTTP proxies; that of SOCKS has user and password in its URL')
        if proxy.credentials is not None:
            raise ValueError('proxy_auth and a user in the URL of the proxy exclude each other')
    return authenticator


def _callable(value: _T, name: str) -> _T:
    if value is not None and not callable(value):
        raise ValueError(f'{name} is called, so it must be callable, not {value!r}')
    return value
