"""Whatever is appended, in whatever batches and with whatever restarts: both logs give back what a dict remembers."""

import tempfile
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from kvstore.paxos.durable import AcceptedValue, AcceptRecord, LearnRecord, PromiseRecord, Record
from kvstore.paxos.types import ZERO_BALLOT, Application, Ballot, Configuration, NodeId, Noop, Slot
from kvstore.storage.memory_log import MemoryAcceptorLog, MemoryDisk
from kvstore.storage.port import AcceptorLog
from tests.storage.helpers import ME, open_sqlite, write

ballots = st.builds(Ballot, st.integers(1, 2**40), st.integers(1, 9).map(NodeId))
slots = st.one_of(st.integers(0, 12), st.integers(1020, 1030), st.just(2**40)).map(Slot)
nodes = st.integers(1, 20).map(NodeId)
configurations = st.builds(
    Configuration,
    epoch=st.integers(0, 100),
    voters=st.sets(nodes, min_size=1).map(lambda voters: tuple(sorted(voters))),
    addresses=st.dictionaries(nodes, st.text(max_size=20)),
)
values = st.one_of(st.just(Noop()), st.binary(max_size=200).map(Application), configurations)
records = st.one_of(
    st.builds(PromiseRecord, ballots),
    st.builds(AcceptRecord, slots, ballots, values),
    st.builds(LearnRecord, slots, ballots, values),
)
RESTART = None
steps = st.lists(st.one_of(st.just(RESTART), st.lists(records, min_size=1, max_size=8)), max_size=8)


@given(history=steps)
@settings(max_examples=25, deadline=None)
def test_append_and_recover_are_inverse(history: list[list[Record] | None]) -> None:
    disk = MemoryDisk()
    with tempfile.TemporaryDirectory() as directory:

        def start() -> tuple[AcceptorLog, AcceptorLog]:
            return open_sqlite(Path(directory)), MemoryAcceptorLog.open(disk, node_id=ME, rng=Random(1))

        logs = start()
        promised, newest, sequence = ZERO_BALLOT, dict[Slot, AcceptedValue](), 0
        for batch in history:
            if batch is RESTART:
                for log in logs:
                    log.close()
                logs = start()
                continue
            sequence += len(batch)
            for record in batch:
                if not isinstance(record, LearnRecord):
                    promised = max(promised, record.ballot)
                if not isinstance(record, PromiseRecord):
                    newest[record.slot] = AcceptedValue(record.ballot, record.value, isinstance(record, LearnRecord))
            for log in logs:
                log.append(write(*batch))
        for log in logs:
            log.close()

        for log in start():
            recovered = log.recover(from_slot=Slot(0))
            assert log.sequence == sequence
            assert recovered.promised == promised
            assert recovered.accepted == newest
            assert list(recovered.accepted) == sorted(newest)
            assert recovered.log_end == max(newest, default=-1) + 1
            for slot, known in newest.items():
                (entry,) = log.read_decided(slot, Slot(slot + 1), bytes_max=1)
                assert (entry.slot, entry.ballot, entry.value) == (slot, known.ballot, known.value)
            log.close()
