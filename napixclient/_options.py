"""Options that are given by keyword: how docstrings list them, and how a misspelt one is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from inspect import Parameter, cleandoc, signature
from typing import TypeVar

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing_extensions import Unpack

__all__ = ['Unpack', 'lists', 'refuse_unknown']

_Documented = TypeVar('_Documented')

#: Options as requests, httpx, aiohttp and urllib3 call them, and what each is called here, by whoever has it.
_CALLED: dict[str, tuple[str, ...]] = {
    'auth': ('authenticator',),
    'credentials': ('authenticator',),
    'proxies': ('proxy',),
    'mounts': ('proxy',),
    'verify_ssl': ('verify',),
    'ssl': ('ssl_context',),
    'ssl_verify': ('verify',),
    'fingerprint': ('assert_fingerprint',),
    'cookie_jar': ('cookies',),
    'cookiejar': ('cookies',),
    'allow_redirects': ('redirect',),
    'follow_redirects': ('redirect',),
    'retry': ('retries',),
    'max_retries': ('retries',),
    'content': ('body', 'data'),
    'body': ('data',),
    'json': ('body',),
    'data': ('body',),
    'files': ('multipart',),
    'fields': ('multipart', 'files'),
    'form': ('data',),
    'query': ('params',),
    'decode_content': ('decode',),
    'auto_decompress': ('decode',),
    'expect100': ('expect',),
    'hooks': ('on_response',),
    'event_hooks': ('on_response',),
    'limits': ('max_connections',),
    'connector': ('max_connections',),
    'limit': ('max_connections',),
    'pool_maxsize': ('max_connections',),
    'limit_per_host': ('simultaneous',),
    'concurrency': ('simultaneous',),
    'max_concurrency': ('simultaneous',),
    'simultaneous': ('max_concurrency',),
    'max_keepalive_connections': ('max_idle',),
    'keepalive_expiry': ('idle_seconds',),
    'keepalive_timeout': ('idle_seconds',),
}
#: Options that only clients and pools have, though others take them with each request.
OF_CLIENTS = frozenset(
    ['authenticator', 'simultaneous', 'verify', 'ca_certs', 'cert', 'ssl_context', 'assert_hostname', 'proxy']
    + ['assert_fingerprint', 'server_hostname', 'ssl_minimum_version', 'no_proxy', 'cookies', 'max_connections']
    + ['retry_budget', 'resolver', 'rate', 'on_request', 'on_response', 'on_error', 'idle_seconds', 'max_idle']
    + ['max_header_bytes', 'max_header_fields', 'secret_names']
)


def lists(*kinds: object) -> Callable[[_Documented], _Documented]:
    """A decorator that adds the options of these ``TypedDict`` to a docstring, behind its ``:param options:``.

    Each option is described once, where its type is, and still stands wherever somebody looks it up.
    """

    def add(documented: _Documented) -> _Documented:
        if documented.__doc__ is not None:  # python -OO has none
            documented.__doc__ = _with_options(
                cleandoc(documented.__doc__), [line for kind in kinds for line in _fields_of(kind)]
            )
        return documented

    return add


def _fields_of(kind: object) -> list[str]:
    lines = cleandoc(kind.__doc__ or '').splitlines()
    return lines[next(at for at, line in enumerate(lines) if line.startswith(':param ')) :]


def _with_options(text: str, fields: list[str]) -> str:
    """The text with these fields behind its last parameter."""
    lines = text.splitlines()
    at = max((at for at, line in enumerate(lines) if line.startswith(':param ')), default=len(lines) - 1) + 1
    while at < len(lines) and lines[at].startswith(' '):
        at += 1
    return '\n'.join([*lines[:at], *fields, *lines[at:]])


def refuse_unknown(taker: Callable[..., object], given: Iterable[str], known: frozenset[str]) -> None:
    """Say which option does not exist, and which one was probably meant.

    :param taker: the public class or method that was given them; its own parameters may have been meant as well.
    :param known: the names of its options.
    :raises TypeError: when one of those given is not known.
    """
    unknown = [name for name in given if name not in known]
    if unknown:
        names = [*_parameters_of(taker), *sorted(known)]
        raise TypeError('; '.join(_refusal(taker.__qualname__, name, names) for name in unknown)) from None


def _parameters_of(taker: Callable[..., object]) -> list[str]:
    return [
        name
        for name, parameter in signature(taker).parameters.items()
        if parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY) and name != 'self'
    ]


def _refusal(taker: str, name: str, names: list[str]) -> str:
    return f'{taker} takes no option {name!r}: {_hint(name, names)}'


def _hint(name: str, names: list[str]) -> str:
    called = _CALLED.get(name, ())
    for ours in called:
        if ours in names:
            return f'it is called {ours!r} here'
    if name in OF_CLIENTS:
        return 'it is an option of the client or the pool, for all its requests'
    if called and called[0] in OF_CLIENTS:
        return f'it is called {called[0]!r} here, an option of the client or the pool, for all its requests'
    close = get_close_matches(name, names, 1)
    return f'did you mean {close[0]!r}?' if close else f'it takes {", ".join(names)}'
