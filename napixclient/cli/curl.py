"""Shows requests as commands of curl, without secrets."""

from __future__ import annotations

import re
import shlex

from ..authenticators import Authenticator, LoginAuthenticator, TokenIdentifier
from ..masking import MASK, mask
from ..messages import Request, parse_origin
from ..secret_names import is_secret_field, is_secret_parameter
from .credentials import ConnectionOptions
from .items import Items, Upload
from .options import Asked

__all__ = ['Curl']

SECRET = '$NAPIX_TOKEN'


class Curl:
    """Writes requests as curl commands, with ``$NAPIX_TOKEN`` instead of secrets."""

    def __init__(
        self, asked: Asked, items: Items, authenticator: Authenticator | None, options: ConnectionOptions
    ) -> None:
        self._items = items
        self._authenticator = authenticator
        self._common = self._flags(asked, options)
        self._credentials = _credentials(asked)

    @staticmethod
    def _flags(asked: Asked, options: ConnectionOptions) -> list[str]:
        """The flags that all commands share."""
        flags = ['curl', '-sS']
        for flag, value in (
            ('--max-time', asked.timeout),
            ('--connect-timeout', asked.connect_timeout),
            ('--retry', asked.retries),
            ('--max-redirs', asked.max_redirects),
            ('--cacert', options.get('ca_certs')),
            ('--cert', options.get('cert')),
            ('--interface', options.get('source_address')),
            ('--noproxy', ','.join(options.get('no_proxy', ()))),
        ):
            if value or value == 0 and flag == '--max-redirs':
                flags += [flag, _word(f'{value:g}' if isinstance(value, float) else str(value))]
        if asked.follow or asked.max_redirects is not None:
            flags.append('-L')
        if asked.insecure:
            flags.append('-k')
        if proxy := options.get('proxy'):
            flags += ['-x', _proxy(proxy)]
        return flags

    def command(self, request: Request) -> str:
        """The command that sends this request."""
        words = list(self._common)
        origin = parse_origin(request.host)
        if origin.socket_path is not None:
            words += ['--unix-socket', _word(origin.socket_path)]
        url = f'{origin if origin.socket_path is None else "http://localhost"}{request.url}'
        if re.search(r'[\[\]{}]', url):
            words.append('-g')
        if '/.' in url:
            words.append('--path-as-is')
        words += (
            ['-I']
            if request.method == 'HEAD'
            else []
            if request.method == 'GET' and request.body is None
            else ['-X', _word(request.method)]
        )
        # The fields that curl would add are not those that napix sends.
        named = {name.lower() for name in request.headers}
        if 'accept' not in named:
            words += ['-H', "'Accept: application/json'"]
        if self._items.is_form:
            named.add('content-type')
        elif request.body is not None and 'content-type' not in named:
            words += ['-H', "'Content-Type:'"]
        for name, value in request.headers.multi_items():
            if not (self._items.is_form and name.lower() == 'content-type'):
                words += ['-H', _header(name, value)]
        words += self._body(request)
        words += self._credentials
        if isinstance(self._authenticator, LoginAuthenticator):
            words += ['-H', f'"Authorization: {SECRET}"']
        if isinstance(self._authenticator, TokenIdentifier):
            mark = '&' if '?' in url else '?'
            return ' '.join([*words, _quoted(f'{mask(url)}{mark}token={MASK}')])
        return ' '.join([*words, _masked(url)])

    def _body(self, request: Request) -> list[str]:
        if self._items.is_form:
            words = []
            for name, value in self._items.fields:
                if isinstance(value, Upload):
                    words += ['-F', _masked(f'{name}=@{value.path};type={value.content_type}')]
                else:
                    words += ['--form-string', _member(name, self._items.filler.fill(value, request.host))]
            return words
        if self._items.file is not None:
            return ['--data-binary', _word(f'@{self._items.file}')]
        return [] if request.body is None else ['--data-raw', _masked(request.body.decode())]


def _credentials(asked: Asked) -> list[str]:
    """The flags that say who asks, without secrets; signatures and tokens of the query are made with the request."""
    if asked.bearer:
        return ['-H', f'"Authorization: Bearer {SECRET}"']
    if asked.netrc:
        return ['--netrc']
    given = asked.auth or asked.digest
    if not given:
        return []
    name = '' if given.startswith('@') else given.partition(':')[0]
    return [*(['--digest'] if asked.digest else []), '-u', _with_secret(f'{name}:', '') if name else f'"{SECRET}"']


def _word(text: str) -> str:
    return shlex.quote(text)


def _masked(text: str) -> str:
    """A word of the shell in which secrets are masked."""
    shown = mask(text.replace(MASK, '\0'))  # a mask of the caller's own is none of ours, and NUL is in no argument
    return _quoted(shown).replace('\0', MASK) if MASK in shown else _word(text)


def _quoted(shown: str) -> str:
    """A word of the shell with each mask replaced by the secret."""
    return f'"{SECRET.join(map(_escape, shown.split(MASK)))}"'


def _header(name: str, value: str) -> str:
    if not value:
        return _word(f'{name};')
    if not is_secret_field(name):
        return _masked(f'{name}: {value}')
    scheme, blank, secret = value.partition(' ')
    return _with_secret(f'{name}: {scheme} ' if blank and secret else f'{name}: ', '')


def _member(name: str, value: str) -> str:
    """A field of a form."""
    return _with_secret(f'{name}=', '') if is_secret_parameter(name) else _masked(f'{name}={value}')


def _proxy(url: str) -> str:
    """The URL of a proxy, with its password hidden."""
    before, mark, place = url.rpartition('@')
    scheme, slashes, credentials = before.partition('://')
    user, colon, _ = credentials.partition(':')
    return _with_secret(f'{scheme}{slashes}{user}:', f'@{place}') if mark and colon else _word(url)


def _with_secret(before: str, after: str) -> str:
    """A word of the shell with the secret in it."""
    return f'"{_escape(before)}{SECRET}{_escape(after)}"'


def _escape(text: str) -> str:
    return re.sub(r'([\\"$`])', r'\\\1', text)
