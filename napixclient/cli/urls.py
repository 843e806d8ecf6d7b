"""URLs as targets: ``http://web[1-9].example/x``, on the command line, in files and on standard input."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ..hosts import BadHosts, Groups, expand
from ..messages import parse_origin
from .hostfiles import lines_of
from .ranges import BadUrl

__all__ = ['Words', 'is_url', 'read_urls', 'targets_of', 'words_of']

is_url: Callable[[str], object] = re.compile(r'(?:https?|http\+unix)://', re.IGNORECASE).match
# A slash within brackets is that of a node set: web[0-10/2].
_find_end = re.compile(r'(?:\[[^\[\]]*\]|[^\[\]/?#])*').match
_find_user = re.compile(r'[^,!&^\[\]]@').search


class Words(NamedTuple):
    """What stands behind the method: hosts and a path, or URLs; then the items."""

    hosts: str | None
    url: str | None
    urls: list[str]
    items: list[str]


def words_of(given: Iterable[str | None], from_files: bool) -> Words:
    """Tell hosts, paths, URLs and items apart.

    What begins with ``http://``, ``https://`` or ``http+unix://`` is a URL, unless a path follows: then it is a host.

    :param from_files: whether there are URLs in files, so that none need be here.
    :raises BadUrl: if hosts or path are missing.
    """
    words = [word for word in given if word is not None]
    urls = 0
    while urls < len(words) and is_url(words[urls]):
        urls += 1
    if urls == 1 and words[1:] and words[1].startswith('/') or not urls and not from_files:
        if len(words) < 2:
            missing = 'URL' if words else 'HOSTS'
            more = f'; a URL begins with http:// or https://, unlike {words[0]!r}' if words and '/' in words[0] else ''
            raise BadUrl(f"Missing argument '{missing}'{more}")
        return Words(words[0], words[1], [], words[2:])
    return Words(None, None, words[:urls], words[urls:])


def read_urls(path: str) -> Iterator[tuple[str, str]]:
    """The URLs in a file (``-`` is standard input), one on each line, and where each stands.

    :raises BadHosts: when it cannot be read.
    :raises BadUrl: for a line that is no URL.
    """
    name = 'standard input' if path == '-' else path
    for number, line in enumerate(lines_of(path, name), 1):
        text = line.strip()
        if text and not text.startswith('#'):
            if not is_url(text):
                raise BadUrl(f'{name}, line {number}: {text!r:.80} is no URL: one begins with http:// or https://')
            yield text, f'{name}, line {number}: '


def targets_of(url: str, groups: Groups) -> tuple[list[str], str]:
    """The hosts of a URL, in which the host may be a node set, and its path and query.

    :raises BadUrl: for credentials in it, and for a host that is none.
    """
    scheme, _, rest = url.partition('://')
    found = _find_end(rest)
    assert found is not None  # it may be empty
    nodes, path = found[0], rest[found.end() :]
    if path.startswith(('[', ']')):  # without its counterpart, of which node sets complain
        nodes, path = rest, ''
    if _find_user(nodes):
        raise BadUrl('a URL with a user name in it: give it with --auth NAME:PASSWORD, or --auth @FILE')
    if re.search(r'\s', nodes):
        raise BadUrl(f'{url!r:.200} is no URL: there is a blank in it')
    if not path.startswith('/'):
        path = f'/{path}'
    try:
        hosts = [host if '://' in host else _with_scheme(scheme.lower(), host) for host in expand(nodes, groups)]
        for host in hosts:
            parse_origin(host)
    except (BadHosts, ValueError) as exc:
        raise BadUrl(f'{url!r:.200}: {exc}') from exc
    if not hosts:
        raise BadUrl(f'{url!r:.200} names no host')
    return hosts, path


def _with_scheme(scheme: str, host: str) -> str:
    """The host as it is shown: ``http`` need not be said."""
    return host if scheme == 'http' else f'{scheme}://{host}'
