"""What a node does about whoever else stands or leads: it votes, follows, doubts, and at last stands itself.

Every node has this side, a leader too: its own Prepare and its own Accepts are answered here like anybody's. Prepare
and Accept go to the acceptor, and its answers leave once they are durable ("Paxos Made Simple", §2.2; L2). To whoever
else speaks in a ballot that our promise allows, our own proposer yields.

A node that hears no leader asks the others (``election`` says why), and raises a round when a quorum doubts with it or
when the leader asks it to take over.
"""

from kvstore.paxos.acceptor import Acceptor
from kvstore.paxos.catch_up import CatchUpState
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.effects import Role
from kvstore.paxos.election import Election
from kvstore.paxos.learner import Learner
from kvstore.paxos.lease import LeaseGrants
from kvstore.paxos.messages import (
    Accept,
    Accepted,
    Heartbeat,
    HeartbeatReply,
    Nack,
    Prepare,
    Promise,
    Suspect,
    SuspectReply,
    Transfer,
)
from kvstore.paxos.outbox import Outbox
from kvstore.paxos.proposer import Proposer
from kvstore.paxos.types import Ballot, NodeId, Slot

__all__ = ["Follower"]


class Follower:
    def __init__(
        self,
        config: PaxosConfig,
        *,
        outbox: Outbox,
        acceptor: Acceptor,
        lease_grants: LeaseGrants,
        learner: Learner,
        catch_up: CatchUpState,
        election: Election,
        proposer: Proposer,
    ) -> None:
        self._config = config
        self._me = config.node_id
        self._outbox = outbox
        self._acceptor = acceptor
        self._lease_grants = lease_grants
        self._learner = learner
        self._catch_up = catch_up
        self._election = election
        self._proposer = proposer

    # Voting

    def on_prepare(self, sender: NodeId, message: Prepare, now: float) -> None:
        if message.ballot < self._acceptor.promised:
            self._outbox.send(sender, Nack(self._acceptor.promised))
            return
        if self._lease_grants.forbids(released=message.released, now=now, ballot=message.ballot):
            return  # a hint would make it raise its round; it asks again by itself
        self._lease_grants.hear(message.ballot)
        if message.ballot > self._acceptor.promised:
            if sender != self._me:
                self._proposer.yield_to(message.ballot, now)
                self._election.set_leader(None, message.ballot)
            self._acceptor.prepare(message.ballot)
        if sender != self._me and self._election.leader is None:
            # Also whoever asks on, page by page, is to be left the time to win.
            self._election.end_suspicion()
            self._election.wait_full(now)
        entries, next_slot = self._acceptor.page(
            max(message.from_slot, self._learner.decided_end),
            entries_max=self._config.page_entries_max,
            bytes_max=self._config.page_bytes_max,
        )
        self._outbox.send_when_durable(
            sender,
            Promise(
                ballot=message.ballot,
                from_slot=message.from_slot,
                accepted=entries,
                next_slot=next_slot,
                decided_end=self._learner.decided_end,
                first_slot=self._acceptor.first_slot,
            ),
        )

    def on_accept(self, sender: NodeId, message: Accept, now: float) -> None:
        if message.ballot < self._acceptor.promised:
            self._outbox.send(sender, Nack(self._acceptor.promised))
            return
        if sender != self._me:
            self._follow(message.ballot, now)
        if message.slot < self._acceptor.first_slot:
            return  # only the state has it (L4); the leader learns that from our Promise
        # A ballot that our promise allows may still be an old one, with a value that lost: what is decided stays.
        # What is far ahead would have to be kept for long. A leader must accept all that it proposes, and a follower,
        # which hears of a decided window only with the next one, two windows of it.
        near_slots_max = max(self._config.cached_slots_max, 2 * self._config.inflight_slots_max)
        is_near = message.slot < self._learner.decided_end + near_slots_max
        if (
            is_near
            and not self._learner.refutes(message.slot, message.value)
            and self._acceptor.accept(message.ballot, message.slot, message.value)
        ):
            self._outbox.send_when_durable(sender, Accepted(message.ballot, message.slot, Slot(message.slot + 1)))
        self._take_decided_end(sender, message.ballot, message.decided_end)

    # Following

    def on_heartbeat(self, sender: NodeId, message: Heartbeat, now: float) -> None:
        if message.ballot < self._acceptor.promised:
            self._outbox.send(sender, Nack(self._acceptor.promised))
            return
        self._follow(message.ballot, now)
        self._take_decided_end(sender, message.ballot, message.decided_end)
        decided_end = self._learner.decided_end
        lease_s = self._learner.configurations.lease_s(decided_end)
        if lease_s and not self._lease_grants.grant(message.ballot, now=now, until=now + lease_s):
            lease_s = 0.0
        self._outbox.send(
            sender, HeartbeatReply(message.ballot, message.read_round, message.sent_at, decided_end, lease_s)
        )

    def _follow(self, ballot: Ballot, now: float) -> None:
        """A message that only the leader of ``ballot`` sends, and our promise does not forbid."""
        self._proposer.yield_to(ballot, now)
        self._election.follow(ballot, now)

    def _take_decided_end(self, source: NodeId, ballot: Ballot, end: Slot) -> None:
        self._catch_up.hear(source, end)
        self._learner.decide_below(end, ballot=ballot)

    # Doubting

    def on_suspect(self, sender: NodeId, message: Suspect, now: float) -> None:
        # Who asks does not lead, not even if it did a moment ago.
        hears_leader = self._proposer.role is Role.LEADER or (
            self._election.leader not in (None, sender) and self._election.hears_leader(now)
        )
        if not hears_leader:
            self._election.answered_doubt(now)
        self._outbox.send(
            sender,
            SuspectReply(message.suspicion, hears_leader, self._acceptor.promised, self._learner.decided_end),
        )

    def doubt(self, now: float) -> bool:
        """Asks the others whether they hear a leader; False on a node that may not stand."""
        if not self._is_voter:
            return False
        self._election.forget_leader()
        suspicion = self._election.begin_suspicion(self._me, now)
        for voter in self._learner.configurations.voters(self._learner.decided_end):
            if voter != self._me:
                self._outbox.send(voter, Suspect(suspicion))
        self._stand_if_doubted(now)
        return True

    def on_suspect_reply(self, sender: NodeId, message: SuspectReply, now: float) -> None:
        self._election.saw(message.promised)
        if not message.hears_leader and self._election.heard_doubt(sender, message.suspicion):
            self._stand_if_doubted(now)

    # Standing

    def on_transfer(self, message: Transfer, now: float) -> None:
        if message.ballot < self._acceptor.promised or self._proposer.role is not Role.FOLLOWER or not self._is_voter:
            return
        self._stand(now, released=message.ballot)

    def _stand_if_doubted(self, now: float) -> None:
        doubters = self._election.doubters
        if doubters is not None and self._learner.configurations.quorum_everywhere(self._learner.decided_end, doubters):
            self._stand(now)

    def _stand(self, now: float, *, released: Ballot | None = None) -> None:
        """Raises a new round. Its Prepare leaves once our own promise is durable (L2, L3)."""
        self._election.end_suspicion()
        if self._lease_grants.forbids(released=released, now=now):
            self._election.deadline = self._lease_grants.until
            return
        highest = max(self._acceptor.promised, self._election.highest_seen)
        ballot = Ballot(highest.round + 1, self._me)
        prepare = self._proposer.stand(ballot, released=released, now=now)
        self.on_prepare(self._me, prepare, now)
        self._proposer.ask_for_promises(now)

    @property
    def _is_voter(self) -> bool:
        return self._me in self._learner.configurations.voters(self._learner.decided_end)
