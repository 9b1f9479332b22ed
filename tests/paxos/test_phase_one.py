"""Phase 1 by itself: which promises count, what is adopted from them (L4), and where proposing may begin."""

import pytest

from kvstore.paxos.messages import AcceptedEntry, Promise
from kvstore.paxos.phase_one import PhaseOne
from kvstore.paxos.types import Slot

from .bench import app, ballot, node, slot

B = ballot(9, 1)
Accepts = dict[int, tuple[int, str]]
"""slot → (round, value)"""


def promise(
    accepted: Accepts,
    *,
    from_slot: int = 0,
    next_slot: int | None = None,
    decided_end: int = 0,
    first_slot: int = 0,
) -> Promise:
    entries = tuple(AcceptedEntry(slot(s), ballot(r, 2), app(v)) for s, (r, v) in accepted.items())
    following = None if next_slot is None else Slot(next_slot)
    return Promise(B, slot(from_slot), entries, following, slot(decided_end), slot(first_slot))


@pytest.mark.parametrize(
    ("promises", "adopted", "start", "end"),
    [
        ([{}, {}], {}, 0, 0),
        ([{0: (1, "a")}, {}], {0: "a"}, 0, 1),
        ([{0: (1, "a")}, {0: (2, "b")}], {0: "b"}, 0, 1),
        ([{0: (2, "b")}, {0: (1, "a")}], {0: "b"}, 0, 1),
        ([{2: (1, "c")}, {}], {2: "c"}, 0, 3),
        ([{0: (3, "x"), 5: (1, "y")}, {0: (2, "w"), 2: (4, "z")}], {0: "x", 2: "z", 5: "y"}, 0, 6),
        ([{0: (1, "a")}, {0: (1, "a")}], {0: "a"}, 0, 1),
    ],
    ids=["nothing", "one", "the higher second", "the higher first", "with a gap", "slot by slot", "agreeing"],
)
def test_the_value_of_the_highest_ballot_is_adopted(
    promises: list[Accepts], adopted: dict[int, str], start: int, end: int
) -> None:
    """Whatever the order in which promises come (L4)."""
    phase_one = PhaseOne(B, slot(0))
    for sender, accepts in enumerate(promises, start=1):
        assert phase_one.receive(node(sender), promise(accepts))
    assert {s: e.value for s, e in phase_one.adopted.items()} == {s: app(v) for s, v in adopted.items()}
    assert (phase_one.start_slot, phase_one.end_slot) == (start, end)


@pytest.mark.parametrize(
    ("decided_end", "first_slot", "start"), [(4, 0, 4), (4, 3, 4), (7, 7, 7)], ids=["decided", "cut", "all cut"]
)
def test_proposing_begins_where_nobody_has_decided(decided_end: int, first_slot: int, start: int) -> None:
    """Lower slots are learned, not proposed; and reads wait for them too (L7)."""
    phase_one = PhaseOne(B, slot(2))
    phase_one.receive(node(2), promise({}, from_slot=2, decided_end=decided_end, first_slot=first_slot))
    assert phase_one.start_slot == start
    assert phase_one.end_slot == start


def test_a_promise_counts_only_with_its_last_page() -> None:
    phase_one = PhaseOne(B, slot(0))
    assert phase_one.wanted(node(2)) == 0
    assert phase_one.receive(node(2), promise({0: (1, "a"), 1: (1, "b")}, next_slot=2))
    assert phase_one.promised_by == {}
    assert phase_one.adopted == {}
    assert phase_one.wanted(node(2)) == 2
    assert phase_one.receive(node(2), promise({2: (1, "c")}, from_slot=2))
    assert list(phase_one.promised_by) == [2]
    assert phase_one.wanted(node(2)) is None
    assert sorted(phase_one.adopted) == [0, 1, 2]


def test_repeated_reordered_and_unasked_pages_change_nothing() -> None:
    phase_one = PhaseOne(B, slot(0))
    first = promise({0: (1, "a")}, next_slot=1)
    last = promise({1: (1, "b")}, from_slot=1)
    assert not phase_one.receive(node(2), last), "the second page before the first"
    assert phase_one.receive(node(2), first)
    assert not phase_one.receive(node(2), first), "the first page twice"
    assert phase_one.receive(node(2), last)
    assert not phase_one.receive(node(2), last), "the last page twice"
    assert not phase_one.receive(node(2), first), "a page of a whole promise"
    assert sorted(phase_one.adopted) == [0, 1]


def test_pages_of_two_nodes_do_not_mix() -> None:
    phase_one = PhaseOne(B, slot(0))
    phase_one.receive(node(2), promise({0: (1, "a")}, next_slot=1))
    phase_one.receive(node(3), promise({}))
    assert list(phase_one.promised_by) == [3]
    assert phase_one.wanted(node(2)) == 1


def test_two_values_at_one_ballot_are_impossible() -> None:
    phase_one = PhaseOne(B, slot(0))
    phase_one.receive(node(2), promise({0: (1, "a")}))
    with pytest.raises(AssertionError, match="L3"):
        phase_one.receive(node(3), promise({0: (1, "b")}))


def test_a_promise_of_another_ballot_does_not_get_here() -> None:
    with pytest.raises(AssertionError):
        PhaseOne(ballot(1, 1), slot(0)).receive(node(2), promise({}))
