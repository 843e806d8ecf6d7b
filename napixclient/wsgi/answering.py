"""The answer to one request, as PEP 3333 has it: what the application says is held back until it can be sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from ..call_context import CallContext, current
from ..masking import mask
from .environ import App, Environ, ExcInfo, StartResponse, checked_head, path_of, text_of

__all__ = ['Answer', 'Teller', 'asked']


class Teller(Protocol):
    """Tells the log and the caller of an exception."""

    def caught(self, exc: BaseException, environ: Environ) -> None:
        """Log an exception."""

    def answer_of(
        self, exc: BaseException, environ: Environ, call_context: CallContext
    ) -> tuple[str, list[tuple[str, str]], bytes]:
        """Status line, fields and body of the answer to an exception."""


def asked(environ: Environ) -> str:
    """Method and path of a request, for a log."""
    return mask(f'{text_of(environ, "REQUEST_METHOD")} {path_of(environ)}')


def _is_bytes(part: object) -> bool:
    return isinstance(part, bytes)


class Answer:
    """The answer to one request: the iterable that the server gets.

    The status line is held back until the first byte of the body, its end, or a failure.

    :param teller: reports an exception to the log and to the caller.
    :param start_response: the server's.
    :param call_context: of the request.
    """

    __slots__ = (
        '_body',
        '_environ',
        '_failed',
        '_held',
        '_call_context',
        '_parts',
        '_sent',
        '_start',
        '_teller',
        '_tried',
        '_write',
    )

    def __init__(
        self, teller: Teller, environ: Environ, start_response: StartResponse, call_context: CallContext
    ) -> None:
        self._teller = teller
        self._environ = environ
        self._start = start_response
        self._call_context = call_context
        self._held: tuple[Any, ...] | None = None  # what the application gave to start_response
        self._tried = self._sent = False  # whether the server's start_response was called, and returned
        self._failed = False
        self._write: Callable[[bytes], object] | None = None
        self._body: Any = None  # the application's iterable, until it is closed
        self._parts: Iterator[bytes] = iter(())

    def run(self, app: App) -> Iterable[bytes]:
        """Call the application, and return what the server is to iterate over."""
        token = current.set(self._call_context)
        try:
            self._body = app(self._environ, self._start_response)
            if type(self._body) is list and self._held is not None and all(map(_is_bytes, self._body)):
                self._send_head()  # such a list raises nothing, and servers know its length
                return self._body
            self._parts = iter(self._body)
        except MemoryError:
            raise
        except Exception as exc:
            self._tell(exc)
        finally:
            current.reset(token)
        return self

    # -- what the application calls ------------------------------------------------------------------------------------

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
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
            assert self._write is not None
            self._write(data)

    # -- what the server calls -----------------------------------------------------------------------------------------

    def __iter__(self) -> Answer:
        return self

    def __next__(self) -> bytes:
        token = current.set(self._call_context)
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
        """The server has finished, or has given up."""
        token = current.set(self._call_context)
        try:
            self._close()
        except MemoryError:
            raise
        except Exception as exc:  # every byte is sent, so the caller cannot be told any more
            self._teller.caught(exc, self._environ)
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
        """Answer with the error document if nothing was sent yet, else let the server end the connection."""
        self._teller.caught(exc, self._environ)
        if self._sent:
            self._failed = True
            self._parts = iter(())
            raise exc
        self.fail(exc)

    def fail(self, exc: BaseException) -> None:
        """Answer with the error document."""
        status, headers, data = self._teller.answer_of(exc, self._environ, self._call_context)
        self._failed = self._sent = True
        self._parts = iter((data,) if data else ())
        if self._tried:  # PEP 3333: to replace what the server was told before
            assert exc.__traceback__ is not None  # it was raised
            self._start(status, headers, (type(exc), exc, exc.__traceback__))
        else:
            self._start(status, headers)
