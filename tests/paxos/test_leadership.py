"""What only a leader knows, by itself: slots in flight, contradictions, contact, reads."""

from kvstore.paxos.configurations import Configurations
from kvstore.paxos.durable import GoverningConfiguration
from kvstore.paxos.effects import ReadReady
from kvstore.paxos.leadership import Leadership
from kvstore.paxos.messages import AcceptedEntry, Promise
from kvstore.paxos.phase_one import PhaseOne
from kvstore.paxos.types import Noop, ReadId

from .bench import app, ballot, config_of, node, slot

B = ballot(5, 1)


def leadership(
    *found: tuple[int, str],
    known: Configurations | None = None,
    from_slot: int = 0,
    decided_end: int = 0,
    reported_end: int = 0,
) -> Leadership:
    """Node 1 leads ballot 5.1 of three voters; ``found``: what node 2's promise reported."""
    phase_one = PhaseOne(B, slot(from_slot))
    entries = tuple(AcceptedEntry(slot(s), ballot(3, 2), app(v)) for s, v in found)
    for sender, accepted in ((1, ()), (2, entries)):
        phase_one.receive(node(sender), Promise(B, slot(from_slot), accepted, None, slot(reported_end), slot(0)))
    if known is None:
        known = Configurations((GoverningConfiguration(slot(0), config_of(1, 2, 3)),), alpha=8)
    return Leadership(node(1), phase_one, known, decided_end=slot(decided_end), now=0.0)


def test_it_inherits_what_was_found_and_fills_the_gaps() -> None:
    """§3: "no-op" in the gaps, then nothing more is demanded."""
    leader = leadership((0, "a"), (2, "c"))
    inherited = []
    while (value := leader.inherited()) is not None:
        inherited.append(value)
        leader.propose(value, now=0.0, resend_s=0.3)
    assert inherited == [app("a"), Noop(), app("c")]
    assert leader.propose(app("d"), now=0.0, resend_s=0.3) == 3


def test_it_never_proposes_in_a_slot_that_is_decided_here() -> None:
    """The candidate learned slots while its promises came in."""
    leader = leadership((0, "a"), (1, "b"), (2, "c"), decided_end=2)
    assert leader.inherited() == app("c")
    assert leader.next_slot == 2


def test_it_never_proposes_below_what_others_have_decided() -> None:
    leader = leadership(reported_end=7)
    assert leader.inherited() is None
    assert leader.next_slot == 7


def test_a_slot_is_chosen_by_a_quorum_of_its_voters() -> None:
    leader = leadership()
    first = leader.propose(app("a"), now=0.0, resend_s=0.3)
    leader.accepted(node(9), start=first, end=slot(1))
    leader.accepted(node(3), start=first, end=slot(1))
    leader.accepted(node(3), start=first, end=slot(1))
    assert not leader.in_flight[first].chosen
    leader.accepted(node(2), start=slot(0), end=slot(1000))
    assert leader.in_flight[first].chosen


def test_resends_wait_twice_as_long_each_time_up_to_a_limit() -> None:
    leader = leadership()
    leader.propose(app("a"), now=0.0, resend_s=0.3)
    sent = [tenth for tenth in range(50) if leader.due_for_resend(tenth / 10, wait_max_s=1.0)]
    assert sent == [3, 9, 19, 29, 39, 49]


def test_values_that_contradict_the_ballot() -> None:
    """Chosen above it, that is: neither found by its phase 1 nor proposed by it."""
    leader = leadership((0, "a"), (1, "b"), (3, "d"))
    leader.propose(app("a"), now=0.0, resend_s=0.3)
    cases = [
        (0, app("a"), False),
        (0, app("x"), True),
        (1, app("b"), False),
        (1, app("x"), True),
        (2, Noop(), False),
        (2, app("x"), True),
        (4, app("x"), True),
        (4, Noop(), True),
    ]
    assert [leader.is_contradicted(slot(s), v) for s, v, _ in cases] == [c for _, _, c in cases]
    behind = leadership(reported_end=7)
    assert not behind.is_contradicted(slot(3), app("x")), "below the reported end it proposes nothing anyway"


def test_contact_is_what_a_quorum_has_answered() -> None:
    leader = leadership()
    assert leader.quorum_heard_at(slot(0), now=5.0) == 0.0
    leader.heard(node(3), sent_at=4.0, read_round=1, decided_end=slot(0), lease_until=0.0)
    assert leader.quorum_heard_at(slot(0), now=5.0) == 4.0
    leader.heard(node(3), sent_at=3.0, read_round=1, decided_end=slot(0), lease_until=0.0)
    assert leader.quorum_heard_at(slot(0), now=5.0) == 4.0, "an old answer takes nothing back"


def test_new_voters_have_the_time_to_answer() -> None:
    """A leader does not step down the moment a configuration with nodes it never heard is decided."""
    leader = leadership()
    leader.decided(slot(0), config_of(1, 4, 5, epoch=2), now=9.0)
    assert leader.contact[node(4)] == leader.contact[node(5)] == 9.0
    leader.heard(node(4), sent_at=9.5, read_round=1, decided_end=slot(0), lease_until=0.0)
    assert leader.contact[node(4)] == 9.5


def test_a_read_waits_for_the_round_after_it() -> None:
    """A quorum's answer to a round that had begun before the read says nothing about it (L7)."""
    leader = leadership()
    leader.read_round = 4
    leader.add_read(ReadId(1), index=slot(0))
    assert leader.has_unasked_reads
    leader.heard(node(2), sent_at=0.0, read_round=4, decided_end=slot(0), lease_until=0.0)
    leader.read_round = 5
    assert not leader.has_unasked_reads
    assert leader.take_confirmed_reads(slot(0), now=0.0) == []
    leader.heard(node(2), sent_at=0.0, read_round=5, decided_end=slot(0), lease_until=0.0)
    assert leader.take_confirmed_reads(slot(0), now=0.0) == [ReadReady(ReadId(1), slot(0))]
    assert leader.take_confirmed_reads(slot(0), now=0.0) == []


def test_a_read_waits_until_all_that_phase_1_found_is_decided() -> None:
    leader = leadership((0, "a"), (1, "b"))
    leader.add_read(ReadId(1), index=slot(0))
    leader.read_round = 1
    leader.heard(node(2), sent_at=0.0, read_round=1, decided_end=slot(0), lease_until=0.0)
    assert leader.take_confirmed_reads(slot(1), now=0.0) == []
    assert leader.take_confirmed_reads(slot(2), now=0.0) == [ReadReady(ReadId(1), slot(2))]


def test_a_read_reaches_to_where_the_configurations_that_confirm_it_begin() -> None:
    """What governed the slots between was not asked, and may have decided them before the read came (L7)."""
    known = Configurations((GoverningConfiguration(slot(0), config_of(1, 2, 3)),), alpha=8)
    leader = leadership(known=known)
    leader.add_read(ReadId(1), index=slot(0))
    leader.read_round = 1
    known.decide(slot(0), config_of(1, epoch=2))
    known.forget_before(slot(9))
    assert leader.take_confirmed_reads(slot(9), now=0.0) == [ReadReady(ReadId(1), slot(8))]


def test_reads_left_over_are_given_back_once() -> None:
    leader = leadership()
    leader.add_read(ReadId(1), index=slot(0))
    leader.add_read(ReadId(2), index=slot(0))
    assert leader.take_all_reads() == [1, 2]
    assert leader.take_all_reads() == []


def test_the_successor_was_heard_of_lately_and_has_decided_the_most() -> None:
    leader = leadership()
    voters = (node(1), node(2), node(3))
    assert leader.successor(voters, now=0.5, heard_within_s=1.0) == 2, "3 has never answered"
    leader.heard(node(2), sent_at=1.0, read_round=1, decided_end=slot(5), lease_until=0.0)
    leader.heard(node(3), sent_at=1.0, read_round=1, decided_end=slot(6), lease_until=0.0)
    assert leader.successor(voters, now=1.5, heard_within_s=1.0) == 3
    leader.heard(node(2), sent_at=3.0, read_round=1, decided_end=slot(5), lease_until=0.0)
    assert leader.successor(voters, now=3.5, heard_within_s=1.0) == 2
    assert leader.successor(voters, now=9.0, heard_within_s=1.0) is None
