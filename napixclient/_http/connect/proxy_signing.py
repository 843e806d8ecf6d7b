"""Proves to an HTTP proxy who asks, with an authenticator that may be made for servers. Without I/O of its own."""

from __future__ import annotations

from collections.abc import Callable

from ...authenticators import Authenticator, checked
from ...authenticators.fetching import Way, way
from ...messages import Headers, Origin, Request, Response, plain_request
from ..settings import Settings
from .proxies import Proxy, bracketed

__all__ = ['ProxySigner', 'applied', 'proof_of', 'signer_of', 'tunnel_to']


class ProxySigner:
    """Asks the authenticator of a proxy about the requests to one origin.

    It is asked about a request to the proxy itself, with the target that the proxy is sent: in absolute form, or that
    of CONNECT. What it adds as ``Authorization`` is sent as ``Proxy-Authorization`` (RFC 9110 §11.7.2).
    """

    def __init__(self, authenticator: Authenticator, settings: Settings, proxy: Proxy, origin: Origin) -> None:
        self._authenticator = authenticator
        self._challenged: Callable[[Request, Response], object] | None = getattr(authenticator, 'challenged', None)
        self._informed: Callable[[Request, Response], object] | None = getattr(authenticator, 'informed', None)
        self._way = Way(settings, None)
        self._proxy = str(proxy)
        self._origin = origin
        #: Whether it may block.
        self.blocks = bool(getattr(authenticator, 'blocking', True))

    @property
    def answers(self) -> bool:
        """Whether it answers challenges."""
        return self._challenged is not None

    @property
    def informs(self) -> bool:
        """Whether it wants to be told of answers with ``Proxy-Authentication-Info``."""
        return self._informed is not None

    def sign(self, request: Request) -> Request:
        """What the proxy is told of a request that it forwards."""
        target = str(self._origin) if request.url == '*' else f'{self._origin}{request.url}'
        return self.signed(request.as_told(self._proxy, request.method, target))

    def signed(self, told: Request) -> Request:
        """What the proxy is told, with what proves who asks."""
        return self._asked(lambda: self._authenticator(told)) or told

    def challenged(self, told: Request, response: Response) -> Request | None:
        """What answers the challenge of the proxy, if anything."""
        challenged = self._challenged
        return None if challenged is None else self._asked(lambda: challenged(told, response))

    def _asked(self, ask: Callable[[], object]) -> Request | None:
        before = way.set(self._way)
        try:
            return checked(ask())
        finally:
            way.reset(before)

    def inform(self, told: Request, response: Response) -> None:
        """Tell of an answer with ``Proxy-Authentication-Info``."""
        if self._informed is not None:
            self._informed(told, response)


def tunnel_to(proxy: Proxy, origin: Origin) -> Request:
    """What the proxy is told of a tunnel to the origin."""
    target = f'{bracketed(origin.host)}:{origin.port}'
    return plain_request(str(proxy), 'GET', '/', None, None).as_told(str(proxy), 'CONNECT', target)


def applied(request: Request, told: Request) -> Request:
    """The request that is sent with what the proxy is told of it."""
    if told.options.expect and not request.options.expect:
        request = request.held_back()
    proof = proof_of(told)
    return request.with_line(b'proxy-authorization', proof) if proof else request


def proof_of(told: Request) -> bytes:
    """The field that goes to the proxy, as it is written; empty where there is none."""
    headers = told.headers
    proof = headers.get('proxy-authorization') or headers.get('authorization')
    return Headers({'Proxy-Authorization': proof}).block if proof else b''


def signer_of(settings: Settings, proxy: Proxy | None, origin: Origin) -> ProxySigner | None:
    """What proves to a proxy who asks, where there are a proxy and its authenticator."""
    authenticator = settings.proxy_auth
    return None if authenticator is None or proxy is None else ProxySigner(authenticator, settings, proxy, origin)
