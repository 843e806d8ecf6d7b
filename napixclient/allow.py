"""Decides which hosts a run may contact, by the address that is really connected to.

A name is looked up once, and the address found is both checked and dialled. So neither a redirect nor a name whose
address changes leads anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from gevent import socket

from ._http.connect.connector import Connector, ConnectWaiter
from ._http.connect.happy_eyeballs import Address
from .errors import ConnectError
from .messages import Origin
from .pool import ClientPool

__all__ = ['Allow']

_AnyAddress = IPv4Address | IPv6Address

#: Never reached from here, whatever is allowed: link-local addresses, and the metadata services of clouds.
NEVER = tuple(
    map(
        ip_network,
        (
            '169.254.0.0/16',
            'fe80::/10',  # link-local; most clouds' metadata
            '100.100.100.200/32',
            '168.63.129.16/32',
            '192.0.0.192/32',  # Alibaba, Azure, Oracle
            'fd00:ec2::/32',
            'fd20:ce::254/128',  # Amazon, Google
            '0.0.0.0/8',
            '::/128',  # another way to say loopback
            '224.0.0.0/4',
            'ff00::/8',
            '255.255.255.255/32',
        ),
    )
)
#: IPv6 networks that embed an IPv4 address, and its offset in bits from the right.
_CARRIERS = (
    (IPv6Network('64:ff9b::/96'), 0),
    (IPv6Network('64:ff9b:1::/48'), 0),
    (IPv6Network('2002::/16'), 80),
    (IPv6Network('::/96'), 0),
)
_REMEMBERED = 8192
_is_pattern = re.compile(r'[0-9a-z._*-]+').fullmatch


class Allow:
    """The hosts that ``--allow`` permits.

    :param patterns: networks (``10.0.0.0/8``, ``::1``), or names in which ``*`` matches anything. A name permits the
        addresses that it resolves to, except this machine: that takes ``127.0.0.0/8``, ``::1`` or ``localhost``.
    :param loopback: whether this machine is permitted if there are no patterns.
    :raises ValueError: if a pattern is neither a network nor a name.
    """

    def __init__(self, patterns: Iterable[str] = (), loopback: bool = False) -> None:
        self._networks = []
        names = []
        for pattern in patterns:
            try:
                self._networks.append(ip_network(pattern.strip('[]'), strict=False))
            except ValueError:
                name = pattern.lower().rstrip('.')
                if not _is_pattern(name) or re.fullmatch(r'[0-9.]+', name):
                    raise ValueError(
                        f'{pattern!r} is neither a network such as 10.0.0.0/8 nor the name of a host such as *.example'
                    ) from None
                names.append(name)
        if loopback and not self._networks and not names:
            self._networks = [ip_network('127.0.0.0/8'), ip_network('::1')]
        self._is_name = _matcher(names)
        self._is_local_name = _matcher(name for name in names if name == 'localhost' or name.endswith('.localhost'))

        #: Whether a connection for this host may go to this address; cached, as a fan-out asks the same thing often.
        self.permits: Callable[[str, str], bool] = lru_cache(_REMEMBERED)(self._permits)

    def _permits(self, host: str, address: str) -> bool:
        found = _read(address)
        if any(face in network for face in _faces(found) for network in NEVER):
            return False
        if any(found in network for network in self._networks):
            return True
        name = host.rstrip('.')
        if any(face.is_loopback for face in _faces(found)):
            return bool(self._is_local_name(name))
        return bool(self._is_name(name))

    def check_literal(self, origin: Origin) -> None:
        """:raises ValueError: if the host is an address that is not permitted; names are checked once resolved.

        Nor is any Unix socket, behind which there may be what rules this machine.
        """
        if origin.socket_path is not None:
            raise ValueError(f'the Unix socket {origin.socket_path} may not be asked')
        if _is_literal(origin.host) and not self.permits(origin.host, origin.host):
            raise ValueError(f'{origin.host} may not be asked: see --allow')

    def guard(self, pool: ClientPool) -> None:
        """Make the pool connect to permitted addresses only. It must not use a proxy, which would connect instead."""
        core = pool._core
        core.dialer.connector = _GuardedConnector(core.settings, self)


class _GuardedConnector(Connector):
    """Opens connections to permitted addresses only."""

    def __init__(self, settings: Any, allow: Allow) -> None:
        super().__init__(settings)
        self._allow = allow

    def plain_address(self, origin: Origin) -> tuple[int, tuple[str, int]] | None:
        """The address, if it is permitted; others take the slow path, which refuses them."""
        address = super().plain_address(origin)
        return address if address is not None and self._allow.permits(origin.host, origin.host) else None

    def reach_socket(self, path: str, waiter: ConnectWaiter) -> socket.socket:
        """None is permitted.

        :raises ConnectError: always.
        """
        raise ConnectError(f'the Unix socket {path} may not be asked', phase='connect')

    def admitted(self, host: str, found: list[Address]) -> list[Address]:
        allowed = [address for address in found if self._allow.permits(host, address[1][0])]
        if not allowed:
            where = ', '.join(sorted({address[1][0] for address in found})[:3])
            raise ConnectError(
                f'{host} may not be asked' + (f': it is at {where}' if where != host else '') + '; see --allow',
                phase='connect',
            )
        return allowed


def _matcher(names: Iterable[str]) -> Any:
    return re.compile('|'.join(re.escape(name).replace(r'\*', '.*') for name in names) or r'(?!)').fullmatch


@lru_cache(_REMEMBERED)
def _is_literal(host: str) -> bool:
    try:
        ip_address(host.partition('%')[0])
    except ValueError:
        return False
    return True


def _read(address: str) -> _AnyAddress:
    found = ip_address(address.partition('%')[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped  # the kernel connects to it
    return found


def _faces(address: _AnyAddress) -> list[_AnyAddress]:
    """The address, and the IPv4 addresses to which a gateway may translate it."""
    faces = [address]
    if isinstance(address, IPv6Address) and int(address) > 1:
        faces += [IPv4Address(int(address) >> place & 0xFFFFFFFF) for network, place in _CARRIERS if address in network]
    return faces
