"""A node's ``state.db``: what a crash of the process keeps, and what a loss of power may take back.

In production its WAL is not synced with every commit, since the log is the durable copy. So a killed process finds the
last committed state, but after a power loss the file may be any older committed one, not older than the last complete
checkpoint. Here a copy is kept from time to time, and a power loss goes back to one of the two newest, or to none.
"""

import sqlite3
from random import Random

from kvstore.mvcc.limits import Limits
from kvstore.mvcc.store import Store

__all__ = ["StateFile"]

_COPIES_KEPT = 2


class StateFile:
    def __init__(self, rng: Random, *, checkpoint_chance: float) -> None:
        self._rng = rng
        self._checkpoint_chance = checkpoint_chance
        self._connection = _open(None)
        self._copies: list[bytes] = []

    @property
    def connection(self) -> sqlite3.Connection:
        return self._connection

    def committed(self) -> None:
        """A turn was committed: maybe a checkpoint follows."""
        if self._rng.random() < self._checkpoint_chance:
            self._copies.append(self._connection.serialize())
            del self._copies[:-_COPIES_KEPT]

    def lose_process(self) -> None:
        """Another process will open the file: what was committed is there, a transaction in progress is not."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._reopen(self._connection.serialize())

    def lose_power(self) -> None:
        """The file is one of those that were ever safely on the disk."""
        if self._rng.random() < 0.3:
            self.lose_process()
        else:
            survivors = [None, *self._copies] if len(self._copies) < _COPIES_KEPT else [*self._copies]
            self._reopen(self._rng.choice(survivors))

    def lose_everything(self) -> None:
        """As on a disk on which no checkpoint was ever completed."""
        self._copies.clear()
        self._reopen(None)

    def beyond_progress(self) -> list[str]:
        """What the file holds of turns that, by its own account, were never committed (L9)."""
        applied_end, rows_end, opened = self._connection.execute(
            "SELECT applied_end, rows_end, sessions_opened FROM progress"
        ).fetchone()
        return [
            f"{what} {newest}"
            for what, query, end in (
                ("revisions row", "SELECT max(id) FROM revisions", rows_end),
                ("session used in slot", "SELECT max(last_slot) FROM sessions", applied_end),
                ("session", "SELECT max(id) FROM sessions", opened + 1),
            )
            if (newest := self._connection.execute(query).fetchone()[0]) is not None and newest >= end
        ]

    def too_many(self, limits: Limits) -> list[str]:
        """What the file holds more of than the limits allow (L13), or of sessions that are gone."""
        return [
            f"{what}: {found}"
            for what, query, allowed in (
                ("sessions", "SELECT count(*) FROM sessions", limits.sessions_max),
                (
                    "answers of one session",
                    "SELECT max(number) FROM (SELECT count(*) AS number FROM answers GROUP BY session)",
                    limits.answers_per_session_max,
                ),
                (
                    "answers of no session",
                    "SELECT count(*) FROM answers WHERE session NOT IN (SELECT id FROM sessions)",
                    0,
                ),
            )
            if (found := self._connection.execute(query).fetchone()[0]) is not None and found > allowed
        ]

    def look(self, limits: Limits) -> tuple[int, bytes]:
        """``applied_end`` and the state hash that a process would find."""
        store = Store(self._connection, limits)
        return store.applied_end, store.state_hash

    def _reopen(self, content: bytes | None) -> None:
        self._connection.close()
        self._connection = _open(content)


def _open(content: bytes | None) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
    if content:
        connection.deserialize(content)
    return connection
