"""Which hosts and URLs a command line asks for: node sets, groups, files; without those that are excluded."""

from __future__ import annotations

import random
from collections.abc import Iterable

from ..hosts import Groups, expand
from .hostfiles import read_hosts, without
from .layout import Grid, Layout, Listed
from .options import Asked
from .ranges import BadUrl
from .urls import Words, read_urls, targets_of

__all__ = ['layout_of']


def layout_of(asked: Asked, words: Words, groups: Groups) -> Layout:
    """Who is asked for what.

    :raises BadHosts: for what is no node set, and a file that cannot be read.
    :raises BadUrl: for what is no URL, and when there is nobody left to ask.
    """
    repeat = _repetitions(asked)
    if words.hosts is not None and words.url is not None:
        named = dict.fromkeys(read_hosts('-', groups) if words.hosts == '-' else _expanded(words.hosts, groups))
        for path in asked.hostfile:
            named.update(dict.fromkeys(read_hosts(path, groups)))
        return Grid(_chosen(asked, named, groups), words.url, repeat, asked.serial)
    entries = _entries(asked, words, groups)
    hosts = _chosen(asked, dict.fromkeys(host for host, _ in entries), groups)
    paths = {path for _, path in entries}
    if len(paths) == 1:  # ranges in it need not be held in memory
        return Grid(hosts, paths.pop(), repeat, asked.serial)
    chosen = set(hosts)
    return Listed(((host, path) for host, path in entries if host in chosen), repeat, asked.serial)


def _repetitions(asked: Asked) -> int | None:
    """How often each request is made in one run; ``None`` for as often as there is time."""
    if asked.watch is not None:
        return 1  # -n says how many runs there are
    endless = asked.duration is not None and not (asked.curl or asked.dry_run)
    return asked.repeat if endless else asked.repeat or 1


def _expanded(text: str, groups: Groups) -> Iterable[str]:
    return () if text == '.' else expand(text, groups)


def _entries(asked: Asked, words: Words, groups: Groups) -> list[tuple[str, str]]:
    """Hosts and paths of the URLs of the command line, and of files."""
    entries = [(host, path) for hosts, path in (targets_of(url, groups) for url in words.urls) for host in hosts]
    for file in asked.urls:
        for url, where in read_urls(file):
            try:
                hosts, path = targets_of(url, groups)
            except BadUrl as exc:
                raise BadUrl(f'{where}{exc}') from exc
            entries += [(host, path) for host in hosts]
    return entries


def _chosen(asked: Asked, named: Iterable[str], groups: Groups) -> list[str]:
    """The hosts that are asked, each once, in the order in which they were named."""
    excluded = [host for text in asked.exclude for host in expand(text, groups)]
    everyone = list(named)
    hosts = list(without(everyone, excluded)) if excluded else everyone
    if not hosts and everyone:
        raise BadUrl('no hosts: all of them are excluded')
    if not hosts:
        raise BadUrl(
            'no hosts: there is no URL in the file of --urls'
            if asked.urls
            else 'no hosts: neither HOSTS nor --hostfile names one'
        )
    if asked.pick is not None and asked.pick < len(hosts):
        hosts = [hosts[place] for place in sorted(random.sample(range(len(hosts)), asked.pick))]
    return hosts
