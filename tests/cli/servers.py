"""What the tests of the command ask, and how they read what it prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests import kit


def answering(body: object = 'fine', status: int = 200, kind: str = 'text/plain; charset=utf-8') -> kit.HandlerServer:
    """A server that always answers this."""
    headers = {'Content-Type': kind} if isinstance(body, (str, bytes)) else None
    return kit.serve(lambda *_: (status, headers, body))


@contextmanager
def several(*bodies: Any, gate: kit.Gate | None = None) -> Iterator[list[kit.HandlerServer]]:
    """A server for each of these: a body, or a status with what goes with it."""
    servers: list[kit.HandlerServer] = []
    try:
        for given in bodies:
            status, body = given if isinstance(given, tuple) else (200, given)
            headers = {'Content-Type': 'text/plain'} if isinstance(body, (str, bytes)) else None
            servers.append(kit.serve(lambda *_, answer=(status, headers, body): answer, gate=gate))
        yield servers
    finally:
        for server in servers:
            server.close()


def hosts_of(servers: list[kit.HandlerServer]) -> str:
    """Their node set."""
    return ','.join(server.host for server in servers)


def fields(out: str) -> dict[str, list[str]]:
    """Host -> what its line says: status, milliseconds and text."""
    lines = [line.split('\t') for line in out.splitlines()]
    return {host: rest for host, *rest in lines}


def objects(out: str) -> list[dict[str, Any]]:
    """The lines of `--json`, in the order of their numbers."""
    found = [json.loads(line) for line in out.splitlines()]
    return sorted(found, key=lambda said: said['index'])
