"""The account: creates, finds and lists its queues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from . import calls
from .api import Api, QueueApi, check_limit, json_of, object_of, parsed, query_of
from .connection import Connection
from .models import HomeDoc
from .paging import Page, follow, marker_of
from .pending import asks, lists
from .queue import Queue

__all__ = ['Client']


class Client:
    """The queues of an account.

    The server tells clients apart: a listing leaves out what the same client has posted, unless it is given
    ``echo=True``.

    :param conn: a connection; any number of clients may share it.
    :param async_: whether operations, here and in all objects that come from here, return a :class:`PendingResult` at
        once instead of waiting for the result.
    :raises ValueError: for a ``conn`` that is no connection.
    """

    def __init__(self, conn: Connection, async_: bool = False) -> None:
        if not isinstance(conn, Connection):
            raise ValueError(f'conn is a Connection, not {type(conn).__name__}')
        self._api = Api(conn, bool(async_))

    @property
    def conn(self) -> Connection:
        """The connection."""
        return self._api.conn

    @property
    def client_id(self) -> str:
        """A UUID by which the server knows this client from others; each client has its own.

        Set it to one of your own, and the client is the same to the server after a restart.
        """
        return self._api.client_id

    @client_id.setter
    def client_id(self, id: str) -> None:
        self._api.client_id = id

    @property
    def async_(self) -> bool:
        """Whether operations return at once."""
        return self._api.async_

    # -- the account -----------------------------------------------------------------------------------------------

    @property
    def queues(self) -> _Queues:
        """All queues: ``client.queues(marker=None, limit=10, detailed=False)`` is a lazy generator that follows pages.

        ``marker`` is the name of the queue behind which to begin; ``limit`` is the size of a page, which the server
        limits to 20; ``detailed`` fetches the metadata too, into ``listed``. ``for queue in client.queues`` uses these
        defaults.
        """
        return _Queues(self._api)

    @asks
    def create_queue(self, name: str, metadata: Mapping[str, object] | str | None = None) -> Queue:
        """Create a queue; one that exists already stays as it is.

        :param name: up to 64 letters, digits, ``_`` and ``-``.
        :param metadata: what to store with it: a mapping, or one as JSON.
        :raises MalformedRequest: for a name that the server does not accept.
        """
        queue = Queue(self._api, name)
        calls.create(QueueApi(self._api, name), {} if metadata is None else calls.metadata_of(metadata))
        return queue

    def queue(self, name: str) -> Queue:
        """A queue by its name, whether it exists or not; no request is sent."""
        return Queue(self._api, name)

    @property
    @asks
    def home(self) -> HomeDoc:
        """The home document: :class:`HomeDoc`; each access asks the server."""
        return HomeDoc(object_of(self._api.ask('GET', '/')))

    @asks
    def health(self) -> dict[str, object] | bool:
        """How the server and its store are: the server's own document, or ``True`` on version 1, which has none.

        :raises Forbidden: on version 2, unless the user is an administrator.
        :raises ServiceUnavailable: when they are not well.
        """
        return json_of(self._api.ask('GET', '/health')) or True

    @asks
    def ping(self) -> bool:
        """Whether the server is there: ``True``, or an error that says why not.

        :raises ErrorBase: when it is not.
        """
        self._api.ask('GET', '/health' if self._api.version == '1.0' else '/ping')
        return True

    def __repr__(self) -> str:
        return f'<MarconiClient {self.conn.host}>'


class _Queues:
    """``client.queues``: to be called, or iterated over with the defaults, as the seed does it."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @lists
    def __call__(self, marker: str | None = None, limit: int | None = 10, detailed: bool = False) -> Iterator[Queue]:
        check_limit(limit)
        return self._listed(marker, limit, detailed)

    def _listed(self, marker: str | None, limit: int | None, detailed: bool) -> Iterator[Queue]:
        def fetch(marker: str | None) -> Page[Queue]:
            query = query_of({'limit': limit, 'marker': marker, 'detailed': 'true' if detailed else None})
            document = object_of(self._api.ask('GET', f'/queues{query}'))
            found = document.get('queues', [])
            return parsed(
                lambda: Page(
                    [(each['name'], Queue(self._api, each['name'], each)) for each in found],
                    marker_of(document.get('links') or ()) if found else None,
                )
            )

        return follow(fetch, marker)

    def __iter__(self) -> Iterator[Queue]:
        return self._listed(None, 10, False)

    def __repr__(self) -> str:
        return f'<queues of <MarconiClient {self._api.conn.host}>>'
