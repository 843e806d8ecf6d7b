"""The demo: provisions one virtual machine on servers that it starts itself."""

from __future__ import annotations

from time import monotonic
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .._http.pending import PendingResponse
from ..errors import HTTPError
from ..messages import Response
from ..pool import ClientPool
from . import signals
from .peers import Peers, allocator, backend, filer, hypervisor, troubled_hypervisor

__all__ = ['run_demo']

GB = 10**9
#: What the virtual machine needs, in bytes.
EXPECTED = 32 * GB
#: For each hypervisor, hv-01 to hv-20: GB free, and the seconds it takes to answer. A few are slow.
CAPACITIES = [
    (8, 0.15),
    (64, 0.22),
    (16, 1.10),
    (4, 0.09),
    (48, 0.14),
    (24, 0.19),
    (96, 0.80),
    (12, 0.12),
    (0, 0.0),
    (16, 0.17),
    (64, 1.30),
    (8, 0.10),
    (0, 0.0),
    (40, 0.24),
    (24, 0.95),
    (32, 0.20),
    (6, 0.08),
    (128, 1.20),
    (10, 0.13),
    (20, 0.21),
]
DEAD, TROUBLED = 9, 13
KEY = {'login': 'root', 'key': 'toor'}


def run_demo() -> int:
    """Provision a virtual machine on our own peers and return the exit code."""
    console = Console(highlight=False)
    began = monotonic()
    with Peers() as peers:
        with signals.hold():
            hypervisors, allocator_host, filer_host = _start(peers)
            peers.wait_until_up()
            signals.raise_exit()
        console.print(
            f'[bold]{len(peers)} peers[/] are up after {monotonic() - began:.2f} s, each a process of its '
            f'own, on loopback:\nan IP allocator, a filer, a storage backend, 19 hypervisors; the 20th is '
            f'dead.\n'
        )
        provisioning = Provisioning(peers.names, console)
        provisioning.provision(hypervisors, allocator_host, filer_host)
        provisioning.report()
    return 0 if provisioning.ready else 1


def _start(peers: Peers) -> tuple[list[str], str, str]:
    """Start all peers and return the hosts of the hypervisors, of the IP allocator and of the filer."""
    hosts = [peers.start('ip-allocator', allocator), peers.start('filer', filer)]
    storage = peers.start('storage', backend)
    hypervisors = []
    for number, (size, seconds) in enumerate(CAPACITIES, 1):
        name = f'hv-{number:02}'
        if number == DEAD:
            hypervisors.append(peers.dead(name))
        elif number == TROUBLED:
            hypervisors.append(peers.start(name, troubled_hypervisor(storage)))
        else:
            hypervisors.append(peers.start(name, hypervisor(size * GB, seconds)))
    return hypervisors, hosts[0], hosts[1]


class Row(NamedTuple):
    """An outcome as a row of the table."""

    at: float  # seconds since the first request
    answer: Response | HTTPError
    text: str
    style: str = ''


class Provisioning:
    """Provisions one machine, and records each answer and when it came."""

    def __init__(self, names: dict[str, str], console: Console) -> None:
        self.ready: bool = False  # whether the machine has its hypervisor, its IP and its storage
        self.rows: list[Row] = []
        self._server: str | None = None  # the host of the hypervisor that was taken
        self._names = names
        self._console = console
        self._began = monotonic()
        self._ended = 0.0

    def provision(self, hypervisors: list[str], allocator: str, filer: str) -> None:
        """Ask all hypervisors at once, take the first that fits, order an IP and storage together."""
        self._console.print(
            f'Asking all {len(hypervisors)} hypervisors at once for their capacity; {EXPECTED // GB} GB are needed.'
        )
        with ClientPool(KEY) as pool, ClientPool(KEY) as orders:
            for host in hypervisors:
                pool.request(host, 'GET', '/capacity/capacity')
            for answer in pool.wait_unordered(timeout=10):
                if answer.status != 200 or isinstance(answer, HTTPError):
                    self._note(answer, type(answer).__name__, 'red')  # disregard failures
                    continue
                size = answer.body['size']
                if size < EXPECTED:
                    self._note(answer, f'{size // GB:3} GB: too small')
                elif self._server is not None:
                    self._note(answer, f'{size // GB:3} GB: fits, but later')
                else:
                    self._server = _host(answer)
                    self._note(answer, f'{size // GB:3} GB: taken', 'bold green')
                    self._say_choice()
                    for order in (
                        orders.request(allocator, 'POST', '/vm-ip/', {'size': 1}),
                        orders.request(filer, 'POST', '/storage/', {'size': GB}),
                    ):
                        order.rawlink(self._note_order)
                    # Others leave the loop here. The demo stays, to show the answers of all hypervisors.
            if self._server is not None:
                ip, storage = orders.wait()
                self.ready = ip.status == storage.status == 204
        self._ended = self._now()

    def _now(self) -> float:
        return monotonic() - self._began

    def _say_choice(self) -> None:
        name = self._names[self._server or '']
        self._console.print(
            f'[bold green]After {_ms(self._now())} {name} is taken[/], the first that fits; its IP and '
            f'storage are\nordered together, while the slower ones are still being listened to.\n'
        )

    def _note_order(self, order: PendingResponse) -> None:
        """The hub calls this as soon as an order has its outcome."""
        if order.value is not None:
            self._note(order.value, order.value.headers.get('location', ''), 'green')
        elif order.exception is not None:
            self._note(order.exception, type(order.exception).__name__, 'red')

    def _note(self, answer: Response | HTTPError, text: str, style: str = '') -> None:
        self.rows.append(Row(self._now(), answer, text, style))

    def report(self) -> None:
        """Print the table, the chains of errors, and the totals."""
        self._console.print('[bold]Who answered what, and when[/]', self._table())
        for row in self.rows:
            if isinstance(row.answer, HTTPError) and len(row.answer.chain) > 1:
                self._tell(row.answer)
        if self.ready and self._server is not None:
            ready = max(row.at for row in self.rows if row.answer.status == 204)
            self._console.print(
                f'{self._names[self._server]}, its IP and its storage were there [bold green]after {_ms(ready)}[/].'
            )
        else:
            self._console.print('[bold red]The machine was not provisioned.[/]')
        self._console.print(self._totals())

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column('after', justify='right')
        table.add_column('who')
        table.add_column('where')
        table.add_column('took', justify='right')
        table.add_column('answer')
        for at, answer, text, style in self.rows:
            host, took = _host(answer), answer.elapsed
            status = '' if answer.status is None else f'{answer.status} '
            table.add_row(
                _ms(at), self._names[host], host, '-' if took is None else _ms(took), status + text, style=style
            )
        return table

    def _tell(self, error: HTTPError) -> None:
        """Print the chain of an error that began at a server behind ours."""
        name = self._names[_host(error)]
        self._console.print(f'[bold]{name} failed because a server behind it did[/]; its answer tells the whole chain:')
        hops = Table.grid(padding=(0, 2))
        for hop in error.chain:
            call = hop.remote_call or ''
            server = next((name for host, name in self._names.items() if f'//{host}/' in call), '')
            hops.add_row('', escape(call), server, f'[red]{hop.status} {hop.error_class}[/]')
        self._console.print(hops)
        self._console.print(f'  The first cause: [red]{escape(error.root.error_text or "")}[/]\n')

    def _totals(self) -> str:
        one_by_one = sum(row.answer.elapsed or 0 for row in self.rows)
        return (
            f'[bold]{len(self.rows)} requests in {self._ended:.2f} s[/]; '
            f'one after the other they would have taken {one_by_one:.2f} s.'
        )


def _host(answer: Response | HTTPError) -> str:
    return answer.request.host


def _ms(seconds: float) -> str:
    return f'{seconds * 1000:.0f} ms'
