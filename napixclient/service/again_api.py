"""The HTTP API by which a run is asked again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from ..messages import is_json
from ..wsgi.environ import Environ, StartResponse
from .again import Given, NotAgain, ask_again, read_given, what_is_left
from .problems import BadRequest, Conflict, NotFound, Unavailable, UnsupportedMediaType
from .rows import Kept
from .runs import Busy, Runs
from .saga_api import Answering
from .submission import BadSubmission, read_json

__all__ = ['AgainApi']

Answer = Iterable[bytes]
_is_id = re.compile(r'[0-9a-f]{32}').fullmatch


class AgainApi:
    """Answers what is asked at ``/runs/<id>/again``."""

    def __init__(self, runs: Runs, answering: Answering) -> None:
        self._runs = runs
        self._answering = answering
        #: Patterns of paths, and who answers there.
        self.routes: tuple[tuple[str, dict[str, Callable[..., Answer]]], ...] = (
            (r'/runs/([^/]*)/again', {'GET': self._show, 'POST': self._create}),
        )

    def _show(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        run = self._find(id)
        again = self._runs.store.asked_again([id]).get(id)
        try:
            left = what_is_left(self._runs, run)
        except NotAgain as exc:
            raise Conflict(str(exc)) from exc
        return self._answering.write_json(start_response, {'run': again, **left})

    def _create(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        run, given = self._find(id), self._given(environ)
        try:
            child = self._runs.store.asked_again([id]).get(id)
            if child is None:
                child, made = self._start(run, given)
            else:
                made = False
        except NotAgain as exc:
            raise Conflict(str(exc)) from exc
        except BadSubmission as exc:
            raise BadRequest(str(exc)) from exc
        except Busy as exc:
            raise Unavailable(str(exc), Retry_After='1') from exc
        document = self._runs.document(child)
        if document is None:  # it was forgotten meanwhile
            raise NotFound('there is no run of that id')
        location = [('Location', f'{environ.get("SCRIPT_NAME", "")}/runs/{child}')]
        return self._answering.write_json(start_response, document, '201 Created' if made else '200 OK', location)

    def _start(self, run: Kept, given: Given) -> tuple[str, bool]:
        """The run that asks again, and whether it is a new one: of two who ask for it at a time one is first."""
        submission = ask_again(self._runs, run, given)
        try:
            return self._runs.start(submission, run.id).id, True
        except BadSubmission:
            child = self._runs.store.asked_again([run.id]).get(run.id)
            if child is None:
                raise
            return child, False

    def _given(self, environ: Environ) -> Given:
        data = self._answering.read_body(environ)
        if not data:
            return Given({}, {}, None)
        if not is_json(environ.get('CONTENT_TYPE', '')):
            raise UnsupportedMediaType('the body is JSON: Content-Type: application/json')
        try:
            return read_given(read_json(data))
        except BadSubmission as exc:
            raise BadRequest(str(exc)) from exc

    def _find(self, id: str) -> Kept:
        found: Any = self._runs.store.find(id) if _is_id(id) else None
        if not isinstance(found, Kept):
            raise NotFound('there is no run of that id')
        return found
