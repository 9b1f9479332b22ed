"""Stories with a plot: what the papers tell of, brought about on purpose in the real code.

Each waits for what it needs (a vote on a disk, a quorum of promises) and then strikes; nothing depends on luck. The
seed decides the rest: who is a little faster, who stands first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kvstore.paxos.durable import AcceptRecord, PromiseRecord
from kvstore.paxos.messages import Accept
from kvstore.testing.cli.stage import Stage
from kvstore.testing.sim.events import CommitPersisted, Event, MessageDropped

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """``seed`` is the one of the documentation's pictures."""

    name: str
    title: str
    act: Callable[[Stage], None]
    seed: int = 1
    nodes: int = 3


def _clean(stage: Stage) -> None:
    stage.world.start()
    stage.until("a node leads and all know it", stage.settled)
    leader = stage.world.leader()
    assert leader is not None
    stage.note("There is a leader. A client writes through it.")
    alice = stage.put("alice", leader, "x", "1")
    stage.until("alice is answered and all have applied it", lambda: alice.done and stage.settled())
    stage.note("The next value needs no phase 1 any more.")
    alice = stage.put("alice", leader, "x", "2")
    stage.until("alice is answered and all have applied it", lambda: alice.done and stage.settled())


def _duel(stage: Stage) -> None:
    stage.start_with_leader(1)
    stage.begin("Nodes 2 and 3 each have a value, and each tries to lead without asking whether anyone leads already.")
    for one, client in ((2, "alice"), (3, "bob"), (2, "")):
        stage.until(f"node {one} knows that it is not leading", lambda: stage.follows(one))  # noqa: B023  called at once
        stage.stand(one)
        if client:
            stage.put(client, one, "x", str(one), timeouts=12.0)
        stage.until_event(f"node 1 has promised {one}'s ballot", _promised(1, to=one))
    stage.note("Nobody pushes any more: whoever was refused waits a random time before it tries again.")
    stage.until("both are answered", lambda: all(c.done for c in stage.world.clients) and stage.settled())


def _leader_crash(stage: Stage) -> None:
    stage.start_with_leader(1)
    stage.begin("Node 1 leads in ballot 1.1 and is about to die between accept and decision.")
    alice = stage.put("alice", 1, "x", "1", timeouts=12.0)
    stage.until_event("a follower has accepted", _accepted(2, 3, proposer=1))
    stage.world.crash(1)
    stage.note("A quorum may have the value on disk, and nobody alive knows it. A new leader must find out.")
    stage.until("a survivor leads, and all alive have applied the value", lambda: stage.settled() and _chosen(stage, 1))
    stage.note("Node 1 comes back with its disk, and learns what became of its proposal.")
    stage.restart(1)
    stage.until("node 1 has caught up", lambda: alice.done and stage.settled() and len(stage.world.up) == 3)


def _adoption(stage: Stage) -> None:
    stage.start_with_leader(1)
    stage.begin("Node 1 leads. Its Accepts are lost, then it dies: only its own disk has alice's value.")
    stage.cut("1 no longer reaches 2 and 3", [(1, 2), (1, 3)])
    stage.put("alice", 1, "x", "alice", timeouts=12.0)
    stage.until_event("node 1 has accepted its own value", _accepted(1, proposer=1))
    stage.world.crash(1)
    stage.heal()
    stage.note("Node 2 takes over with node 3's promise. Nobody alive knows of alice's value.")
    stage.stand(2)
    stage.until("node 2 leads, and 3 knows it", lambda: stage.leads(2) and stage.settled())
    stage.note("Now node 2's Accepts are lost, and it dies too: two disks, one slot, two values.")
    stage.cut("2 no longer reaches 3", [(2, 3)])
    stage.put("bob", 2, "x", "bob", timeouts=12.0)
    stage.until_event("node 2 has accepted its own value", _accepted(2, proposer=2))
    stage.world.crash(2)
    stage.world.crash(3)
    stage.heal()
    stage.note("Nodes 1 and 2 come back. Node 1 stands, and both values are reported to it.")
    stage.restart(1, 2)
    stage.until("both are connected", lambda: stage.world.network.is_connected(*stage.world.node_ids[:2]))
    stage.stand(1)
    stage.until("the slot is decided", lambda: stage.settled() and _chosen(stage, 1))
    stage.note("Node 3 comes back and learns what was decided without it.")
    stage.restart(3)
    stage.until("node 3 has caught up", lambda: stage.settled() and len(stage.world.up) == 3)


def _gap(stage: Stage) -> None:
    stage.start_with_leader(1)
    stage.begin("Node 1 leads and has two slots in flight. The Accepts for the first are lost.")
    stage.cut("1 no longer reaches 2 and 3", [(1, 2), (1, 3)])
    stage.put("alice", 1, "x", "1", timeouts=12.0)
    stage.until_event("an Accept was lost", lambda e: isinstance(e, MessageDropped) and isinstance(e.message, Accept))
    stage.until("both were", lambda: sum(stage.recorder.lost.values()) >= 2)
    stage.heal()
    stage.put("bob", 1, "y", "2", timeouts=12.0)
    stage.until_event("a follower has accepted the second slot", _accepted(2, 3, proposer=1))
    stage.world.crash(1)
    stage.note("The leader is dead. The second slot is on the survivors' disks, the first is not: a gap.")
    stage.until("a survivor leads and the gap is filled", lambda: stage.settled() and _chosen(stage, 2))
    stage.note("Node 1 comes back with alice's value on its disk. Its slot is taken.")
    stage.restart(1)
    stage.until("node 1 has caught up", lambda: stage.settled() and len(stage.world.up) == 3)


def _partition(stage: Stage) -> None:
    stage.start_with_leader(1)
    stage.begin("Node 1 leads and is cut off from the others. It does not know, and takes a write.")
    stage.cut("1 | 2 3", [(1, 2), (1, 3), (2, 1), (3, 1)])
    stage.put("alice", 1, "x", "minority", timeouts=12.0)
    stage.until("the majority has a leader of its own", lambda: stage.leads(2) or stage.leads(3))
    leader = 2 if stage.leads(2) else 3
    stage.note(f"Nodes 2 and 3 are a quorum. Node {leader} leads them, and bob writes there.")
    bob = stage.put("bob", leader, "x", "majority", timeouts=12.0)
    stage.until("bob is answered", lambda: bob.done)
    stage.until("node 1 has noticed that it hears no quorum", lambda: not stage.leads(1))
    stage.note("The partition heals. Node 1 learns what was decided without it, and alice's write is proposed anew.")
    stage.heal()
    stage.until("all agree", lambda: all(c.done for c in stage.world.clients) and stage.settled())


def _promised(node: int, *, to: int) -> Callable[[Event], bool]:
    return lambda event: (
        isinstance(event, CommitPersisted)
        and event.node == node
        and any(isinstance(r, PromiseRecord) and r.ballot.node_id == to for r in event.write.records)
    )


def _accepted(*nodes: int, proposer: int) -> Callable[[Event], bool]:
    return lambda event: (
        isinstance(event, CommitPersisted)
        and event.node in nodes
        and any(isinstance(r, AcceptRecord) and r.ballot.node_id == proposer for r in event.write.records)
    )


def _chosen(stage: Stage, slots: int) -> bool:
    return stage.world.consensus.decided_end >= stage.decided_before + slots


SCENARIOS: Final = {
    one.name: one
    for one in (
        Scenario("clean", "a clean round", _clean),
        Scenario("duel", "two proposers duel", _duel, seed=9),
        Scenario("leader-crash", "a leader dies between accept and decision", _leader_crash, seed=31),
        Scenario("adoption", "two values for one slot: the highest ballot's is adopted", _adoption),
        Scenario("gap", "a gap is filled with a no-op", _gap, seed=40),
        Scenario("partition", "a partition", _partition),
    )
}
