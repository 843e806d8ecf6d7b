"""Who asks: flags, environment, profiles; certificates and proxies."""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests import kit
from tests.cli.programs import napix, started
from tests.cli.servers import answering, fields
from tests.helpers_proxy import Tunnel


def signed_by(request: kit.Received, key: str = 'toor') -> tuple[str, bool]:
    """The login that signed a request, and whether with that key."""
    message, _, signature = request.headers['authorization'].rpartition(':')
    said = {name: values[0] for name, values in parse_qs(message).items()}
    assert (said['method'], said['path'], said['host']) == (request.method, request.path, request.headers['host'])
    return said['login'], hmac.new(key.encode(), message.encode(), 'sha256').hexdigest() == signature


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    """A configuration with profiles, and files with secrets; the environment that leads to it."""
    (tmp_path / 'napix').mkdir()
    (tmp_path / 'key').write_text('toor\n')
    (tmp_path / 'token').write_text('  s3cret\r\n')
    (tmp_path / 'napix' / 'config.toml').write_text(
        f'[profiles.signs]\nlogin = "root"\nkey = "toor"\n[profiles.file]\nlogin = "root"\nkey = "@{tmp_path}/key"\n'
        '[profiles.token]\ntoken = "s3cret"\n[profiles.login]\nlogin = "root"\n'
    )
    return {'XDG_CONFIG_HOME': str(tmp_path)}


@pytest.mark.parametrize(
    ('flags', 'env'),
    [
        (['--login', 'root', '--key', 'toor'], {}),
        (['--login', 'root', '--key', '@key'], {}),
        (['--login', 'root'], {'NAPIX_KEY': 'toor'}),
        (['--login', 'root', '--key', '@key'], {'NAPIX_KEY': 'other', 'NAPIX_TOKEN': 'other', 'NAPIX_LOGIN': 'other'}),
        (['--key', '@key'], {'NAPIX_LOGIN': 'root'}),
        ([], {'NAPIX_LOGIN': 'root', 'NAPIX_KEY': 'toor'}),
        ([], {'NAPIX_LOGIN': 'root', 'NAPIX_KEY': '@key'}),
        (['--profile', 'signs'], {}),
        (['--profile', 'file'], {'NAPIX_PROFILE': 'token'}),
        ([], {'NAPIX_PROFILE': 'signs'}),
        (['--profile', 'login'], {'NAPIX_KEY': 'toor'}),
        (['--profile', 'login', '--key', '@key'], {}),
        (['--profile', 'token', '--login', 'root'], {'NAPIX_KEY': 'toor'}),
    ],
)
def test_login(flags: list[str], env: dict[str, str], config: dict[str, str], tmp_path: Path) -> None:
    """A login signs with the key of flag or file, of the environment, of the profile; the first that says it counts."""
    with answering('no', 403) as server:
        code, out, err = napix('get', server.host, '/x?y=1', *flags, '-v', directory=tmp_path, **config, **env)
    assert code == 1, err
    assert signed_by(server.requests[0]) == ('root', True)
    assert 'toor' not in out + err


@pytest.mark.parametrize(
    ('flags', 'env'),
    [
        (['--token', 's3cret'], {}),
        (['--token', '@token'], {'NAPIX_TOKEN': 'other'}),
        ([], {'NAPIX_TOKEN': 's3cret', 'NAPIX_KEY': 'other'}),
        ([], {'NAPIX_TOKEN': '@token'}),
        (['--profile', 'token'], {}),
        ([], {'NAPIX_TOKEN': 's3cret', 'NAPIX_PROFILE': 'signs'}),
    ],
)
def test_token(flags: list[str], env: dict[str, str], config: dict[str, str], tmp_path: Path, refused: str) -> None:
    """A token goes as the parameter; it is not shown, in errors neither."""
    with answering('no', 403) as server:
        code, out, err = napix(
            'get',
            f'{server.host},{refused}',
            '/x?y=1',
            *flags,
            '-v',
            '--json',
            '--joblog',
            tmp_path / 'log',
            directory=tmp_path,
            **config,
            **env,
        )
    assert code == 1, err
    assert server.requests[0].path == '/x?y=1&token=s3cret'
    assert 'authorization' not in server.requests[0].headers
    assert 's3cret' not in out + err + (tmp_path / 'log').read_text()


@pytest.mark.parametrize(
    ('flags', 'field'),
    [
        (['--bearer', '@token'], 'Bearer s3cret'),
        (['--bearer', 's3cret'], 'Bearer s3cret'),
        (['--auth', '@pair'], 'Basic bmVtbzpzM2M6cmV0'),
        (['--auth', 'nemo:s3c:ret'], 'Basic bmVtbzpzM2M6cmV0'),
    ],
)
def test_http_authentication(flags: list[str], field: str, config: dict[str, str], tmp_path: Path) -> None:
    """--bearer and --auth go into the header, come before environment and profile, and are shown nowhere."""
    (tmp_path / 'pair').write_text('nemo:s3c:ret\n')
    env = {'NAPIX_TOKEN': 'other', 'NAPIX_PROFILE': 'signs', **config}
    with answering('no', 403) as server:
        log = tmp_path / 'log'
        code, out, err = napix('get', server.host, '/x', *flags, '-v', '--joblog', log, directory=tmp_path, **env)
        curl = napix('get', server.host, '/x', *flags, '--curl', directory=tmp_path, **env).out
    (request,) = server.requests
    assert (code, request.path, request.headers['authorization']) == (1, '/x', field)
    assert '> Authorization: ***' in err
    assert not any(secret in out + err + log.read_text() + curl for secret in ('s3cret', 's3c:ret', field.split()[1]))
    assert ('a secret on the command line' in err) == (flags[1][0] != '@')
    assert '$NAPIX_TOKEN' in curl


class Challenging:
    """A server that asks for the password of `nemo` as Digest does (RFC 7616), SHA-256 with `auth`."""

    def __init__(self) -> None:
        self.server = kit.serve(self.answer)

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], object]:
        """200 for who knows it."""
        said = dict(re.findall(r'(\w+)="?([^",]*)"?', headers.get('authorization', '')))
        if said.get('uri') == path and self.proof(method, said) == said['response']:
            return 200, {}, {'name': said['username']}
        return 401, {'WWW-Authenticate': 'Digest realm="sea", qop="auth", algorithm=SHA-256, nonce="a1"'}, None

    @staticmethod
    def proof(method: str, said: dict[str, str]) -> str:
        """The response that the password makes."""

        def digest(*texts: str) -> str:
            return sha256(':'.join(texts).encode()).hexdigest()

        known = digest(said['username'], 'sea', 's3c:ret')
        asked = digest(method, said['uri'])
        return digest(known, said['nonce'], said['nc'], said['cnonce'], said['qop'], asked)


def test_digest(tmp_path: Path) -> None:
    """--digest answers the challenges of servers, from flag or file, and shows neither password nor proof."""
    challenging = Challenging()
    (tmp_path / 'pair').write_text('nemo:s3c:ret\n')
    with challenging.server as server:
        for given, code in ('@pair', 0), ('nemo:s3c:ret', 0), ('nemo:wrong', 1):
            found, out, err = napix('get', server.host, '/[1-2]?x=1', '--digest', given, '-v', directory=tmp_path)
            assert (found, out.count('nemo')) == (code, 2 - 2 * code), err
            assert not any(secret in out + err for secret in ('s3c:ret', 'wrong', 'response='))
    curl = napix('get', 'a', '/', '--digest', 'nemo:s3c:ret', '--curl').out
    assert curl.startswith('curl -sS ') and ' --digest -u "nemo:$NAPIX_TOKEN" ' in curl


def test_netrc(tmp_path: Path) -> None:
    """--netrc sends each host what ~/.netrc has for it, as curl does, shows it nowhere, and refuses to let others read."""
    path = tmp_path / '.netrc'
    path.write_text('machine 127.0.0.1 login nemo password s3cret\n')
    path.chmod(0o600)
    with kit.serve() as server:
        hosts = f'127.0.0.1:{server.port},localhost:{server.port}'
        code, out, err = napix('get', hosts, '/', '--netrc', '-v', HOME=str(tmp_path))
        said = {request.headers['host']: request.headers.get('authorization') for request in server.requests}
        proof = b64encode(b'nemo:s3cret').decode()
        assert said == {server.authority: f'Basic {proof}', f'localhost:{server.port}': None}
        assert code == 0 and not any(secret in out + err for secret in (proof, 's3cret'))
        assert napix('get', server.host, '/', '--netrc', HOME=str(tmp_path / 'none')).code == 0
        path.chmod(0o644)
        found = napix('get', server.host, '/', '--netrc', HOME=str(tmp_path))
        assert found.code == 2 and found.err.startswith('napix: --netrc: ') and len(server.requests) == 3
    assert ' --netrc http://a/' in napix('get', 'a', '/', '--netrc', '--curl').out


def test_nobody(config: dict[str, str]) -> None:
    """Without either nothing is added; empty variables, a key without a login, a profile not asked for, are none."""
    with answering() as server:
        code, _, _ = napix('get', server.host, '/x', NAPIX_TOKEN='', NAPIX_KEY='toor', NAPIX_PROFILE='', **config)
    assert (code, server.requests[0].path) == (0, '/x')
    assert 'authorization' not in server.requests[0].headers


def test_not_on_the_list_of_processes(config: dict[str, str], tmp_path: Path) -> None:
    """With file, environment or profile a secret stands on no command line."""
    gate = kit.Gate()
    with kit.serve(gate=gate) as server:
        with started('get', server.host, '/', '--profile', 'file', fresh=True, directory=tmp_path, **config) as process:
            gate.wait_for(1)
            assert b'toor' not in Path(f'/proc/{process.pid}/cmdline').read_bytes()
            gate.open()
            assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        (None, "profile 'x': cannot read {path}: No such file or directory"),
        ('[profiles.y]\n', '{path} has no [profiles.x]'),
        ('profiles = 1\n', '{path} has no [profiles.x]'),
        ('[profiles.x]\nlogn = "a"\n', "{path}: [profiles.x] has 'logn'; known are login, key, token, ca_certs, proxy"),
        ('[profiles.x]\nkey = 5\n', '{path}: key of [profiles.x] is a text that is not empty'),
        ('[profiles.x]\nkey = ""\n', '{path}: key of [profiles.x] is a text that is not empty'),
        ('[profiles.x\n', '{path} is not TOML: '),
        (b'\xff', '{path} is not TOML: '),
        ('[profiles.x]\nlogin = "a"\nkey = "b"\ntoken = "c"\n', 'the profile has both a login and a token'),
        ('[profiles.x]\nlogin = "a"\n', '--login without a key'),
        ('[profiles.x]\nlogin = "a"\nkey = "@/no/such/file"\n', 'cannot read the file: No such file or directory'),
    ],
)
def test_bad_configuration(content: str | bytes | None, complaint: str, tmp_path: Path) -> None:
    """What is wrong with the configuration is told in one line, with the name of the file."""
    path = tmp_path / 'napix' / 'config.toml'
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = napix('get', 'a', '/', '--profile', 'x', XDG_CONFIG_HOME=str(tmp_path))
    assert (code, out, err.count('\n')) == (2, '', 1)
    assert complaint.format(path=path) in err


# TLS -----------------------------------------------------------------------------------------------------------------


def test_tls(authority: kit.Authority, tmp_path: Path) -> None:
    """Certificates are verified: by the system's, by --cacert, by ca_certs of a profile; -k accepts any."""
    (tmp_path / 'napix').mkdir()
    (tmp_path / 'napix' / 'config.toml').write_text(f'[profiles.x]\nca_certs = "{authority.ca_certs}"\n')
    with kit.serve(tls=authority.server()) as server:
        for flags, env, status in (
            ((), {}, 'TLSError'),
            ((), {'SSL_CERT_FILE': authority.ca_certs}, '200'),
            (('--cacert', authority.ca_certs), {}, '200'),
            (('-k',), {}, '200'),
            (('--insecure',), {}, '200'),
            (('--profile', 'x'), {'XDG_CONFIG_HOME': str(tmp_path)}, '200'),
        ):
            code, out, err = napix('get', f'https://127.0.0.1:{server.port}', '/', *flags, **env)
            assert (code, fields(out)[server.host][0]) == (0 if status == '200' else 3, status), err
        assert len(server.requests) == 5


def test_client_certificate(authority: kit.Authority, tmp_path: Path) -> None:
    """--cert is shown to a server that asks for it."""
    context = authority.server()
    context.load_verify_locations(authority.ca_certs)
    context.verify_mode = 2  # CERT_REQUIRED
    pem = tmp_path / 'client.pem'
    authority.certificate('client').private_key_and_cert_chain_pem.write_to_path(str(pem))
    with kit.serve(tls=context) as server:
        run = ('get', f'https://127.0.0.1:{server.port}', '/', '--cacert', authority.ca_certs)
        assert napix(*run, '--cert', pem).code == 0
        assert napix(*run).code == 3


# Proxies -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterator[kit.Server]:
    """A proxy that answers itself."""
    with kit.serve(lambda method, path, *_: {'proxied': path}) as server:
        yield server


@pytest.mark.parametrize(
    ('flags', 'env', 'proxied'),
    [
        (['--proxy', 'P'], {}, True),
        (['--proxy', 'P', '--no-proxy', 'other.example,H'], {}, False),
        (['--proxy', 'P', '--no-proxy', '*'], {}, False),
        ([], {'http_proxy': 'P'}, True),
        ([], {'HTTP_PROXY': 'P'}, False),
        ([], {'all_proxy': 'P'}, True),
        ([], {'ALL_PROXY': 'P'}, True),
        ([], {'https_proxy': 'P'}, False),
        ([], {'http_proxy': 'P', 'NO_PROXY': '127.0.0.0/8'}, False),
        ([], {'http_proxy': 'P', 'no_proxy': 'a,127.0.0.1'}, False),
        ([], {'http_proxy': 'P', 'NO_PROXY': ' '}, True),
        (['--proxy', 'P'], {'http_proxy': 'http://127.0.0.1:1', 'no_proxy': ''}, True),
        ([], {'http_proxy': ''}, False),
        (['--profile', 'x'], {}, True),
    ],
)
def test_proxy(flags: list[str], env: dict[str, str], proxied: bool, proxy: kit.Server, tmp_path: Path) -> None:
    """--proxy, a profile or http_proxy and all_proxy name the proxy; --no-proxy and no_proxy who is reached straight."""
    url = f'http://127.0.0.1:{proxy.port}'
    (tmp_path / 'napix').mkdir()
    (tmp_path / 'napix' / 'config.toml').write_text(f'[profiles.x]\nproxy = "{url}"\n')
    with answering() as server:
        words = [url if flag == 'P' else flag.replace('H', server.host) for flag in flags]
        code, out, err = napix(
            'get',
            server.host,
            '/x',
            *words,
            XDG_CONFIG_HOME=str(tmp_path),
            **{name: url if value == 'P' else value for name, value in env.items()},
        )
    assert code == 0, err
    assert (len(proxy.requests), len(server.requests)) == ((1, 0) if proxied else (0, 1))


@pytest.mark.parametrize('name', ['HTTPS_PROXY', 'https_proxy', 'all_proxy'])
def test_proxy_of_https(name: str, authority: kit.Authority) -> None:
    """HTTPS_PROXY is asked for a tunnel to https hosts, and for nothing else; a proxy may be named without scheme."""
    with Tunnel() as tunnel, kit.serve(tls=authority.server()) as secure, answering() as plain:
        code, out, err = napix(
            'get',
            f'https://localhost:{secure.port},{plain.host}',
            '/',
            '--cacert',
            authority.ca_certs,
            '-x',
            plain.host if name == 'all_proxy' else 'nobody',
            **{name: f'127.0.0.1:{tunnel.port}'},
        )
        assert code == 0, (out, err)
        assert [request.method for request in tunnel.requests] == ['CONNECT']
        assert (len(secure.requests), len(plain.requests)) == (1, 0 if name == 'all_proxy' else 1)


def test_two_proxies() -> None:
    """Two proxies for one run is one too many."""
    code, _, err = napix('get', 'a,https://b', '/', http_proxy='http://p:1', HTTPS_PROXY='http://q:1')
    assert (code, err) == (
        2,
        'napix: https_proxy and http_proxy name two proxies, and there are hosts for both: name one with --proxy\n',
    )


def test_a_secret_on_the_command_line(tmp_path: Path) -> None:
    """It is warned of, as all who list the processes see it; in a file or the environment there is no need for a word."""
    (tmp_path / 'secret').write_text('s3cret')
    with answering('yes', 200) as server:
        for flags, env, flag in (
            (['--token', 's3cret'], {}, '--token'),
            (['--login', 'root', '--key', 's3cret'], {}, '--key'),
            (['--token', '@secret'], {}, None),
            ([], {'NAPIX_TOKEN': 's3cret'}, None),
        ):
            code, out, err = napix('get', server.host, '/x', *flags, directory=tmp_path, **env)
            assert code == 0 and 's3cret' not in out + err
            assert (f'napix: {flag}: a secret on the command line shows' in err) is (flag is not None), err
