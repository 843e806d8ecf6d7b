"""Operations of asynchronous clients: they run in greenlets, and return their results later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import gevent
from gevent.event import AsyncResult

from ..errors import Cancelled, Timeout

__all__ = ['PendingResult', 'asks', 'lists']

P = ParamSpec('P')


class _Mode(Protocol):
    @property
    def async_(self) -> bool: ...


class _Asking(Protocol):
    """What holds the ``Api`` of its client."""

    @property
    def _api(self) -> _Mode: ...


S = TypeVar('S', bound=_Asking)


class _NotReady(Timeout, gevent.Timeout):
    """``get`` has waited long enough; the operation goes on. A ``gevent.Timeout``, as from gevent's own ``get``."""

    def __init__(self) -> None:
        Timeout.__init__(self, 'no result yet; the operation goes on')

    __str__ = Timeout.__str__
    __repr__ = Timeout.__repr__


_NotReady.__name__ = 'Timeout'  # texts and members name the kind that callers know


# gevent's class is generic in its types only.
if TYPE_CHECKING:
    _AnyResult = AsyncResult[Any]
else:
    _AnyResult = AsyncResult


class PendingResult(_AnyResult):
    """An operation under way, and later its result: what the operations of a client with ``async_=True`` return.

    Wait for it as for a :class:`~napixclient.PendingResponse`: ``gevent.wait``, ``gevent.iwait`` and
    ``gevent.joinall`` take both kinds together.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self._greenlet = gevent.Greenlet(self._run, work)
        self._greenlet.gr_context = copy_context()
        self._greenlet.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self.set(work())
        except BaseException as exc:  # a gevent.Timeout of its own, too: somebody waits for the outcome
            interrupt = isinstance(exc, (KeyboardInterrupt, SystemExit))  # the main greenlet gets it, and once
            if not self.ready():
                self.set_exception(_cancelled() if interrupt or isinstance(exc, gevent.GreenletExit) else exc)
            if interrupt:
                raise

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Wait for the end: return the result, or raise the error.

        :param timeout: seconds to wait; the operation goes on afterwards.
        :raises Timeout: (and ``gevent.Timeout``) when there is no result yet.
        """
        if block and not self.ready():
            self.wait(timeout)
        if not self.ready():
            raise _NotReady
        return super().get(block=False)

    def cancel(self) -> bool:  # type: ignore[override]
        """End it now with :class:`~napixclient.Cancelled`; false if it has ended. The server undoes nothing."""
        if self.ready():
            return False
        self.set_exception(_cancelled())
        self._greenlet.kill(block=False)
        return True

    kill = cancel

    def __repr__(self) -> str:
        state = 'under way' if not self.ready() else repr(self.value if self.exception is None else self.exception)
        return f'<PendingResult: {state}>'


def _cancelled() -> Cancelled:
    return Cancelled('cancelled')


def asks(method: Callable[Concatenate[S, P], object]) -> Callable[Concatenate[S, P], Any]:
    """A method that asks the server: in place, or, if its client is asynchronous, in a greenlet."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        if self._api.async_:
            return PendingResult(partial(method, self, *args, **kwargs))
        return method(self, *args, **kwargs)

    return call


def lists(method: Callable[Concatenate[S, P], Iterator[object]]) -> Callable[Concatenate[S, P], Any]:
    """A method that lists what the server has, page by page.

    If its client is asynchronous, a greenlet fetches the first page.
    """

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        listing = method(self, *args, **kwargs)
        return PendingResult(partial(_begun, listing)) if self._api.async_ else listing

    return call


def _begun(listing: Iterator[object]) -> Iterator[object]:
    first = list(next(([item] for item in listing), []))
    return _resumed(first, listing)


def _resumed(first: list[object], listing: Iterator[object]) -> Iterator[object]:
    yield from first
    yield from listing
