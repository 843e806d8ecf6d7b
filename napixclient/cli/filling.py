"""What stands for something in URL, header fields and items: ``{host}``, and with ``--vars`` variables of each host."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from ..messages import dump_json, load_json
from .hostfiles import name_of
from .hostvars import BadVars, HostVars

__all__ = ['HOST', 'Filler']

#: Stands for the host, with its port and without scheme.
HOST = '{host}'
# A name does not begin with a digit: {3} may be of a pattern. JSON has quotes behind its braces.
_NAME = r'\{([^\W\d][\w .-]*)\}'
_tokens = re.compile(r'\{\{|\}\}|' + _NAME).sub
_json_tokens = re.compile(r'"(?:[^"\\]|\\.)*"|' + _NAME, re.DOTALL).sub
#: What a variable may bring into a URL as it is. ``?``, ``&``, ``=`` and ``#`` would make another URL of it.
_PLAIN = "/:@,;!$'()*~"


class Filler:
    """Fills in what stands for something else.

    :param table: the variables of the hosts; without them braces other than those of ``{host}`` are nobody's business.
    """

    def __init__(self, table: HostVars | None = None) -> None:
        self._table = table

    @property
    def has_variables(self) -> bool:
        """Whether there are variables, and so braces that are escaped."""
        return self._table is not None

    def fills(self, text: str) -> bool:
        """Whether anything in the text may stand for something else."""
        return HOST in text if self._table is None else '{' in text or '}' in text

    def fill(self, text: str, host: str, in_url: bool = False) -> str:
        """The text for this host.

        :param in_url: whether it is a URL, in which values are quoted.
        :raises BadVars: for a variable that the host does not have.
        """
        if self._table is None:
            return text.replace(HOST, name_of(host))

        def token(found: re.Match[str]) -> str:
            if found[1] is None:
                return found[0][0]  # one brace of two
            value = self._value(found[1], host)
            return quote(value, safe=_PLAIN) if in_url and found[1] != 'host' else value

        return _tokens(token, text)

    def _value(self, name: str, host: str) -> str:
        assert self._table is not None
        return name_of(host) if name == 'host' else self._table.value(host, name)

    def fill_json(self, text: str, host: str) -> Any:
        """The JSON value for this host.

        With variables it may be JSON only when it is filled: ``{"port": {port}}``. What stands in a text stays there,
        whatever the value is. Where braces had to be escaped, they are.

        :raises ValueError: when it is no JSON, and for a variable that the host does not have.
        """
        if self._table is None:
            return load_json(self.fill(text, host))

        def token(found: re.Match[str]) -> str:
            if found[1] is None:
                return dump_json(self.fill(load_json(found[0]), host), 'a text').decode()
            return self._value(found[1], host)

        try:
            return load_json(_json_tokens(token, text), finite=True)
        except BadVars:
            raise
        except ValueError:
            return load_json(self.fill(text, host), finite=True)
