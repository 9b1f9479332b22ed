"""Mistakes in Multi-Paxos itself: promises, votes, quorums, adoption, decisions, configurations, reads."""

from typing import Final

from kvstore.paxos.acceptor import Acceptor
from kvstore.paxos.catch_up import CatchUpState
from kvstore.paxos.configurations import Configurations
from kvstore.paxos.follower import Follower
from kvstore.paxos.leadership import Leadership
from kvstore.paxos.learner import Learner
from kvstore.paxos.phase_one import PhaseOne
from kvstore.paxos.proposer import Proposer
from kvstore.paxos.types import Configuration
from tests.mutants.mutant import Edit, Mutant

__all__ = ["CONSENSUS"]

_ACCEPTORS: Final = (
    Mutant(
        "accepts below its promise",
        Edit(Acceptor.accept, "if ballot < self.promised:", "if False:"),
        Edit(Follower.on_accept, "if message.ballot < self._acceptor.promised:", "if False:"),
    ),
    Mutant(
        "does not raise its promise when it accepts",
        Edit(Acceptor.accept, "if ballot > self.promised:", "if False:"),
    ),
    Mutant(
        "promises without a record of it",
        Edit(Acceptor.prepare, "self._gate.record(PromiseRecord(ballot))", "pass"),
    ),
    Mutant(
        "passes a vote at an older ballot off as one at the newer",
        Edit(Acceptor.accept, "known.ballot == ballot and not known.learned", "known.value == value"),
    ),
    Mutant(
        "records what it learns as a vote of its own",
        Edit(
            Acceptor.learn,
            "LearnRecord(entry.slot, entry.ballot, entry.value)",
            "AcceptRecord(entry.slot, entry.ballot, entry.value)",
        ),
    ),
    Mutant(
        "confirms a leader below its promise",
        Edit(Follower.on_heartbeat, "if message.ballot < self._acceptor.promised:", "if False:"),
    ),
    Mutant(
        "a promise does not say which slots it leaves out as decided",
        Edit(Follower.on_prepare, "decided_end=self._learner.decided_end", "decided_end=message.from_slot"),
    ),
    Mutant(
        "a page of a promise goes on one slot too late",
        Edit(Acceptor.page, "return tuple(entries), slot", "return tuple(entries), Slot(slot + 1)"),
    ),
)

_PROPOSERS: Final = (
    Mutant(
        "forgets to adopt what a promise reports",
        Edit(PhaseOne.receive, "for entry in partial.entries:", "for entry in ():"),
    ),
    Mutant(
        "adopts the value of the lowest ballot",
        Edit(PhaseOne._adopt, "entry.ballot > best.ballot", "entry.ballot < best.ballot"),
    ),
    Mutant(
        "counts a promise whose last page has not come",
        Edit(PhaseOne.receive, "if promise.next_slot is not None:", "if False:"),
    ),
    Mutant(
        "takes slots that are decided elsewhere for empty ones",
        Edit(PhaseOne.receive, "max(self.start_slot, promise.decided_end, promise.first_slot)", "self.start_slot"),
    ),
    Mutant(
        "ends phase 1 one promise short of a majority",
        Edit(
            Proposer._is_promised,
            "self._configurations.quorum_everywhere(self._learner.decided_end, phase_one.promised_by)",
            "len(phase_one.promised_by) >= self._configurations.at(self._learner.decided_end).quorum_size - 1",
        ),
        Edit(
            Leadership.may_propose,
            "is_quorum(self._configurations.at(slot), self.phase_one.promised_by)",
            "len(self.phase_one.promised_by) >= self._configurations.at(slot).quorum_size - 1",
        ),
        Edit(
            Leadership.__init__,
            "dict.fromkeys(phase_one.promised_by, now)",
            "dict.fromkeys(configurations.voters(decided_end), now)",
        ),
    ),
    Mutant(
        "leaves a gap below an adopted value open",
        Edit(
            Leadership.inherited,
            "entry = self.phase_one.adopted.get(self.next_slot)",
            "while self.next_slot < self.phase_one.end_slot and self.next_slot not in self.phase_one.adopted:\n"
            "        self.next_slot = Slot(self.next_slot + 1)\n"
            "    entry = self.phase_one.adopted.get(self.next_slot)",
        ),
    ),
    Mutant(
        "stands again in the ballot that it recovered",
        Edit(
            Follower._stand,
            "ballot = Ballot(highest.round + 1, self._me)",
            "ballot = highest if highest.node_id == self._me else Ballot(highest.round + 1, self._me)",
        ),
    ),
    Mutant(
        "stands in the round that it has seen already",
        Edit(Follower._stand, "Ballot(highest.round + 1, self._me)", "Ballot(max(1, highest.round), self._me)"),
    ),
    Mutant(
        "counts a vote as often as it comes",
        Edit(Leadership.accepted, "flight.accepted_by[sender]", "flight.accepted_by[len(flight.accepted_by)]"),
        Edit(
            Leadership.accepted,
            "is_quorum(self._configurations.at(slot), flight.accepted_by)",
            "len(flight.accepted_by) >= self._configurations.at(slot).quorum_size",
        ),
    ),
    Mutant(
        "counts the leader's own vote before it is durable",
        Edit(Leadership.accepted, "slot), flight.accepted_by)", "slot), (self._node_id, *flight.accepted_by))"),
    ),
    Mutant(
        "counts the end of a run of votes as voted for",
        Edit(Leadership.accepted, "if start <= slot < end", "if start <= slot <= end"),
        Edit(Leadership.accepted, "range(start, end)", "range(start, end + 1)"),
    ),
    Mutant(
        "does not send a lost Accept again",
        Edit(Proposer._tick_leader, "member not in flight.accepted_by", "False"),
    ),
    Mutant(
        "proposes beyond its window",
        Edit(
            Proposer.window_free,
            "self._learner.decided_end + self._config.inflight_slots_max",
            "leadership.next_slot + 1",
        ),
    ),
    Mutant(
        "proposes all that it inherits at once",
        Edit(
            Proposer.propose_inherited,
            "leadership.next_slot >= self._learner.decided_end + self._config.inflight_slots_max",
            "False",
        ),
    ),
    Mutant(
        "does not step down when it promises a higher ballot",
        Edit(Proposer.yield_to, "ballot > phase_one.ballot", "False"),
    ),
)

_LEARNERS: Final = (
    Mutant(
        "takes an end of the decided slots for its vote at a lower ballot",
        Edit(Learner.decide_below, "(known.learned or known.ballot >= ballot)", "True"),
    ),
    Mutant(
        "takes an accepted value for a decided one",
        Edit(Learner.decide_learned, " and known.learned", ""),
    ),
    Mutant(
        "answers a replica that is behind with what is accepted only",
        Edit(Learner.answer, "min(self.decided_end, start + self._config.page_entries_max)", "start + 256"),
    ),
    Mutant(
        "decides the first slot that is chosen, not the next one",
        Edit(
            Proposer.decide_chosen,
            "leadership.in_flight.get(self._learner.decided_end)",
            "next((f for f in leadership.in_flight.values() if f.chosen), None)",
        ),
    ),
    Mutant(
        "takes whatever is decided in its slot for its own proposal",
        Edit(Learner.decide, "if proposed == value:", "if True:"),
    ),
    Mutant(
        "asks the same source for ever",
        Edit(
            CatchUpState.turn_elsewhere, "(others.index(self._source) + 1) % len(others)", "others.index(self._source)"
        ),
    ),
)

_CONFIGURATIONS: Final = (
    Mutant(
        "takes half of the voters for a majority",
        Edit(Configuration.quorum_size, "len(self.voters) // 2 + 1", "(len(self.voters) + 1) // 2"),
    ),
    Mutant(
        "counts the votes of learners",
        Edit(
            Leadership.accepted,
            "is_quorum(self._configurations.at(slot), flight.accepted_by)",
            "len(flight.accepted_by) >= self._configurations.at(slot).quorum_size",
        ),
    ),
    Mutant(
        "counts a majority of the newest configuration before it governs",
        Edit(Leadership.accepted, "self._configurations.at(slot)", "self._configurations.snapshot()[-1].configuration"),
    ),
    Mutant(
        "lets a configuration govern from the next slot on",
        Edit(Configurations.decide, "slot + self._alpha", "slot + 1"),
    ),
    Mutant(
        "proposes before the new configuration's voters have promised",
        Edit(Leadership.may_propose, "at(slot)", "snapshot()[0].configuration"),
    ),
)

_READS: Final = (
    Mutant(
        "confirms a read by one answer short of a majority",
        Edit(Configurations.quorum_floor, "configuration.quorum_size - 1", "max(0, configuration.quorum_size - 2)"),
    ),
    Mutant(
        "confirms a read by a round begun before it",
        Edit(Leadership.add_read, "self.read_round + 1", "self.read_round"),
    ),
    Mutant(
        "reads before what phase 1 found is decided",
        Edit(Leadership.take_confirmed_reads, "decided_end < self.phase_one.end_slot or ", ""),
        Edit(Leadership.take_confirmed_reads, "max(self.phase_one.end_slot, ", "(0 or "),
    ),
    Mutant(
        "forgets what was decided when the read came",
        Edit(Leadership.take_confirmed_reads, "max(r.index, end)", "end"),
    ),
)

CONSENSUS: Final[tuple[Mutant, ...]] = _ACCEPTORS + _PROPOSERS + _LEARNERS + _CONFIGURATIONS + _READS
