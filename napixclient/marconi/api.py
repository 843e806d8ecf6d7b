"""How a client and its objects ask the server, and what its answers mean."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from ..checks import is_whole
from ..rest.responses import Response
from .connection import Connection
from .errors import ErrorBase, Unsupported
from .wire import encoded

__all__ = ['MAX_ITEMS', 'Api', 'QueueApi', 'check_limit', 'json_of', 'object_of', 'parsed', 'query_of']

#: Items in a page, messages in a claim, ids in a request: what a server takes by default.
MAX_ITEMS = 20
_T = TypeVar('_T')


class Api:
    """Sends the requests of one client: under its id, in the version that its connection speaks.

    Every object that comes from the client holds it.

    :param async_: whether the operations of these objects return a ``PendingResult``; ``ask`` itself always waits.
    """

    def __init__(self, conn: Connection, async_: bool) -> None:
        self.conn = conn
        self.client_id: str = str(uuid.uuid4())
        self.async_ = async_
        self.version: str = conn.version

    def ask(self, method: str, path: str, body: object = None, fields: Mapping[str, str] | None = None) -> Response:
        """Send a request, and wait for its answer.

        :param path: path and query below the version, quoted.
        :param body: JSON as bytes, or what is to be written as JSON.
        :raises ErrorBase: for another status than 2xx, or when there was no answer.
        """
        data = body if body is None or isinstance(body, bytes) else encoded(body)
        session = self.conn.session
        own = [('Client-ID', self.client_id), *(fields or {}).items()]
        return session.send(method, f'{session.prefix}{path}', data, own)


class QueueApi:
    """Sends the requests about one queue: their paths are below the queue's."""

    api: Api
    name: str
    version: str

    def __init__(self, api: Api, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f'the name of a queue is a text that is not empty, not {name!r}')
        self.api, self.name, self.version = api, name, api.version
        self._path = f'/queues/{quote(name, safe="")}'

    def ask(
        self, method: str, path: str = '', body: object = None, fields: Mapping[str, str] | None = None
    ) -> Response:
        """As :meth:`Api.ask`; ``path`` is below the queue, and ``''`` is the queue itself."""
        return self.api.ask(method, f'{self._path}{path}', body, fields)

    def require(self, version: str, what: str) -> None:
        """Refuse what the API has only since a later version.

        :raises Unsupported: when the server speaks an older one.
        """
        if float(self.version) < float(version):
            raise Unsupported(
                f'{what} not possible', 0, f'Version {self.version} of the API has no {what}; it needs {version}.'
            )


def json_of(answer: Response) -> Any:
    """The decoded body; ``None`` where there is none, as in a 204.

    :raises ErrorBase: for a body that is not JSON.
    """
    if answer.status_code == 204 or not answer.content:
        return None
    try:
        return answer.json
    except ErrorBase as error:
        raise _senseless(answer) from error


def object_of(answer: Response) -> dict[str, Any]:
    """The decoded body, which is an object; an empty one where there is none.

    :raises ErrorBase: for a body that is no JSON object.
    """
    document = json_of(answer)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise _senseless(answer)
    return document


def parsed(parse: Callable[[], _T]) -> _T:
    """The result of ``parse()``.

    :raises ErrorBase: when that fails because the document has another form than the API's.
    """
    try:
        return parse()
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as exc:
        raise ErrorBase('an answer that makes no sense', 0, f'It is not what the API has: {exc!r}') from exc


def _senseless(answer: Response) -> ErrorBase:
    return ErrorBase(
        'an answer that makes no sense', answer.status_code, f'It is not what the API has: {answer.text:.200}'
    )


def check_limit(limit: object) -> None:
    """Refuse what is no size of a page.

    :raises ValueError: for anything but ``None`` and a whole number of 1 or more.
    """
    if limit is not None and (not is_whole(limit) or limit < 1):
        raise ValueError(f'limit is a number of 1 or more, not {limit!r}')


def query_of(parameters: Mapping[str, object]) -> str:
    """A query of the parameters that are not ``None``, with its question mark; empty without any."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f'?{urlencode(given)}' if given else ''
