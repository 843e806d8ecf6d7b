"""Nonces in the store, so that restarts and other instances know which were used."""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from typing import Any

import gevent
from gevent.event import AsyncResult

from ..wsgi.nonces import Nonces
from ..wsgi.refusals import denied
from .database import Connection, Database

__all__ = ['TABLES', 'KeptNonces']

TABLES = (
    'CREATE TABLE IF NOT EXISTS nonces (digest VARCHAR(32) PRIMARY KEY, ends DOUBLE PRECISION NOT NULL)',
    'CREATE INDEX IF NOT EXISTS nonces_ends ON nonces (ends)',
)
#: Seconds for which a nonce is kept after its end, as the clocks of the instances that share a store differ.
GRACE = 600.0


class KeptNonces:
    """Remembers nonces as :class:`~napixclient.wsgi.nonces.Nonces` does, and in a database with the tables.

    It writes the nonces of concurrent requests together.
    """

    def __init__(self, database: Database, most: int = 1_000_000) -> None:
        self._memory = Nonces(most)
        self._database = database
        self._waiting: list[tuple[dict[str, Any], AsyncResult[bool]]] = []
        self._writing = False

    def take(self, login: str, nonce: str, end: float, now: float) -> None:
        """Use a nonce; it is on disk when this returns.

        :param end: seconds since the epoch until which it is remembered.
        :raises Refusal: if it was used before, or cannot be remembered; ``StoreError`` if the store fails.
        """
        self._memory.take(login, nonce, end, now)
        digest = blake2b(f'{login}\0{nonce}'.encode(), digest_size=16).hexdigest()
        is_new: AsyncResult[bool] = AsyncResult()
        self._waiting.append(({'digest': digest, 'ends': end, 'now': now}, is_new))
        if not self._writing:
            self._writing = True
            gevent.spawn(self._write)
        if not is_new.get():
            raise denied('the nonce was used before')

    def _write(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting, []
            try:
                found = self._database.write(partial(_keep_all, [row for row, _ in together]))
            except Exception as exc:
                for _, is_new in together:
                    is_new.set_exception(exc)
            else:
                for (_, is_new), new in zip(together, found, strict=True):
                    is_new.set(new)
        self._writing = False


def _keep_all(rows: list[dict[str, Any]], to: Connection) -> list[bool]:
    return [_keep(to, row) for row in rows]


def _keep(to: Connection, row: dict[str, Any]) -> bool:
    """Keep one nonce, forget those that have ended, and return whether it is new."""
    to.run('DELETE FROM nonces WHERE ends < :now', {'now': row['now'] - GRACE})
    return (
        to.run(
            'INSERT INTO nonces (digest, ends) VALUES (:digest, :ends) ON CONFLICT DO NOTHING',
            {'digest': row['digest'], 'ends': row['ends']},
        )
        > 0
    )
