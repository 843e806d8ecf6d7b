"""Who is asked about a challenge (RFC 9110 §11.4), how often, and what comes of it. Without I/O of its own."""

from __future__ import annotations

from collections.abc import Callable

from ..authenticators import Authenticator, checked
from ..authenticators.challenges import is_stale
from ..authenticators.fetching import way
from ..messages import Origin, Request, Response, parse_origin
from .connect.proxies import Proxy
from .connect.proxy_signing import ProxySigner
from .pending import PendingResponse

__all__ = ['Challenges']

Challenged = Callable[[Request, Response], object]
#: Answers of one attempt to one of those who challenge.
_MOST_ANSWERS = 2


class Challenges:
    """Has the authenticators of the requests to one origin answer challenges.

    :param authenticator: of the origin.
    :param forwarder: the proxy that is sent the requests themselves, if any.
    :param proxy_signer: proves to that proxy who asks.
    """

    def __init__(
        self,
        origin: Origin,
        authenticator: Authenticator | None,
        forwarder: Proxy | None,
        proxy_signer: ProxySigner | None,
    ) -> None:
        self._origin = origin
        self._challenged: Challenged | None = getattr(authenticator, 'challenged', None)
        self._informed: Challenged | None = getattr(authenticator, 'informed', None)
        self._is_forwarded = forwarder is not None
        self._proxy_signer = proxy_signer
        #: Whether anybody answers challenges.
        self.asks: bool = self._challenged is not None or (proxy_signer is not None and proxy_signer.answers)
        #: Whether anybody is told of answers with ``Authentication-Info``.
        self.informs: bool = self._informed is not None or (proxy_signer is not None and proxy_signer.informs)

    def is_challenge(self, pending: PendingResponse, response: Response) -> bool:
        """Whether somebody is to be asked about an answer.

        One 401 and one 407 of each attempt are answered, and one more of each that says ``stale=true``. Behind a
        redirect to another origin no server is told anything.
        """
        status, signed = response.status, pending.signed
        if signed is None or status not in (401, 407):
            return False
        if status == 407 and not self._is_forwarded:
            return False
        if not (self._answers_proxy if status == 407 and self._proxy_signer is not None else self._may_tell(pending)):
            return False
        answered = signed.answered.count(status)
        if not answered:
            return True
        field = 'www-authenticate' if status == 401 else 'proxy-authenticate'
        return answered < _MOST_ANSWERS and is_stale(response.headers.getlist(field))

    @property
    def _answers_proxy(self) -> bool:
        return self._proxy_signer is not None and self._proxy_signer.answers

    def _may_tell(self, pending: PendingResponse) -> bool:
        return self._challenged is not None and not (pending.redirect is not None and pending.redirect.foreign)

    def answer(self, pending: PendingResponse, response: Response) -> bool:
        """Ask, in a greenlet; whether there is an answer that can be sent.

        :raises TypeError: when what comes is no request.
        :raises ValueError: when it is one for another origin.
        """
        signed = pending.signed
        assert signed is not None and pending.context is not None
        context = pending.context.copy()
        context.run(way.set, signed.way)
        run = context.run
        if response.status == 407 and self._proxy_signer is not None:
            assert signed.proxied is not None
            proxied = run(self._proxy_signer.challenged, signed.proxied, response)
            if proxied is None or not signed.request.repeatable:
                return False
            signed.proxied = proxied
        else:
            assert self._challenged is not None
            request = checked(run(self._challenged, signed.request, response))
            if request is None or not request.repeatable:
                return False
            if parse_origin(request.host) != self._origin:
                raise ValueError(f'challenged() returns a request to {self._origin}, not to {request.host}')
            signed.request, signed.proxied = request, None
        signed.answered.append(response.status)
        return True

    def inform(self, pending: PendingResponse, response: Response) -> None:
        """Tell those who want to know of an answer with ``Authentication-Info``."""
        signed = pending.signed
        if signed is None:
            return
        signer = self._proxy_signer
        if signer is not None and signed.proxied is not None and 'proxy-authentication-info' in response.headers:
            signer.inform(signed.proxied, response)
        foreign = pending.redirect is not None and pending.redirect.foreign
        if self._informed is not None and not foreign and 'authentication-info' in response.headers:
            self._informed(signed.request, response)
