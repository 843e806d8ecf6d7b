"""Variables of hosts, from a file in CSV, JSON or YAML, as inventories have them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from io import StringIO
from typing import Any

from ..hosts import BadHosts, Groups, expand
from ..messages import load_json
from .hostfiles import read_bytes
from .hostvars import BadVars, HostVars

__all__ = ['read_vars']

#: Names of hosts, the name of their column if it has one, and the variables.
_Variables = dict[str, str | None]
_Rows = Iterator[tuple[str, str, _Variables]]


def read_vars(path: str, groups: Groups) -> HostVars:
    """The variables of hosts in a file, whose name ends in ``.csv``, ``.json``, ``.yaml`` or ``.yml``.

    In CSV the first line has the names, and the column ``host`` the hosts, or the first one where none has that name.
    JSON and YAML have an object, host -> variables, or a list of objects, each with the host in the member ``host``, or
    in its first one. A host may be a node set.

    :raises BadVars: if it cannot be read, or is something else.
    """
    kind = os.path.splitext(path)[1].lower()
    if kind not in _READERS:
        raise BadVars(f'--vars {path}: a file of variables ends in .csv, .json, .yaml or .yml')
    try:
        text = read_bytes(path).decode('utf-8-sig')
    except OSError as exc:
        raise BadVars(f'cannot read {path}: {exc.strerror}') from exc
    except UnicodeDecodeError as exc:
        raise BadVars(f'{path} is not a text in UTF-8') from exc
    found: dict[str, _Variables] = {}
    for nodes, title, variables in _READERS[kind](text, path):
        try:
            hosts = list(expand(nodes, groups))
        except BadHosts as exc:
            raise BadVars(f'{path}: {exc}') from exc
        if not hosts:
            raise BadVars(f'{path}: {nodes!r} names no host')
        for host in hosts:
            if host in found:
                raise BadVars(f'{path} has {host} twice')
            found[host] = {title: host, **variables} if title else variables
    return HostVars(path, found)


def _from_csv(text: str, path: str) -> _Rows:
    """The rows of a table; an empty cell is a variable that the host does not have."""
    delimiter = max(',;\t', key=text.partition('\n')[0].count)  # spreadsheets of many countries write semicolons
    rows = csv.reader(StringIO(text, newline=''), delimiter=delimiter, strict=True)
    try:
        titles = [title.strip() for title in next(rows, [])]
        at = titles.index('host') if 'host' in titles else 0
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if len(cells) > len(titles):
                raise BadVars(f'{path}, line {rows.line_num}: {len(cells)} cells, and {len(titles)} titles above them')
            pairs = [*zip(titles, cells, strict=False)]
            nodes = pairs.pop(at)[1] if at < len(pairs) else ''
            yield nodes, titles[at], {title: cell for title, cell in pairs if cell}
    except csv.Error as exc:
        raise BadVars(f'{path}, line {rows.line_num} is not CSV: {exc}') from exc


def _from_json(text: str, path: str) -> _Rows:
    try:
        load_json(text)  # what it refuses, json.loads would take
        # Numbers as they are written: 1.10 is a version.
        document = json.loads(text, parse_int=str, parse_float=str)
    except ValueError as exc:
        raise BadVars(f'{path} is not JSON: {exc}') from exc
    return _rows_of(document, path)


def _from_yaml(text: str, path: str) -> _Rows:
    try:
        import yaml
    except ImportError as exc:
        raise BadVars(f"{path}: YAML needs {exc.name}: pip install 'napixclient[cli]'") from exc
    try:
        # All values as they are written: 010, 1.10, yes and 12:30 are texts.
        document = yaml.load(text, yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as exc:
        raise BadVars(f'{path} is not YAML: {" ".join(str(exc).split())}') from exc
    return _rows_of(document, path)


def _rows_of(document: Any, path: str) -> _Rows:
    if isinstance(document, dict):
        for host, variables in document.items():
            if not isinstance(variables, dict) and variables not in (None, ''):
                raise BadVars(f'{path}: {host!r} has no object of variables')
            yield host, '', _texts(variables or {})
    elif isinstance(document, list):
        for number, one in enumerate(document, 1):
            members = dict(one) if isinstance(one, dict) else {}
            title = 'host' if isinstance(members.get('host'), str) else next(iter(members), '')
            host = members.pop(title, None)
            if not isinstance(host, str):
                raise BadVars(
                    f'{path}: entry {number} is no object whose first member is the host, nor has it a "host"'
                )
            yield host, title, _texts(members)
    else:
        raise BadVars(f'{path} is neither an object, host -> variables, nor a list of objects')


def _texts(variables: dict[str, Any]) -> _Variables:
    """The values as texts; ``null`` is a variable that the host does not have, a list one that cannot be named."""
    texts: _Variables = {}
    for name, value in variables.items():
        if isinstance(value, (dict, list)):
            texts[name] = None
        elif value is not None:
            texts[name] = {True: 'true', False: 'false'}[value] if isinstance(value, bool) else value
    return texts


_READERS = {'.csv': _from_csv, '.json': _from_json, '.yaml': _from_yaml, '.yml': _from_yaml}
