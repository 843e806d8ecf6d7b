"""Flags of curl, httpie, hey, clush and GNU parallel that have another name here, or are no flags."""

from __future__ import annotations

__all__ = ['hint']

#: What to write here, and the flags for which that is.
_HINTS = {
    'header fields are items behind the URL, Name:value': '-H --header -A --user-agent',
    'what is sent are items behind the URL, key=value, key:=json or @file': (
        '-d --data --data-raw --data-binary --data-urlencode'
    ),
    'a form is what has a file among its items, field@file': '-F --form --multipart',
    'the method comes first, as in napix post HOSTS URL': '-X --request --method',
    'it is napix head HOSTS URL here': '-I --head',
    '--auth @FILE has a name and a password': '-u --user -a',
    'it is --timeout TIME here': '-m --max-time -t',
    'it is --duration TIME here': '-z',
    '--simultaneous N is for each host, --max-connections N for all': '-c --concurrency -j --jobs --fanout',
    'the hosts come behind the method': '-w --nodes',
    'a group of hosts is @name behind the method, and @* are all': '-g --group --all',
    'it is -q here': '-s --silent',
}


def hint(flag: str) -> str | None:
    """What to write in the place of a flag that there is not; ``None`` where nothing is known."""
    return next((text for text, flags in _HINTS.items() if flag in flags.split()), None)
