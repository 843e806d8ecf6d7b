"""Which names carry credentials, wherever they stand; and that there is one list of them."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any

import pytest

from napixclient import Client, ClientPool, Headers, Request, secret_names
from napixclient.authenticators import TokenIdentifier
from napixclient.error_documents import encode
from napixclient.masking import MASK, mask, named_secrets
from napixclient.secret_names import is_secret_field, is_secret_parameter
from tests import kit
from tests.helpers_pool import failure
from tests.test_masking import hidden

SECRET = """
Authorization Proxy-Authorization Cookie Set-Cookie X-Auth-Token X-Subject-Token Authentication X-Authorization X-Auth
X-Auth-Key Ocp-Apim-Subscription-Key X-Api-Key X-Functions-Key X-Access-Key X-Vault-Token PRIVATE-TOKEN X-CSRF-Token
X-Signature X-Amz-Signature X-Amz-Credential X-Amz-Security-Token X-JWT X-Pwd X-Otp DPoP Signature X-Hub-Signature-256
X-Shopify-Hmac-Sha256 Stripe-Signature CF-Access-Jwt-Assertion X-NuGet-ApiKey X-MBX-APIKEY X-Goog-Iam-Authorization-Token
api_key api-key apikey apiKey APIkey key key1 sig signature pwd pass passwd password passphrase auth jwt token secret sas
otp pin access_token accesstoken refreshToken csrfmiddlewaretoken client_secret clientsecret private_key SecretAccessKey
session session_id sessionId JSESSIONID PHPSESSID ASP.NET_SessionId user[password] smtp_pass userpass authkey
password_confirmation password_hash password2 code_verifier device_code client_assertion OAuthToken credentials mytoken
""".split()
HARMLESS = """
Host Accept User-Agent ETag X-Request-ID Idempotency-Key Sec-WebSocket-Key Surrogate-Key WWW-Authenticate Signature-Input
X-Goog-Iam-Authority-Selector X-Amz-SignedHeaders X-Auth-User X-Auth-Email Content-Digest Lock-Token
X-Signature-Timestamp AWSAccessKeyId monkey keyboard turkey keyspace keyword passenger compass bypass passive boarding_pass
author Author authority authenticated tokenizer max_tokens tokens token_type token_count nextPageToken nextpagetoken page_token
primary_key primaryKey public_key publicKey publickey key_id foreign_key sort_key cache_key keys signal design assign
secretary has_password requires_auth signature_method password_of session_timeout spin gpio_pin zipcode barcode status_code
client_id state nonce grant_type code_challenge backlog v2 sha256 256 hash x http _ -
""".split()


@pytest.mark.parametrize('name', SECRET)
def test_secret_names(name: str) -> None:
    """A name that says credential is one in any case, with hyphens or underscores, and as a WSGI environ spells it."""
    spellings = [name, name.replace('-', '_'), name.replace('_', '-')]
    if re.search('[a-z][A-Z]', name) is None:  # else nobody can tell where its words end without the capitals
        spellings += [name.lower(), name.upper(), f'HTTP_{name.upper().replace("-", "_")}']
    for spelled in spellings:
        assert is_secret_field(spelled) and is_secret_parameter(spelled), spelled


@pytest.mark.parametrize('name', HARMLESS)
def test_harmless_names(name: str) -> None:
    """Words count, not parts of words, and the last of them says what it is."""
    for spelled in {name, name.upper(), name.replace('-', '_')}:
        assert not is_secret_field(spelled) and not is_secret_parameter(spelled), spelled
    assert mask(f'/x?{name}=VALUE9') == f'/x?{name}=VALUE9'
    assert json.loads(encode({'error_text': 'x', name: 'VALUE9'}))[name] == 'VALUE9'


@pytest.mark.parametrize('name', SECRET)
def test_alike_everywhere(name: str) -> None:
    """In a query, a field, JSON, a form and a text a name is judged alike."""
    with hidden():
        for text in (
            f'http://h/x?a=1&{name}=VALUE9&b=2',
            f'{{"a": 1, "{name}": "VALUE9", "b": 2}}',
            f"{{'a': 1, '{name}': 'VALUE9'}}",
            f'a=1&{name}=VALUE9',
            f'cannot ask with {name}=VALUE9',
            f'cannot ask with {name}: VALUE9',
            json.dumps({'error': json.dumps({name: 'VALUE9'})}),
        ):
            if '[' in name and '?' not in text:
                continue  # of a query, and of forms
            shown = mask(text)
            assert 'VALUE9' not in shown and MASK in shown and mask(shown) == shown, text
        assert b'VALUE9' not in encode({'error_text': 'x', name: ['VALUE9'], 'a': [{name: 'VALUE9'}]})
        if '[' not in name:
            assert 'VALUE9' not in repr(Headers({name: 'VALUE9'}))


def test_what_is_left_to_read() -> None:
    """A code is a secret in a query only; yes, no and nothing are none; a remark about a secret stays."""
    assert mask('/callback?code=abc&state=x') == '/callback?code=***&state=x'
    document = {'error_text': 'x', 'code': 'E5', 'auth': True, 'token': None, 'names': ['password', 'user']}
    assert json.loads(encode(document)) == document
    for text in (
        '{"code": "E5", "token": null, "auth": true}',
        'token: expired',
        'api_key: field required',
        'auth: 401.',
        'give "token", "cookie"',
        'pass: 10, fail: 2',
        "if key == 'x'",
        'the key: {',
    ):
        assert mask(text) == text
    assert mask('{"size": 5, "pin": 1234}') == '{"size": 5, "pin": ***}'
    assert mask('(password=a(b)[c]d) x') == '(password=***) x'
    assert mask('{"pin": 1234, "size": 5}') == '{"pin": ***, "size": 5}'
    assert mask('proxy_auth=Basic dXNlcjp4; a=b') == 'proxy_auth=***; a=b'
    assert named_secrets('{"password": "a b", "size": 5} X-Api-Key: abc') == ['a b', 'abc']


@pytest.mark.timed
@pytest.mark.parametrize(
    'piece', ['key=', '"key":', 'key', 'key="', "'key', ", 'a_', 'key: ', ':', '"', '" ', '\\', '-Key:[', 'a:']
)
def test_masking_is_linear(piece: str) -> None:
    """Twice the text takes about twice the time, whatever is in it."""

    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        began = time.process_time()
        mask(text)
        return time.process_time() - began

    seconds(10_000)
    assert min(seconds(400_000) for _ in range(3)) < 20 * min(seconds(100_000) for _ in range(3)) + 0.05


# Names that are added ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'make', [lambda names: ClientPool(secret_names=names), lambda names: Client('h', secret_names=names)]
)
@pytest.mark.parametrize('names', ['X-Quux', [''], [5], ['X-Quux: value9'], 'X-Quux: value9', ['quux=value9'], [b'x']])
def test_what_is_no_name(make: Any, names: Any) -> None:
    """What is no list of names is a ValueError, which does not show a value that somebody gave with the name."""
    with pytest.raises(ValueError, match='name') as caught:
        make(names)
    assert 'value9' not in str(caught.value)


def test_parameters_of_authenticators_are_bounded() -> None:
    """However many parameters TokenIdentifiers name, `token` stays one; they are secret in a query, and nowhere else."""
    before = set(secret_names._parameters)
    try:
        for number in range(5000):
            TokenIdentifier('whatever', f'p{number}')
        assert mask('/?p1=x&token=x') == '/?p1=***&token=***' and len(secret_names._parameters) <= 4096
        assert is_secret_parameter('p1') and not is_secret_field('p1')
    finally:
        secret_names._parameters.clear()
        secret_names._parameters.update(before)


def test_a_name_that_is_added_counts_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    """A name given to one pool is masked in errors, logs, documents and reprs, and does not follow to another origin."""
    caplog.set_level(logging.DEBUG)
    value = 'plugh-xyzzy-9'

    def echo(method: str, path: str, headers: Any, body: bytes) -> Any:
        return 500, {}, {'error_text': f'no {headers.get("x-grue")}', 'xGrue': 'other', 'x_grue': 5}

    assert not is_secret_field('X-Grue')
    with kit.serve(echo) as far, kit.serve(lambda *_: (307, {'Location': f'http://{far.host}/?x-grue=5'}, '')) as near:
        with ClientPool(secret_names=['X-Grue'], redirect=True) as pool:
            pool.request(near.host, 'POST', '/?XGrue=5', headers={'X-Grue': value, 'X-Kept': 'kept'})
            (error,) = pool.wait()
    assert value.encode() in near.requests[0].raw
    assert value.encode() not in far.requests[0].raw and far.requests[0].headers['x-kept'] == 'kept'
    request = Request('h', 'GET', '/?x_grue=mine', headers={'X-Grue': value})
    for text in (
        str(error),
        repr(error),
        repr(request.headers),
        str(request),
        caplog.text,
        str(near.requests and error),
    ):
        assert value not in text and 'mine' not in text
    with hidden():
        assert json.loads(encode({'error_text': f'x_grue={value}', 'xGrue': [value]})) == {
            'error_text': 'x_grue=***',
            'xGrue': MASK,
        }
        assert mask(f"{{'X-Grue': '{value}'}} HTTP_X_GRUE=a") == "{'X-Grue': ***} HTTP_X_GRUE=***"


@pytest.mark.parametrize('name', [name for name in SECRET if '[' not in name])
def test_no_secret_field_follows_to_another_origin(name: str) -> None:
    """A secret field that is set by hand is for the origin that the caller named; to the same origin it follows."""
    with (
        kit.serve() as far,
        kit.serve(
            lambda m, path, h, b: (
                (302, {'Location': f'http://{far.host}/'}, '') if path == '/' else (302, {'Location': '/'}, '')
            )
        ) as near,
        Client(near.host, redirect=True) as client,
    ):
        client.request('GET', '/again', headers={name: 'VALUE9', 'Idempotency-Key': 'kept'})
    assert [b'VALUE9' in request.raw for request in (*near.requests, *far.requests)] == [True, True, False]
    assert far.requests[0].headers['idempotency-key'] == 'kept'


def test_what_a_server_echoes_of_a_secret_field() -> None:
    """The value of a field of the request whose name says that it is secret is masked in the text of the error."""
    with hidden(), kit.serve(lambda m, p, headers, b: (500, {}, f'no {headers["x-auth-key"]}')) as server:
        error = failure(Client(server.host), 'GET', '/', headers={'X-Auth-Key': 'plugh-9'})
        assert str(error).endswith('no ***')
