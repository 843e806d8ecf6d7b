"""Turns a request into bytes, with what the authenticator and the cookie jar add to it.

Knows no connection.
"""

from __future__ import annotations

from collections.abc import Callable

from ..authenticators import Authenticator, checked
from ..authenticators.fetching import Way, way
from ..authenticators.fields import OneField
from ..call_context import current, current_span, prepare_fields, prepared_fields, propagated_fields
from ..errors import HTTPError
from ..masking import mask
from ..messages import Headers, Origin, Request
from .connect.dialer import Dialer
from .connect.proxies import Proxy
from .connect.proxy_signing import applied, signer_of
from .cookies import add_cookies
from .http1.writer import ForwardingWriter, RequestWriter
from .pending import NEVER, PendingResponse, Signed
from .redirecting import without_credentials
from .settings import Settings

__all__ = ['Preparer']


class Preparer:
    """Prepares the requests to one origin.

    :param authenticator: a callable ``Request -> Request``, or ``None``.
    :param forwarder: the proxy that is sent the requests themselves, if any.
    :param dialer: opens the connections of the pool.
    """

    def __init__(
        self,
        settings: Settings,
        origin: Origin,
        authenticator: Authenticator | None,
        forwarder: Proxy | None,
        dialer: Dialer,
    ) -> None:
        self._settings = settings
        self._origin = origin
        self._forwarder = forwarder
        self._way = Way(settings, dialer)
        self.authenticator = authenticator
        # Instead of calling an authenticator that adds one field to requests without fields: what writes the field.
        self._line: Callable[[Request], bytes] | None = None
        if (
            isinstance(authenticator, OneField)
            and type(authenticator).__call__ is OneField.__call__
            and not hasattr(authenticator, 'challenged')
        ):
            self._line = authenticator.line
        jar = settings.cookies
        #: Whether an authenticator has to be asked for another request, or the cookie jar for its cookies.
        self._proxy_signer = signer_of(settings, forwarder, origin)
        self.asks = (
            jar is not None or self._proxy_signer is not None or (authenticator is not None and self._line is None)
        )
        #: Whether what is asked may block, and has a greenlet for that.
        self.blocks = (
            jar is not None
            or bool(getattr(authenticator, 'blocking', True))
            or (self._proxy_signer is not None and self._proxy_signer.blocks)
        )
        self._writer = (
            RequestWriter(origin.authority, settings.default_fields)
            if forwarder is None
            else self._new_writer(settings.headers, settings.ranged)
        )
        self._foreign_writer: RequestWriter | None = None

    def _new_writer(self, headers: Headers, ranged: Headers) -> RequestWriter:
        if self._forwarder is None:
            return RequestWriter(self._origin.authority, headers, ranged)
        return ForwardingWriter(self._origin, headers, self._forwarder.fields, ranged)

    # -- what is asked ---------------------------------------------------------------------------------------------

    def sign(self, pending: PendingResponse) -> Request | HTTPError:
        """The request as the authenticator and the cookie jar leave it; the outcome, where one of them raises.

        :raises KeyboardInterrupt, SystemExit: which are the program's business; the error is then their cause.
        """
        request, asked = pending.current, 'authenticator'
        try:
            assert pending.context is not None
            # A copy: a hook of the same request may be blocked in the context itself.
            request = pending.context.copy().run(self._authenticated, pending)
            asked = 'cookie jar'
            if self._settings.cookies is not None:
                request = add_cookies(self._settings.cookies, request)
        except BaseException as exc:  # a gevent.Timeout of its own, too: the slot must come back
            error = HTTPError(
                f'the {asked} failed: {type(exc).__name__}: {mask(str(exc))}', request=request, phase='authenticate'
            )
            error.__cause__ = exc
            return error
        return request

    def _authenticated(self, pending: PendingResponse) -> Request:
        """The request with what proves who asks: what answers a challenge, where there was one in this attempt."""
        attempt, signed = pending.attempts + 1, pending.signed
        if signed is None or signed.attempt != attempt or not signed.answered:
            signed = pending.signed = Signed(attempt, self._signed(pending), self._way)
        request, signer = signed.request, self._proxy_signer
        if signer is None:
            return request
        if signed.proxied is None:
            signed.proxied = signer.sign(request)
        return applied(request, signed.proxied)

    def _signed(self, pending: PendingResponse) -> Request:
        """What the authenticator makes of the request."""
        way.set(self._way)  # in a copy of the context
        request = pending.current
        foreign = pending.redirect is not None and pending.redirect.foreign
        if self.authenticator is None or self._line is not None or foreign:
            return request
        return checked(self.authenticator(request)) or request

    # -- bytes -----------------------------------------------------------------------------------------------------

    def write(self, pending: PendingResponse, request: Request) -> bytes:
        """The bytes of this attempt: the head, and with it the body where that is bytes and small.

        :param request: what is to be sent, as ``sign`` left it where somebody has to be asked.
        """
        writer, line = self._writer, self._line
        redirect = pending.redirect
        if redirect is not None and redirect.foreign:
            writer, line = self._writer_for_foreigners(), None
        if pending.context is None and pending.attempts == 1 and pending.deadline == NEVER:
            try:
                propagated = prepared_fields.pop()
            except IndexError:
                propagated = prepare_fields()
            pending.propagated = propagated
        else:
            propagated = _propagate(pending)
        if line is None:
            return writer.write(request, b'', propagated)
        if request.headers.block:  # perhaps with a field of that name
            assert self.authenticator is not None
            return writer.write(self.authenticator(request) or request, b'', propagated)
        return writer.write(request, line(request), propagated)

    def _writer_for_foreigners(self) -> RequestWriter:
        """For requests that a redirect of another origin has sent here: credentials do not follow (RFC 9110 §15.4)."""
        if self._foreign_writer is None:
            self._foreign_writer = self._new_writer(
                without_credentials(self._settings.headers), without_credentials(self._settings.ranged)
            )
        return self._foreign_writer


def _propagate(pending: PendingResponse) -> str:
    """The fields of the call context that go with this attempt."""
    context = pending.context
    call_context, span = (None, None) if context is None else (context.get(current), context.get(current_span))
    pending.propagated = propagated_fields(call_context, pending.propagated, pending.deadline, span)
    return pending.propagated
