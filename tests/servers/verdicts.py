"""What is right and what is wrong of what was counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.servers.counting import Cell
from tests.servers.table import HOSTS, Server
from tests.servers.work import AT_A_TIME

#: Pieces of work in which any answer of the server will do that says no, for it may have its bounds.
MAY_SAY_NO = 'header_sent', 'header_received', 'refused'
#: Those in which a server closes under its client, and how many more than aiohttp we may lose then: what was under way,
#: and at a start anew what waited to be accepted as well.
CLOSES_UNDER = {'keep': 3, 'reload': 2 * AT_A_TIME, 'hosts': 2 * HOSTS}


def wrongs(server: Server, cells: Mapping[str, Cell], others: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    """What breaks the law: no POST doubled, none lost that the server had not refused or closed under, no cap exceeded."""
    found = []
    for work, cell in cells.items():
        aiohttp = others.get('aiohttp', {}).get(work)
        if cell.doubled:
            found.append(f'{work}: {cell.doubled} doubled')
        if cell.denied:
            found.append(f'{work}: {cell.denied} carried out that were called unprocessed: {cell.said}')
        if cell.over:
            found.append(f'{work}: {cell.over} over the cap')
        if work in server.known:
            continue
        lost = cell.lost
        if work in MAY_SAY_NO or work in CLOSES_UNDER:  # or none, while it starts
            lost = sum(times for what, times in cell.said.items() if not what.isdigit())
        if work in CLOSES_UNDER:
            lost -= CLOSES_UNDER[work] + (0 if aiohttp is None else aiohttp.lost)
        if lost > 0:
            found.append(f'{work}: {cell.lost} of {cell.asked} lost: {cell.said}')
        if any('safe to ask again' in what for what in cell.said):
            found.append(f'{work}: not sent again: {cell.said}')
    return found


def brief(work: str, cell: Cell, others: Mapping[str, Mapping[str, Cell]]) -> str:
    """What is remarkable about a piece of work; '' for nothing."""
    parts = []
    if cell.lost:
        said = max(cell.said, key=lambda what: cell.said[what])
        parts.append(f'{cell.lost} of {cell.asked} {said if len(said) < 60 else said[:57] + "…"}')
        if cell.carried and not said.isdigit():
            parts.append(f'{cell.carried} carried out')
    for client, cells in others.items():
        if work in cells and (cells[work].lost or cells[work].doubled):
            parts.append(f'{client} {cells[work].lost} of {cells[work].asked}')
            if cells[work].doubled:
                parts.append(f'{cells[work].doubled} doubled')
    return f'{work}: {" / ".join(parts)}' if parts else ''


def total(rows: Iterable[Any], what: str) -> int:
    """The sum over all cells of all rows."""
    return sum(getattr(cell, what) for row in rows for cell in row.cells.values())
