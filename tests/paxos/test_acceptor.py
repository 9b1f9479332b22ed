"""The acceptor by itself: a table of what it promises, accepts and refuses (L1), and what it writes down."""

import pytest

from kvstore.paxos.acceptor import Acceptor, size_of
from kvstore.paxos.durable import AcceptedValue, AcceptRecord, LearnRecord, PromiseRecord, Record
from kvstore.paxos.gate import Gate
from kvstore.paxos.messages import AcceptedEntry
from kvstore.paxos.types import ZERO_BALLOT, Ballot, Noop, Slot

from .bench import app, ballot, config_of, slot


class Stand:
    """An acceptor with a gate of its own."""

    def __init__(self, promised: Ballot = ZERO_BALLOT, accepted: dict[Slot, AcceptedValue] | None = None) -> None:
        self.gate = Gate(durable_promise=promised)
        self.acceptor = Acceptor(self.gate, promised=promised, accepted=accepted or {}, first_slot=Slot(0))

    def written(self) -> tuple[Record, ...]:
        write = self.gate.take_write()
        return write.records if write else ()

    def sync(self) -> None:
        write = self.gate.take_write()
        assert write is not None
        self.gate.persisted(write.write_id)


@pytest.mark.parametrize(
    ("promised", "asked", "granted", "written"),
    [
        (ZERO_BALLOT, ballot(1, 1), True, (PromiseRecord(ballot(1, 1)),)),
        (ballot(1, 1), ballot(1, 2), True, (PromiseRecord(ballot(1, 2)),)),
        (ballot(1, 2), ballot(1, 1), False, ()),
        (ballot(2, 1), ballot(1, 9), False, ()),
        (ballot(2, 1), ballot(2, 1), True, ()),
    ],
)
def test_prepare(promised: Ballot, asked: Ballot, granted: bool, written: tuple[Record, ...]) -> None:
    """It promises at or above its promise only, and writes down only what is new."""
    stand = Stand(promised)
    assert stand.acceptor.prepare(asked) is granted
    assert stand.acceptor.promised == max(promised, asked)
    assert stand.written() == written


@pytest.mark.parametrize(
    ("promised", "asked", "accepted", "written"),
    [
        (ballot(1, 1), ballot(1, 1), True, (AcceptRecord(slot(0), ballot(1, 1), app("a")),)),
        (
            ballot(1, 1),
            ballot(2, 2),
            True,
            (PromiseRecord(ballot(2, 2)), AcceptRecord(slot(0), ballot(2, 2), app("a"))),
        ),
        (ballot(2, 2), ballot(1, 3), False, ()),
        (ballot(2, 2), ballot(2, 1), False, ()),
    ],
)
def test_accept(promised: Ballot, asked: Ballot, accepted: bool, written: tuple[Record, ...]) -> None:
    """It accepts at or above its promise; accepting above it promises as well, in the same write."""
    stand = Stand(promised)
    assert stand.acceptor.accept(asked, slot(0), app("a")) is accepted
    assert (slot(0) in stand.acceptor.accepted) is accepted
    assert stand.written() == written


def test_a_repeated_accept_writes_nothing() -> None:
    stand = Stand(ballot(1, 1))
    assert stand.acceptor.accept(ballot(1, 1), slot(3), app("a"))
    assert len(stand.written()) == 1
    assert stand.acceptor.accept(ballot(1, 1), slot(3), app("a"))
    assert stand.written() == ()


def test_a_second_value_at_the_same_ballot_is_impossible() -> None:
    stand = Stand(ballot(1, 1))
    stand.acceptor.accept(ballot(1, 1), slot(3), app("a"))
    with pytest.raises(AssertionError, match="L3"):
        stand.acceptor.accept(ballot(1, 1), slot(3), app("b"))


def test_a_higher_ballot_replaces_what_was_accepted() -> None:
    stand = Stand(ballot(1, 1))
    stand.acceptor.accept(ballot(1, 1), slot(3), app("a"))
    assert stand.acceptor.accept(ballot(2, 2), slot(3), app("b"))
    assert stand.acceptor.accepted[slot(3)] == AcceptedValue(ballot(2, 2), app("b"))


def test_below_the_first_slot_nothing_may_be_stored() -> None:
    stand = Stand(ballot(1, 1))
    stand.acceptor.first_slot = Slot(5)
    with pytest.raises(AssertionError, match="L4"):
        stand.acceptor.accept(ballot(1, 1), slot(4), app("a"))


def test_learning_is_not_voting() -> None:
    """A learned value neither needs nor raises a promise, and is written as learned."""
    stand = Stand(ballot(5, 1))
    stand.acceptor.learn(AcceptedEntry(slot(0), ballot(9, 2), app("a")))
    assert stand.acceptor.promised == ballot(5, 1)
    assert stand.acceptor.accepted[slot(0)] == AcceptedValue(ballot(9, 2), app("a"), learned=True)
    assert stand.written() == (LearnRecord(slot(0), ballot(9, 2), app("a")),)


def test_learning_what_was_accepted_keeps_the_vote_and_writes_nothing() -> None:
    """The vote must not be reported at another ballot than the one it was cast at."""
    stand = Stand(ballot(5, 1), {slot(0): AcceptedValue(ballot(4, 1), app("a"))})
    stand.acceptor.learn(AcceptedEntry(slot(0), ballot(3, 2), app("a")))
    assert stand.acceptor.accepted[slot(0)] == AcceptedValue(ballot(4, 1), app("a"), learned=True)
    assert stand.written() == ()


def test_a_chosen_value_is_not_overwritten_by_an_old_ballot() -> None:
    """An old leader may still propose what lost, at a ballot that our promise allows: the log keeps what is chosen."""
    stand = Stand(ballot(1, 1), {slot(0): AcceptedValue(ballot(3, 3), app("chosen"), learned=True)})
    assert not stand.acceptor.accept(ballot(2, 2), slot(0), app("lost"))
    assert stand.written() == ()
    assert stand.acceptor.accept(ballot(2, 2), slot(0), app("chosen"))


def test_two_chosen_values_are_impossible() -> None:
    stand = Stand(ballot(1, 1), {slot(0): AcceptedValue(ballot(3, 3), app("a"), learned=True)})
    with pytest.raises(AssertionError, match="L5"):
        stand.acceptor.learn(AcceptedEntry(slot(0), ballot(4, 1), app("b")))


def test_a_slot_is_unsettled_while_the_log_could_be_read_as_another_value() -> None:
    """Only a change of the value matters, and only until it is on the disk."""
    stand = Stand(ballot(1, 1), {slot(0): AcceptedValue(ballot(1, 1), app("old"))})
    assert stand.acceptor.is_settled(slot(0))
    stand.acceptor.accept(ballot(2, 2), slot(0), app("new"))
    stand.acceptor.accept(ballot(2, 2), slot(1), app("first"))
    assert not stand.acceptor.is_settled(slot(0))
    assert stand.acceptor.is_settled(slot(1))
    stand.sync()
    assert stand.acceptor.is_settled(slot(0))


def test_a_slot_that_changes_twice_waits_for_the_second_write() -> None:
    """a, b, a: the write of b may come back without the second a."""
    stand = Stand(ballot(1, 1), {slot(0): AcceptedValue(ballot(1, 1), app("a"))})
    stand.acceptor.accept(ballot(2, 2), slot(0), app("b"))
    first = stand.gate.take_write()
    assert first is not None
    stand.acceptor.accept(ballot(3, 3), slot(0), app("a"))
    stand.gate.take_write()
    stand.gate.persisted(first.write_id)
    assert not stand.acceptor.is_settled(slot(0))


def test_pages_cover_everything_once_in_slot_order() -> None:
    stand = Stand(ballot(1, 1))
    for number in (7, 3, 9, 4):
        stand.acceptor.accept(ballot(1, 1), slot(number), app(str(number)))
    seen: list[int] = []
    start: Slot | None = slot(0)
    while start is not None:
        entries, start = stand.acceptor.page(start, entries_max=2, bytes_max=1000)
        seen += [entry.slot for entry in entries]
        assert 1 <= len(entries) <= 2
    assert seen == [3, 4, 7, 9]


def test_a_page_has_at_least_one_entry_however_large() -> None:
    stand = Stand(ballot(1, 1))
    for number in range(2):
        stand.acceptor.accept(ballot(1, 1), slot(number), app("x" * 100))
    entries, following = stand.acceptor.page(slot(0), entries_max=10, bytes_max=1)
    assert [entry.slot for entry in entries] == [0]
    assert following == 1


def test_sizes_are_roughly_those_of_the_wire() -> None:
    assert size_of(app("x" * 1000)) > 1000
    assert size_of(Noop()) < 1000
    assert size_of(config_of(1, 2, 3)) < 1000
