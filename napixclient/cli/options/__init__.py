"""The command line: every flag, declared once, for parsing, help, man page and completion.

flag                       a flag, and the topic of the help that it belongs to
kinds                      what may follow a flag: counts, shares, times, rates
hosts, limits, output      the flags of these topics
resume, credentials        the flags of these topics
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .credentials import CREDENTIALS
from .flag import Flag
from .hosts import HOSTS
from .kinds import Share
from .limits import LIMITS
from .output import OUTPUT
from .resume import RESUME

__all__ = ['FLAGS', 'METHODS', 'Asked', 'Flag', 'Share']

#: Methods that everybody knows: they may be written in small letters, and shells complete them.
METHODS = ('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS')
#: All flags, in the order in which the help describes them.
FLAGS: list[Flag] = [*HOSTS, *LIMITS, *OUTPUT, *RESUME, *CREDENTIALS]


@dataclass(frozen=True, eq=False, repr=False)  # what is not made need not be waited for at each start
class Asked:
    """A parsed command line: one field for each argument and flag."""

    method: str
    hosts: str | None
    url: str | None
    items: tuple[str, ...]
    exclude: tuple[str, ...]
    hostfile: tuple[str, ...]
    groups: str | None
    pick: int | None
    urls: tuple[str, ...]
    vars: str | None
    max_connections: int | None
    simultaneous: int | Literal['auto'] | None
    timeout: float | None
    connect_timeout: float | None
    deadline: float | None
    rate: float | None
    rate_per_host: float | None
    retries: int | None
    follow: bool
    max_redirects: int | None
    repeat: int | None
    duration: float | None
    watch: float | None
    serial: int | None
    max_fail: int | None
    fail_fast: bool
    need: int | None
    min_ok: Share | None
    via: str | None
    via_key: str | None
    zone: str | None
    lanes: int | None
    include: bool
    fold: bool
    regroup: bool
    diff: bool
    json: bool
    csv: bool
    template: str | None
    output: str | None
    ordered: bool
    quiet: bool
    verbose: int
    curl: bool
    dry_run: bool
    summary: bool
    joblog: str | None
    resume: bool
    failed_out: str | None
    login: str | None
    key: str | None
    token: str | None
    bearer: str | None
    auth: str | None
    digest: str | None
    netrc: bool
    profile: str | None
    cacert: str | None
    cert: str | None
    secret: tuple[str, ...]
    insecure: bool
    proxy: str | None
    no_proxy: str | None
    source: str | None

    @property
    def folds(self) -> bool:
        """Whether all answers are shown together at the end."""
        return self.fold or self.regroup or self.diff
