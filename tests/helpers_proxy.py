"""Proxies for the tests: small ones of our own, and programs that are really used as such."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.subprocess
import pytest
from gevent import socket

from tests import kit
from tests.kit import wait_until


class Tunnel(kit.Server):
    """A proxy that makes tunnels to ports of 127.0.0.1, whatever the host; `requests` are the CONNECTs."""

    def talk(self, peer: kit.Peer) -> None:
        """Let one through."""
        asked = self.read(peer)
        with connected(int(asked.path.rpartition(':')[2])) as onward:
            peer.send(b'HTTP/1.1 200 Connection established\r\n\r\n')
            join(peer, onward)


class TLSFront(kit.Server):
    """Ends the TLS to a proxy that has none of its own."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self._to = port
        super().__init__(tls=tls)

    def talk(self, peer: kit.Peer) -> None:
        """Pass everything on."""
        with connected(self._to) as onward:
            join(peer, onward)


def connected(port: int) -> Any:
    """A socket to that port, made without asking gevent's threads for names."""
    sock = socket.socket()
    try:
        sock.connect(('127.0.0.1', port))
    except BaseException:
        sock.close()
        raise
    return sock


def join(peer: kit.Peer, onward: Any) -> None:
    """Pump both ways until either has ended."""

    def back() -> None:
        pump(onward, peer.socket)
        peer.close()

    pumping = gevent.spawn(back)
    try:
        pump(peer.socket, onward)
    finally:
        pumping.kill()


def pump(source: Any, target: Any) -> None:
    """Until one of them has ended."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except (OSError, ValueError, AttributeError):  # a TLS socket that is closed by another greenlet
        pass


def path_of(program: str) -> str:
    """Where a program is; a test that misses it is skipped, and fails in CI."""
    found = shutil.which(program) or shutil.which(program, path='/usr/sbin:/usr/local/sbin')
    if found is None:
        (pytest.fail if os.environ.get('CI') else pytest.skip)(f'{program} is not installed: apt install {program}')
    return found


@contextmanager
def running(*command: str) -> Iterator[None]:
    """A program; it is ended by its process id."""
    process = gevent.subprocess.Popen(
        command, stdin=gevent.subprocess.DEVNULL, stdout=gevent.subprocess.DEVNULL, stderr=gevent.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def on_some_port(command: Callable[[int], list[str]]) -> Iterator[int]:
    """A program that must be told its port: one that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(('127.0.0.1', port)) == 0

    with running(*command(port)):
        wait_until(listens, f'{command(port)[0]} listens')
        yield port
