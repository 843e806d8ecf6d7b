"""The HTTP API: which requests there are, and what answers each."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from contextvars import copy_context
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from gevent.threadpool import ThreadPool

from ..messages import is_json, redump_json
from ..wsgi.environ import Environ, StartResponse
from ..wsgi.refusals import Refusal, answer
from .csv_form import CSV
from .following import Feeds
from .framing import BadBody
from .listing import list_runs
from .metrics import Metrics
from .openapi import DOCUMENT
from .page import Page
from .problems import (
    BadRequest,
    Conflict,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
    UpgradeRequired,
)
from .query import filter_of, flag, is_number, number, wants_csv
from .runs import Busy, Runs
from .segments import Form
from .sender import within
from .submission import BadSubmission, Submission, read_submission
from .watching import EVENTS, LINES, Heartbeat, body, page, socket_session, stream_session

__all__ = ['Api', 'Route']

Answer = Iterable[bytes]
Route = Callable[..., Answer]

_is_id = re.compile(r'[0-9a-f]{32}').fullmatch
#: Runs that one ``GET /runs`` shows.
MOST_RUNS = 500
#: Bytes of a body that must come within the time of a slow reader; a submission of more is read in a thread.
_PIECE = 64 * 1024


class Api:
    """The WSGI application.

    :param max_body: bytes of a request's body.
    :param max_requests: requests of a run.
    :param slow_seconds: for which a peer may send nothing of a body.
    :param metrics: what ``/metrics`` shows.
    """

    def __init__(
        self,
        runs: Runs,
        page: Page,
        *,
        max_body: int,
        max_requests: int,
        slow_seconds: float,
        heartbeat: Heartbeat,
        metrics: Metrics,
    ) -> None:
        self._runs = runs
        self._feeds = Feeds(runs)
        self._page = page
        self._max_body = max_body
        self._max_requests = max_requests
        self._slow_seconds = slow_seconds
        self._heartbeat = heartbeat
        self._metrics = metrics
        self._threads = ThreadPool(1)  # one large submission after the other
        routes: list[tuple[str, dict[str, Route]]] = [
            (r'/healthz', {'GET': self._health}),
            (r'/metrics', {'GET': self._show_metrics}),
            (r'/openapi\.json', {'GET': self._openapi}),
            (r'/runs', {'GET': self._list, 'POST': self._create}),
            (r'/runs/([^/]*)', {'GET': self._show, 'DELETE': self._delete}),
            (r'/runs/([^/]*)/requests', {'GET': self._left}),
            (r'/runs/([^/]*)/flying', {'GET': self._flying}),
            (r'/runs/([^/]*)/results', {'GET': self._results}),
            (r'/runs/([^/]*)/events', {'GET': self._events}),
            (r'/runs/([^/]*)/ws', {'GET': self._watch}),
        ]
        self._routes = [(re.compile(pattern), methods) for pattern, methods in routes]

    def add_routes(self, routes: Iterable[tuple[str, dict[str, Route]]]) -> None:
        """Answer at further paths.

        :param routes: patterns of paths, and who answers there by method.
        """
        self._routes += [(re.compile(pattern), methods) for pattern, methods in routes]

    def close(self) -> None:
        """End the thread that reads large submissions."""
        self._threads.kill()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Answer:
        """The application's side of PEP 3333."""
        try:
            return self._answer(environ, start_response)
        except Refusal as exc:
            return answer(exc, environ, start_response)

    def _answer(self, environ: Environ, start_response: StartResponse) -> Answer:
        path, method = environ.get('PATH_INFO', ''), environ['REQUEST_METHOD']
        name = 'GET' if method == 'HEAD' else method
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is not None:
                route = methods.get(name)
                if route is None:
                    raise _not_with(method, methods)
                return _headless(method, route(environ, start_response, *match.groups()))
        file = self._page.find(path)
        if file is None:
            raise NotFound('there is nothing at this path')
        if name != 'GET':
            raise _not_with(method, ['GET'])
        return _headless(method, file.serve(environ, start_response))

    # -- about the service -----------------------------------------------------------------------------------------

    def _health(self, environ: Environ, start_response: StartResponse) -> Answer:
        document = {'status': 'draining' if self._runs.draining else 'ok', 'runs': len(self._runs.under_way)}
        return _json(start_response, document if self._runs.via is None else {**document, 'cluster': True})

    def _show_metrics(self, environ: Environ, start_response: StartResponse) -> Answer:
        data, media = self._metrics.show()
        return _send(start_response, data, media)

    def _openapi(self, environ: Environ, start_response: StartResponse) -> Answer:
        return _json(start_response, DOCUMENT)

    # -- runs ------------------------------------------------------------------------------------------------------

    def _create(self, environ: Environ, start_response: StartResponse) -> Answer:
        if not is_json(environ.get('CONTENT_TYPE', '')):
            raise UnsupportedMediaType('the body is JSON: Content-Type: application/json')
        try:
            run = self._runs.start(self._submission(self.read_body(environ)))
        except BadSubmission as exc:
            raise BadRequest(str(exc)) from exc
        except Busy as exc:
            raise Unavailable(str(exc), Retry_After='1') from exc
        path = f'{environ.get("SCRIPT_NAME", "")}/runs/{run.id}'
        return _json(start_response, run.document(), '201 Created', [('Location', path)])

    def _submission(self, data: bytes) -> Submission:
        """What is in the body; all others have their turn while a large one is read."""
        read = partial(read_submission, data, self._max_requests, self._runs.allow)
        if len(data) <= _PIECE:
            return read()
        # Exceptions come back as values: gevent would print those that a thread raises.
        found: Submission | Exception = self._threads.apply(copy_context().run, (_outcome_of, read))
        if isinstance(found, Exception):
            raise found
        return found

    def read_body(self, environ: Environ) -> bytes:
        """The body, of a bounded size, and within a bounded time."""
        length = environ.get('CONTENT_LENGTH') or '0'
        if not is_number(length):
            raise BadRequest('Content-Length is not a number')
        if int(length) > self._max_body:
            raise TooLarge(f'at most {self._max_body} bytes')
        parts, size = [], 0
        while True:
            late = RequestTimeout('the body does not come', Connection='close')
            try:
                with within(self._slow_seconds, late):
                    part = environ['wsgi.input'].read1(min(_PIECE, self._max_body - size + 1))
            except OSError as exc:
                reason = str(exc) if isinstance(exc, BadBody) else 'the body broke off'
                raise BadRequest(reason, Connection='close') from exc
            size += len(part)
            if size > self._max_body:
                raise TooLarge(f'at most {self._max_body} bytes')
            if not part:
                break
            parts.append(part)
        if size < int(length):
            raise BadRequest('the body broke off', Connection='close')
        return b''.join(parts)

    def read_limit(self, environ: Environ) -> int:
        """How many the caller wants to see."""
        limit = number(_query(environ), 'limit', 50)
        if not 1 <= limit <= MOST_RUNS:
            raise BadRequest(f'limit: from 1 to {MOST_RUNS}')
        return limit

    def write_json(
        self,
        start_response: StartResponse,
        document: Any,
        status: str = '200 OK',
        fields: Iterable[tuple[str, str]] = (),
    ) -> list[bytes]:
        """A JSON answer."""
        return _json(start_response, document, status, fields)

    def _list(self, environ: Environ, start_response: StartResponse) -> Answer:
        query, limit = _query(environ), self.read_limit(environ)
        before = None
        if 'before' in query:
            before = self._runs.store.find(query['before']) if _is_id(query['before']) else None
            if before is None:
                raise NotFound('before: there is no run of that id')
        shown, more = list_runs(self._runs, limit, before, filter_of(query))
        return _json(start_response, {'runs': shown, 'next': shown[-1]['id'] if more else None})

    def _show(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        return _json(start_response, self._linked(id))

    def _linked(self, id: str) -> dict[str, Any]:
        """How a run stands, and which run asks it again."""
        return {**self._document(id), 'again': self._runs.store.asked_again([id]).get(id)}

    def _document(self, id: str) -> dict[str, Any]:
        document = self._runs.document(id) if _is_id(id) else None
        if document is None:
            raise NotFound('there is no run of that id')
        return document

    def _delete(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        if flag(_query(environ), 'forget'):
            return self._forget(start_response, id)
        if not _is_id(id) or not self._runs.cancel(id):
            raise NotFound('there is no run of that id')
        run = self._runs.under_way.get(id)
        if run is not None:  # what is in flight is cut at once, and the rest is only written down
            run.greenlet.join(self._slow_seconds)
        return _json(start_response, self._linked(id))

    def _forget(self, start_response: StartResponse, id: str) -> Answer:
        forgotten = self._runs.forget(id) if _is_id(id) else None
        if forgotten is None:
            raise NotFound('there is no run of that id')
        if not forgotten:
            raise Conflict('the run is under way: cancel it first (DELETE without forget)')
        start_response('204 No Content', [])
        return []

    def _left(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        self._document(id)
        return _json(start_response, {'requests': self._runs.left(id)})

    def _flying(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        self._document(id)
        return _json(start_response, self._runs.in_flight(id))

    # -- watching --------------------------------------------------------------------------------------------------

    def _results(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        query = _query(environ)
        seq = number(query, 'from', 0)
        follow, is_csv = flag(query, 'follow'), wants_csv(query, environ.get('HTTP_ACCEPT', ''))
        self._document(id)
        media, ending = ('text/csv; charset=utf-8; header=present', 'csv') if is_csv else (_NDJSON, 'ndjson')
        name = ('Content-Disposition', f'attachment; filename="napix-{id}.{ending}"')
        start_response('200 OK', [('Content-Type', media), name, ('Vary', 'Accept'), *_PLAIN])
        if environ['REQUEST_METHOD'] == 'HEAD':
            return []
        form = CSV if is_csv else LINES
        return self._stream(environ, id, seq, form) if follow else page(self._feeds, id, seq, form)

    def _events(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        seq = number(_query(environ), 'from', 0)
        last = environ.get('HTTP_LAST_EVENT_ID')
        if last is not None:
            if not is_number(last):
                raise BadRequest('Last-Event-ID: the number of a result')
            seq = int(last) + 1
        document = self._document(id)
        if document['state'] != 'running' and seq >= document['results']:
            start_response('204 No Content', [])  # a browser asks again and again else (HTML §9.2.3)
            return []
        start_response('200 OK', [('Content-Type', 'text/event-stream'), ('X-Accel-Buffering', 'no'), *_PLAIN])
        if environ['REQUEST_METHOD'] == 'HEAD':
            return []
        return self._stream(environ, id, seq, EVENTS)

    def _stream(self, environ: Environ, id: str, seq: int, form: Form) -> Answer:
        """What follows the head, by our own server's seam; another server iterates it."""
        accept = environ.get('napix.session')
        if accept is None:
            return body(self._feeds, id, seq, form, self._heartbeat.every)
        accept(stream_session(self._feeds, id, seq, form, self._heartbeat.every))
        return []

    def _watch(self, environ: Environ, start_response: StartResponse, id: str) -> Answer:
        seq = number(_query(environ), 'from', 0)
        self._document(id)
        _check_handshake(environ)
        upgrade = environ['napix.session']
        upgrade(socket_session(self._feeds, id, seq, self._heartbeat))
        start_response('101 Switching Protocols', [])
        return []


#: For every answer: it is read as what it says it is, and kept by nobody.
_NDJSON = 'application/x-ndjson'
_PLAIN = (('X-Content-Type-Options', 'nosniff'), ('Cache-Control', 'no-store'))


def _outcome_of(read: Callable[[], Submission]) -> Submission | Exception:
    try:
        return read()
    except Exception as exc:
        return exc


def _headless(method: str, body: Answer) -> Answer:
    return [] if method == 'HEAD' else body


def _not_with(method: str, methods: Iterable[str]) -> MethodNotAllowed:
    allowed = sorted({*methods, *(['HEAD'] if 'GET' in methods else [])})
    return MethodNotAllowed(f'{method[:20]} is not one of {", ".join(allowed)}', Allow=', '.join(allowed))


def _json(
    start_response: StartResponse, document: Any, status: str = '200 OK', fields: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    return _send(start_response, redump_json(document).encode(), 'application/json', status, fields)


def _send(
    start_response: StartResponse,
    data: bytes,
    media: str,
    status: str = '200 OK',
    fields: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    start_response(status, [('Content-Type', media), ('Content-Length', str(len(data))), *_PLAIN, *fields])
    return [data]


def _query(environ: Environ) -> dict[str, str]:
    """The parameters; of several of a name the last."""
    try:
        found = parse_qs(environ.get('QUERY_STRING', ''), keep_blank_values=True, max_num_fields=100)
    except ValueError as exc:
        raise BadRequest('the query cannot be read') from exc
    return {name: values[-1] for name, values in found.items()}


def _check_handshake(environ: Environ) -> None:
    """:raises UpgradeRequired, BadRequest: for what is no handshake of a WebSocket."""
    tokens = {word.strip().lower() for word in environ.get('HTTP_CONNECTION', '').split(',')}
    if (
        environ.get('napix.session') is None
        or environ['REQUEST_METHOD'] != 'GET'
        or 'upgrade' not in tokens
        or environ.get('HTTP_UPGRADE', '').strip().lower() != 'websocket'
        or environ.get('SERVER_PROTOCOL') != 'HTTP/1.1'
    ):
        raise UpgradeRequired('this is for WebSockets (RFC 6455)', Upgrade='websocket', Connection='Upgrade')
    if environ.get('HTTP_SEC_WEBSOCKET_VERSION', '').strip() != '13':
        raise UpgradeRequired('version 13 of WebSocket is known (RFC 6455)', Sec_WebSocket_Version='13')
    if not _is_key(environ.get('HTTP_SEC_WEBSOCKET_KEY', '')):
        raise BadRequest('Sec-WebSocket-Key is not 16 bytes in base64 (RFC 6455 §4.1)')
    if environ.get('CONTENT_LENGTH') or environ.get('HTTP_TRANSFER_ENCODING'):
        raise BadRequest('an upgrade has no body', Connection='close')


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
