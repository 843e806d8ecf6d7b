"""The HTTP API of sagas: what is asked, and who answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ..messages import is_json
from ..wsgi.environ import Environ, StartResponse
from .problems import BadRequest, NotFound, Unavailable, UnsupportedMediaType
from .runs import Busy
from .saga_submission import read_saga
from .sagas import Sagas
from .submission import BadSubmission

__all__ = ['Answering', 'SagaApi']

Answer = Iterable[bytes]
_is_id = re.compile(r'[0-9a-f]{32}').fullmatch
#: Seconds that the answer to an abort waits for the end of undoing.
ABORT_SECONDS = 10.0


class Answering(Protocol):
    """What reads bodies and queries, and writes answers."""

    def read_body(self, environ: Environ) -> bytes:
        """The body, of a bounded size, and within a bounded time."""

    def read_limit(self, environ: Environ) -> int:
        """How many the caller wants to see."""

    def write_json(
        self,
        start_response: StartResponse,
        document: object,
        status: str = '200 OK',
        fields: Iterable[tuple[str, str]] = (),
    ) -> list[bytes]:
        """A JSON answer."""


class SagaApi:
    """Answers what is asked below ``/sagas``."""

    def __init__(self, sagas: Sagas, answering: Answering) -> None:
        self._sagas = sagas
        self._answering = answering
        #: Patterns of paths, and who answers there.
        self.routes: tuple[tuple[str, dict[str, Callable[..., Answer]]], ...] = (
            (r'/sagas', {'GET': self._list, 'POST': self._create}),
            (r'/sagas/([^/]*)', {'GET': self._show, 'DELETE': self._abort}),
        )

    def _create(self, environ: Environ, start_response: StartResponse) -> Answer:
        if not is_json(environ.get('CONTENT_TYPE', '')):
            raise UnsupportedMediaType('the body is JSON: Content-Type: application/json')
        try:
            id = self._sagas.start(read_saga(self._answering.read_body(environ), self._sagas.allow))
        except BadSubmission as exc:
            raise BadRequest(str(exc)) from exc
        except Busy as exc:
            raise Unavailable(str(exc), Retry_After='1') from exc
        path = f'{environ.get("SCRIPT_NAME", "")}/sagas/{id}'
        return self._answering.write_json(start_response, self._document(id), '201 Created', [('Location', path)])

    def _list(self, environ: Environ, start_response: StartResponse) -> Answer:
        limit = self._answering.read_limit(environ)
        return self._answering.write_json(start_response, {'sagas': self._sagas.newest(limit)})

    def _show(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        return self._answering.write_json(start_response, self._document(id))

    def _document(self, id: str) -> dict[str, Any]:
        document = self._sagas.document(id) if _is_id(id) else None
        if document is None:
            raise NotFound('there is no saga of that id')
        return document

    def _abort(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        if not _is_id(id) or not self._sagas.abort(id):
            raise NotFound('there is no saga of that id')
        saga = self._sagas.under_way.get(id)
        if saga is not None:
            saga.greenlet.join(ABORT_SECONDS)
        return self._answering.write_json(start_response, self._document(id))
