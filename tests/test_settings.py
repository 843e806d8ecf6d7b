"""The options: each is checked when it is given, and its error names it; the clocks and retries are read right."""

from __future__ import annotations

import ssl as stdlib_ssl
from typing import Any

import gevent.ssl
import pytest
import urllib3

from napixclient import Client, ClientPool, Headers, ReadTimeout, Request, Response
from napixclient._http.pending import NEVER, new_pending
from napixclient._http.retrying import after_failure, after_response
from napixclient._http.settings import MAX_BODY, Clocks, Settings, retry_of
from tests import kit

NUMBERS = [0, -1, 1.5, '5', True, [], object()]
NOT_CALLABLE = [5, 'x', {}, object()]
BAD: dict[str, list[Any]] = {
    'max_connections': NUMBERS,
    'max_header_bytes': [*NUMBERS, None],
    'max_header_fields': [*NUMBERS, None],
    'timeout': [0, -1, '5', True, float('nan'), (1, 2), object()],
    'retries': ['x', 1.5, (), object()],
    'retry_budget': [5, 'ab', (1,), (-1, 1), (1, -1), (1, 2, 3), ('a', 'b'), (float('nan'), 1), object()],
    'max_body': [-1, 1.5, '5', True, object()],
    'headers': [
        5,
        'abc',
        object(),
        ['A'],
        {'A': '\r\n'},
        {'A\n': 'b'},
        {'': 'b'},
        {'A': None},
        {'Host': 'x'},
        {'Transfer-Encoding': 'chunked'},
        {'Content-Length': '3'},
        {'content-length': '0'},
    ],
    'verify': [0, 1, None, 'no', '/etc/ssl/ca.pem', object()],
    'ca_certs': ['/no/such/file', '/', '/dev/null', 5, object()],
    'cert': ['/no/such/file', ('/no/such/file', '/none'), ('/no/such/file',), (), 5, object()],
    'ssl_context': [5, 'x', object()],
    'assert_hostname': [5, object()],
    'assert_fingerprint': [5, 'zz', 'abc', '', object()],
    'server_hostname': [5, '', object()],
    'ssl_minimum_version': ['TLSv1_3', 771, 1.2, True, object()],
    'proxy': [5, b'http://proxy', '', 'proxy.example:3128', 'ftp://proxy', 'http://', 'http://proxy/path', object()],
    'no_proxy': [5, 'a b', [5], [''], '10.0.0.0/33', {'a': 'b'}, object()],
    'rate': [0, -1, -0.0, '5', True, float('nan'), float('inf'), 10**400, (1,), object()],
    'resolver': NOT_CALLABLE,
    'on_request': NOT_CALLABLE,
    'on_response': NOT_CALLABLE,
    'on_error': NOT_CALLABLE,
}
CASES = [
    pytest.param(name, value, id=f'{name}={value!r:.30}'.split(' object')[0])
    for name, values in BAD.items()
    for value in values
]


@pytest.mark.parametrize(('name', 'value'), CASES)
def test_bad_options(name: str, value: Any) -> None:
    """An option that makes no sense is a ValueError that names it."""
    with pytest.raises(ValueError, match='(?i)header|Transfer-Encoding|Content-Length' if name == 'headers' else name):
        Settings(**{name: value})


@pytest.mark.parametrize('name', BAD)
def test_every_option_has_a_row(name: str) -> None:
    """The faces pass their options on: what ``Settings`` refuses, ``Client`` and ``ClientPool`` refuse."""
    for make in (ClientPool, lambda **options: Client('server.example', **options)):
        with pytest.raises(ValueError):
            make(**{name: BAD[name][0]})


def test_unknown_options() -> None:
    """An option that does not exist is refused, not ignored."""
    for make in (Settings, ClientPool, lambda **options: Client('server.example', **options)):
        with pytest.raises(TypeError, match='nonsense'):
            make(nonsense=1)


@pytest.mark.parametrize('simultaneous', [0, -1, 1.5, '2', True, None, 'Auto', '', b'auto', object()])
def test_simultaneous(simultaneous: Any) -> None:
    """The cap of a host is a whole number of at least 1, or to be learned."""
    for make in (ClientPool, lambda **options: Client('server.example', **options)):
        with pytest.raises(ValueError, match='simultaneous.* whole number .*auto'):
            make(simultaneous=simultaneous)
        make(simultaneous='auto').close()


# Time ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('timeout', 'clocks'),
    [
        (None, (10, 60, NEVER)),
        (5, (10, 60, 5)),
        (0.5, (10, 60, 0.5)),
        (urllib3.Timeout(), (10, 60, NEVER)),
        (urllib3.Timeout(5), (10, 60, 5)),
        (urllib3.Timeout(total=5, connect=1), (1, 60, 5)),
        (urllib3.Timeout(connect=1, read=2), (1, 2, NEVER)),
        (urllib3.Timeout(connect=None, read=None), (NEVER, NEVER, NEVER)),
    ],
)
def test_clocks(timeout: Any, clocks: tuple[float, ...]) -> None:
    """By default 10 s to connect, 60 s between reads and no total; a number is the total."""
    settings = Settings(timeout=timeout)
    assert settings.clocks == clocks
    if timeout is not None:
        assert Settings().clocks_of(timeout) == clocks


def test_clocks_of_a_request() -> None:
    """What a request's timeout leaves open is its client's."""
    settings = Settings(timeout=urllib3.Timeout(connect=1, read=2, total=3))
    assert settings.clocks_of(9) == Clocks(1, 2, 9)
    assert settings.clocks_of(urllib3.Timeout(read=9)) == Clocks(1, 9, NEVER)


# Defaults ------------------------------------------------------------------------------------------------------------


def test_default_headers() -> None:
    """A request says who asks and what is understood, unless the client's headers say otherwise, in any case."""
    headers = Settings().headers
    assert set(headers) == {'User-Agent', 'Accept', 'Accept-Encoding'}
    assert headers['Accept'] == 'application/json' and 'gzip' in headers['accept-encoding']
    own = Settings(headers={'user-AGENT': 'mine', 'X': 'y'}).headers
    assert own.getlist('User-Agent') == ['mine'] and own['x'] == 'y' and own['accept'] == 'application/json'


def test_headers_in_two_spellings() -> None:
    """A default header that is given in two spellings goes out once, or both are values of the caller's."""
    given = [('X-A', '1'), ('x-a', '2')]
    assert Settings(headers=Headers(given)).headers.getlist('x-a') in (['1', '2'], ['2'], ['1, 2'])


def test_defaults_are_safe() -> None:
    """Unless told otherwise, certificates are verified, bodies bounded and nothing is retried but the free resend."""
    settings = Settings()
    assert settings.verify and settings.retries is None and settings.max_body in (None, MAX_BODY)
    context = settings.ssl_context()
    assert context.verify_mode == stdlib_ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version >= stdlib_ssl.TLSVersion.TLSv1_2


# TLS -----------------------------------------------------------------------------------------------------------------


def test_one_context() -> None:
    """One context per configuration is shared; it is gevent's, which does not block the hub."""
    settings = Settings()
    assert settings.ssl_context() is settings.ssl_context()
    assert isinstance(settings.ssl_context(), gevent.ssl.SSLContext)


def test_unverified() -> None:
    """``verify=False`` accepts any certificate."""
    context = Settings(verify=False).ssl_context()
    assert context.verify_mode == stdlib_ssl.CERT_NONE and not context.check_hostname


def test_ca_certs(authority: kit.Authority) -> None:
    """``ca_certs`` are trusted instead of the system's, not beside them."""
    assert len(Settings(ca_certs=authority.ca_certs).ssl_context().get_ca_certs()) == 1


@pytest.mark.skipif(kit.is_patched(), reason='in a patched process the two classes are one')
def test_context_of_the_standard_library() -> None:
    """In an unpatched process a context of the standard library would hold the hub: a ValueError says so."""
    context = stdlib_ssl.SSLContext(stdlib_ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ValueError, match='ssl_context'):
        Settings(ssl_context=context)


def test_context_of_one_s_own(authority: kit.Authority) -> None:
    """A context of the caller's is used as it is, and excludes the options that would change it."""
    context = gevent.ssl.SSLContext(stdlib_ssl.PROTOCOL_TLS_CLIENT)
    assert Settings(ssl_context=context).ssl_context() is context
    for other in ({'verify': False}, {'ca_certs': authority.ca_certs}, {'cert': authority.ca_certs}):
        with pytest.raises(ValueError, match='ssl_context'):
            Settings(ssl_context=context, **other)  # type: ignore[arg-type]


# Retries -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('retries', 'total'), [(3, 3), (0, 0), (False, False), (urllib3.Retry(2), 2)])
def test_retries(retries: Any, total: Any) -> None:
    """A number stands for ``urllib3.Retry`` of that many; ``False`` forbids all."""
    retry = retry_of(retries)
    assert retry is not None and retry.total == total


def test_no_retries() -> None:
    """By default there is no ``Retry``."""
    assert retry_of(None) is None


@pytest.mark.parametrize(
    'value',
    [
        '1',
        '0',
        '-5',
        '1.5',
        '',
        'soon',
        'nan',
        '9' * 400,
        '9' * 5000,
        '99999999999999',
        'Mon, 99 Foo 99999 99:99:99 GMT',
        'Fri, 31 Dec 99999 23:59:59 GMT',
        'Fri, 31 Dec 999999999999 23:59:59 GMT',
        'Fri, 31 Dec 9999 23:59:59 +9999',
        'Thu, 01 Jan 1970 00:00:00 GMT',
        'Fri, 31 Dec 1999 23:59:59 +99999999999999999999',
        '\xe9',
    ],
    ids=lambda value: value[:40],
)
def test_any_retry_after(value: str) -> None:
    """Whatever is sent as Retry-After is a time to wait, or none: an exception would leave a callback of the loop."""
    request = Request('server.example', 'GET', '/')
    answer = Response(request, 503, f'HTTP/1.1 503 Busy\r\nRetry-After: {value}'.encode('latin-1'), b'', 0.1)
    retry = urllib3.Retry(3, status_forcelist=[503])
    delay = after_response(retry, new_pending(request, None), answer)
    assert delay is None or float(delay) >= 0


@pytest.mark.parametrize('retries', [2, 0, False, urllib3.Retry(2)])
def test_retries_of_a_request(retries: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """A request takes the same ``retries`` as its client does, or is refused: in either case it has an outcome."""
    busy = b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 0\r\n\r\n'
    with (
        kit.FaultServer([kit.READ, busy, kit.READ, busy, kit.READ, busy]) as server,
        Client(server.host, timeout=20) as client,
    ):
        try:
            pending = client.submit('GET', '/000001', retries=retries)
        except ValueError:
            return
        kit.wait_until(pending.ready, 'the outcome')
    assert capfd.readouterr() == ('', '')


def test_failures_in_urllib3_s_words() -> None:
    """A failure counts against the member of ``Retry`` that stands for its kind."""
    request = Request('server.example', 'GET', '/')
    error = ReadTimeout('silence', request=request)
    assert after_failure(urllib3.Retry(3), new_pending(request, None), error) is not None
    assert after_failure(urllib3.Retry(3, read=0), new_pending(request, None), error) is None
    assert after_failure(None, new_pending(request, None), error) is None
