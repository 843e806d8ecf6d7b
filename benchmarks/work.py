"""What every contender shares: the work, the check of what it delivered, and the line of JSON that it prints.

A contender is a module with `run(work) -> figures` that ends in `main(run)`. It makes `work.requests` GETs over
`work.origins`, taking turns, at most `work.simultaneous` in flight per origin, and hands `work.check` what it got
in the order asked: for every request the status, one response header and the decoded JSON body, or the exception
with which it failed. The clock runs from before the first request until the last answer is checked.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, TypeVar

HEADER = 'X-Request-Id'
PATH = '/'

T = TypeVar('T')
Answer = tuple[int, str | None, Any]
Outcome = Answer | Exception
Figures = dict[str, Any]


def addresses(count: int) -> list[str]:
    """The first `count` loopback addresses that serve as origins, 250 in each 127.0.x."""
    return [f'127.0.{i // 250}.{i % 250 + 1}' for i in range(count)]


def name_of(number: int) -> str:
    """The name of an origin that has one: the DNS server of the benchmark tells its address."""
    return f'web{number}.example'


@dataclass(frozen=True)
class Work:
    """How much to ask and of whom. `mode` picks a variant, where a contender has several.

    `ca` is a file of PEM certificates: with it the origins speak TLS, and it is all that their certificates are
    verified by. `connections` is how many there may be in all, 0 for as many as the client likes; `named` says that the
    origins are asked by name, which has to be looked up. `size` are the bytes of a body where it is a large one, `file`
    is where it is to be taken from.
    """

    requests: int
    hosts: int
    port: int
    mode: str = ''
    ca: str = ''
    connections: int = 0
    named: bool = False
    size: int = 0
    file: str = ''
    simultaneous: int = 2

    @property
    def addresses(self) -> list[str]:
        return addresses(self.hosts)

    @property
    def origins(self) -> list[str]:
        hosts = map(name_of, range(self.hosts)) if self.named else self.addresses
        return [f'{host}:{self.port}' for host in hosts]

    @property
    def urls(self) -> list[str]:
        """One URL per origin."""
        return [f'http{"s" if self.ca else ""}://{origin}{PATH}' for origin in self.origins]

    def turns(self, items: list[T]) -> Iterator[T]:
        """Of `items`, one per origin, the one that each request goes to, in the order asked."""
        return islice(cycle(items), self.requests)

    def shares(self) -> list[Iterator[int]]:
        """For each origin the numbers of its requests, an iterator that its workers share."""
        return [iter(range(first, self.requests, self.hosts)) for first in range(self.hosts)]

    def unanswered(self) -> list[Outcome]:
        """A place for the outcome of each request."""
        return [RuntimeError('no answer')] * self.requests

    def check(self, answers: Iterable[Outcome]) -> Figures:
        """Count the failed requests. AssertionError on an answer that is wrong, missing or out of order."""
        asked = 0
        failures = []
        for address, answer in zip(cycle(self.addresses), answers, strict=False):
            asked += 1
            if isinstance(answer, Exception):
                failures.append(answer)
                continue
            status, header, body = answer
            if status != 200 or not header or body['host'] != address:
                raise AssertionError(f'request {asked} to {address}: {answer!r}')
        if asked != self.requests:
            raise AssertionError(f'{asked} answers to {self.requests} requests')
        return {'failures': len(failures), 'first_failure': repr(failures[0]) if failures else None}


def cpu_seconds() -> float:
    """What this process has used of the processor, and the commands that it has run; the latter in whole ticks."""
    return time.process_time() + sum(os.times()[2:4])


def peak_rss_mb() -> float:
    """Peak resident memory of this process in MB. Not ru_maxrss: that one remembers the process before exec."""
    with open('/proc/self/status') as status:
        line = next(line for line in status if line.startswith('VmHWM:'))
    return int(line.split()[1]) / 1024


def main(run: Callable[[Work], Figures]) -> None:
    """Read the command line, do the work once, print the figures."""
    parser = argparse.ArgumentParser(description='One contender, once. It prints one line of JSON.')
    parser.add_argument('--requests', type=int, required=True)
    parser.add_argument('--hosts', type=int, required=True)
    parser.add_argument('--port', type=int, required=True, help='where nginx listens')
    parser.add_argument('--mode', default='')
    parser.add_argument('--ca', default='', help='what to verify certificates by; with it the origins speak TLS')
    parser.add_argument('--connections', type=int, default=0, help='in all, at most')
    parser.add_argument('--named', action='store_true', help='ask by name')
    parser.add_argument('--size', type=int, default=0, help='bytes of a large body')
    parser.add_argument('--file', default='', help='what to upload')
    parser.add_argument('--open-files', type=int, help='the limit on open files to run under')
    options = parser.parse_args()
    if options.open_files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.open_files, options.open_files))

    given = vars(options)
    given.pop('open_files')
    work = Work(**given)
    started, busy = time.perf_counter(), cpu_seconds()
    found = run(work)
    figures = {
        'seconds': time.perf_counter() - started,
        'cpu_seconds': cpu_seconds() - busy,
        'requests': work.requests,
        'rss_mb': peak_rss_mb(),
    }
    print(json.dumps({**figures, **found}), flush=True)
    # Taking down 200,000 answers and thousands of connections one by one proves nothing.
    os._exit(0)
