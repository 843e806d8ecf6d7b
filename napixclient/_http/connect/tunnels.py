"""Tunnels through an HTTP proxy (RFC 9110 §9.3.6), which may ask first who wants one. In a greenlet."""

from __future__ import annotations

from collections.abc import Callable

from gevent import socket

from ...authenticators.challenges import is_stale
from ...errors import HTTPError, ProxyError
from ...masking import mask
from ...messages import Origin, Request
from ..http1.parser import ResponseParser
from .proxies import Proxy
from .proxy_handshakes import TunnelRefusal, ask_tunnel
from .proxy_signing import ProxySigner, proof_of, tunnel_to

__all__ = ['Reconnect', 'Tunnel']

#: Answers to the challenges of a proxy, for one tunnel.
_MOST_ANSWERS = 2


class Reconnect(Exception):
    """The proxy has closed its connection behind a challenge: the answer goes over another one."""


class Tunnel:
    """One tunnel that is asked for.

    :param signer: proves to the proxy who asks, if anything does.
    :param new_parser: makes what reads one answer of the proxy.
    """

    def __init__(
        self, proxy: Proxy, origin: Origin, signer: ProxySigner | None, new_parser: Callable[[], ResponseParser]
    ) -> None:
        self._proxy = proxy
        self._signer = signer
        self._new_parser = new_parser
        self._told = tunnel_to(proxy, origin)
        if signer is not None:
            self._told = _asked(lambda: signer.signed(self._told)) or self._told
        self._answered = 0

    def ask(self, sock: socket.socket, request: Request | None, seconds: float) -> None:
        """Ask for it over a connection to the proxy.

        :param request: what the tunnel is for.
        :param seconds: for the body of a refusal.
        :raises ProxyError: when the proxy refuses.
        :raises Reconnect: when the answer to its challenge has to go over another connection.
        :raises OSError: when the connection breaks.
        """
        is_used = False
        while True:
            fields = self._proxy.fields.block or proof_of(self._told)
            try:
                refusal = ask_tunnel(sock, self._proxy, self._told, fields, self._new_parser(), request, seconds)
            except (OSError, ProxyError):
                if is_used:  # most likely it was closed behind the challenge, without an announcement
                    raise Reconnect from None
                raise
            if refusal is None:
                return
            answer = self._answer(refusal)
            if answer is None:
                raise refusal.error
            self._told = answer
            self._answered += 1
            if not refusal.is_kept:
                raise Reconnect
            is_used = True

    def _answer(self, refusal: TunnelRefusal) -> Request | None:
        """What answers a challenge, where it is one: a second one only where all was right but the nonce."""
        signer, response = self._signer, refusal.response
        if signer is None or response.status != 407 or self._answered >= _MOST_ANSWERS:
            return None
        if self._answered and not is_stale(response.headers.getlist('proxy-authenticate')):
            return None
        return _asked(lambda: signer.challenged(self._told, response))


def _asked(step: Callable[[], Request | None]) -> Request | None:
    """What the authenticator returns.

    :raises HTTPError: where it raises.
    """
    try:
        return step()
    except Exception as exc:
        raise HTTPError(
            f'the authenticator failed: {type(exc).__name__}: {mask(str(exc))}', phase='authenticate'
        ) from exc
