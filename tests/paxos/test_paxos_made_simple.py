"""What "Paxos Made Simple" (Lamport, 2001) says, section by section, checked against this implementation.

Proposals are numbered by ballots; one instance of the algorithm is a slot. Each test names the sentence it stands for,
in our own words.
"""

import pytest

from kvstore.paxos.durable import AcceptedValue, AcceptRecord, PromiseRecord, Write
from kvstore.paxos.effects import DecidedValue, Role
from kvstore.paxos.errors import NotLeader
from kvstore.paxos.messages import Accept, Accepted, AcceptedEntry, Envelope, Nack, Prepare, Promise
from kvstore.paxos.types import ZERO_BALLOT, Application, Noop, WriteId

from .bench import Bench, app, ballot, node, slot, to_all
from .world import World

# §2.1 The problem


def test_2_1_only_a_proposed_value_is_chosen_one_per_slot_and_learned_only_when_chosen() -> None:
    """The three safety requirements of §2.1, on a whole run: the judge of ``World`` checks each at each step."""
    world = World((1, 2, 3))
    world.elect(1)
    for number in range(20):
        world.propose(1, b"%d" % number)
        world.run(0.02)
    world.run(0.5)
    assert [v.data for v in world.log(3) if isinstance(v, Application)] == [b"%d" % n for n in range(20)]
    assert world.log(1) == world.log(2) == world.log(3) == list(world.chosen.values())


def test_2_1_agents_may_stop_and_restart_because_they_remember_on_disk() -> None:
    """Whole cluster off and on again: what was chosen stays chosen."""
    world = World((1, 2, 3))
    world.elect(1)
    world.propose(1, b"kept")
    world.flush()
    for node_id in (1, 2, 3):
        world.crash(node(node_id))
    for node_id in (1, 2, 3):
        world.restart(node(node_id))
    world.run_until(lambda: world.decided_end > 0 and len(world.log(2)) > 0, within_s=4.0)
    assert world.log(2)[0] == app("kept")


# §2.2 Choosing a value


def test_2_2_p1_an_acceptor_accepts_the_first_proposal_it_receives() -> None:
    """P1. It needs no earlier Prepare of that ballot."""
    acceptor = Bench(2)
    effects = acceptor.say(1, Accept(ballot(1, 1), slot(0), app("v"), slot(0)))
    assert effects.write == Write(
        WriteId(1), (PromiseRecord(ballot(1, 1)), AcceptRecord(slot(0), ballot(1, 1), app("v")))
    )
    assert effects.messages == ()
    assert acceptor.sync().messages == (Envelope(node(1), Accepted(ballot(1, 1), slot(0), slot(1))),)


def test_2_2_p1a_it_accepts_unless_it_has_answered_a_prepare_with_a_greater_number() -> None:
    """P1a. Equal is allowed, lower is not."""
    acceptor = Bench(2, promised=ballot(5, 3))
    assert acceptor.say(1, Accept(ballot(4, 1), slot(0), app("v"), slot(0))).messages == (
        Envelope(node(1), Nack(ballot(5, 3))),
    )
    assert acceptor.say(3, Accept(ballot(5, 3), slot(0), app("w"), slot(0))).write is not None


def test_2_2_proposals_are_numbered_so_that_different_ones_have_different_numbers() -> None:
    """Ballots are ordered by round, then by node: two nodes never share one."""
    assert ballot(1, 2) < ballot(1, 3) < ballot(2, 1)
    one, other = Bench(1), Bench(2)
    assert one.stand() != other.stand()


def test_2_2_p2_a_later_proposal_has_the_chosen_value() -> None:
    """P2, P2a, P2b: "v" is chosen at 1.1 by nodes 1 and 2; every later leader proposes it again."""
    world = World((1, 2, 3))
    world.elect(1)
    world.isolate(3)
    world.propose(1, b"v")
    world.flush()
    assert world.chosen[slot(0)] == app("v")
    world.heal()
    world.isolate(1)
    world.run_until(lambda: any(n != 1 for n in world.leaders()), within_s=4.0)
    world.run(0.2)
    later = {b: v for (s, b), v in world.proposals.items() if s == 0}
    assert set(later.values()) == {app("v")}


@pytest.mark.parametrize(
    ("found", "proposed"),
    [
        ([None, None], None),
        ([(2, "x"), None], "x"),
        ([(2, "x"), (3, "y")], "y"),
        ([(3, "x"), (2, "y")], "x"),
    ],
    ids=["(a) none accepted", "one", "the second is higher", "the first is higher"],
)
def test_2_2_p2c_the_value_of_the_highest_numbered_proposal_among_a_majority(
    found: list[tuple[int, str] | None], proposed: str | None
) -> None:
    """P2c: (a) where no acceptor of some majority accepted anything, any value; (b) else the highest-numbered one's."""
    leader = Bench(1, (1, 2, 3, 4, 5), promised=ballot(4, 5))
    at = leader.stand()
    effects = None
    for sender, entry in zip((2, 3), found, strict=True):
        entries = () if entry is None else (AcceptedEntry(slot(0), ballot(entry[0], 4), app(entry[1])),)
        effects = leader.say(sender, Promise(at, slot(0), entries, None, slot(0), slot(0)))
    assert effects is not None
    assert leader.core.status().role is Role.LEADER
    accepts = [e.message for e in effects.messages if isinstance(e.message, Accept)]
    if proposed is None:
        assert accepts == []
        effects = leader.propose("mine")
        assert Envelope(node(2), Accept(at, slot(0), app("mine"), slot(0))) in effects.messages
    else:
        assert accepts == [Accept(at, slot(0), app(proposed), slot(0))] * 4


def test_2_2_phase_1_a_prepare_asks_for_a_promise_and_for_what_was_accepted() -> None:
    """Phase 1 (b): the promise, and the highest-numbered proposal accepted below it — in every slot, see §3."""
    acceptor = Bench(2, promised=ballot(1, 1), accepted={0: AcceptedValue(ballot(1, 1), app("v"))})
    effects = acceptor.say(3, Prepare(ballot(2, 3), slot(0)))
    assert effects.write == Write(WriteId(1), (PromiseRecord(ballot(2, 3)),))
    assert effects.messages == (), "not before it is stable (§2.5)"
    entry = AcceptedEntry(slot(0), ballot(1, 1), app("v"))
    assert acceptor.sync().messages == (
        Envelope(node(3), Promise(ballot(2, 3), slot(0), (entry,), None, slot(0), slot(0))),
    )


def test_2_2_an_acceptor_may_ignore_any_request_and_only_tells_out_of_courtesy() -> None:
    """Abandoning a proposal is good for performance: a Nack says which ballot forbids it. It needs no disk."""
    acceptor = Bench(2, promised=ballot(5, 3))
    effects = acceptor.say(1, Prepare(ballot(4, 1), slot(0)))
    assert effects.messages == (Envelope(node(1), Nack(ballot(5, 3))),)
    assert effects.write is None


def test_2_2_a_proposer_abandons_its_proposal_when_a_higher_number_is_about() -> None:
    leader = Bench(1)
    leader.lead()
    effects = leader.say(2, Nack(ballot(7, 3)))
    assert leader.core.status().role is Role.FOLLOWER
    assert effects.messages == ()
    with pytest.raises(NotLeader):
        leader.core.propose(b"too late", leader.now)
    assert leader.stand() > ballot(7, 3), "the next attempt outranks what it was told"


# §2.3 Learning a chosen value


def test_2_3_one_distinguished_learner_hears_every_acceptance_and_tells_the_others() -> None:
    """The leader learns from Accepted; the others from the ``decided_end`` that its next message carries."""
    leader = Bench(1)
    at = leader.lead()
    leader.propose("v")
    assert leader.accepted_by(2, at, 0).decided == ()
    decided = leader.accepted_by(3, at, 0).decided
    assert [(d.slot, d.value) for d in decided] == [(0, app("v"))]
    following = leader.propose("w")
    assert Envelope(node(2), Accept(at, slot(1), app("w"), slot(1))) in following.messages


def test_2_3_when_messages_are_lost_a_learner_may_not_know_and_a_new_proposal_finds_out() -> None:
    """ "v" is chosen and nobody knows: the leader stops before it hears of it. The next leader's proposal tells."""
    world = World((1, 2, 3))
    world.elect(1)
    world.propose(1, b"v")
    while any(isinstance(w.message, Accept) for w in world.wires):
        world.deliver()
    world.persist(node(2))
    world.persist(node(3))
    world.crash(node(1))
    world.wires.clear()
    assert world.chosen == {slot(0): app("v")}
    assert world.decided == {}
    world.run_until(lambda: world.log(2) == world.log(3) == [app("v")], within_s=4.0)


# §2.4 Progress


def test_2_4_two_proposers_may_keep_each_other_from_choosing_for_ever() -> None:
    """The duel of §2.4, by hand: each Prepare kills the other's Accept, and nothing is chosen."""
    acceptor = Bench(3)
    for round_ in range(1, 9):
        proposer = 1 + round_ % 2
        acceptor.say(proposer, Prepare(ballot(round_, proposer), slot(0)))
        acceptor.sync()
        rival = 3 - proposer
        effects = acceptor.say(rival, Accept(ballot(round_ - 1, rival), slot(0), app("v"), slot(0)))
        assert effects.messages == (Envelope(node(rival), Nack(ballot(round_, proposer))),)
    assert acceptor.core.status().decided_end == 0


@pytest.mark.parametrize("seed", range(10))
def test_2_4_a_single_distinguished_proposer_brings_progress(seed: int) -> None:
    """Randomized timeouts elect one, though all nodes start at once."""
    world = World(range(1, 6), seed=seed)
    world.run_until(lambda: len(world.leaders()) == 1, within_s=4.0)
    world.propose(world.leader(), b"v")
    world.run_until(lambda: all(world.log(n) == [app("v")] for n in world.nodes), within_s=1.0)


# §2.5 The implementation


def test_2_5_an_acceptor_records_its_response_before_it_sends_it() -> None:
    """Stable storage first: for a Promise as for an Accepted, and only the write that carries them frees them."""
    acceptor = Bench(2)
    assert acceptor.say(1, Prepare(ballot(1, 1), slot(0))).messages == ()
    assert [type(e.message) for e in acceptor.sync().messages] == [Promise]
    assert acceptor.say(1, Accept(ballot(1, 1), slot(0), app("v"), slot(0))).messages == ()
    assert [type(e.message) for e in acceptor.sync().messages] == [Accepted]


def test_2_5_a_proposer_remembers_its_highest_number_and_begins_with_a_higher_one() -> None:
    """Numbers are never used twice, whatever was lost in the crash: the ballot is durable before anyone hears of it."""
    world = World((1, 2, 3))
    seen = set()
    for _ in range(5):
        world.elect(1)
        at = world.core(1).status().ballot
        assert at not in seen
        assert at > max(seen, default=ZERO_BALLOT)
        seen.add(at)
        for node_id in (1, 2, 3):
            world.crash(node(node_id))
        world.wires.clear()
        for node_id in (1, 2, 3):
            world.restart(node(node_id))


def test_2_5_no_prepare_leaves_before_its_number_is_stable() -> None:
    candidate = Bench(1, (1, 2, 3))
    candidate.tick()
    from kvstore.paxos.messages import SuspectReply

    effects = candidate.say(2, SuspectReply(1, False, ZERO_BALLOT, slot(0)))
    assert effects.write == Write(WriteId(1), (PromiseRecord(ballot(1, 1)),))
    assert effects.messages == ()
    assert candidate.sync().messages == to_all(candidate.others, Prepare(ballot(1, 1), slot(0)))


# §3 Implementing a state machine


def test_3_the_new_leader_of_the_example() -> None:
    """The example of §3, its instances 1–134, 138 and 139 known: slot numbers as in the paper.

    Phase 1 for 135–137 and all instances above 139 reveals proposals in 135 and 140 only. The leader completes 135 and
    140, fills 136 and 137 with no-ops, and proposes the client's next command in 141.
    """
    known = {138: AcceptedValue(ballot(1, 2), app("138"), learned=True)}
    known[139] = AcceptedValue(ballot(1, 2), app("139"), learned=True)
    leader = Bench(1, promised=ballot(1, 2), accepted=known, decided_end=135)
    at = leader.stand()
    found = tuple(AcceptedEntry(slot(s), ballot(1, 2), app(str(s))) for s in (135, 140))
    effects = leader.say(2, Promise(at, slot(135), found, None, slot(135), slot(0)))
    accepts = {e.message.slot: e.message.value for e in effects.messages if isinstance(e.message, Accept)}
    assert accepts[slot(135)] == app("135")
    assert accepts[slot(136)] == accepts[slot(137)] == Noop()
    assert accepts[slot(138)] == app("138")
    assert accepts[slot(139)] == app("139")
    assert accepts[slot(140)] == app("140")
    assert len(accepts) == 6
    effects = leader.propose("next")
    assert {e.message.slot for e in effects.messages if isinstance(e.message, Accept)} == {141}


def test_3_one_phase_1_serves_all_slots() -> None:
    """A leader executes phase 1 once for infinitely many instances; a command then costs phase 2 only."""
    world = World((1, 2, 3))
    world.keep_history = True
    world.elect(1)
    for number in range(30):
        world.propose(1, b"%d" % number)
        world.flush()
    sent = [e.message for n in world.nodes.values() for h in n.history for e in h.messages]
    assert sum(isinstance(m, Prepare) for m in sent) == 2
    assert sum(isinstance(m, Promise) for m in sent) == 2
    assert sum(isinstance(m, Accept) for m in sent) == 60


def test_3_an_acceptor_answers_one_short_message_for_the_slots_it_knows_nothing_of() -> None:
    """Only slots with a proposal are reported, however far apart."""
    accepted = {0: AcceptedValue(ballot(1, 1), app("a")), 900: AcceptedValue(ballot(1, 1), app("b"))}
    acceptor = Bench(2, promised=ballot(1, 1), accepted=accepted)
    acceptor.say(3, Prepare(ballot(2, 3), slot(0)))
    (promise,) = [e.message for e in acceptor.sync().messages]
    assert isinstance(promise, Promise)
    assert [entry.slot for entry in promise.accepted] == [0, 900]


def test_3_commands_may_be_proposed_before_the_earlier_ones_are_known_to_be_chosen() -> None:
    """Up to α ahead; a gap may arise, and is executed over only once it is filled (L6)."""
    leader = Bench(1)
    at = leader.lead()
    for text in "abc":
        leader.propose(text)
    assert leader.accepted_by(2, at, 1, 3).decided == ()
    assert leader.accepted_by(3, at, 1, 3).decided == (), "1 and 2 are chosen, 0 is not"
    leader.accepted_by(2, at, 0)
    decided = leader.accepted_by(3, at, 0).decided
    assert [d.value for d in decided] == [app("a"), app("b"), app("c")]
    assert [type(d) for d in decided] == [DecidedValue] * 3


def test_3_a_configuration_chosen_in_slot_i_governs_from_i_plus_alpha() -> None:
    """The servers that execute instance i + α are determined by the state after instance i."""
    world = World((1, 2, 3), spare=(4,), alpha=4, inflight_slots_max=2)
    world.elect(1)
    from .bench import config_of

    world.propose_configuration(1, config_of(1, 2, 4, epoch=2))
    world.run(0.3)
    for number in range(6):
        world.propose(1, b"%d" % number)
        world.run(0.1)
    voters_of = {s: world.configuration_at(slot(s)).voters for s in range(7)}
    assert all(voters_of[s] == (1, 2, 3) for s in range(4))
    assert all(voters_of[s] == (1, 2, 4) for s in range(4, 7))
    assert world.log(4) == world.log(1)
    assert world.nodes[node(3)].applied_end < world.decided_end, "3 is out"
