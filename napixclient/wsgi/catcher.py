"""A WSGI middleware that tells the caller of a failure, and of those behind it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from ..errors import (
    DeadlineExceeded,
    HTTPError,
    NapixError,
    QueueTimeout,
    ReadTimeout,
    RemoteError,
    Timeout,
    traceback_of,
)
from ..journey import MAX_VIA, Journey, arrive, current
from ..masking import mask, sentence
from ..remote import document_of, encode, failed_calls
from .environ import App, Environ, accepts_problems, checked_head, path_of, text_of
from .naming import default_id

__all__ = ['CallerLeft', 'ExceptionsCatcher', 'LoopDetected']

log = logging.getLogger('napixclient.wsgi')
logging.getLogger('napixclient').addHandler(logging.NullHandler())  # a library is silent unless told
#: Seconds after which who was answered 503 may ask again.
RETRY_AFTER = 1

#: The fields that travel, as they stand in the environ.
_VARIABLES = {
    name: f'HTTP_{name.upper().replace("-", "_")}'
    for name in ('traceparent', 'tracestate', 'X-Request-ID', 'X-Napix-Via', 'X-Napix-Timeout')
}

_is_id = re.compile(r'[A-Za-z0-9._~:+/=@-]{1,128}').fullmatch


class LoopDetected(NapixError):
    """The call has been at this server before, or has passed more servers than a chain may have."""


class CallerLeft(NapixError):
    """The call came when the time that its caller waits was up."""


class ExceptionsCatcher:
    """Serves a WSGI application, and answers what breaks out of it with a document that tells the story.

    While the application runs, the calls that it makes with this library carry its request's ids on, wait no longer
    than its caller does, and are stopped where they would go in a circle.

    Before a byte has been sent, a failure is answered with an error document; afterwards the exception goes on to the
    server, which ends the connection, so that the caller sees a truncated answer and never a short success.
    ``MemoryError``, ``SystemExit``, ``KeyboardInterrupt``, ``GreenletExit`` and ``gevent.Timeout`` pass through.

    :param app: the WSGI application (PEP 3333).
    :param expose_traceback: send tracebacks to callers: our own, and those that further servers sent.
    :param on_error: called with ``(exception, environ)`` for everything caught; what it raises is logged.
    :param statuses: statuses by class of exception, before those that it has by itself; the nearest class counts.
    :param passthrough: statuses of further servers, such as 404, that are handed on as they are; others become 502.
    :param server_id: what this server is called in ``X-Napix-Via``, the same in all workers of one deployment. By
        default it is made of the machine's name, the working directory, the address that the server listens on, as
        far as it tells, and the mount point.
    :raises ValueError: for a value that makes no sense.
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
        if server_id is not None and (not isinstance(server_id, str) or not _is_id(server_id)):
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

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """The application's side of PEP 3333."""
        journey, loops = arrive(lambda name: environ.get(_VARIABLES[name]), self._server_id or default_id(environ))
        answer = _Answer(self, environ, start_response, journey)
        if loops:
            answer.refuse(LoopDetected(_why(journey.via)))
        elif journey.remaining <= 0:
            answer.refuse(CallerLeft('the caller has stopped waiting'))
        else:
            return answer.run()
        return answer

    def status_of(self, exc: BaseException) -> int:
        """The status that an exception is answered with."""
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
                # An error of a REST client's own that stands for one of ours.
                if isinstance(exc.__cause__, HTTPError) and exc.request is not None:
                    return self.status_of(exc.__cause__)
                return status
        members = getattr(exc, 'exceptions', None)
        if isinstance(members, tuple) and failed_calls(exc):
            return max(self.status_of(member) for member in members)
        return 500

    def answer_of(
        self, exc: BaseException, environ: Environ, journey: Journey
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status line, fields and body that tell of an exception."""
        status = self.status_of(exc)
        document = document_of(
            exc,
            status,
            text_of(environ, 'REQUEST_METHOD', 'GET'),
            path_of(environ),
            journey.trace_id,
            self._expose_traceback,
        )
        data = encode(document, self._expose_traceback)
        media = 'application/problem+json' if accepts_problems(text_of(environ, 'HTTP_ACCEPT')) else 'application/json'
        fields = [
            ('Content-Type', media),
            ('Content-Length', str(len(data))),
            ('X-Content-Type-Options', 'nosniff'),
            ('X-Request-ID', journey.request_id),
        ]
        if status == 503:
            fields.append(('Retry-After', str(RETRY_AFTER)))
        return f'{status} {document["title"]}', fields, b'' if environ.get('REQUEST_METHOD') == 'HEAD' else data

    def caught(self, exc: BaseException, environ: Environ) -> None:
        """Tell the log and the caller's own hook."""
        log.error('%s failed\n%s', _asked(environ), traceback_of(exc))
        if self._on_error is not None:
            try:
                self._on_error(exc, environ)
            except Exception as failure:
                log.error('on_error failed: %s', traceback_of(failure))


def _asked(environ: Environ) -> str:
    """What was asked, for a log."""
    return mask(f'{text_of(environ, "REQUEST_METHOD")} {path_of(environ)}')


def _why(via: tuple[str, ...]) -> str:
    """What is wrong with the way that a call has come, and what to do where nothing is."""
    passed = ', '.join(via)
    if via[-1] not in via[:-1]:
        return f'this call has passed more than {MAX_VIA} servers: {passed}'
    return (
        f'this call goes in a circle: {passed}. If it does not, two servers have the same name: '
        f'give each one of its own, ExceptionsCatcher(app, server_id=...)'
    )


def _is_bytes(part: object) -> bool:
    return isinstance(part, bytes)


#: What is not the application's own error. A clock of ours that ran out when something had been sent is 504; when
#: nothing had been, another server may do better in a while.
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


def _checked_statuses(given: Mapping[Any, Any]) -> dict[type[BaseException], int]:
    for known in given:
        if not (isinstance(known, type) and issubclass(known, BaseException)):
            raise ValueError(f'statuses maps classes of exceptions to statuses, not {known!r}')
    return {known: _status(status, 'statuses') for known, status in given.items()}


def _status(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 400 <= value < 600:
        raise ValueError(f'{name} has statuses from 400 to 599, not {value!r}')
    return int(value)


class _Answer:
    """One request under way: the iterable that the server is given.

    The status line is held back until the first byte of the body, its end, or a failure.
    """

    __slots__ = (
        '_body',
        '_catcher',
        '_environ',
        '_failed',
        '_held',
        '_journey',
        '_parts',
        '_sent',
        '_start',
        '_tried',
        '_write',
    )

    def __init__(self, catcher: ExceptionsCatcher, environ: Environ, start_response: Any, journey: Journey) -> None:
        self._catcher = catcher
        self._environ = environ
        self._start = start_response
        self._journey = journey
        self._held: tuple[Any, ...] | None = None  # what the application gave to start_response
        self._tried = self._sent = False  # whether the server has been told, and has taken it
        self._failed = False
        self._write: Any = None
        self._body: Any = None  # the application's iterable, until it is closed
        self._parts: Iterator[bytes] = iter(())

    def run(self) -> Iterable[bytes]:
        """Call the application; what the server is to iterate."""
        token = current.set(self._journey)
        try:
            self._body = self._catcher._app(self._environ, self._start_response)
            if type(self._body) is list and self._held is not None and all(map(_is_bytes, self._body)):
                self._send_head()  # nothing can break out of such a list, and servers know its length
                return self._body
            self._parts = iter(self._body)
        except MemoryError:
            raise
        except Exception as exc:
            self._tell(exc)
        finally:
            current.reset(token)
        return self

    def refuse(self, exc: NapixError) -> None:
        """Answer without running the application."""
        log.warning('%s refused: %s', _asked(self._environ), sentence(str(exc)))
        self._answer(exc)

    # -- what the application calls ------------------------------------------------------------------------------------

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        try:
            if exc_info is None and self._held is not None:
                raise AssertionError('start_response was called a second time without exc_info (PEP 3333)')
            if self._sent:
                self._start(status, headers, exc_info)  # raises, as the headers are out
            headers = checked_head(status, headers)
            self._held = (status, headers) if exc_info is None else (status, headers, exc_info)
        finally:
            exc_info = None  # no cycle through the frame
        return self._written

    def _written(self, data: bytes) -> None:
        """The ``write`` of PEP 3333."""
        if data:
            self._send_head()
            self._write(data)

    # -- what the server calls -----------------------------------------------------------------------------------------

    def __iter__(self) -> _Answer:
        return self

    def __next__(self) -> bytes:
        token = current.set(self._journey)
        try:
            for part in self._parts:
                if not isinstance(part, bytes):
                    raise TypeError(f'the application gave {type(part).__name__} where PEP 3333 has bytes')
                if part or self._sent:
                    if not self._sent:
                        self._send_head()
                    return part
            if not self._failed:
                if not self._sent:
                    self._close()  # what it raises can still be told
                self._send_head()
        except MemoryError:
            raise
        except Exception as exc:
            self._tell(exc)
            return next(self._parts, b'')
        finally:
            current.reset(token)
        raise StopIteration

    def close(self) -> None:
        """The server is through, or has given up."""
        token = current.set(self._journey)
        try:
            self._close()
        except MemoryError:
            raise
        except Exception as exc:  # every byte is out: nothing can be told to the caller any more
            self._catcher.caught(exc, self._environ)
        finally:
            current.reset(token)

    def _send_head(self) -> None:
        if not self._sent:
            if self._held is None:
                raise AssertionError('the application gave a body without calling start_response (PEP 3333)')
            held, self._held = self._held, (self._held[0], self._held[1])
            self._tried = True
            self._write = self._start(*held)  # may find that a field cannot be sent
            self._sent = True

    def _close(self) -> None:
        body, self._body = self._body, None
        if hasattr(body, 'close'):
            body.close()

    def _tell(self, exc: Exception) -> None:
        """Answer with the document if that can still be done, else let the server end the connection."""
        self._catcher.caught(exc, self._environ)
        if self._sent:
            self._failed = True
            self._parts = iter(())
            raise exc
        self._answer(exc)

    def _answer(self, exc: BaseException) -> None:
        status, headers, data = self._catcher.answer_of(exc, self._environ, self._journey)
        self._failed = self._sent = True
        self._parts = iter((data,) if data else ())
        if self._tried:  # PEP 3333: to replace what it was told before
            self._start(status, headers, (type(exc), exc, exc.__traceback__))
        else:
            self._start(status, headers)
