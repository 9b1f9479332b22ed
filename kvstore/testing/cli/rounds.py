"""Rounds: in each, every proposer has a value for the log, and the round is over when all of that is settled.

With one proposer a round is what Multi-Paxos does all day: after the first round nobody needs phase 1 any more. With
more, each of them tries to lead at the beginning of every round without asking the others first, and they duel: what
"Paxos Made Simple" (§2.4) warns of. With faults, a plan of them is drawn from the seed and laid over the rounds; at the
end everything is put right, and everything must be decided and applied.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from kvstore.paxos.types import NodeId
from kvstore.testing.cli.stage import CLIENTS, Stage
from kvstore.testing.sim.events import PhaseBegan
from kvstore.testing.sim.faults import Fault, FaultKind, draw_plan
from kvstore.testing.sim.nemesis import Nemesis

__all__ = ["Rounds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Plays them on a stage that nothing has happened on yet."""

    rounds: int
    proposers: int
    kinds: tuple[FaultKind, ...]

    def __call__(self, stage: Stage) -> None:
        world = stage.world
        timeout_s = world.config.election_timeout_s
        rng = world.rng("rounds")
        round_s = timeout_s if self.kinds else 0.0
        plan = _plan(rng, world.node_ids, self.kinds, end_s=self.rounds * round_s, timeout_s=timeout_s)
        nemesis = Nemesis(world, plan)
        world.start()
        nemesis.begin()
        for number in range(1, self.rounds + 1):
            self._play(stage, number, rng)
            if self.kinds:
                world.run_for(max(0.0, number * round_s - world.scheduler.now))
        if self.kinds:
            world.trace.emit(PhaseBegan(world.scheduler.now, "liveness"))
            stage.note("The faults are over; everything is put right.")
            with world.judged():
                nemesis.end_all()
        stage.until("all nodes have decided and applied everything", stage.settled)

    def _play(self, stage: Stage, number: int, rng: Random) -> None:
        world = stage.world
        if not self.kinds:
            stage.until("a node leads and all know it", stage.settled)
        stage.note(f"Round {number}")
        clients = []
        for proposer in range(1, self.proposers + 1):
            node = proposer
            if self.proposers == 1:
                node = world.leader() or rng.choice(world.node_ids)
            elif world.processes[NodeId(node)].is_up and not stage.leads(node):
                stage.stand(node)
            others = [n for n in world.node_ids if n != node]
            name = CLIENTS[proposer - 1]
            clients.append(stage.put(name, node, f"round{number}", name, timeouts=4.0, nodes=others))
            if proposer < self.proposers:
                world.run_for(world.config.latency_s * rng.uniform(0.0, 2.0))
        stage.until(f"round {number} is over", lambda: all(c.done for c in clients), timeouts=5.0 * world.config.nodes)
        if not self.kinds:
            stage.until(f"all have applied round {number}", stage.settled)


def _plan(
    rng: Random, nodes: Sequence[NodeId], kinds: tuple[FaultKind, ...], *, end_s: float, timeout_s: float
) -> tuple[Fault, ...]:
    """Fewer faults than a check has: at most two in three rounds, so that the story can be followed."""
    plan = draw_plan(rng, nodes=tuple(nodes), kinds=kinds, end_s=end_s, timeout_s=timeout_s)
    wanted = max(1, int(end_s / timeout_s * 2 / 3)) if plan else 0
    kept = sorted(rng.sample(range(len(plan)), min(wanted, len(plan))))
    return tuple(replace(plan[index], number=number) for number, index in enumerate(kept, 1))
