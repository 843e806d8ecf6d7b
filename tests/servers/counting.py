"""What became of the requests of a piece of work, as the client sees it and as the server wrote it down."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napixclient import HTTPError, Response

_numbers = itertools.count()


def new_ids(count: int) -> list[str]:
    """Ids that no other request has."""
    return [f'q{next(_numbers):06d}' for _ in range(count)]


@dataclass
class Cell:
    """One piece of work on one server.

    :param asked: requests.
    :param lost: those that were not answered as they are on a good day.
    :param carried: those of the lost that the server had carried out.
    :param denied: those of them of which the error says that nobody had.
    :param doubled: those that it carried out twice.
    :param over: how many more it carried out at a time than it was asked to.
    :param said: what came in place of the answers, and how often.
    """

    asked: int = 0
    lost: int = 0
    carried: int = 0
    denied: int = 0
    doubled: int = 0
    over: int = 0
    said: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)


class Ledger:
    """What the application behind, or the server itself, has written down."""

    def __init__(self, path: Path) -> None:
        path.touch()
        path.chmod(0o666)
        self._path = path
        self._read = 0  # bytes

    def read(self) -> tuple[Counter[str], int]:
        """Since the last time: how often each request was begun, and how many were under way at a time."""
        begun: Counter[str] = Counter()
        under_way: Counter[str] = Counter()  # by request: what ends here may have begun before
        now = most = 0
        with self._path.open('rb') as file:
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        for line in data.decode().splitlines():
            what, _, request = line.partition(' ')
            if what == 'B':
                begun[request] += 1
                under_way[request] += 1
                now += 1
            elif under_way[request]:
                under_way[request] -= 1
                now -= 1
            most = max(most, now)
        return begun, most


def told(outcome: Response | HTTPError) -> str:
    """What came, in a few words."""
    if isinstance(outcome, HTTPError) and outcome.status is None:
        return f'{type(outcome).__name__}: {outcome.message}'[:160]
    return str(outcome.status)


def count(
    ledger: Ledger,
    outcomes: Iterable[tuple[str, Response | HTTPError]],
    simultaneous: int | None,
    right: Callable[[str, Response | HTTPError], bool],
) -> Cell:
    """Count what became of requests.

    :param outcomes: with their ids.
    :param simultaneous: how many were to be under way at a time, ``None`` where that cannot be told.
    """
    begun, most = ledger.read()
    cell = Cell(doubled=sum(times > 1 for times in begun.values()))
    said: Counter[str] = Counter()
    for request, outcome in outcomes:
        cell.asked += 1
        if not right(request, outcome):
            cell.lost += 1
            cell.carried += request in begun
            cell.denied += isinstance(outcome, HTTPError) and outcome.unprocessed and request in begun
            said[told(outcome)] += 1
        elif isinstance(outcome, Response) and outcome.ok and request not in begun:
            cell.lost += 1
            said[f'{outcome.status}, but it was not carried out'] += 1
    cell.over = max(0, most - simultaneous) if simultaneous is not None else 0
    cell.said = dict(said)
    return cell


def count_others(ledger: Ledger, came: dict[str, int | str]) -> Cell:
    """The same of what another client tells."""
    begun, _ = ledger.read()
    wrong = {request: what for request, what in came.items() if what != 200}
    return Cell(
        asked=len(came),
        lost=len(wrong),
        carried=sum(request in begun for request in wrong),
        doubled=sum(times > 1 for times in begun.values()),
        said=dict(Counter(str(what)[:160] for what in wrong.values())),
    )
