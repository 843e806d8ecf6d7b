"""Judges an answer or a failure: final, to be tried again, to be sent elsewhere, or first to be decoded.

Each step ends in a verdict, on which the pool of the origin acts. Knows no connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from inspect import isawaitable, iscoroutine
from time import monotonic
from typing import Any, NamedTuple

import gevent
from urllib3 import Retry

from .._log import log
from ..authenticators import Authenticator
from ..errors import BodyTooLarge, HTTPError, Phase, ProtocolError, ProxyError, RemoteError
from ..masking import mask
from ..messages import IDEMPOTENT, Origin, Response, error_of, read_later
from .challenges import Challenges
from .connect.proxies import Proxy, is_own, shows_origin
from .connect.proxy_signing import signer_of
from .cookies import keep_cookies, sets_cookies
from .decoding import Decoder
from .options import RetryOn
from .pending import Outcome, PendingResponse, Redirect
from .redirecting import MovedResponse, redirect_of, without_expectation
from .retrying import UP_TO_THREE, after_failure, after_response, next_try, retries_of
from .settings import MAX_BODY, Settings
from .streaming import StreamedResponse

__all__ = ['Again', 'Answered', 'Deferred', 'Elsewhere', 'Final', 'Outcomes', 'Verdict']

#: Decoded pieces that are made in the loop itself; a body of more goes on in a greenlet.
_STEPS_AT_ONCE = 4


class Final(NamedTuple):
    """This is the outcome."""

    outcome: Outcome


class Again(NamedTuple):
    """The request is tried again after so many seconds."""

    seconds: float


class Elsewhere(NamedTuple):
    """Something else is sent instead, perhaps to another origin."""

    redirect: Redirect


class Answered(NamedTuple):
    """A challenge was answered: the request is sent as its authenticator has signed it, in the slot that it has."""


class Deferred(NamedTuple):
    """The next step takes its time, or may block, and is for a greenlet.

    :param phase: what a timeout meanwhile is reported with.
    :param step: gives the verdict, and raises nothing.
    """

    phase: Phase
    step: Callable[[], Verdict]


Verdict = Final | Again | Elsewhere | Answered | Deferred


class Outcomes:
    """Judges the answers and failures of the requests to one origin.

    :param forwarder: the proxy that is sent the requests themselves, if any.
    :param may_retry: takes one retry out of the pool's budget; false when that is empty.
    """

    def __init__(
        self,
        settings: Settings,
        origin: Origin,
        authenticator: Authenticator | None,
        forwarder: Proxy | None,
        may_retry: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._origin = origin
        #: Who answers challenges.
        self.challenges: Challenges = Challenges(
            origin, authenticator, forwarder, signer_of(settings, forwarder, origin)
        )
        self._forwarder = forwarder
        self._may_retry = may_retry
        self._retries = settings.retries
        self._max_body = MAX_BODY if settings.max_body is None else settings.max_body

    # -- answers ---------------------------------------------------------------------------------------------------

    def of_answer(self, pending: PendingResponse, response: Response, coding: str | None) -> Verdict:
        """What becomes of a whole answer.

        :param coding: the content coding that its body came in.
        """
        if pending.attempts > 1:
            response = _marked(pending, response)
        if coding is not None and response.payload:
            return self._decode(pending, response, coding)
        return self._decoded(pending, response)

    def of_streamed(self, pending: PendingResponse, response: StreamedResponse) -> Verdict:
        """What becomes of an answer that is being received already."""
        response.attempts = pending.tries
        return self._decoded(pending, response)

    def decodes(self, pending: PendingResponse, status: int) -> bool:
        """Whether content codings are undone; never those of a part, which is one of coded bytes (RFC 9110 §14.4)."""
        wanted = pending.asked.options.decode
        return status != 206 and (self._settings.decode if wanted is None else wanted)

    def _decode(self, pending: PendingResponse, response: Response, coding: str) -> Verdict:
        """Undo the content coding: here if it is quickly done, else in a greenlet."""
        limit = pending.asked.options.max_body
        parts: list[bytes] = []
        try:
            decoder = (
                Decoder(coding, self._max_body if limit is None else limit)
                if self.decodes(pending, response.status)
                else None
            )
            if decoder is None or not decoder.known:
                response.keep_coded()  # it is as it came, and that is no text
                return self._decoded(pending, response)
            steps = decoder.feed(response.payload)
            for piece in steps:
                parts.append(piece)
                if len(parts) == _STEPS_AT_ONCE:
                    return Deferred('read', partial(self._decode_rest, pending, response, decoder, steps, parts))
            decoder.finish()
        except HTTPError as error:
            return self._spoiled(pending, response, error)
        response.payload = b''.join(parts)
        return self._decoded(pending, response)

    def _decode_rest(
        self, pending: PendingResponse, response: Response, decoder: Decoder, steps: Iterator[bytes], parts: list[bytes]
    ) -> Verdict:
        """In a greenlet."""
        try:
            for piece in steps:
                parts.append(piece)
                gevent.sleep(0)
            decoder.finish()
        except HTTPError as error:
            return self._spoiled(pending, response, error)
        response.payload = b''.join(parts)
        return self._decoded(pending, response)

    def _spoiled(self, pending: PendingResponse, response: Response, error: HTTPError) -> Verdict:
        """The body does not decode."""
        if response.status >= 400 and not isinstance(error, BodyTooLarge):
            response.payload = b''  # its status tells what there is to tell
            return self._decoded(pending, response)
        error.phase, error.elapsed = 'read', response.elapsed
        return self.of_failure(pending, error)

    def _decoded(self, pending: PendingResponse, response: Response) -> Verdict:
        """The answer is as it was meant: its cookies are kept before anybody sees it."""
        if self._settings.cookies is not None and sets_cookies(response):
            return Deferred('read', lambda: self._keep_cookies(pending, response))
        return self._consider(pending, response)

    def _keep_cookies(self, pending: PendingResponse, response: Response) -> Verdict:
        """In a greenlet: the jar is the caller's, and has a lock."""
        jar: Any = self._settings.cookies
        try:
            keep_cookies(jar, pending.current, response)
        except BaseException as exc:  # a gevent.Timeout of its own, too
            if isinstance(response, StreamedResponse):
                response.close()  # nobody will read it
            return _failed('the cookie jar failed', exc, response=response, phase='read', elapsed=response.elapsed)
        return self._consider(pending, response)

    def _consider(self, pending: PendingResponse, response: Response) -> Verdict:
        """Make an answer the outcome, unless it is to be tried again."""
        if self.challenges.informs:
            try:
                self.challenges.inform(pending, response)
            except Exception as exc:
                return _failed('the authenticator failed', exc, response=response, phase='authenticate')
        if isinstance(response, StreamedResponse):
            return Final(response)
        if self.challenges.asks and self.challenges.is_challenge(pending, response):
            return Deferred('authenticate', lambda: self._ask_authenticator(pending, response))
        return self._unless_retried(pending, after_response, response, self._conclude)

    def _ask_authenticator(self, pending: PendingResponse, response: Response) -> Verdict:
        """In a greenlet: send the answer of the authenticator, if it has one."""
        try:
            answered = self.challenges.answer(pending, response)
        except BaseException as exc:  # a gevent.Timeout of its own, too
            return _failed('the authenticator failed', exc, response=response, phase='authenticate')
        if answered and monotonic() < pending.deadline:
            return Answered()
        return self._unless_retried(pending, after_response, response, self._conclude)

    def _conclude(self, pending: PendingResponse, response: Any) -> Verdict:
        """Make an answer the outcome, or go where it leads.

        Whatever a server may have found to trip us up is that request's failure.
        """
        try:
            if response.status == 417 and pending.current.expects and pending.current.repeatable:
                return Elsewhere(without_expectation(pending))
            redirect = redirect_of(pending, response, self._settings.redirect, self._settings.max_redirects)
            if redirect is not None:
                return Elsewhere(redirect)
            return Final(response if response.status < 400 else _refused(response, self._forwarder))
        except ProtocolError as error:
            return Final(error)
        except Exception as exc:
            return _failed('cannot read the answer', exc, ProtocolError, response=response, phase='read')

    # -- failures --------------------------------------------------------------------------------------------------

    def of_failure(self, pending: PendingResponse, error: HTTPError) -> Verdict:
        """What becomes of a failure."""
        if isinstance(error, ProxyError) and error.response is not None:
            read_later(error)
        error.request = pending.request
        log.debug('%s: %s', self._origin, error.message)
        return self._unless_retried(pending, after_failure, error, _final)

    def is_resendable(self, pending: PendingResponse, attempt: int) -> bool:
        """Whether the one free resend applies to this attempt: idempotent, the first, and not forbidden.

        It takes nothing of the retry budget: the server had closed, so it has no more to do for that, and an origin
        that was found to close is asked over fresh connections from then on.
        """
        if attempt != self._first(pending) or pending.current.method not in IDEMPOTENT:
            return False
        return self.may_be_sent_again(pending)

    def may_be_sent_again(self, pending: PendingResponse) -> bool:
        """Whether a request that has not reached the server may be sent again: it can be, and nobody forbade it."""
        retries = retries_of(pending, self._retries)
        return pending.current.repeatable and (retries is None or retries.total is not False)

    def _first(self, pending: PendingResponse) -> int:
        """The number of the first attempt at what is to be sent now."""
        return 1 if pending.redirect is None else pending.redirect.sent_before + 1

    # -- retries ---------------------------------------------------------------------------------------------------

    def _unless_retried(
        self,
        pending: PendingResponse,
        when: Callable[..., float | None],
        last: Outcome,
        conclude: Callable[[PendingResponse, Any], Verdict],
    ) -> Verdict:
        """Try again if ``retries`` or ``retry_on`` says so, else conclude with the last answer or failure."""
        retries = retries_of(pending, self._retries)
        own = pending.asked.options.retry_on
        retry_on = self._settings.retry_on if own is None else own
        if retry_on is not None:
            verdict = conclude(pending, last)
            if not isinstance(verdict, Final):
                return verdict
            counted = retries or UP_TO_THREE
            ask = partial(_ask_caller, pending, counted, retry_on, self._may_retry, last, verdict.outcome)
            return Deferred('backoff', ask)
        if retries is None:
            return conclude(pending, last)
        if type(retries) is Retry:
            return self._ask_retries(pending, when, last, conclude)
        # A class of the caller's own: it may block.
        return Deferred('backoff', lambda: self._ask_retries(pending, when, last, conclude))

    def _ask_retries(
        self,
        pending: PendingResponse,
        when: Callable[..., float | None],
        last: Outcome,
        conclude: Callable[[PendingResponse, Any], Verdict],
    ) -> Verdict:
        try:
            seconds = when(retries_of(pending, self._retries), pending, last)
        except BaseException as exc:
            failed = _failed('retries failed', exc, phase='backoff')
            # What is the program's business is raised again by a greenlet: the loop has more to do with this answer.
            return failed if isinstance(exc, Exception) else Deferred('backoff', lambda: failed)
        if seconds is None or monotonic() + seconds >= pending.deadline or not self._may_retry():
            return conclude(pending, last)
        return Again(seconds)


def _refused(response: Response, proxy: Proxy | None) -> HTTPError:
    """The error that an answer of 400 or above stands for.

    :param proxy: what was sent the request itself, if any.
    """
    if proxy is None:
        return error_of(response)
    status, fields = response.status, response.headers
    if not is_own(status, fields):
        return error_of(response, by='' if shows_origin(fields) else f'by the proxy {proxy}, or through it')
    if status == 407:
        return error_of(response, ProxyError)
    # tinyproxy answers a wrong password with 401. All else is what it says of the origin.
    return error_of(
        response,
        ProxyError if status == 401 or 'proxy-authenticate' in fields else RemoteError,
        f'by the proxy {proxy}',
    )


def _ask_caller(
    pending: PendingResponse,
    retries: Retry,
    retry_on: RetryOn,
    may_retry: Callable[[], bool],
    last: Outcome,
    outcome: Outcome,
) -> Verdict:
    """In a greenlet: have the caller decide on an outcome, if the request may be tried again at all.

    :param last: the answer or the failure that the outcome was made of.
    """
    if isinstance(outcome, HTTPError):
        outcome.request, outcome.attempts = pending.request, max(pending.tries, 1)
    what = 'retries'
    try:
        step = next_try(retries, pending, last)
        if step is None or monotonic() + step.seconds >= pending.deadline:
            return Final(outcome)
        what = 'retry_on'
        if not _wanted(pending, retry_on, outcome) or not may_retry():
            return Final(outcome)
    except BaseException as exc:  # a gevent.Timeout of its own, too
        response = outcome.response if isinstance(outcome, HTTPError) else outcome
        return _failed(f'{what} failed', exc, response=response, phase='backoff', elapsed=outcome.elapsed)
    pending.retry = step.retry
    return Again(step.seconds)


def _wanted(pending: PendingResponse, retry_on: RetryOn, outcome: Outcome) -> bool:
    """Whether the caller wants another try."""
    context = pending.context
    again = retry_on(outcome) if context is None else context.copy().run(retry_on, outcome)
    if isawaitable(again):
        if iscoroutine(again):
            again.close()  # nobody awaits it
        raise TypeError('retry_on returns True or False, and nothing to be awaited')
    return bool(again)


def _final(_: PendingResponse, error: HTTPError) -> Verdict:
    return Final(error)


def _failed(what: str, exc: BaseException, kind: type[HTTPError] = HTTPError, **parts: Any) -> Final:
    """The outcome where code of the caller's raised."""
    error = kind(f'{what}: {type(exc).__name__}: {mask(str(exc))}', **parts)
    error.__cause__ = exc
    return Final(error)


def _marked(pending: PendingResponse, response: Response) -> Response:
    """The answer to something that was not sent once only."""
    response.attempts = pending.tries
    return response if pending.redirect is None else MovedResponse.of(response, pending.redirect.request.full_url)
