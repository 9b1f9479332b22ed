"""Mistakes above consensus: applying, sessions, forwarded writes, reads, the data model."""

from typing import Final

from kvstore.mvcc import txn
from kvstore.mvcc.commands import Commands
from kvstore.mvcc.revisions import Revisions
from kvstore.mvcc.sessions import Sessions
from kvstore.mvcc.state_hash import StateHash
from kvstore.mvcc.store import Store
from kvstore.replica.reads import Reads
from kvstore.replica.replica import Replica
from kvstore.replica.unary import UnarySession
from kvstore.replica.writes import Writes
from tests.mutants.mutant import Edit, Mutant

__all__ = ["REPLICATION"]

_NOT_THE_NEXT: Final = "slot == self._applied_end"

_APPLYING: Final = (
    Mutant(
        "applies the slots of a turn from the last to the first",
        Edit(Replica._apply, "for slot_value in decided:", "for slot_value in reversed(decided):"),
        Edit(Store.apply, _NOT_THE_NEXT, "True"),
    ),
    Mutant(
        "does not count a no-op as applied",
        Edit(
            Replica._apply,
            "case Noop():\n                self.store.apply(slot_value.slot, None)",
            "case Noop():\n                pass",
        ),
        Edit(Store.apply, _NOT_THE_NEXT, "True"),
    ),
    Mutant(
        "hashes what the slots before did once more",
        Edit(StateHash.end_slot, "self._parts.clear()", "pass"),
    ),
)

_SESSIONS: Final = (
    Mutant(
        "applies a repeated request again",
        Edit(Commands.apply, "if answer is None:", "if True:"),
    ),
    Mutant(
        "forgets the answers of a session with its next request",
        Edit(
            Sessions.flush,
            "[(id_, s.floor) for id_, s in changed if s.floor]",
            "[(id_, s.highest) for id_, s in changed]",
        ),
    ),
    Mutant(
        "gives the session's newest answer",
        Edit(
            Sessions.recall, "_SELECT_ANSWER, (session_id, sequence)", "_SELECT_ANSWER, (session_id, session.highest)"
        ),
    ),
    Mutant(
        "takes a request at its floor for a new one",
        Edit(Sessions.recall, "if sequence <= session.floor:", "if sequence < session.floor:"),
    ),
    Mutant(
        "forgets all answers of a session but the newest",
        Edit(Sessions.remember, "sequence - self._limits.answers_per_session_max", "sequence - 1"),
    ),
    Mutant(
        "keeps the answers of a session for ever",
        Edit(
            Sessions.remember,
            "session.floor = max(session.floor, sequence - self._limits.answers_per_session_max)",
            "pass",
        ),
    ),
    Mutant(
        "leaves forgotten answers on the disk",
        Edit(Sessions.flush, "executemany(_FORGET_ANSWERS,", "(_FORGET_ANSWERS,"),
    ),
    Mutant(
        "keeps the answers of plain puts in memory only",
        Edit(Sessions.flush, "_pack(s.puts)", 'b""'),
    ),
    Mutant(
        "drops a session that was used in the slot that it may not be older than",
        Edit(Sessions.expire, "session.last_slot < unused_since_slot", "session.last_slot <= unused_since_slot"),
    ),
    Mutant(
        "begins anew with a session that it dropped",
        Edit(
            Sessions.recall,
            "raise SessionExpired(session_id)",
            "session = self._sessions[session_id] = _Session(session_id, slot)",
        ),
    ),
    Mutant(
        "does not see a session as used by its requests",
        Edit(Sessions.recall, "self._sessions[session_id] = self._sessions.pop(session_id)", "pass"),
    ),
    Mutant(
        "drops of the sessions of one slot the one that was used first",
        Edit(Sessions._longest_unused, "min(candidates, key=lambda session: session.id)", "next(candidates)"),
    ),
    Mutant(
        "takes a session that its former life opened for its own",
        Edit(Writes._settle_opening, " and asked.incarnation == self._incarnation", ""),
    ),
    Mutant(
        "counts the answers that it owes itself as delivered",
        Edit(
            UnarySession.submit,
            "entries[0].unanswered_from = lowest",
            "entries[0].unanswered_from = self._next_sequence",
        ),
    ),
    Mutant(
        "runs further ahead than its session remembers",
        Edit(UnarySession._room, "self._lowest_pending + self._window - self._next_sequence", "self._window"),
    ),
)

_WRITES: Final = (
    Mutant(
        "says of a write that was sent that it was not",
        Edit(Writes.forget, "sequence > attached.sent_end", "True"),
    ),
    Mutant(
        "proposes what its client was told it would not",
        Edit(Writes._take_waiting, "attached is None or entry.sequence not in attached.pending", "attached is None"),
    ),
    Mutant(
        "loses what it proposed with its leadership",
        Edit(Replica.turn, "self._writes.resend(self._proposed.values())", "pass"),
    ),
    Mutant(
        "loses the entry at which a batch is full",
        Edit(Writes._take_waiting, "chunk[index:]", "chunk[index + 1 :]"),
        Edit(Writes._take_waiting, "len(chunk) - index", "len(chunk) - index - 1"),
    ),
    Mutant(
        "answers the entries of a batch in another order",
        Edit(Writes.settle, "zip(batch.entries, results,", "zip(batch.entries, reversed(results),"),
    ),
)

_READS: Final = (
    Mutant(
        "reads without asking whether it still leads",
        Edit(
            Replica._start_reads,
            "self._reads.confirming(self._paxos.confirm_leadership(now), self._reads.take_group())",
            "self._reads._until.append((status.decided_end, self._reads.take_group().tickets))",
        ),
    ),
    Mutant(
        "confirms a read together with one that came before",
        Edit(
            Replica._start_reads,
            "self._reads.confirming(self._paxos.confirm_leadership(now), self._reads.take_group())",
            "group, before = self._reads.take_group(), list(self._reads._confirming.values())\n"
            "        if before:\n"
            "            before[-1].tickets.extend(group.tickets)\n"
            "            before[-1].remote.extend(group.remote)\n"
            "        else:\n"
            "            self._reads.confirming(self._paxos.confirm_leadership(now), group)",
        ),
    ),
    Mutant(
        "reads though its confirmation failed",
        Edit(Reads.failed, "self._wait_again(group.tickets)", "self._until.append((Slot(0), group.tickets))"),
    ),
    Mutant(
        "reads at the leader's word without having applied as far",
        Edit(Reads.answered, "self._until.append((index, tickets))", "self._until.append((Slot(0), tickets))"),
    ),
    Mutant(
        "lets a read join the question that is on its way to the leader",
        Edit(
            Reads.ask,
            "request = self._next_request",
            "for request, (tickets, _) in self._asked.items():\n"
            "        tickets.extend(self._waiting)\n"
            "        self._waiting = {}\n"
            "        return request\n"
            "    request = self._next_request",
        ),
    ),
    Mutant(
        "names a read index though it does not lead",
        Edit(
            Replica._start_reads,
            "ReadIndexReply(reader.request, confirmed=False, index=Slot(0))",
            "ReadIndexReply(reader.request, confirmed=True, index=status.decided_end)",
        ),
    ),
    Mutant(
        "reads from the first answer, refused or not",
        Edit(Reads.answered, "if confirmed:", "if True:"),
    ),
)

_DATA: Final = (
    Mutant(
        "gives a delete and the next write one revision",
        Edit(Commands._delete_range, "self._revisions.end_write()", "pass"),
    ),
    Mutant(
        "takes a revision for what changes nothing",
        Edit(Revisions.end_write, "self.revision = self.visible_revision", "self.revision += 1"),
    ),
    Mutant(
        "goes on with the version of a deleted key",
        Edit(Revisions.put, "if head is not None and head.version:", "if head is not None:"),
    ),
    Mutant(
        "holds no compare with a key that is not there",
        Edit(txn._holds, "found or (compare.target != Compare.VALUE and bool(holds(0, expected)))", "found"),
    ),
)

REPLICATION: Final[tuple[Mutant, ...]] = _APPLYING + _SESSIONS + _WRITES + _READS + _DATA
