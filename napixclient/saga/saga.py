"""A saga: steps on many servers that are undone when a later one fails (Garcia-Molina and Salem, 1987)."""

from __future__ import annotations

import os
from collections.abc import Iterable

import gevent

from ..checks import true_or_false
from ..messages import Headers
from ..pool import ClientPool
from .block import Block
from .core import Config, SagaCore
from .journal import Journal, NoJournal
from .options import checked_seconds, checked_statuses
from .recovery import Report, recover
from .runner import OnStep
from .scope import Scope

__all__ = ['Saga', 'SubSaga']


class SubSaga(Block):
    """A part of a saga that is undone by itself, or committed into its parent. :meth:`Saga.sub` makes it."""

    _span_name = 'saga part'

    def sub(self) -> SubSaga:
        """A part of this part."""
        return _part_of(self._scope)


class Saga(Block):
    """Steps on many servers: all of them are done, or what was done is undone.

    >>> from napixclient.saga import Saga
    >>> undo = 'DELETE', '{header:location}'
    >>> with ClientPool() as pool, Saga(pool, journal='vm-17.saga') as saga:
    ...     ip = saga.request('ip-allocator.example', 'POST', '/vm-ip/', {'size': 1}, undo=undo)
    ...     disk = saga.request('filer.example', 'POST', '/storage/', {'size': 10**9}, undo=undo)
    ...     ip, disk = saga.wait()

    Leaving the block in peace commits. A step that fails, an exception, ``timeout`` or :meth:`abort` has what was done
    undone before the block is left. Its steps are no part of ``pool.wait()``.

    :param pool: sends the requests.
    :param journal: the path of a file in which each step is written down before it is sent; ``None`` for none. After a
        crash :meth:`recover` undoes what it tells of.
    :param timeout: seconds for the block; its undos come on top of that.
    :param undo_timeout: seconds for each undo over all its tries.
    :param undone_on: statuses of an undo's answer that count as done, beside those below 400, 404 and 410.
    :param cancel_on_failure: end what is in flight when a step fails, instead of waiting for it.
    :param idempotency_header: the name of the field that carries the key of each request that is not idempotent.
    :param on_step: called with a :class:`Step` at each change of its state; it must not block.
    :raises JournalLocked: where another saga has the journal.
    :raises JournalUnfinished: where the journal tells of a saga that was neither committed nor undone.
    :raises JournalError: where the file cannot be used.
    :raises ValueError: for an option that makes no sense.
    """

    def __init__(
        self,
        pool: ClientPool,
        journal: str | os.PathLike[str] | None = None,
        *,
        timeout: float | None = None,
        undo_timeout: float = 60,
        undone_on: Iterable[int] = (),
        cancel_on_failure: bool = False,
        idempotency_header: str = 'Idempotency-Key',
        on_step: OnStep | None = None,
    ) -> None:
        if not isinstance(pool, ClientPool):
            raise TypeError(f'pool is a ClientPool, not {type(pool).__name__}')
        if on_step is not None and not callable(on_step):
            raise ValueError(f'on_step is called, so it must be callable, not {on_step!r}')
        Headers({idempotency_header: ''})  # is it the name of a field?
        self._timeout = None if timeout is None else checked_seconds(timeout, 'timeout')
        self._timer: gevent.Greenlet[..., None] | None = None
        config = Config(
            checked_seconds(undo_timeout, 'undo_timeout'),
            checked_statuses(undone_on),
            true_or_false(cancel_on_failure, 'cancel_on_failure'),
            idempotency_header,
        )
        core = SagaCore(
            pool, NoJournal() if journal is None else Journal.begin(journal), config, on_step, self._crashed
        )
        core.begin()
        super().__init__(Scope(core, None))

    def sub(self) -> SubSaga:
        """A part that is undone by itself where one of its steps fails, and the saga may go on; a context manager.

        Its steps are in the same journal, and its waits are waits of the saga. Leaving it in peace leaves them to the
        saga.
        """
        return _part_of(self._scope)

    def __enter__(self) -> Saga:
        if self._timeout is not None and self._timeout != float('inf'):
            self._timer = gevent.spawn_later(self._timeout, self._expire)
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        try:
            super().__exit__(*exc)  # type: ignore[arg-type]
        finally:
            if self._timer is not None:
                self._timer.kill(block=False)

    def _expire(self) -> None:
        self._scope.expire(f'its {self._timeout:g} s were up')

    def _crashed(self, exc: Exception) -> None:
        self._scope.crash(exc)

    def _commit(self) -> None:
        self._scope.core.commit()

    @staticmethod
    def recover(journal: str | os.PathLike[str], pool: ClientPool) -> Report:
        """Undo what a saga has done whose process died; what is committed or undone is left alone.

        :param journal: the path of its file.
        :param pool: sends the undos; its authenticator signs them anew.
        :raises JournalLocked: where the saga is still running, or another one recovers it.
        :raises JournalError: where the journal cannot be read.
        """
        return recover(journal, pool)


def _part_of(scope: Scope) -> SubSaga:
    scope.check()
    return SubSaga(Scope(scope.core, scope))
