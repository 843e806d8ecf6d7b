"""Our own end of the connections: the address and port that they come from, and what is set on their sockets."""

from __future__ import annotations

import _socket
import errno
import os
import random
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from gevent import socket

from ...checks import is_whole
from ...errors import ConnectError
from .attempts import Attempts, Place

__all__ = ['LocalEnd', 'LocalEndError', 'dial']

#: Of <linux/in.h>; Python knows the first since 3.12, and not the second. A port is chosen at ``connect()`` only, where
#: it need not differ from that of a connection to elsewhere; and out of these.
_BIND_ADDRESS_NO_PORT = 24
_LOCAL_PORT_RANGE = 51
_SYSTEM_RANGE = '/proc/sys/net/ipv4/ip_local_port_range'
#: Ports of a range that are tried for one connection.
_MOST_PORTS = 512
_TAKEN = frozenset([errno.EADDRINUSE, errno.EADDRNOTAVAIL])
_NAMES: dict[int | None, str] = {socket.AF_INET: 'IPv4', socket.AF_INET6: 'IPv6'}
Option = tuple[int, int, int | bytes]


class LocalEndError(OSError):
    """No socket can have this end, whatever it is to be connected to."""


class LocalEnd:
    """What the options say of our own end of each connection.

    :param source_address: an address of this machine, or a pair of one (``''`` for any) and a port (0 for any).
    :param local_port_range: the first and the last port that connections may come from.
    :param socket_options: triples ``(level, option, value)``, as ``setsockopt()`` takes them.
    :raises ValueError: for what makes no sense.
    """

    def __init__(self, source_address: object, local_port_range: object, socket_options: object) -> None:
        self._address, self._port = _source(source_address)
        #: The only family whose addresses can be reached from here; ``None`` for both.
        self.family: int | None = None
        self._sockaddr: Any = None
        if self._address:
            self.family, _, _, _, self._sockaddr = _found(self._address)
        self._range = _range(local_port_range)
        if self._range and self._port:
            raise ValueError('source_address names a port, and local_port_range a range of ports: give one of them')
        self._options = _options(socket_options)
        self._kernel_chooses = self._range is not None and _kernel_chooses(self._range)
        #: Whether there is nothing to do.
        self.plain: bool = source_address is local_port_range is None and not self._options

    def ports(self) -> Iterator[int]:
        """The ports to try for one connection; 0 is left to the kernel."""
        if self._range is None or self._kernel_chooses:
            return iter((self._port,))
        first, last = self._range
        count = last - first + 1
        # By lot: those that were tried last are those in use.
        return (first + at for at in random.sample(range(count), min(count, _MOST_PORTS)))

    def prepare(self, sock: _socket.socket, family: int, port: int) -> None:
        """Give a new socket this end.

        :raises LocalEndError: when it cannot have it, though another port may do.
        """
        for option in self._options:
            if family != socket.AF_UNIX or option[0] == socket.SOL_SOCKET:
                try:
                    sock.setsockopt(*option)
                except OSError as exc:
                    raise LocalEndError(exc.errno, f'the socket option {option} is refused: {exc.strerror}') from exc
        if family == socket.AF_UNIX:
            return
        if self._kernel_chooses:
            assert self._range is not None
            sock.setsockopt(socket.IPPROTO_IP, _LOCAL_PORT_RANGE, _packed(self._range))
        if self._sockaddr is not None or port:
            self._bind(sock, family, port)

    def _bind(self, sock: _socket.socket, family: int, port: int) -> None:
        if port:  # another connection may have it, to elsewhere
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            try:
                sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            except OSError:  # pragma: no cover  # an old kernel has fewer ports then
                pass
        address = self._sockaddr or (('::' if family == socket.AF_INET6 else '0.0.0.0'), 0)
        try:
            sock.bind((address[0], port, *address[2:]))
        except OSError as exc:
            raise LocalEndError(exc.errno, self._refusal(exc, port)) from exc

    def _refusal(self, exc: OSError, port: int) -> str:
        if exc.errno == errno.EADDRNOTAVAIL:
            return f'source_address {self._address} is not an address of this machine'
        where = f'{self._address or "any address"}, port {port}' if port else self._address
        return f'no socket can be bound to {where}: {exc.strerror}'

    def taken(self) -> str | None:
        """What there is to say when all ports that are allowed are taken."""
        if self._range is not None:
            return 'no port of the local_port_range {}-{} is free'.format(*self._range)
        if self._port:
            return f'the source port {self._port} is taken: it serves one connection at a time to each address'
        return None

    def fitting(self, host: str, addresses: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """Those of a host's addresses that can be reached from here.

        :raises ConnectError: when there are some, and none of them can.
        """
        family = self.family
        if family is None:
            return addresses
        fitting = [address for address in addresses if address[0] == family]
        if addresses and not fitting:
            name = _NAMES[family]
            raise ConnectError(
                f'{host} has no {name} address, and source_address {self._address} is one', phase='connect'
            )
        return fitting


def dial(family: int, place: Place, local_end: LocalEnd, attempts: Attempts) -> _socket.socket:
    """A socket of the standard library that is being connected; it is writable when that is done.

    :param attempts: notes that it is tried.
    :raises LocalEndError: when it fails whatever the address is.
    :raises OSError: when it fails at once.
    """
    taken: OSError | None = None
    for port in local_end.ports():
        sock = _socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
        try:
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not local_end.plain:
                local_end.prepare(sock, family, port)
            attempts.add(place)
            failure = sock.connect_ex(place)
            if failure in (0, errno.EINPROGRESS):
                return sock
            raise OSError(failure, os.strerror(failure))
        except LocalEndError as exc:
            sock.close()
            if exc.errno != errno.EADDRINUSE:
                raise
            taken = exc
        except OSError as exc:
            sock.close()
            if exc.errno != errno.EADDRNOTAVAIL:
                raise
            taken = exc
        except BaseException:
            sock.close()
            raise
    assert taken is not None and taken.errno is not None
    raise taken if (why := local_end.taken()) is None else OSError(taken.errno, why) from taken


# What the options mean -----------------------------------------------------------------------------------------------


def _source(value: object) -> tuple[str, int]:
    """Address and port; empty and 0 where any will do."""
    if value is None:
        return '', 0
    pair = (value, 0) if isinstance(value, str) and value else value
    if isinstance(pair, (tuple, list)) and len(pair) == 2:
        address, port = pair
        if isinstance(address, str) and is_whole(port) and 0 <= port < 65536 and (not address or _is_address(address)):
            return address, port
    raise ValueError(
        f"source_address is an address of this machine such as '10.0.0.5', or a pair of that and a port, not {value!r}"
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _found(address: str) -> Any:
    """Family and what ``bind()`` takes; the interface of a link-local address gets its number."""
    try:
        return _socket.getaddrinfo(address, 0, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)[0]
    except OSError as exc:
        raise ValueError(f'source_address {address!r}: {exc.strerror}') from exc


def _range(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if isinstance(value, (tuple, list)) and len(value) == 2:
        first, last = value
        if is_whole(first) and is_whole(last) and 0 < first <= last < 65536:
            return first, last
    raise ValueError(
        f'local_port_range is a pair of ports, the first and the last, such as (40000, 40999), not {value!r}'
    )


def _options(value: object) -> tuple[Option, ...]:
    if value is None:
        return ()
    if isinstance(value, (tuple, list)) and all(map(_is_option, value)):
        return tuple((int(level), int(option), setting) for level, option, setting in value)
    raise ValueError(
        'socket_options is a list of triples (level, option, value) as setsockopt() takes them, the value an int or '
        f'bytes, not {value!r}'
    )


def _is_option(value: object) -> bool:
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        return False
    level, option, setting = value
    return isinstance(level, int) and isinstance(option, int) and isinstance(setting, (int, bytes))


def _packed(ports: tuple[int, int]) -> bytes:
    return struct.pack('=I', ports[1] << 16 | ports[0])


def _kernel_chooses(ports: tuple[int, int]) -> bool:
    """Whether the kernel can keep to these ports: Linux 6.3 and later, within those that it would choose from.

    Outside of them it silently ignores what it is told.
    """
    try:
        with open(_SYSTEM_RANGE) as file:
            first, last = map(int, file.read().split())
        if not first <= ports[0] <= ports[1] <= last:
            return False
        sock = _socket.socket()
        try:
            sock.setsockopt(socket.IPPROTO_IP, _LOCAL_PORT_RANGE, _packed(ports))
        finally:
            sock.close()
    except (OSError, ValueError):
        return False
    return True
