"""Mistakes between a decision and the disk: what leaves too early, what a restart does not find again."""

from typing import Final

from kvstore.mvcc.store import Store
from kvstore.paxos.acceptor import Acceptor
from kvstore.paxos.core import Paxos
from kvstore.paxos.follower import Follower
from kvstore.paxos.gate import Gate
from kvstore.paxos.learner import Learner
from kvstore.paxos.proposer import Proposer
from kvstore.replica.replica import Replica
from kvstore.storage.memory_log import MemoryAcceptorLog
from tests.mutants.mutant import Edit, Mutant

__all__ = ["DURABILITY"]

_WHAT_LEAVES: Final = (
    Mutant(
        "says that it accepted before the vote is durable",
        Edit(
            Follower.on_accept,
            "self._outbox.send_when_durable(sender, Accepted(",
            "self._outbox.send(sender, Accepted(",
        ),
    ),
    Mutant(
        "says that it promised before the promise is durable",
        Edit(Follower.on_prepare, "self._outbox.send_when_durable(", "self._outbox.send("),
    ),
    Mutant(
        "asks for promises before its own is durable",
        Edit(Proposer.ask_for_promises, "self._outbox.send_when_durable(", "self._outbox.send("),
    ),
    Mutant(
        "waits for the write before the one that carries the record",
        Edit(Gate.horizon, "self._next_write_id if self._records else ", ""),
    ),
    Mutant(
        "takes all writes that were handed out for durable when the first of them is",
        Edit(Gate.persisted, "max(self._persisted, write_id)", "WriteId(self._next_write_id - 1)"),
    ),
    Mutant(
        "merges neighbouring votes over a hole",
        Edit(Gate._extend_last_run, "run.end != new.start", "new.start < run.start"),
    ),
    Mutant(
        "merges a vote into a run that waits for an earlier write",
        Edit(Gate._extend_last_run, "last_horizon != horizon\n        or ", ""),
        Edit(Gate._extend_last_run, "(horizon, Envelope(", "(last_horizon, Envelope("),
    ),
    Mutant(
        "takes a write for durable when it hands it to the disk",
        Edit(
            Replica.turn,
            "yield Commit(effects.write)",
            "self._paxos.persisted(effects.write.write_id, now)\n        yield Commit(effects.write)",
        ),
    ),
    Mutant(
        "gives a slot out as decided while its log may come back with another value",
        Edit(Acceptor.is_settled, "return write_id is None", "return True"),
    ),
)

_WHAT_A_RESTART_FINDS: Final = (
    Mutant(
        "does not find its promises in the log again",
        Edit(
            MemoryAcceptorLog._store,
            "if not isinstance(record, LearnRecord):",
            "if not isinstance(record, LearnRecord | PromiseRecord):",
        ),
    ),
    Mutant(
        "takes the ballot of what it learned for a promise",
        Edit(MemoryAcceptorLog._store, "if not isinstance(record, LearnRecord):", "if True:"),
    ),
    Mutant(
        "finds the oldest record of a slot instead of the newest",
        Edit(
            MemoryAcceptorLog._store,
            "self._disk.newest[record.slot] = AcceptedValue(record.ballot, record.value, learned)",
            "self._disk.newest.setdefault(record.slot, AcceptedValue(record.ballot, record.value, learned))",
        ),
    ),
    Mutant(
        "finds what it accepted and takes it for decided",
        Edit(MemoryAcceptorLog._store, "learned = isinstance(record, LearnRecord)", "learned = True"),
    ),
    Mutant(
        "finds what it learned and takes it for a vote",
        Edit(MemoryAcceptorLog._store, "learned = isinstance(record, LearnRecord)", "learned = False"),
    ),
    Mutant(
        "begins to decide behind the last slot of its log",
        Edit(
            Learner.__init__,
            "self.decided_end = recovered.decided_end",
            "self.decided_end = Slot(max((slot + 1 for slot in recovered.accepted), default=recovered.decided_end))",
        ),
    ),
    Mutant(
        "starts without the promise that it recovered",
        Edit(Paxos.__init__, "Gate(durable_promise=recovered.promised)", "Gate(durable_promise=ZERO_BALLOT)"),
        Edit(Paxos.__init__, " promised=recovered.promised", " promised=ZERO_BALLOT"),
        Edit(Paxos.check_invariants, "known.learned or known.ballot <= acceptor.promised", "True"),
    ),
    Mutant(
        "commits its progress without the sessions",
        Edit(Store.commit, "self._sessions.flush()", "pass"),
    ),
    Mutant(
        "commits its progress without the rows",
        Edit(Store.commit, "self._revisions.flush()", "pass"),
    ),
    Mutant(
        "changes the state outside of a transaction",
        Edit(Store.begin, 'self._connection.execute("BEGIN IMMEDIATE")', "pass"),
        Edit(Store.commit, 'self._connection.execute("COMMIT")', "pass"),
    ),
    Mutant(
        "commits its progress without the turn's last slot",
        Edit(Store.commit, "                self._applied_end,", "                self._applied_end - 1,"),
    ),
    Mutant(
        "starts with the members of before",
        Edit(Replica._apply, "if any(isinstance(d.value, Configuration) for d in decided):", "if False:"),
    ),
)

DURABILITY: Final[tuple[Mutant, ...]] = _WHAT_LEAVES + _WHAT_A_RESTART_FINDS
