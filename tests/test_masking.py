"""What must not be shown: secrets, whoever echoes them and in whatever form, and how much is left to read."""

from __future__ import annotations

import gc
import html
import itertools
import json
import logging
import pickle
import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import quote, quote_plus

import gevent
import hypothesis
import pytest
from hypothesis import strategies as st

from napixclient import Client, ClientPool, Headers, HTTPError, Request, Response, masking
from napixclient.authenticators import BasicAuth, BearerToken, LoginAuthenticator, TokenIdentifier
from napixclient.error_documents import document_of, encode
from napixclient.masking import MASK, cut, hide, hide_fields, mask
from napixclient.messages import error_of
from tests import kit
from tests.helpers_pool import failure


class Holder:
    """Has a secret."""


@contextmanager
def hidden(*values: str | bytes) -> Iterator[None]:
    """These are secrets, and nothing else that an earlier test has hidden."""
    held, gone = dict(masking._held), list(masking._gone)
    masking._held.clear()
    masking._gone.clear()
    holder = Holder()
    hide(holder, *values)
    try:
        yield
    finally:
        gone += [number for number in masking._gone if number in held]
        masking._held.clear()
        masking._held.update(held)
        masking._gone.clear()
        masking._gone.extend(gone)
        hide(holder)  # so that what is known is looked up anew


# Where a secret stands -----------------------------------------------------------------------------------------------

NAMES = ['Authorization', 'Proxy-Authorization', 'Cookie', 'Set-Cookie', 'X-Auth-Token', 'X-Subject-Token']
#: A field as it may stand in a text, and what is left of that.
SHOWN = [
    ('%s: mine', '%s: ***'),
    ('%s : mine', '%s : ***'),
    ('%s=mine', '%s=***'),
    ('GET / HTTP/1.1\r\n%s: mine and more\r\nHost: x', 'GET / HTTP/1.1\r\n%s: ***\r\nHost: x'),
    ('%s: \r\nHost: x', '%s: \r\nHost: x'),
    ("{'%s': 'mine', 'Host': 'x'}", "{'%s': ***, 'Host': 'x'}"),
    ('{"%s": "mi\\"ne", "Host": "x"}', '{"%s": ***, "Host": "x"}'),
    ("{'%s': b'mine'}", "{'%s': ***}"),
    ("{'%s': ['mine', 'mine']}", "{'%s': ***}"),
    ("[('%s', 'mine'), ('Host', 'x')]", "[('%s', ***), ('Host', 'x')]"),
    ("[(b'%s', b'mine'), (b'Host', b'x')]", "[(b'%s', ***), (b'Host', b'x')]"),
    ('[["%s", "mine"], ["Host", "x"]]', '[["%s", ***], ["Host", "x"]]'),
    (
        '{"error": "{\\"%s\\": \\"mine\\", \\"Host\\": \\"x\\"}"}',
        '{"error": "{\\"%s\\": ***\\", \\"Host\\": \\"x\\"}"}',
    ),
    ("b'%s: mine\\r\\nHost: x'", "b'%s: ***'"),
    ('"%s: mine"', '"%s: ***"'),
    ('%s: Digest username="mine", response="mine"', '%s: ***'),
    ('%s: a={"b": "mine"}; c=mine', '%s: ***'),
]


@pytest.mark.parametrize(('text', 'left'), SHOWN, ids=range(len(SHOWN)))
@pytest.mark.parametrize('name', NAMES)
def test_fields(name: str, text: str, left: str) -> None:
    """The value of a secret field goes, to the end of what is quoted, of the brackets or of the line; the rest stays."""
    for spelled in name, name.lower(), name.upper(), name.replace('-', '_'), f'HTTP_{name.upper().replace("-", "_")}':
        assert mask(text % spelled) == left % spelled
    assert 'mine' not in left


@pytest.mark.parametrize(
    'text',
    [
        'token: expired',
        'the token has expired',
        'authorization failed',
        'Authorization required',
        'my cookie was eaten',
        'no such cookie',
        'author: me',
        'X-Request-ID: 5',
        '/captains?name=token',
        'http://server.example/a@b',
        'root@server.example',
        'subject: hello',
        'a=b&c=d',
        "KeyError: 'authorization'",
        'https://server.example:8443/',
        '',
        '***',
        'ß' * 100,
        'GET http://server.example/captains?a=1;b=2#c',
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """What holds no secret is left as it is."""
    with hidden():
        assert mask(text) == text


@pytest.mark.parametrize(
    ('text', 'left'),
    [
        ('/x?token=mine', '/x?token=***'),
        ('/x?token=mine&y=1', '/x?token=***&y=1'),
        ('/x?y=1&token=mine#z', '/x?y=1&token=***#z'),
        ('/x?a;token=mine', '/x?a;token=***'),
        ('"/x?token=mine"', '"/x?token=***"'),
        ('/x?token=mine /y?token=mine', '/x?token=*** /y?token=***'),
        ('/x?%74oken=mine', '/x?%74oken=***'),
        ('<a href="/x?a=1&amp;token=mine">', '<a href="/x?a=1&amp;token=***">'),
        ('/x?token=', '/x?token=***'),
        ('/x?token_type=1', '/x?token_type=1'),
        ('/x?own+name=mine', '/x?own+name=***'),
        ('/x?own%20name=mine&b', '/x?own%20name=***&b'),
        ('/x?own%20nam=1', '/x?own%20nam=1'),
    ],
)
def test_parameters(text: str, left: str) -> None:
    """The value of the token parameter goes, of `token` and of the one that a TokenIdentifier names."""
    TokenIdentifier('whatever', 'own name')
    assert mask(text) == left


@pytest.mark.parametrize(
    ('text', 'left'),
    [
        ('http://root:mine@server.example/', 'http://***@server.example/'),
        ('amqp://mine@h', 'amqp://***@h'),
        ('see https://u:mine@a.example and http://b.example', 'see https://***@a.example and http://b.example'),
    ],
)
def test_userinfo(text: str, left: str) -> None:
    """User and password in a URL go."""
    assert mask(text) == left


# Secrets that are held -----------------------------------------------------------------------------------------------


def forms(secret: str) -> set[str]:
    """The ways in which others may write a text."""
    return {
        secret,
        quote(secret, safe=''),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        html.escape(secret),
        html.escape(secret, quote=False),
        repr(secret.encode())[2:-1],
        repr([secret, '\'"'])[2:].split("', '")[0],
        quote(secret, safe='').lower() if secret == secret.lower() else secret,
        secret.encode().decode('latin-1'),
    }


#: What a server cannot be told by its words.
SECRET = st.text(st.characters(exclude_categories=('Cs',)), min_size=4, max_size=40).filter(
    lambda text: len(text.strip()) >= 4 and MASK not in text
)


def is_short_word(text: str) -> bool:
    """Whether any word may hold it: it is masked only where it stands alone."""
    return any(
        len(one) < 8 and re.fullmatch("[^\\W\\d_]+([ _'-][^\\W\\d_]+)*|[0-9]{1,7}", one) is not None
        for one in (text, text.strip(), ' '.join(text.split()))
    )


@hypothesis.given(SECRET, st.text(max_size=30), st.text(max_size=30))
def test_no_form_of_a_secret_is_shown(secret: str, before: str, behind: str) -> None:
    """As it is, quoted for a URL, or escaped as JSON, HTML or Python do."""
    with hidden(secret):
        for form in forms(secret):
            shown = mask(f'{before} {form} {behind}')
            assert form not in shown and secret not in shown
            if not is_short_word(secret):
                assert form not in mask(f'{before}{form}{form}{behind}')


@hypothesis.given(st.lists(SECRET.filter(lambda text: not is_short_word(text)), min_size=1, max_size=5), st.data())
def test_secrets_that_hold_each_other(secrets: list[str], data: st.DataObject) -> None:
    """Those that begin alike, that are part of each other, or that hold the mask itself."""
    pieces = st.sampled_from([*secrets, *(one[: len(one) // 2 + 3] for one in secrets), 'a', MASK])
    more = data.draw(
        st.lists(
            st.lists(pieces, min_size=1, max_size=3)
            .map(''.join)
            .filter(lambda text: len(text.strip()) > 3 and set(text.strip()) != {'*'} and not is_short_word(text)),
            max_size=4,
        )
    )
    text = data.draw(st.lists(st.sampled_from([*secrets, *more, ' ', '*', '/', 'b']), max_size=9).map(''.join))
    with hidden(*secrets, *more):
        shown = mask(text)
        assert not [secret for secret in (*secrets, *more) if secret in shown]
        assert mask(shown) == shown


@hypothesis.given(st.binary(min_size=4, max_size=40).filter(lambda key: len(key.strip()) > 3 and set(key) - set(b'* ')))
def test_keys_of_bytes(key: bytes) -> None:
    """A key of bytes is hidden as the text that it may be, and as Python shows it."""
    texts = {key.decode('latin-1'), repr(key)[2:-1]}
    try:
        texts.add(key.decode())
    except UnicodeDecodeError:
        pass
    with hidden(key):
        for text in texts:
            if len(text.strip()) > 3:
                assert text not in mask(f'key {text} refused')


def test_a_key_that_was_read_from_a_file() -> None:
    """The line end that came with it is no part of what others echo; our lines show white space as one space."""
    with hidden('s3cret\n', 'correct  horse\tbattery'):
        assert mask('bad key s3cret!') == 'bad key ***!'
        assert mask('bad password correct horse battery!') == 'bad password ***!'


def test_what_is_too_short_to_be_a_secret() -> None:
    """Fewer than four letters are part of too many words; where they are sent, the name of the value hides them."""
    with hidden('a', 'key', 'é€', ' b '):
        assert mask('a monkey é€ b /%C3%A9%E2%82%AC') == 'a monkey é€ b /%C3%A9%E2%82%AC'
    assert str(TokenIdentifier('abc')(Request('server.example', 'GET', '/'))) == 'GET http://server.example/?token=***'


@hypothesis.given(SECRET, st.text('ab', max_size=60), st.integers(0, 60))
def test_cut(secret: str, before: str, size: int) -> None:
    """A text is not cut within a secret: nobody would know the half of one."""
    with hidden(secret):
        text = before + secret + 'c' * 60
        found = cut(text, size)
        assert len(found) <= size + 1 and found[:-1] == text[: len(found) - 1] and found[-1] == '…'
        assert not len(before) < len(found) - 1 < len(before) + len(secret)
        assert cut(text, len(text)) == text


# Words that are secrets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'left'),
    [
        ('no wrong', 'no ***'),
        ('wrong!', '***!'),
        ('{"password": "wrong"}', '{"password": "***"}'),
        ('a=wrong&b', 'a=***&b'),
        ('/x/wrong/y?wrong#wrong', '/x/***/y?***#***'),
        ('a%20wrong%20b', 'a%20***%20b'),
        ("'a\\nwrong\\n'", "'a\\n***\\n'"),
        ('(wrong, [wrong], <b>wrong</b>)', '(***, [***], <b>***</b>)'),
        ('wrong,wrong wrong', '***,*** ***'),
        ('1234567.', '***.'),
        ('wrongly, a-wrong, wrong_one, 2wrong', 'wrongly, a-wrong, wrong_one, 2wrong'),
        ('Wrong', 'Wrong'),
        ('12345678', '12345678'),
    ],
)
def test_a_word_is_masked_where_it_stands_alone(text: str, left: str) -> None:
    """A short secret that is a word or a number is no part of a longer one, and is hidden wherever else others say it."""
    with hidden('wrong', '1234567'):
        assert mask(text) == left and mask(left) == left


@pytest.mark.parametrize(
    'secret', ['s3cret', 'a.b.c', 'pass-w0rd', 'longpassword', 'Tr0ub4', '12345678', 'p:ss', 'wr ong1']
)
def test_what_is_no_short_word_is_masked_anywhere(secret: str) -> None:
    """Within other words, too."""
    with hidden(secret):
        assert mask(f'x{secret}y {secret}') == 'x***y ***'


# How long it is remembered -------------------------------------------------------------------------------------------


def test_a_secret_is_known_as_long_as_its_holder() -> None:
    """However many came after it; the others are forgotten when the next one comes."""
    with hidden():
        kept = BearerToken('kept-all-along')
        for number in range(2000):
            TokenIdentifier(f'gone-{number:06}')
        gc.collect()
        last = TokenIdentifier('the-last-one')
        assert mask('kept-all-along the-last-one') == '*** ***'
        assert mask('gone-000001 gone-001999') == 'gone-000001 gone-001999'
        assert len(masking._held) == 3
        del kept, last


def test_an_error_keeps_its_secrets_hidden() -> None:
    """It may outlive the client that it came from by far."""
    with hidden(), kit.serve(lambda *request: (500, {}, 'no s3cret-token, no field-token')) as server:
        error = failure(
            Client(server.host, BearerToken('s3cret-token'), headers={'X-Auth-Token': 'field-token'}), 'GET', '/'
        )
        for number in range(100):
            TokenIdentifier(f'gone-{number:06}')
        gc.collect()
        assert str(error).endswith('no ***, no ***')


@pytest.mark.timed
def test_many_secrets_take_little_time() -> None:
    """Of thousands of users, each with a token, the text of an error is made in milliseconds."""
    with hidden():
        held = [TokenIdentifier(b64encode(f'user-{number}-token'.encode()).decode()) for number in range(3000)]
        text = 'some words of an error ' * 80
        began = time.process_time()
        for _ in range(10):
            held.append(TokenIdentifier('of-one-more'))
            assert mask(text) == text and mask('of-one-more') == MASK
        assert time.process_time() - began < kit.limit(1)  # 0.1 s; a regular expression of them all took 1.1 s


def test_threads() -> None:
    """Secrets may be hidden and masked in many threads at once."""
    failed = []

    def work(name: str) -> None:
        for number in range(300):
            held = BearerToken(f'secret-{name}-{number}')
            if mask(f'x secret-{name}-{number}') != 'x ***':
                failed.append((name, number))
            del held

    with hidden():
        threads = [threading.Thread(target=work, args=(name,)) for name in 'abcd']
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert failed == []


N = 1_000_000
ADVERSE = {
    'a': 'a' * N,
    'scheme': 'a://' * (N // 4),
    'userinfo': 'http://' + 'a' * N,
    'userinfos': 'http://' + ('a' * 50 + ':') * (N // 51),
    'names': 'cookie' * (N // 6),
    'name and space': ('cookie' + ' ' * 1000) * (N // 1006),
    'quotes': 'cookie="' * (N // 8),
    'backslashes': 'cookie="' + '\\' * N,
    'quotes and spaces': 'cookie: ' + '" ' * (N // 2),
    'many quotes': 'cookie: ' + '"' * N,
    'brackets': 'cookie=[' * (N // 8),
    'colons': 'Authorization: ' * (N // 15),
    'parameters': '?token=' * (N // 7),
    'ampersands': '&token' * (N // 6),
    'equals': 'cookie' + '=' * N,
    'names of parameters': '?' + 'a' * N + '=',
    'white space': 'cookie' + ' ' * N,
    'lines': 'cookie:\n' * (N // 8),
    'nearly': 's3cre' * (N // 5),
}


@pytest.mark.timed
@pytest.mark.parametrize('name', ADVERSE)
def test_time(name: str) -> None:
    """No text takes longer than its length says."""
    with hidden('s3cret-of-ours'):
        began = time.process_time()
        mask(ADVERSE[name])
        assert time.process_time() - began < kit.limit(1.5)  # under 0.15 s where nothing disturbs; quadratic: minutes


# Where an authenticator's secret may not be --------------------------------------------------------------------------

AUTHENTICATORS: dict[str, Callable[[str], Any]] = {
    'key': lambda secret: LoginAuthenticator('somebody', secret),
    'key of bytes': lambda secret: LoginAuthenticator('somebody', secret.encode()),
    'token': TokenIdentifier,
    'own parameter': lambda secret: TokenIdentifier(secret, 'own name'),
    'bearer': BearerToken,
    'basic': lambda secret: BasicAuth('somebody', secret),
}
#: What can be sent in a field; without the words that our documents are made of.
SENDABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=5, max_size=30).map(
    lambda text: f'~{text}~'
)
PASSWORD = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=('Cc', 'Cs', 'Cf', 'Zs', 'Cn')),
    min_size=5,
    max_size=30,
).map(lambda text: f'~{text}~')


def told(body: Any, request: Request | None = None, media: str = 'application/json') -> HTTPError:
    """The error for a server that answers so."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f'HTTP/1.1 500 Oops\r\nContent-Type: {media}'.encode()
    return error_of(Response(request or Request('server.example', 'GET', '/'), 500, head, data, 0.1))


@pytest.mark.parametrize('kind', AUTHENTICATORS)
@hypothesis.given(st.data())
@hypothesis.settings(max_examples=40)
def test_no_secret_in_any_text(kind: str, data: st.DataObject) -> None:
    """Whatever a server makes of it: in keys, lists, pairs, URLs, texts, HTML, tracebacks, JSON within JSON."""
    secret = data.draw(SENDABLE if kind == 'bearer' else PASSWORD)
    form = data.draw(st.sampled_from(sorted(forms(secret))))
    authenticator = AUTHENTICATORS[kind](secret)
    where = data.draw(st.sampled_from(['error_text', 'error_class', 'remote_call', 'detail', 'x']))
    document: Any = {
        where: f'cannot: {form}',
        form: form,
        'a': [form, {'b': form, form: [form]}],
        'headers': [['X', form]],
        'traceback': [{'filename': form, 'line': 5, 'in': form, 'call': f'f({form})'}],
        'json': json.dumps({form: [form]}),
        'long': 'x' * data.draw(st.integers(1900, 2000)) + form,
        'request': {'method': form, 'path': f'/{form}'},
    }
    document = {
        **document,
        'remote_call': f'GET http://h/{form}',
        'remote_error': data.draw(
            st.sampled_from([document, f'"500 Oops" {form}', [form], {'error': {'message': form, 'status': form}}])
        ),
    }
    request = authenticator(Request('server.example', 'GET', '/')) or Request('server.example', 'GET', '/')
    shown = [repr(authenticator), repr(request), str(request), repr(request.headers)]
    for error in (
        told(document, request),
        told(f'no {form}'.encode(), request, 'text/plain; charset=utf-8'),
        told(f'<html>{form}'.encode(), request, 'text/html'),
        HTTPError(f'no {form}', request=request),
    ):
        shown += [
            str(error),
            repr(error),
            str(error.args),
            *map(repr, error.chain),
            *map(str, error.chain),
            error.message,
        ]
        shown += [text for hop in error.chain for text in hop[:4] if isinstance(text, str)]
        for expose in False, True:
            shown.append(encode(document_of(error, 502, 'GET', '/', expose_traceback=expose), expose).decode())
            shown += strings(json.loads(shown[-1]))
    for text in shown:
        assert secret not in text and form not in text, text
        assert f"'{form}" not in text and b64encode(f'somebody:{secret}'.encode()).decode() not in text


def strings(value: Any) -> Iterator[str]:
    """The texts of a document, keys among them."""
    if isinstance(value, str):
        yield value
    for part in (
        itertools.chain(*value.items()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from strings(part)


def test_remote_error_is_raw() -> None:
    """What the server said is there as it was received; only what is shown of it is masked."""
    keep = BearerToken('s3cret-token')
    document = {
        'error_text': 'no s3cret-token',
        's3cret-token': ['s3cret-token'],
        'Authorization': 'Bearer s3cret-token',
    }
    assert told(document).remote_error == document
    assert told(b'no s3cret-token', media='text/plain').remote_error == '"500 Oops" no s3cret-token'
    del keep


def test_numbers_can_be_secrets() -> None:
    """A token of digits that a server echoes as a number."""
    keep = TokenIdentifier('9876543210')
    found = encode({'error_text': 'x', 'got': 9876543210, 'all': [9876543210, 5, True, None, 0.5]})
    assert json.loads(found) == {'error_text': 'x', 'got': MASK, 'all': [MASK, 5, True, None, 0.5]}
    del keep


@pytest.mark.parametrize('name', NAMES)
def test_fields_in_documents(name: str) -> None:
    """A member that is named as a secret field has a secret value, whatever it is; a pair may be a field, too."""
    document = {
        'error_text': 'x',
        name: ['mine'],
        name.upper().replace('-', '_'): 'mine',
        'environ': {f'HTTP_{name.upper().replace("-", "_")}': 'mine'},
        'headers': [[name, 'mine'], ['Host', 'x']],
    }
    found = encode({**document, 'remote_call': f'GET http://h/?token=mine {name}: mine', 'remote_error': document})
    assert b'mine' not in found and json.loads(found)['headers'] == [[name, MASK], ['Host', 'x']]


def test_tokens_that_are_given_as_headers() -> None:
    """What a server echoes of the secret fields of its request, or of the client's own, is masked as well."""
    secrets = {
        'X-Auth-Token': 'keystone-token-1',
        'Authorization': 'Digest some-response',
        'Cookie': 'id=s3ss10n-1234; a=1',
        'X-Subject-Token': 'subject-token-5',
    }
    values = ['keystone-token-1', 'some-response', 's3ss10n-1234', 'subject-token-5']

    def echo(method: str, path: str, headers: Any, body: bytes) -> Any:
        return 401, {}, {'error_text': f'not {" ".join(values)} but 1'}

    with hidden(), kit.serve(echo) as server, Client(server.host) as client:
        error = failure(client, 'GET', '/', headers=secrets)
        assert str(error).endswith('not *** *** *** *** but 1') and error.root.error_text == 'not *** *** *** *** but 1'
        assert error.remote_error == {'error_text': f'not {" ".join(values)} but 1'}
    with hidden(), kit.serve(echo) as server, Client(server.host, headers=secrets) as client:
        assert mask(' '.join(values)) == '*** *** *** ***'
        assert str(failure(client, 'GET', '/')).endswith('not *** *** *** *** but 1')


def test_fields_that_are_hidden() -> None:
    """A scheme is no secret, nor is a cookie's short value; other fields are none at all."""
    with hidden():
        holder = Holder()
        hide_fields(
            holder,
            [
                ('AUTHORIZATION', 'Bearer abcdefgh'),
                ('cookie', 'lang=en; sid=0123456789; x'),
                ('Host', 'server.example'),
            ],
        )
        assert (
            mask('Bearer of abcdefgh, lang=en, 0123456789 at server.example')
            == 'Bearer of ***, lang=en, *** at server.example'
        )


# In a process that works ---------------------------------------------------------------------------------------------


def test_no_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """No logger, at whatever level, tells one: not of redirects, retries, cookies, refusals, hooks or broken answers."""
    caplog.set_level(logging.DEBUG)
    secret = 's3cr3t/of=ours'

    def answer(method: str, path: str, headers: Any, body: bytes) -> Any:
        words = f'{path} {dict(headers.items())}'
        if '/moved' in path:
            return (
                302,
                {
                    'Location': f'/end?token={quote(secret, safe="")}&own={quote(secret, safe="")}',
                    'Set-Cookie': f'a={secret}',
                },
                '',
            )
        if '/far' in path:
            return 302, {'Location': f'http://127.0.0.1:1/{secret}?own={quote(secret, safe="")}'}, ''
        if '/nowhere' in path:
            return 302, {'Location': f'ftp://root:{secret}@127.0.0.1/'}, ''
        if '/again' in path:
            return 503, {'Retry-After': '0'}, {'error_text': words, secret: words}
        return 400, {}, words

    def hook(value: Any) -> None:
        raise ValueError(f'{secret} {value!r} {vars(value) if isinstance(value, HTTPError) else ""}')

    def broken(request: Request) -> Request:
        raise ValueError(f'no {secret} for {request!r}')

    shown: list[str] = []
    with (
        hidden(),
        kit.serve(answer) as server,
        kit.FaultServer([kit.READ, f'{secret} is no HTTP'.encode(), kit.CLOSE]) as odd,
    ):
        given: list[Any] = [
            TokenIdentifier(secret, 'own'),
            LoginAuthenticator('root', secret),
            BearerToken(secret),
            BasicAuth('root', secret),
            broken,
        ]
        for authenticator in given:
            with ClientPool(
                authenticator,
                redirect=True,
                retries=1,
                retry_budget=None,
                cookies=CookieJar(),
                on_error=hook,
                on_request=hook,
                headers={'X-Auth-Token': secret},
                timeout=20,
            ) as pool:
                for path in '/moved', '/far', '/nowhere', '/again', '/':
                    pool.request(server.host, 'GET', path, headers={'Cookie': f'b={secret}'})
                pool.request('127.0.0.1:1', 'GET', f'/?own={quote(secret, safe="")}')
                pool.request(odd.host, 'GET', '/')
                shown += [f'{pool!r} {pool.stats()}', *map(repr, pool._batch.outcomes)]
                for outcome in pool.wait():
                    shown += [
                        str(outcome),
                        repr(outcome),
                        repr(outcome.request),
                        *map(repr, getattr(outcome, 'chain', ())),
                    ]
        gevent.sleep(0)  # the last hooks
    shown += [record.getMessage() for record in caplog.records]
    assert len(caplog.records) > 50 and 'a hook failed' in caplog.text
    assert not any(record.exc_info for record in caplog.records)
    encoded = b64encode(f'root:{secret}'.encode()).decode()
    for text in [caplog.text, *shown]:
        assert secret not in text and quote(secret, safe='') not in text and encoded not in text, text


def test_the_password_of_a_proxy(caplog: pytest.LogCaptureFixture) -> None:
    """It is hidden as that of an authenticator: a proxy may echo it, too."""
    caplog.set_level(logging.DEBUG)

    def refuse(method: str, path: str, headers: Any, body: bytes) -> Any:
        return 407, {}, f'not {headers["proxy-authorization"]} nor pr0xy/pass'

    with (
        hidden(),
        kit.serve(refuse) as proxy,
        Client('server.example', proxy=f'http://root:pr0xy%2Fpass@{proxy.host}') as client,
    ):
        error = failure(client, 'GET', '/')
        shown = [
            str(error),
            repr(error),
            repr(client),
            encode(document_of(error, 502, 'GET', '/')).decode(),
            caplog.text,
        ]
        assert 'pr0xy/pass' in error.remote_error
    encoded = b64encode(b'root:pr0xy/pass').decode()
    assert not any('pr0xy' in text or encoded in text for text in shown)


def test_reprs_of_authenticators() -> None:
    """Also where the login, or the name of the parameter, is the secret itself."""
    with hidden():
        assert repr(LoginAuthenticator('hush-hush', 'hush-hush')) == "LoginAuthenticator('***', key=***)"
        assert repr(TokenIdentifier('hush-hush', 'hush-hush')) == "TokenIdentifier(***, parameter='***')"
        assert repr(BasicAuth('root', 'hush-hush')) == 'BasicAuth(***)'


def test_options_that_make_no_sense() -> None:
    """An option that is refused is not told with what it holds."""
    with pytest.raises(ValueError) as caught:
        ClientPool(headers=[('Authorization', 'Bearer mine')])
    assert 'mine' not in str(caught.value)


def test_headers_and_requests() -> None:
    """Their repr tells of no secret field and of no token parameter."""
    assert repr(Headers(dict.fromkeys(NAMES, 'mine'))).count(MASK) == len(NAMES)
    request = TokenIdentifier('s3cret-token', 'own')(Request('server.example', 'GET', '/x?token=mine'))
    assert repr(request) == '<Request GET http://server.example/x?token=***&own=***>'
    assert request.url == '/x?token=mine&own=s3cret-token'


def test_errors_that_are_copied() -> None:
    """An error that was pickled tells the same, also one whose answer nobody had looked at."""
    keep = BearerToken('s3cret-token')
    error = told({'error_class': 'E', 'error_text': 'no s3cret-token', 'remote_error': {'error_class': 'Root'}})
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.chain == error.chain and again.remote_error == error.remote_error
    assert str(pickle.loads(pickle.dumps(error))) == str(error) and error.args == (error.message,)
    del keep
