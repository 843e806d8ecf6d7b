"""The fewest hosts that hold all keys. No I/O.

Set cover, in four steps:

1. leave out what cannot matter: a key that every host of another key holds, and a host that a better one can replace;
   take the only host of a key;
2. split the rest into parts that share no host;
3. solve a small part exactly, with a table of all sets of its hosts;
4. cover a larger part greedily (the host with the most new keys, then step 1 again around it), and improve the cover
   by solving pieces of it exactly.

Sets are bits of ints: of keys (*rows*) and of hosts. Weights are whole numbers, so that no sum is rounded: the number
of hosts counts first, the priorities second, and chance third.
"""

from __future__ import annotations

import copy
import functools
import heapq
import itertools
import math
import numbers
import random
from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from fractions import Fraction
from operator import or_
from typing import Any

from .errors import NoHostAvailable
from .exact import exact_cover

__all__ = ['least_cover']

#: The bits of all tables of one cover: enough for one part of 22 hosts, or for four of 20.
_TABLES = 1 << 22
#: The limit on comparisons to leave out what cannot matter, at first and during the greedy choice.
_REDUCING = 6_000
#: How many hosts or keys are examined to tell whether one of many can replace another.
_NARROW = 8
#: Hosts of a piece, by which a larger part is improved, and the limit on the keys of all pieces.
_PIECE, _IMPROVING = 12, 12_000
#: The cost of a piece beside that of its keys.
_ONE_PIECE = 400


def least_cover(holders: Mapping[Hashable, Set[str]], priorities: Mapping[str, float | None]) -> list[str]:
    """The fewest hosts that hold all keys, and of these covers the one with the least sum of priorities.

    Ties are broken at random. The result is exact for up to 20 hosts, and for more hosts if simplifying the problem
    leaves as little to decide; otherwise it is a good cover. 1,000 keys over 200 hosts take well under 50 ms, however
    they are spread.

    :param holders: for each key the hosts that hold it.
    :param priorities: a number for each of these hosts, the smallest being the best; ``None`` takes a host out.
    :return: hosts, in the order of ``priorities``.
    :raises NoHostAvailable: if all hosts of a key are out.
    :raises ValueError: if a priority is not a number.
    """
    hosts = [host for host, priority in priorities.items() if priority is not None]
    bits = {**dict.fromkeys(priorities, 0), **{host: 1 << index for index, host in enumerate(hosts)}}
    rows: dict[int, None] = {}  # keys with the same hosts are one
    for key, held_by in holders.items():
        row = sum(map(bits.__getitem__, held_by))
        if not row:
            raise NoHostAvailable(f'no host is available for the key {key!r}')
        rows[row] = None
    weights = _weights({host: priorities[host] for host in hosts})
    chosen = _Cover(sorted(rows, key=int.bit_count), weights).solve()
    return [hosts[index] for index in _ones(chosen)]


def _weights(priorities: Mapping[str, Any]) -> list[int]:
    """Whole numbers whose sums compare the number of hosts first, the sum of their priorities second, chance third."""
    exact = _fractions(priorities)
    scale = math.lcm(*(number.denominator for number in exact))
    whole = [number.numerator * (scale // number.denominator) for number in exact]
    least = min(whole, default=0)  # the same for all, so it changes nothing between covers of one size
    many = len(whole) << 32
    fine = [(number - least) * many + random.getrandbits(32) for number in whole]
    one_more = sum(fine) + 1
    return [one_more + number for number in fine]


def _fractions(priorities: Mapping[str, Any]) -> list[Fraction]:
    """Exact values; an infinite priority becomes larger than the sum of all others."""
    for host, priority in priorities.items():
        if not isinstance(priority, numbers.Real) or priority != priority:
            raise ValueError(f'the priority of {host!r} is a number, or None to take it out, not {priority!r}')
    finite = [Fraction(number) for number in priorities.values() if abs(number) != math.inf] or [Fraction(0)]
    low, high = min(finite), max(finite)
    beyond = (high - low + 1) * (len(priorities) + 1)
    return [
        Fraction(number) if abs(number) != math.inf else high + beyond if number > 0 else low - beyond
        for number in priorities.values()
    ]


def _ones(bits: int) -> Iterator[int]:
    """The positions of the ones, lowest first; word by word, because a step costs as much as the rest is long."""
    at = 0
    while bits:
        word = bits & _WORD
        while word:
            low = word & -word
            yield at + low.bit_length() - 1
            word ^= low
        bits >>= 1024
        at += 1024


_WORD = (1 << 1024) - 1


def _transposed(rows: Sequence[int], width: int) -> list[int]:
    """The rows of each host, as bits."""
    if sum(map(int.bit_count, rows)) * 16 > len(rows) * width:  # many ones: a text takes a tenth of the time
        text = ''.join([f'{row:0{width}b}' for row in reversed(rows)])
        return [int(text[width - 1 - host :: width], 2) for host in range(width)]
    columns = [bytearray(len(rows) // 8 + 1) for _ in range(width)]
    for index, row in enumerate(rows):
        at, bit = index >> 3, 1 << (index & 7)
        for host in _ones(row):
            columns[host][at] |= bit
    return [int.from_bytes(column, 'little') for column in columns]


class _Cover:
    """One problem: rows (the hosts of each key, narrowest first), and for each host the rows it reaches, its weight."""

    def __init__(self, rows: list[int], weights: list[int]) -> None:
        self.rows = rows
        self.reach = _transposed(rows, len(weights))
        self.weights = weights
        self.alive = (1 << len(weights)) - 1  # hosts that may be chosen
        self.left = (1 << len(rows)) - 1  # rows that are to be covered
        self.chosen = 0  # hosts
        self.budget = _REDUCING  # what may still be compared
        self.improving = _IMPROVING  # what the pieces may still be
        self.hasty = False  # whether more rows are worth any weight
        self.near: dict[int, int] = {}  # what `_around` has found

    def solve(self) -> int:
        """The hosts to ask, as bits."""
        self._reduce(self.alive, self.left)
        tables = _TABLES
        self.budget = _REDUCING
        for hosts, left in sorted(self._parts(), key=lambda part: part[0].bit_count()):
            tables -= 1 << hosts.bit_count()
            self.chosen |= self._exact(hosts, left) if tables >= 0 else self._approximate(hosts, left)
        return self.chosen

    # -- leaving out ---------------------------------------------------------------------------------------------------

    def _reduce(self, hosts: int, rows: int) -> None:
        """Leave out what cannot matter any more, starting with these, as long as the budget lasts."""
        while (hosts or rows) and self.budget > 0:
            rows &= self.left
            while rows and self.budget > 0:
                low = rows & -rows
                rows ^= low
                dropped = self._check_row(low.bit_length() - 1)
                rows &= self.left
                hosts |= self._holders(dropped)
            hosts &= self.alive
            while hosts and self.budget > 0:
                low = hosts & -hosts
                hosts ^= low
                rows |= self._check_host(low.bit_length() - 1)

    def _check_row(self, index: int) -> int:
        """Take the only host of a row; drop the rows that have all hosts of this row. Return the dropped rows."""
        row = self.rows[index] & self.alive
        if row.bit_count() > _NARROW:
            return 0
        wider = self.left
        for host in _ones(row):
            wider &= self.reach[host]
        self.budget -= row.bit_count()
        if row & (row - 1):
            wider &= ~(1 << index)
        else:
            self.chosen |= row
        self.left &= ~wider
        return wider

    def _check_host(self, host: int) -> int:
        """Drop a host if a better host has all its rows. Return the rows that lost it."""
        mine = self.reach[host] & self.left
        if not mine:
            self.alive &= ~(1 << host)
            return 0
        others = self.alive & ~(1 << host)
        for index in itertools.islice(_ones(mine), _NARROW):
            others &= self.rows[index]
            self.budget -= 1
        for other in _ones(others):
            self.budget -= 1
            if not mine & ~self.reach[other] and self._stands_for(other, host):
                self.alive &= ~(1 << host)
                return mine
        return 0

    def _stands_for(self, other: int, host: int) -> bool:
        """Whether a host that has all rows of this host is better; of two equal hosts, exactly one is."""
        if self.hasty and self.reach[host] & self.left != self.reach[other] & self.left:
            return True
        return (self.weights[other], other) < (self.weights[host], host)

    def _holders(self, rows: int) -> int:
        """The hosts of some rows."""
        return functools.reduce(or_, map(self.rows.__getitem__, _ones(rows)), 0)

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Hosts and rows of each part; parts share neither."""
        left = self.left
        while left:
            new, hosts, rows = left & -left, 0, 0
            while new:
                rows |= new
                near = 0
                for index in _ones(new):
                    near |= self.rows[index]
                new = 0
                for host in _ones(near & self.alive & ~hosts):
                    new |= self.reach[host]
                hosts |= near & self.alive
                new &= left & ~rows
            yield hosts, rows
            left &= ~rows

    # -- covering ------------------------------------------------------------------------------------------------------

    def _exact(self, hosts: int, left: int) -> int:
        """The best cover of some rows by some hosts, of which each row has one."""
        positions = list(_ones(hosts))
        small: dict[int, int] = {}  # the rows, over these hosts only
        for number, position in enumerate(positions):
            bit = 1 << number
            for index in _ones(self.reach[position] & left):
                small[index] = small.get(index, 0) | bit
        best = exact_cover(set(small.values()), [self.weights[position] for position in positions])
        return sum(1 << positions[number] for number in _ones(best))

    def _approximate(self, hosts: int, left: int) -> int:
        """A good cover of many hosts: a greedy one, pieces of which are solved exactly as long as the budget lasts."""
        chosen = self._thin(self._greedy(hosts, left), left)
        order = list(_ones(chosen))
        random.shuffle(order)
        queue = deque(order)
        while queue and self.improving > 0:
            host = queue.popleft()
            if chosen >> host & 1:
                freed, piece, missing = self._piece(chosen, host, hosts, left)
                better = self._exact(piece, missing)
                self.improving -= _ONE_PIECE + sum((self.reach[other] & missing).bit_count() for other in _ones(piece))
                if better != freed:  # that makes others worth another look
                    queue.extend(_ones(better))
                    chosen ^= freed ^ better
        return self._thin(chosen, left)  # what is new may have all rows of others

    def _greedy(self, hosts: int, left: int) -> int:
        """Take the host with the most new rows again and again; after each, leave out what cannot matter any more.

        The number of new rows only shrinks, so it is counted again when a host leads.
        """
        part = copy.copy(self)
        part.alive, part.left, part.chosen, part.hasty = hosts, left, 0, True
        heap = [(-(self.reach[host] & left).bit_count(), self.weights[host], host) for host in _ones(hosts)]
        heapq.heapify(heap)
        while part.left:
            known, weight, host = heapq.heappop(heap)
            new = self.reach[host] & part.left
            if not part.alive >> host & 1:  # rows were dropped because other hosts will be chosen
                continue
            if new.bit_count() < -known:
                heapq.heappush(heap, (-new.bit_count(), weight, host))
                continue
            part.chosen |= 1 << host
            part.left &= ~new
            part._reduce(part._holders(new), 0)
        self.budget = part.budget
        return part.chosen

    def _thin(self, chosen: int, left: int) -> int:
        """The cover without the hosts whose rows the others have, dropping the heaviest first."""
        twice = self._twice(chosen)
        for host in sorted(_ones(chosen), key=self.weights.__getitem__, reverse=True):
            if not self.reach[host] & left & ~twice:
                chosen &= ~(1 << host)
                twice = self._twice(chosen)
        return chosen

    def _twice(self, hosts: int) -> int:
        """The rows that more than one of these hosts reaches."""
        once = twice = 0
        for host in _ones(hosts):
            twice |= once & self.reach[host]
            once |= self.reach[host]
        return twice

    def _reached(self, hosts: int) -> int:
        reached = 0
        for host in _ones(hosts):
            reached |= self.reach[host]
        return reached

    def _piece(self, chosen: int, host: int, hosts: int, left: int) -> tuple[int, int, int]:
        """Some chosen hosts near a host; these and the hosts that could replace them; the rows that are at stake."""
        around = self._around(host, left)
        near = sorted(
            _ones(chosen & ~(1 << host)),
            reverse=True,
            key=lambda other: (self._around(other, left) & around).bit_count(),
        )
        freed = 1 << host | sum(1 << other for other in near[: _PIECE // 2 - 1])
        missing = left & ~self._reached(chosen & ~freed)
        others = sorted(
            _ones(hosts & ~chosen), reverse=True, key=lambda other: (self.reach[other] & missing).bit_count()
        )
        return freed, freed | sum(1 << other for other in others[: _PIECE - freed.bit_count()]), missing

    def _around(self, host: int, left: int) -> int:
        """The hosts that share a row with this one."""
        if host not in self.near:
            self.near[host] = self._holders(self.reach[host] & left)
        return self.near[host]
