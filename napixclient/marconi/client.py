"""What belongs to the whole account."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ..messages import load_json
from ..rest.responses import Response
from .connection import Connection
from .errors import ErrorBase
from .models import HomeDoc
from .paging import Page, follow, marker_of
from .pending import asks, lists
from .queue import Queue, _check_limit, _query

__all__ = ['Client']

_T = TypeVar('_T')


class Client:
    """The queues of an account.

    Each client is one to the server, too: a listing leaves out what the same client has posted, unless it is told to
    ``echo``.

    :param conn: a connection; any number of clients may share it.
    :param async_: whether what asks the server, here and in all objects that come from here, returns a
        :class:`PendingResult` at once, instead of waiting for the result.
    """

    def __init__(self, conn: Connection, async_: bool = False) -> None:
        if not isinstance(conn, Connection):
            raise ValueError(f'conn is a Connection, not {type(conn).__name__}')
        #: The connection.
        self.conn = conn
        #: What the server knows this client by: a UUID.
        self.client_id = str(uuid.uuid4())
        self._async = bool(async_)
        self._client = self
        self._version = conn.version

    @property
    def async_(self) -> bool:
        """Whether operations return at once."""
        return self._async

    # -- what the other objects ask with ---------------------------------------------------------------------------

    def _ask(self, method: str, path: str, body: Any = None, fields: Mapping[str, str] | None = None) -> Response:
        return self.conn._ask(method, path, body, [('Client-ID', self.client_id), *(fields or {}).items()])

    def _json(self, answer: Response) -> Any:
        """The decoded body; ``None`` where there is none, as in a 204."""
        if answer.status_code == 204 or not answer.content:
            return None
        try:
            return answer.json
        except ErrorBase as error:
            raise self._no_sense(answer) from error

    def _object(self, answer: Response) -> dict[str, Any]:
        """The decoded body, which is an object; an empty one where there is none."""
        told = self._json(answer)
        if told is None:
            return {}
        if not isinstance(told, dict):
            raise self._no_sense(answer)
        return told

    def _understood(self, read: Callable[[], _T]) -> _T:
        """What is made of an answer; one of another form than the API's is an error of ours."""
        try:
            return read()
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as exc:
            raise ErrorBase('an answer that makes no sense', 0, f'It is not what the API has: {exc!r}') from exc

    def _no_sense(self, answer: Response) -> ErrorBase:
        return ErrorBase(
            'an answer that makes no sense', answer.status_code, f'It is not what the API has: {answer.text:.200}'
        )

    def _mapping(self, given: Any) -> dict[str, Any]:
        """Metadata, also as JSON."""
        try:
            found = load_json(given) if isinstance(given, (str, bytes)) else given
        except ValueError as exc:
            raise ValueError(f'metadata is a mapping, or one as JSON: {exc}') from None
        if not isinstance(found, Mapping):
            raise ValueError(f'metadata is a mapping, or one as JSON, not {type(given).__name__}')
        return dict(found)

    # -- the account -----------------------------------------------------------------------------------------------

    @property
    def queues(self) -> Any:
        """All queues: ``client.queues(marker=None, limit=10, detailed=False)`` is a lazy generator that follows pages.

        ``marker`` is the name of the queue behind which to begin, ``limit`` the size of a page, which the server wants
        to be 20 at most; ``detailed`` fetches the metadata too, into ``told``. ``for queue in client.queues`` does it
        with these defaults.
        """
        return _Queues(self)

    @lists
    def _list(self, marker: str | None, limit: int | None, detailed: bool) -> Iterator[Queue]:
        _check_limit(limit)

        def fetch(marker: str | None) -> Page:
            query = _query({'limit': limit, 'marker': marker, 'detailed': 'true' if detailed else None})
            told = self._object(self._ask('GET', f'/queues{query}'))
            found = told.get('queues', [])
            return self._understood(
                lambda: Page(
                    [(each['name'], Queue(self, each['name'], each)) for each in found],
                    marker_of(told) if found else None,
                )
            )

        return follow(fetch, marker)

    @asks
    def create_queue(self, name: str, metadata: Mapping[str, Any] | str | None = None) -> Queue:
        """Make a queue; one that exists already stays as it is.

        :param name: up to 64 letters, digits, ``_`` and ``-``.
        :param metadata: what to store with it: a mapping, or one as JSON.
        :raises MalformedRequest: for a name that the server does not take.
        """
        queue = Queue(self, name)
        wanted = {} if metadata is None else self._mapping(metadata)
        first = self._version == '1.0'
        answer = self._ask('PUT', queue._path, wanted if wanted and not first else None)
        if first and wanted and answer.status_code == 201:
            self._ask('PUT', f'{queue._path}/metadata', wanted)
        return queue

    def queue(self, name: str) -> Queue:
        """A queue by its name, whether it exists or not; nothing is asked."""
        return Queue(self, name)

    @asks
    def _home(self) -> HomeDoc:
        return HomeDoc(self._object(self._ask('GET', '/')))

    @property
    def home(self) -> Any:
        """The home document: :class:`HomeDoc`, asked for anew each time."""
        return self._home()

    @asks
    def health(self) -> Any:
        """How the server and its store are: the server's own document, or ``True`` on version 1, which has none.

        :raises Forbidden: on version 2, unless the user is an administrator.
        :raises ServiceUnavailable: when they are not well.
        """
        return self._json(self._ask('GET', '/health')) or True

    @asks
    def ping(self) -> bool:
        """Whether the server is there: ``True``, or an error that says why not.

        :raises ErrorBase: when it is not.
        """
        self._ask('GET', '/health' if self._version == '1.0' else '/ping')
        return True

    def __repr__(self) -> str:
        return f'<MarconiClient {self.conn.host}>'


class _Queues:
    """``client.queues``: to be called, or iterated as the seed does it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self, marker: str | None = None, limit: int | None = 10, detailed: bool = False) -> Any:
        return self._client._list(marker, limit, detailed)

    def __iter__(self) -> Iterator[Queue]:
        return iter(Client._list.__wrapped__(self._client, None, 10, False))  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f'<queues of {self._client!r}>'
