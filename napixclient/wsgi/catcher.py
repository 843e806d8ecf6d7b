"""A WSGI middleware that answers an exception of the application with a document that describes its cause."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from ..call_context import MAX_VIA, CallContext, extract, is_id
from ..checks import is_whole
from ..error_documents import document_of, encode, failed_calls
from ..errors import DeadlineExceeded, HTTPError, NapixError, QueueTimeout, ReadTimeout, RemoteError, Timeout
from ..masking import sentence
from ..tracebacks import traceback_of
from .answering import Answer, asked
from .environ import App, Environ, StartResponse, accepts_problems, path_of, text_of
from .naming import default_id

__all__ = ['CallerLeft', 'ExceptionsCatcher', 'LoopDetected']

log: logging.Logger = logging.getLogger('napixclient.wsgi')
logging.getLogger('napixclient').addHandler(logging.NullHandler())  # a library is silent unless told
#: Seconds after which a caller may ask again that was answered 503.
RETRY_AFTER = 1

#: The propagated fields, as they stand in the environ.
_VARIABLES = {
    name: f'HTTP_{name.upper().replace("-", "_")}'
    for name in ('traceparent', 'tracestate', 'X-Request-ID', 'X-Napix-Via', 'X-Napix-Timeout')
}


class LoopDetected(NapixError):
    """The call has passed this server before, or more servers than a chain may have."""


class CallerLeft(NapixError):
    """The call arrived after its caller had stopped waiting."""


class ExceptionsCatcher:
    """Serves a WSGI application, and answers every exception that escapes it with a document that describes the cause.

    While the application runs, the calls that it makes with this library carry on the ids of its request, wait no
    longer than its caller does, and are stopped if they would go in a circle.

    If an exception comes before the first byte was sent, the answer is an error document. Later, the exception goes up
    to the server, which ends the connection, so that the caller sees a truncated answer and never a short success.
    ``MemoryError``, ``SystemExit``, ``KeyboardInterrupt``, ``GreenletExit`` and ``gevent.Timeout`` pass through.

    :param app: the WSGI application (PEP 3333).
    :param expose_traceback: send tracebacks to callers: our own, and those that other servers sent us.
    :param on_error: called with ``(exception, environ)`` for every exception caught; what it raises is logged.
    :param statuses: statuses by class of exception, which precede the built-in ones; the nearest class counts.
    :param passthrough: statuses of called servers, such as 404, that are handed on as they are; others become 502.
    :param server_id: the name of this server in ``X-Napix-Via``, the same in all workers of one deployment. By
        default it is made of the machine's name, the working directory, the address that the server listens on, as
        far as the environ tells it, and the mount point.
    :raises ValueError: if a value is invalid.
    """

    def __init__(
        self,
        app: App,
        *,
        expose_traceback: bool = False,
        on_error: Callable[[BaseException, Environ], object] | None = None,
        statuses: Mapping[type[BaseException], int] | None = None,
        passthrough: Collection[int] = (),
        server_id: str | None = None,
    ) -> None:
        if not callable(app):
            raise ValueError(f'app is a WSGI application, a callable, not {app!r}')
        if on_error is not None and not callable(on_error):
            raise ValueError(f'on_error is called, so it must be callable, not {on_error!r}')
        if server_id is not None and (not isinstance(server_id, str) or not is_id(server_id)):
            raise ValueError(
                'server_id is up to 128 letters, digits and . _ ~ : + / = @ -, '
                f'without commas and spaces, not {server_id!r}'
            )
        self._app = app
        self._expose_traceback = bool(expose_traceback)
        self._on_error = on_error
        self._statuses = {**STATUSES, **_checked_statuses(statuses or {})}
        self._passthrough = frozenset(_status(status, 'passthrough') for status in passthrough)
        self._server_id = server_id

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request as an application does (PEP 3333)."""
        call_context, loops = extract(
            lambda name: environ.get(_VARIABLES[name]), self._server_id or default_id(environ)
        )
        answer = Answer(self, environ, start_response, call_context)
        if loops:
            return self._refuse(answer, environ, LoopDetected(_why(call_context.via)))
        if call_context.remaining <= 0:
            return self._refuse(answer, environ, CallerLeft('the caller has stopped waiting'))
        return answer.run(self._app)

    @staticmethod
    def _refuse(answer: Answer, environ: Environ, exc: NapixError) -> Answer:
        """Answer without running the application."""
        log.warning('%s refused: %s', asked(environ), sentence(str(exc)))
        answer.fail(exc)
        return answer

    def status_of(self, exc: BaseException) -> int:
        """The status of the answer to an exception."""
        for known in type(exc).__mro__:
            if known in self._statuses:
                status = self._statuses[known]
                if not isinstance(exc, HTTPError) or known not in (RemoteError, HTTPError):
                    return status
                if (
                    exc.remote_error is not None
                    and exc.status is not None
                    and (exc.status == 508 or exc.status in self._passthrough)
                ):
                    return exc.status
                # An error class of a REST client stands for an error of ours.
                if isinstance(exc.__cause__, HTTPError) and exc.request is not None:
                    return self.status_of(exc.__cause__)
                return status
        members = getattr(exc, 'exceptions', None)
        if isinstance(members, tuple) and failed_calls(exc):
            return max(self.status_of(member) for member in members)
        return 500

    def answer_of(
        self, exc: BaseException, environ: Environ, call_context: CallContext
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status line, fields and body of the answer to an exception."""
        status = self.status_of(exc)
        document = document_of(
            exc,
            status,
            text_of(environ, 'REQUEST_METHOD', 'GET'),
            path_of(environ),
            call_context.trace_id,
            self._expose_traceback,
        )
        data = encode(document, self._expose_traceback)
        media = 'application/problem+json' if accepts_problems(text_of(environ, 'HTTP_ACCEPT')) else 'application/json'
        fields = [
            ('Content-Type', media),
            ('Content-Length', str(len(data))),
            ('X-Content-Type-Options', 'nosniff'),
            ('X-Request-ID', call_context.request_id),
        ]
        if status == 503:
            fields.append(('Retry-After', str(RETRY_AFTER)))
        return f'{status} {document["title"]}', fields, b'' if environ.get('REQUEST_METHOD') == 'HEAD' else data

    def caught(self, exc: BaseException, environ: Environ) -> None:
        """Log an exception, and call ``on_error``."""
        log.error('%s failed\n%s', asked(environ), traceback_of(exc))
        if self._on_error is not None:
            try:
                self._on_error(exc, environ)
            except Exception as failure:
                log.error('on_error failed: %s', traceback_of(failure))


def _why(via: tuple[str, ...]) -> str:
    """Why the call is taken for a loop, and what to do if it is not one."""
    passed = ', '.join(via)
    if via[-1] not in via[:-1]:
        return f'this call has passed more than {MAX_VIA} servers: {passed}'
    return (
        f'this call goes in a circle: {passed}. If it does not, two servers have the same name: '
        f'give each one of its own, ExceptionsCatcher(app, server_id=...)'
    )


#: Errors that are not the application's own. A clock that ran out after sending had begun is 504; before that it is
#: 503, because the request may succeed after a while.
STATUSES: dict[type[BaseException], int] = {
    LoopDetected: 508,
    CallerLeft: 503,
    RemoteError: 502,
    ReadTimeout: 504,
    DeadlineExceeded: 504,
    QueueTimeout: 503,
    Timeout: 503,
    HTTPError: 502,
}


def _checked_statuses(given: Mapping[type[BaseException], int]) -> dict[type[BaseException], int]:
    for known in given:
        if not (isinstance(known, type) and issubclass(known, BaseException)):
            raise ValueError(f'statuses maps classes of exceptions to statuses, not {known!r}')
    return {known: _status(status, 'statuses') for known, status in given.items()}


def _status(value: object, name: str) -> int:
    if not is_whole(value) or not 400 <= value < 600:
        raise ValueError(f'{name} has statuses from 400 to 599, not {value!r}')
    return int(value)
