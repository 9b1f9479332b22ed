"""Which states hold slots that nobody can learn any more.

Where commits overlap, a node applies what it decided while its own log's write is still under way. A crash may then
leave a state with a slot that the log beside it lacks. As long as another member that decided the slot has it in its
log, whoever is behind learns it there. If none has, only a snapshot could pass it on, and a leader that was told of the
decision goes no further: it may not propose in that slot again (L4).

The simulator streams no snapshots. Such a state has to be lost altogether, as a loss of power may lose it: what was
chosen is in the logs of a quorum, and is decided again.
"""

from collections.abc import Callable, Collection, Mapping

from kvstore.paxos.types import NodeId, Slot

__all__ = ["who_must_forget"]


def who_must_forget(
    applied_ends: Mapping[NodeId, int], *, members: Collection[NodeId], has: Callable[[NodeId, Slot], bool]
) -> tuple[NodeId, ...]:
    """Whose states must be lost so that the others can learn every slot that one of them still lacks.

    ``has``: whether a node's log holds a slot. Members alone are asked.
    """
    ends = dict(applied_ends)
    forgetting: list[NodeId] = []
    while knowing := _who_alone_knows(ends, members, has):
        forgetting += knowing
        ends |= dict.fromkeys(knowing, 0)  # their logs may have been the only ones with other slots: look again
    return tuple(forgetting)


def _who_alone_knows(
    ends: Mapping[NodeId, int], members: Collection[NodeId], has: Callable[[NodeId, Slot], bool]
) -> list[NodeId]:
    """Those whose states have the first slot that others lack and no log has; empty where there is no such slot."""
    for slot in map(Slot, range(min(ends.values()), max(ends.values()))):
        knowing = [node_id for node_id, end in ends.items() if end > slot]
        if not any(node_id in members and has(node_id, slot) for node_id in knowing):
            return knowing
    return []
