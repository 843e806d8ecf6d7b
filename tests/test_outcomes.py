"""What becomes of an answer or a failure, as verdicts: no connection, no loop, no time that passes."""

from __future__ import annotations

import contextvars
import gzip
import http.cookiejar
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from urllib3 import Retry

from napixclient import (
    BodyTooLarge,
    ConnectError,
    HTTPError,
    ProtocolError,
    ProxyError,
    ReadTimeout,
    RemoteError,
    Request,
    Response,
    TLSError,
    TruncatedBody,
)
from napixclient._http.connect.proxies import Proxy
from napixclient._http.outcomes import Again, Answered, Deferred, Elsewhere, Final, Outcomes, Verdict
from napixclient._http.pending import PendingResponse, Redirect, Signed, new_pending
from napixclient._http.settings import Settings
from napixclient.messages import parse_origin

HOST = 'server.example'
ONCE = Retry(1, status_forcelist=[503], backoff_factor=0)
PROXY = Proxy('http', 'proxy.example', 3128)


class Judge:
    """The outcomes of one origin, and the retries that were taken out of the budget.

    :param budget: how many there are in it.
    """

    def __init__(
        self, authenticator: Any = None, forwarder: Proxy | None = None, budget: int = 100, **settings: Any
    ) -> None:
        self.budget = budget
        self.outcomes = Outcomes(Settings(**settings), parse_origin(HOST), authenticator, forwarder, self.take)
        self.phases: list[str] = []

    def take(self) -> bool:
        """Take a retry."""
        self.budget -= 1
        return self.budget >= 0

    def finish(self, verdict: Verdict) -> Verdict:
        """Do what is for a greenlet."""
        while isinstance(verdict, Deferred):
            self.phases.append(verdict.phase)
            verdict = verdict.step()
        return verdict

    def answer(
        self,
        pending: PendingResponse,
        status: int = 200,
        fields: str = '',
        body: bytes = b'',
        coding: str | None = None,
    ) -> Verdict:
        """What becomes of an answer in the end."""
        head = f'HTTP/1.1 {status} Reason\r\n{fields}'.rstrip('\r\n').encode()
        response = Response(pending.request, status, head, body, 0.5)
        return self.finish(self.outcomes.of_answer(pending, response, coding))

    def failure(self, pending: PendingResponse, error: HTTPError) -> Verdict:
        """What becomes of a failure in the end."""
        return self.finish(self.outcomes.of_failure(pending, error))


def sent(method: str = 'GET', body: Any = None, attempts: int = 1, **options: Any) -> PendingResponse:
    """A request that was sent so many times."""
    pending = new_pending(Request(HOST, method, '/', body, **options), None)
    pending.attempts, pending.sent, pending.context = attempts, True, contextvars.copy_context()
    return pending


def signed(method: str = 'GET', body: Any = None) -> PendingResponse:
    """A request that was sent as an authenticator has signed it."""
    pending = sent(method, body)
    pending.signed = Signed(1, pending.request)
    return pending


def outcome_of(verdict: Verdict) -> Any:
    """The outcome that it is."""
    assert isinstance(verdict, Final), verdict
    return verdict.outcome


# Answers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('status', 'kind'),
    [(200, Response), (204, Response), (302, Response), (304, Response), (400, RemoteError), (404, RemoteError),
     (401, RemoteError), (407, RemoteError), (417, RemoteError), (503, RemoteError), (599, RemoteError)],
)  # fmt: skip
@pytest.mark.parametrize('retries', [None, False, ONCE.new(status_forcelist=[])], ids=['none', 'false', 'others'])
def test_answers(status: int, kind: type, retries: Any) -> None:
    """Below 400 an answer is the outcome, from 400 on an error that holds it, unless something else is wanted."""
    judge = Judge(retries=retries)
    outcome = outcome_of(judge.answer(sent(), status, 'Location: /next'))
    assert type(outcome) is kind and outcome.status == status
    assert judge.budget == 100 and not judge.phases


@pytest.mark.parametrize(
    ('method', 'status', 'retries', 'own', 'budget', 'again'),
    [
        ('GET', 503, ONCE, None, 1, True),
        ('GET', 503, ONCE, None, 0, False),  # no budget
        ('GET', 502, ONCE, None, 1, False),  # another status
        ('GET', 200, ONCE, None, 1, False),
        ('POST', 503, ONCE, None, 1, False),  # a method that Retry does not repeat
        ('POST', 503, ONCE.new(allowed_methods=None), None, 1, True),
        ('GET', 503, None, ONCE, 1, True),  # the request's own
        ('GET', 503, ONCE, False, 1, False),
        ('GET', 503, ONCE, Retry(1), 1, False),
    ],
)
def test_answers_that_are_tried_again(
    method: str, status: int, retries: Any, own: Any, budget: int, again: bool
) -> None:
    """Whether an answer is tried again: ``retries`` says so, the request's before the client's, and there is budget."""
    judge = Judge(retries=retries, budget=budget)
    verdict = judge.answer(sent(method, retries=own), status)
    assert (verdict == Again(0.0)) is again
    assert isinstance(verdict, Again if again else Final)


def test_retries_are_used_up() -> None:
    """So many tries are made as ``retries`` says, and the last answer is the outcome."""
    judge, pending = Judge(retries=Retry(2, status_forcelist=[503], backoff_factor=0)), sent()
    assert [type(judge.answer(pending, 503)) for _ in range(3)] == [Again, Again, Final]


def test_a_pause_before_the_next_try() -> None:
    """A try waits for as long as the server asks for, or the back-off says; not beyond the deadline."""
    judge = Judge(retries=Retry(5, status_forcelist=[503], backoff_factor=0))
    assert judge.answer(sent(), 503, 'Retry-After: 7') == Again(7.0)
    pending = sent()
    pending.deadline = monotonic() + 5
    assert outcome_of(judge.answer(pending, 503, 'Retry-After: 7')).status == 503


def test_retries_of_the_caller_s_own_class() -> None:
    """A class of the caller's own may block: it is asked in a greenlet, and what it raises is the outcome."""

    class Mine(Retry):
        """One that fails."""

        def is_retry(self, *arguments: Any, **options: Any) -> bool:
            """Fail."""
            raise KeyError('mine')

    judge = Judge(retries=Mine(1))
    error = outcome_of(judge.answer(sent(), 503))
    assert judge.phases == ['backoff'] and error.phase == 'backoff' and isinstance(error.__cause__, KeyError)


@pytest.mark.parametrize(
    ('status', 'location', 'method', 'wanted', 'sent_next'),
    [
        (301, '/next', 'GET', True, 'GET'),
        (302, '/next', 'POST', True, 'GET'),
        (303, '/next', 'PUT', True, 'GET'),
        (307, '/next', 'POST', True, 'POST'),
        (308, 'http://other.example/', 'PUT', True, 'PUT'),
        (302, '/next', 'GET', False, None),
        (302, '', 'GET', True, None),
        (300, '/next', 'GET', True, None),
        (304, '/next', 'GET', True, None),
    ],
)
def test_redirects(status: int, location: str, method: str, wanted: bool, sent_next: str | None) -> None:
    """A redirect that is to be followed is sent elsewhere; any other is the outcome."""
    pending = sent(method, b'x' if method != 'GET' else None)
    verdict = Judge(redirect=wanted).answer(pending, status, f'Location: {location}' if location else '')
    if sent_next is None:
        assert outcome_of(verdict).status == status
    else:
        assert isinstance(verdict, Elsewhere) and verdict.redirect.request.method == sent_next
        assert verdict.redirect.foreign is (verdict.redirect.request.host != HOST)
        assert verdict.redirect.followed == verdict.redirect.sent_before == 1


def test_too_many_redirects() -> None:
    """After ten redirects the next one is an error."""
    judge, pending = Judge(redirect=True), sent()
    for number in range(1, 11):
        verdict = judge.answer(pending, 302, 'Location: /next')
        assert isinstance(verdict, Elsewhere) and verdict.redirect.followed == number
        pending.redirect = verdict.redirect
        pending.attempts += 1
    assert isinstance(outcome_of(judge.answer(pending, 302, 'Location: /next')), ProtocolError)


def test_a_redirect_that_cannot_be_followed() -> None:
    """It is the request's failure, whatever the server sends."""
    for location in 'http://[', 'ftp://x/', 'http://a b/', '//':
        error = outcome_of(Judge(redirect=True).answer(sent(), 302, f'Location: {location}'))
        assert isinstance(error, ProtocolError) and error.response is not None


def test_the_expectation_that_failed() -> None:
    """After a 417 the same is sent once more without an expectation, if there was one and the body can be sent."""
    verdict = Judge().answer(sent('PUT', b'x', expect=True), 417)
    assert isinstance(verdict, Elsewhere) and not verdict.redirect.request.expects
    assert verdict.redirect.followed == 0
    assert outcome_of(Judge().answer(sent('PUT', b'x'), 417)).status == 417


def test_the_answer_to_a_redirect_says_where_it_is_from() -> None:
    """It has the URL that answered, and a try for each that was more than a redirect."""
    pending = sent(attempts=3)
    pending.redirect = Redirect(Request(HOST, 'GET', '/next'), 1, False, 1)
    outcome = outcome_of(Judge().answer(pending))
    assert outcome.url.endswith('/next') and outcome.request is pending.request and outcome.attempts == 2


@pytest.mark.parametrize(
    ('forwarder', 'status', 'fields', 'kind'),
    [
        (None, 407, '', RemoteError),
        (PROXY, 407, '', ProxyError),
        (PROXY, 404, '', RemoteError),
        (PROXY, 401, 'Via: 1.1 tinyproxy (tinyproxy/1.11)\r\nServer: tinyproxy/1.11', ProxyError),
        (PROXY, 502, 'Server: tinyproxy/1.11', RemoteError),
    ],
)
def test_who_refuses(forwarder: Proxy | None, status: int, fields: str, kind: type) -> None:
    """A proxy that forwards is told from the origin behind it, as far as that shows."""
    outcome = outcome_of(Judge(forwarder=forwarder).answer(sent(), status, fields))
    assert type(outcome) is kind and outcome.status == status


# Bodies and cookies --------------------------------------------------------------------------------------------------


def test_a_small_body_is_decoded_at_once() -> None:
    """What is quickly decoded is decoded in place."""
    judge = Judge()
    outcome = outcome_of(judge.answer(sent(), body=gzip.compress(b'text'), coding='gzip'))
    assert outcome.payload == b'text' and not judge.phases


def test_a_large_body_is_decoded_aside() -> None:
    """What is not quickly decoded goes to a greenlet, and comes out whole."""
    judge, body = Judge(), bytes(range(256)) * 40_000
    assert outcome_of(judge.answer(sent(), body=gzip.compress(body), coding='gzip')).payload == body
    assert judge.phases == ['read']


@pytest.mark.parametrize(
    ('options', 'body', 'status', 'expected'),
    [
        ({}, b'no gzip', 200, ProtocolError),
        ({}, b'no gzip', 500, RemoteError),
        ({}, gzip.compress(b'x' * 100)[:-9], 200, HTTPError),
        ({'max_body': 50}, gzip.compress(b'x' * 100), 200, BodyTooLarge),
        ({'max_body': 50}, gzip.compress(b'x' * 100), 500, BodyTooLarge),
        ({'max_body': 10**6}, gzip.compress(b'x' * 10**7), 200, BodyTooLarge),
        ({'decode': False}, b'no gzip', 200, Response),
        ({}, b'no gzip', 206, Response),
    ],
)
def test_bodies_that_do_not_decode(options: dict[str, Any], body: bytes, status: int, expected: type) -> None:
    """Such a body is the request's failure, unless its status is that already, or it is not to be decoded."""
    outcome = outcome_of(Judge(**options).answer(sent(), status, body=body, coding='gzip'))
    assert isinstance(outcome, expected)
    if expected is Response:
        assert outcome.payload == body


def test_cookies_are_kept_before_anybody_sees_the_answer() -> None:
    """They are kept in a greenlet, also those of a redirect and of what is tried again; a jar that fails is told."""
    jar = http.cookiejar.CookieJar()
    judge = Judge(cookies=jar, redirect=True, retries=ONCE)
    assert isinstance(judge.answer(sent(), 302, 'Location: /\r\nSet-Cookie: a=1'), Elsewhere)
    assert isinstance(judge.answer(sent(), 503, 'Set-Cookie: b=1'), Again)
    assert judge.phases == ['read', 'read'] and {cookie.name for cookie in jar} == {'a', 'b'}

    class Broken(http.cookiejar.CookieJar):
        """One that fails."""

        def extract_cookies(self, *_: Any) -> None:
            """Fail."""
            raise KeyError('jar')

    error = outcome_of(Judge(cookies=Broken()).answer(sent(), 200, 'Set-Cookie: a=1'))
    assert isinstance(error.__cause__, KeyError) and error.response.status == 200


# Challenges ----------------------------------------------------------------------------------------------------------


class Challenged:
    """An authenticator that says this of a challenge."""

    def __init__(self, step: Callable[[], Any] = lambda: True) -> None:
        self.step = step
        self.asked = 0

    def __call__(self, request: Request) -> None:
        """Sign nothing."""

    def challenged(self, request: Request, response: Response) -> Any:
        """Say it; True stands for the request as it is."""
        self.asked += 1
        answer = self.step()
        return request if answer is True else answer


@pytest.mark.parametrize(
    ('status', 'field', 'forwarder', 'foreign', 'before', 'answered'),
    [
        (401, '', None, False, [], True),
        (401, '', PROXY, False, [], True),
        (401, '', None, True, [], False),  # credentials do not follow
        (401, '', None, False, [401], False),  # once
        (401, 'WWW-Authenticate: Digest stale=TRUE, realm=x', None, False, [401], True),  # all was right but the nonce
        (401, 'WWW-Authenticate: Digest stale=false', None, False, [401], False),
        (401, 'WWW-Authenticate: Digest stale=true', None, False, [401, 401], False),  # twice
        (401, 'Proxy-Authenticate: Digest stale=true', None, False, [401], False),
        (401, '', PROXY, False, [407], True),  # that was the proxy
        (407, '', None, False, [], False),  # whose would that be?
        (407, '', PROXY, False, [], True),
        (407, '', PROXY, False, [401, 407], False),
        (407, 'Proxy-Authenticate: Digest stale=true', PROXY, False, [401, 407], True),
        (403, '', None, False, [], False),
        (200, '', None, False, [], False),
    ],
)
def test_challenges(
    status: int, field: str, forwarder: Proxy | None, foreign: bool, before: list[int], answered: bool
) -> None:
    """Which answers are challenges: one of each attempt and one that is stale, from whom credentials are meant for."""
    me, pending = Challenged(), signed()
    assert pending.signed is not None
    pending.signed.answered += before
    pending.redirect = Redirect(Request(HOST, 'GET', '/'), 1, foreign, 1)
    judge = Judge(me, forwarder, budget=0)
    verdict = judge.answer(pending, status, field)
    assert (verdict == Answered()) is answered and me.asked == answered
    assert judge.phases == ['authenticate'] * answered and judge.budget == 0
    assert pending.signed.answered == before + [status] * answered


def test_a_challenge_that_comes_too_late() -> None:
    """Behind the deadline nothing is sent once more."""
    pending = signed()
    pending.deadline = monotonic() - 1
    assert outcome_of(Judge(Challenged()).answer(pending, 401)).status == 401


def test_a_challenge_of_a_body_that_is_gone() -> None:
    """The authenticator learns of it, and nothing is sent once more."""
    me, pending = Challenged(), signed('PUT', iter([b'x']))
    pending.request.payload.begun = True  # type: ignore[union-attr]
    assert outcome_of(Judge(me).answer(pending, 401)).status == 401 and me.asked == 1


def test_a_redirect_has_a_challenge_of_its_own() -> None:
    """What was challenged before a redirect may be challenged behind it."""
    judge, pending = Judge(Challenged(), redirect=True), signed()
    assert judge.answer(pending, 401) == Answered()
    verdict = judge.answer(pending, 302, 'Location: /next')
    assert isinstance(verdict, Elsewhere)
    pending.redirect, pending.attempts = verdict.redirect, 2
    pending.signed = Signed(2, pending.current)
    assert judge.answer(pending, 401) == Answered()


def test_an_answer_to_another_origin() -> None:
    """What answers a challenge goes where the challenge came from."""
    error = outcome_of(Judge(Challenged(lambda: Request('other.example', 'GET', '/'))).answer(signed(), 401))
    assert isinstance(error.__cause__, ValueError) and 'other.example' in str(error)


# Failures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('error', 'retries', 'budget', 'again'),
    [
        (ConnectError('x', phase='connect'), Retry(1, backoff_factor=0), 1, True),
        (ConnectError('x', phase='connect'), Retry(1, backoff_factor=0), 0, False),
        (ConnectError('x', phase='connect'), Retry(connect=0), 1, False),
        (ConnectError('x', phase='connect'), None, 1, False),
        (ReadTimeout('x', phase='read'), Retry(1, backoff_factor=0), 1, True),
        (ReadTimeout('x', phase='read'), Retry(1, read=0), 1, False),
        (ProtocolError('x', phase='read'), Retry(1, backoff_factor=0), 1, True),
        (TruncatedBody('x', phase='read'), Retry(1, backoff_factor=0), 1, True),
        (BodyTooLarge('x', phase='read'), Retry(1, backoff_factor=0), 1, False),
        (HTTPError('x', phase='send'), Retry(1, backoff_factor=0), 1, False),
    ],
)
def test_failures(error: HTTPError, retries: Any, budget: int, again: bool) -> None:
    """Which failures are tried again; any other is the outcome, and knows its request."""
    pending = sent()
    verdict = Judge(retries=retries, budget=budget).failure(pending, error)
    assert (verdict == Again(0.0)) is again
    assert again or outcome_of(verdict) is error
    assert error.request is pending.request


def test_a_failure_of_what_cannot_be_sent_again() -> None:
    """A body that was read is not sent once more."""
    pending = sent('PUT', iter([b'x']))
    pending.request.payload.begun = True  # type: ignore[union-attr]
    error = TLSError('x', phase='connect')
    assert outcome_of(Judge(retries=Retry(3)).failure(pending, error)) is error


@pytest.mark.parametrize(
    ('method', 'attempt', 'redirect', 'retries', 'expected'),
    [
        ('GET', 1, None, None, True),
        ('PUT', 1, None, None, True),
        ('POST', 1, None, None, False),
        ('GET', 2, None, None, False),
        ('GET', 3, 2, None, True),  # so is what is sent behind a redirect
        ('GET', 4, 2, None, False),
        ('GET', 1, None, Retry(0), True),
        ('GET', 1, None, False, False),
    ],
)
def test_the_free_resend(method: str, attempt: int, redirect: int | None, retries: Any, expected: bool) -> None:
    """What may be sent twice is sent once more for free when the server had closed: the first time, unless forbidden."""
    pending = sent(method)
    if redirect is not None:
        pending.redirect = Redirect(Request(HOST, method, '/'), 1, False, redirect)
    judge = Judge(retries=retries)
    assert judge.outcomes.is_resendable(pending, attempt) is expected and judge.budget == 100
