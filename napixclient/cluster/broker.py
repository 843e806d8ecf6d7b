"""The broker: its URL, connections to it, and what its refusals mean."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import gevent
from amqp.exceptions import AccessRefused, AMQPError, NotAllowed, NotFound, PreconditionFailed
from kombu.connection import Connection

from ..masking import hide, mask
from .errors import ClusterError

__all__ = ['HEARTBEAT', 'FAILURES', 'Broker', 'is_final', 'keep_alive', 'leave']

#: Seconds of silence after which the broker takes a peer for dead.
HEARTBEAT = 10
CONNECT_SECONDS = 6.0
#: Seconds for the broker to say goodbye.
LEAVE_SECONDS = 1.0
#: Seconds that a read or a write of a message may take.
READ_SECONDS = 15.0
_PORTS = {'amqp': 5672, 'amqps': 5671}
#: Parameters of the URL, as RabbitMQ names them, and as py-amqp does.
_FILES = {'cacertfile': 'ca_certs', 'certfile': 'certfile', 'keyfile': 'keyfile'}
#: What a connection to the broker fails with.
FAILURES: tuple[type[Exception], ...] = (OSError, AMQPError, ConnectionError)
_T = TypeVar('_T')


class Broker:
    """Where the broker is.

    :param url: ``amqp://user:password@host:5672/vhost`` or ``amqps://…``. With TLS the broker's certificate is
        verified; ``?cacertfile=``, ``certfile=`` and ``keyfile=`` name files of PEM.
    :raises ValueError: for what is no such URL.
    """

    def __init__(self, url: str) -> None:
        expected = 'a broker is a URL such as amqp://user:password@mq.example:5672/vhost, or amqps://…'
        if not isinstance(url, str):
            raise ValueError(f'{expected}, not {type(url).__name__}')
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise ValueError(f'{expected}: {exc}') from exc
        if parts.scheme not in _PORTS:
            raise ValueError(f'{expected}; its scheme is amqp or amqps, not {parts.scheme or "missing"}')
        if not parts.hostname or parts.fragment:
            raise ValueError(f'{expected}; this has no host' if not parts.hostname else expected)
        query = parse_qs(parts.query, keep_blank_values=True)
        if unknown := set(query) - set(_FILES):
            raise ValueError(f'{expected}; its parameters are {", ".join(_FILES)}, not {", ".join(sorted(unknown))}')
        if query and parts.scheme == 'amqp':
            raise ValueError('files of certificates are for amqps://')
        name, password = unquote(parts.username or 'guest'), unquote(parts.password or 'guest')
        if password != name:  # the name is no secret, and texts have to tell it
            hide(self, password)
        self.address: str = f'{parts.hostname}:{port or _PORTS[parts.scheme]}'
        path = unquote(parts.path[1:])
        self._options: dict[str, Any] = {
            'hostname': unquote(parts.hostname),
            'port': port or _PORTS[parts.scheme],
            'userid': name,
            'password': password,
            'virtual_host': path or '/',
            'transport': 'amqp',
        }
        if parts.scheme == 'amqps':
            files = {_FILES[name]: values[-1] for name, values in query.items()}
            _check_files(query)
            self._options['ssl'] = {
                'cert_reqs': ssl.CERT_REQUIRED,
                'server_hostname': self._options['hostname'],
                **files,
            }

    @property
    def shown(self) -> str:
        """Where it is, without credentials."""
        return f'{self.address}, virtual host {self._options["virtual_host"]!r}'

    def prepare(self) -> Any:
        """A connection of kombu's that is not yet open."""
        return Connection(  # type: ignore[no-untyped-call]
            **self._options,
            heartbeat=HEARTBEAT,
            connect_timeout=CONNECT_SECONDS,
            transport_options={'read_timeout': READ_SECONDS, 'write_timeout': READ_SECONDS},
        )

    def connect(self) -> Any:
        """An open connection of kombu's. One greenlet may use it.

        :raises OSError, AMQPError: as they come; :meth:`error` says what they mean.
        """
        connection = self.prepare()
        try:
            with gevent.Timeout(CONNECT_SECONDS, TimeoutError('no answer in time')):
                # kombu's connect() tries a second time by itself, outside of this time.
                connection.ensure_connection(max_retries=0, reraise_as_library_errors=False)
        except BaseException:
            leave(connection, lost=True)
            raise
        return connection

    def error(self, exc: BaseException) -> ClusterError:
        """The one error that a failure to use the broker is."""
        text = mask(
            getattr(exc, 'reply_text', None) or getattr(exc, 'strerror', None) or str(exc) or type(exc).__name__
        )
        match exc:
            case NotAllowed():
                what = f'has no such virtual host, or does not let {self._options["userid"]!r} use it'
            case AccessRefused() if 'login' in text.lower() or 'auth' in text.lower():
                what = f'refuses the login of {self._options["userid"]!r}'
            case AccessRefused():
                what = f'does not permit {self._options["userid"]!r} to do this'
            case NotFound():
                what = 'lacks what is used'
            case PreconditionFailed():
                what = 'has it declared otherwise'
            case ssl.SSLError():
                what = 'cannot be trusted, or speaks no TLS'
            case _:
                what = 'cannot be reached'
        error = ClusterError(f'the broker at {self.shown} {what}: {text}')
        error.__cause__ = exc
        return error


def _check_files(query: dict[str, list[str]]) -> None:
    """:raises ValueError: for files that are missing, or are not what they should be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities, certificate, key = (query[name][-1] if name in query else None for name in _FILES)
    if certificate is None and key is not None:
        raise ValueError('keyfile is the key of a certificate, and certfile is missing')
    what = f'cacertfile {authorities}'
    try:
        if authorities is not None:
            context.load_verify_locations(authorities)
        if certificate is not None:
            what = f'certfile {certificate}' + (f', keyfile {key}' if key is not None else '')
            context.load_cert_chain(certificate, key)
    except OSError as exc:  # an SSLError is one
        raise ValueError(f'{what}: {exc.strerror or exc}') from exc


def is_final(exc: BaseException) -> bool:
    """Whether it is no use to try again: the broker has refused."""
    if isinstance(exc, PreconditionFailed) and 'acknowledgement' in str(exc):  # it was too late with one
        return False
    return isinstance(exc, (AccessRefused, NotAllowed, PreconditionFailed, ssl.SSLCertVerificationError))


def keep_alive(connection: Any) -> None:
    """Send the heartbeat that is due, and read those of the broker.

    :raises OSError, AMQPError: when the connection is lost.
    """
    connection.heartbeat_check()
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.001)


def leave(connection: Any, *, lost: bool = False) -> None:
    """Close a connection, whatever state it is in.

    :param lost: not to tell the broker.
    """
    raw = getattr(connection, '_connection', None)
    with suppress(Exception), gevent.Timeout(LEAVE_SECONDS, TimeoutError('the broker does not answer')):
        if not lost:
            connection.release()
    if raw is not None:
        with suppress(Exception):  # kombu leaves the socket of a lost connection to the collector of garbage
            raw.collect()
        gevent.sleep(0.001)  # gevent closes a descriptor when the loop has looked for events once more
