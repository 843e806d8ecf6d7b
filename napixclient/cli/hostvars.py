"""The variables of hosts, by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..masking import hide
from ..secret_names import is_secret_parameter
from .hostfiles import name_of

__all__ = ['BadVars', 'HostVars']

#: Secrets that are looked for in all that is shown, at most; what has the name of one is masked however many there are.
_MOST_SECRETS = 500


class BadVars(ValueError):
    """The file cannot be read or makes no sense, or a host or a variable is missing from it."""


class HostVars:
    """The variables of hosts.

    :param path: the name of the file, for errors.
    :param found: host -> variable -> value; ``None`` for one that is no text, such as a list.
    """

    def __init__(self, path: str, found: Mapping[str, Mapping[str, str | None]]) -> None:
        self._path = path
        self._found = found
        self._names = dict.fromkeys(name for variables in found.values() for name in variables)
        secrets = {
            value
            for variables in found.values()
            for name, value in variables.items()
            if value and is_secret_parameter(name)
        }
        if len(secrets) <= _MOST_SECRETS:
            hide(self, *secrets)

    def value(self, host: str, name: str) -> str:
        """The value of a variable. A host is found with its scheme and port, without scheme, and without port.

        :raises BadVars: if there is no such host, it has no such variable, or that is neither a text nor a number.
        """
        if name not in self._names:
            known = ', '.join([*dict.fromkeys(['host', *self._names])][:20])
            raise BadVars(
                f'{{{name}}} is no variable of {self._path}, which has {known}; write {{{{ and }}}} for braces'
            )
        written = name_of(host)
        for key in host, written, re.sub(r':\d+\Z', '', written):
            if key in self._found:
                if name not in self._found[key]:
                    raise BadVars(f'{self._path} has no {name!r} for {key}')
                value = self._found[key][name]
                if value is None:
                    raise BadVars(f'{self._path}: {name!r} of {key!r} is neither a text nor a number')
                return value
        raise BadVars(f'{self._path} has no variables for {written}')
