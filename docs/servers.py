"""The tables of the servers, from what `make test-servers` counted: servers.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Written by `make test-servers ARGS='--json docs/servers.json'`.
SERVERS = Path(__file__).parent / 'servers.json'
Table = list[list[str]]
Row = dict[str, Any]
#: What is the same everywhere is one column.
PLAIN = 'gets_2', 'gets_8', 'head', 'empty', 'gzip', 'closing', 'expect'
COMPARED = 'keep', 'reload', 'hosts'


def figures() -> dict[str, Any]:
    """What was counted."""
    found: dict[str, Any] = json.loads(SERVERS.read_text())
    return found


def answers(found: dict[str, Any]) -> Table:
    """What each server makes of requests that are valid and not plain."""
    table = [['server', 'version', 'plain work', '100 KB of header sent', 'received', '2 MB refused early', 'chunked']]
    for row in found['rows']:
        if row['why']:
            table.append([row['name'], row['version'] or '–', row['why'], '', '', '', ''])
        elif 'hosts' not in row['cells']:
            table.append(
                [
                    row['name'],
                    _version(row),
                    _plain(row),
                    *(_said(row, work) for work in ('header_sent', 'header_received', 'refused', 'chunked')),
                ]
            )
    return table


def losses(found: dict[str, Any]) -> Table:
    """What is lost where a server closes under its client: of how many, and what the others lost in the same run."""
    clients = 'napixclient', 'aiohttp', 'libcurl'
    table = [['server', 'POSTs around', *clients, 'carried out twice']]
    names = {'keep': 'the end of keep-alive', 'reload': 'a reload or restart', 'hosts': '3 reloads'}
    for row in found['rows']:
        for work in COMPARED:
            if work in row['cells']:
                cells = _of_clients(row, work)
                twice = [f'{client}: {cell["doubled"]}' for client, cell in cells.items() if cell and cell['doubled']]
                table.append(
                    [row['name'], names[work], *(_lost(cells[client]) for client in clients), ', '.join(twice) or '0']
                )
    return table


def versions(found: dict[str, Any]) -> Table:
    """When it was, and with what."""
    return [['what', 'version'], *([name, str(value)] for name, value in found['about'].items())]


def _version(row: Row) -> str:
    """Without what Debian adds."""
    version: str = row['version']
    return version.partition('-')[0].rstrip('.')


def _plain(row: Row) -> str:
    lost = {work: row['cells'][work]['lost'] for work in PLAIN if row['cells'][work]['lost']}
    asked = sum(row['cells'][work]['asked'] for work in PLAIN)
    return ', '.join(f'{work}: {count} lost' for work, count in lost.items()) or f'all of {asked:,}'


def _said(row: Row, work: str) -> str:
    cell = row['cells'][work]
    if not cell['lost']:
        return 'yes'
    if work in row['known']:
        return str(row['known'][work])
    said: str = max(cell['said'], key=cell['said'].get)
    return said if said.isdigit() else said.partition(':')[2].strip()


def _of_clients(row: Row, work: str) -> dict[str, dict[str, Any] | None]:
    return {
        'napixclient': row['cells'][work],
        'aiohttp': row['others'].get('aiohttp', {}).get(work),
        'libcurl': row['others'].get('pycurl', {}).get(work),
    }


def _lost(cell: dict[str, Any] | None) -> str:
    return '–' if cell is None else f'{cell["lost"]:,} of {cell["asked"]:,}'


#: What the page can ask for.
TABLES: dict[str, Callable[[dict[str, Any]], Table]] = {'answers': answers, 'losses': losses, 'versions': versions}
