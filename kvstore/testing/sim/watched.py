"""The production objects with an ear at them: what they give out is told to the judges, and nothing is changed."""

from collections.abc import Callable
from random import Random

from kvproto.command_pb2 import CommandBatch

from kvstore.mvcc.limits import Limits
from kvstore.mvcc.results import Result
from kvstore.mvcc.store import Store
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import DurableState
from kvstore.paxos.effects import Effects
from kvstore.testing.sim.state_file import StateFile

__all__ = ["WatchedPaxos", "WatchedStore"]


class WatchedPaxos(Paxos):
    def __init__(
        self,
        config: PaxosConfig,
        recovered: DurableState,
        *,
        rng: Random,
        now: float,
        on_effects: Callable[[Effects], None],
    ) -> None:
        super().__init__(config, recovered, rng=rng, now=now)
        self._on_effects = on_effects

    def take_effects(self) -> Effects:
        effects = super().take_effects()
        self._on_effects(effects)
        return effects


class WatchedStore(Store):
    """``before_apply`` may raise: the process dies within the transaction."""

    def __init__(
        self,
        file: StateFile,
        limits: Limits,
        *,
        before_apply: Callable[[], None],
        on_apply: Callable[[int, CommandBatch | None, list[list[Result]]], None],
        on_commit: Callable[[int, bytes], None],
    ) -> None:
        self._file = file
        self._before_apply = before_apply
        self._on_apply = on_apply
        self._on_commit = on_commit
        super().__init__(file.connection, limits)

    def apply(self, slot: int, batch: CommandBatch | None, *, configuration: bytes | None = None) -> list[list[Result]]:
        self._before_apply()
        results = super().apply(slot, batch, configuration=configuration)
        self._on_apply(slot, batch, results)
        return results

    def commit(self) -> None:
        super().commit()
        self._on_commit(self.applied_end, self.state_hash)
        self._file.committed()
