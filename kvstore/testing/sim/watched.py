"""The production objects with an ear at them: what they give out is told to the judges, and nothing is changed."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from kvproto.command_pb2 import CommandBatch

from kvstore.mvcc.limits import Limits
from kvstore.mvcc.results import Result
from kvstore.mvcc.store import Store
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import DurableState
from kvstore.paxos.effects import Effects
from kvstore.paxos.types import Configuration, ProposalId, ReadId
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
        on_confirm: Callable[[ReadId], None],
        on_effects: Callable[[Effects], None],
    ) -> None:
        super().__init__(config, recovered, rng=rng, now=now)
        self._on_confirm = on_confirm
        self._on_effects = on_effects
        self._configurations_proposed: dict[ProposalId, None] = {}

    def propose_configuration(self, configuration: Configuration, now: float) -> ProposalId:
        proposal_id = super().propose_configuration(configuration, now)
        self._configurations_proposed[proposal_id] = None
        return proposal_id

    def confirm_leadership(self, now: float) -> ReadId:
        read_id = super().confirm_leadership(now)
        self._on_confirm(read_id)
        return read_id

    def take_effects(self) -> Effects:
        effects = super().take_effects()
        self._on_effects(effects)
        if not self._configurations_proposed:
            return effects
        # The simulator proposed these, not the replica, which would not know what was lost.
        lost = tuple(p for p in effects.proposals_lost if p.proposal_id not in self._configurations_proposed)
        return replace(effects, proposals_lost=lost)


class WatchedStore(Store):
    """``within_turn`` may raise: the process dies within the transaction."""

    def __init__(
        self,
        file: StateFile,
        limits: Limits,
        *,
        within_turn: Callable[[], None],
        on_apply: Callable[[int, CommandBatch | None, list[Result]], None],
        on_commit: Callable[[int, bytes], None],
    ) -> None:
        self._file = file
        self._within_turn = within_turn
        self._on_apply = on_apply
        self._on_commit = on_commit
        super().__init__(file.connection, limits)

    def apply(self, slot: int, batch: CommandBatch | None, *, configuration: bytes | None = None) -> list[Result]:
        results = super().apply(slot, batch, configuration=configuration)
        self._on_apply(slot, batch, results)
        self._within_turn()
        return results

    def commit(self) -> None:
        super().commit()
        self._on_commit(self.applied_end, self.state_hash)
        self._file.committed()
