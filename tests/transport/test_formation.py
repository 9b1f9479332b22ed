"""How a cluster comes into being: once, whole, and never twice."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.transport.formation import (
    Formation,
    Formed,
    cluster_id_of,
    normalize_peers,
)
from kvstore.transport.handshake import PROTOCOL_VERSION
from tests.transport.formations import address, birth, fresh, peers, reason
from tests.transport.messages import EXAMPLES


def exchange(asker: Formation, answerer: Formation) -> None:
    question = asker.ask()
    asker.hear(answerer.node_id, question, answerer.answer(question.request))


def talk(nodes: Iterable[Formation], rounds: int = 4) -> None:
    """Everybody asks everybody; whoever has decided has stored it at once."""
    nodes = list(nodes)
    for _ in range(rounds):
        for asker in nodes:
            for answerer in nodes:
                if asker is not answerer:
                    exchange(asker, answerer)
                if isinstance(asker.outcome, Formed):
                    asker.stored(asker.outcome)


def test_one_node_forms_alone() -> None:
    """A cluster of one has nobody to ask."""
    alone = fresh(1, peers(1))

    assert alone.outcome == Formed(cluster_id_of({NodeId(1): birth(1)}), {NodeId(1): birth(1)})
    assert alone.others == {}
    assert alone.waiting_for == ()


def test_three_nodes_form_once_all_have_said_the_same() -> None:
    """Knowing all births is not enough: each of the others must have said that it knows the same."""
    told = peers(1, 2, 3)
    one, two, three = (fresh(node_id, told) for node_id in told)

    exchange(one, two)
    exchange(one, three)
    assert one.waiting_for == (2, 3)

    exchange(two, one)
    exchange(two, three)
    exchange(one, two)
    assert one.waiting_for == (3,)
    assert one.outcome is None

    exchange(three, one)
    exchange(three, two)
    exchange(one, three)
    births = {node_id: birth(node_id) for node_id in told}
    assert one.outcome == Formed(cluster_id_of(births), births)
    assert one.waiting_for == ()


def test_an_answer_to_an_old_question_confirms_nothing() -> None:
    """A confirmation counts only if it was asked for after the set had become what it is."""
    told = peers(1, 2)
    one, two = fresh(1, told), fresh(2, told)
    exchange(two, one)
    early = one.ask()
    late_answer = two.answer(early.request)

    one.hear(NodeId(2), early, late_answer)
    assert one.outcome is None, "the question was asked before node 1 knew node 2"

    exchange(one, two)
    assert isinstance(one.outcome, Formed)


def test_a_confirmation_of_an_earlier_set_does_not_count_for_the_next() -> None:
    """Node 2 loses its disk after node 3 has formed with the old one: node 1 must not form with the new one."""
    told = peers(1, 2, 3)
    one, two, three = (fresh(node_id, told) for node_id in told)
    for _ in range(2):
        exchange(two, one)
        exchange(two, three)
        exchange(three, two)
        exchange(one, two)
        exchange(one, three)
        exchange(three, one)
    assert isinstance(three.outcome, Formed)
    one = fresh(1, told)
    exchange(one, two)
    exchange(one, three)
    exchange(one, three)
    assert one.waiting_for == (2,), "node 3 has confirmed the set with the old node 2"

    wiped = fresh(2, told, born="another disk")
    exchange(wiped, one)
    exchange(wiped, three)
    exchange(one, wiped)
    exchange(one, wiped)
    assert one.outcome is None
    assert one.waiting_for == (3,)

    three.stored(three.outcome)
    exchange(one, three)
    exchange(wiped, three)
    assert one.outcome == three.outcome
    assert "wiped or replaced" in reason(wiped)


def test_the_outcome_is_told_only_once_it_is_stored() -> None:
    """A node that may still crash and forget names no cluster."""
    told = peers(1, 2)
    one, two = fresh(1, told), fresh(2, told)
    for _ in range(2):
        exchange(two, one)
        exchange(one, two)
    assert isinstance(one.outcome, Formed)

    assert one.answer(two.ask().request).cluster_id == b""
    one.stored(one.outcome)
    assert one.answer(two.ask().request).cluster_id == one.outcome.cluster_id


def test_a_node_that_meets_a_formed_one_joins_its_set() -> None:
    """One answer of a formed node is enough for a node that is in the set, under its birth id."""
    told = peers(1, 2, 3)
    nodes = [fresh(node_id, told) for node_id in told]
    talk(nodes)
    again = fresh(3, told)

    exchange(again, nodes[0])

    assert again.outcome == nodes[0].outcome


def test_a_wiped_node_is_told_so_with_both_birth_ids() -> None:
    """It must not vote, it is told what to do, and the cluster that formed stays as it is (L11)."""
    told = peers(1, 2, 3)
    nodes = [fresh(node_id, told) for node_id in told]
    talk(nodes)
    before = nodes[0].outcome
    wiped = fresh(3, told, born="another disk")

    exchange(wiped, nodes[0])

    for part in ("wiped or replaced", birth(3).hex(), birth("another disk").hex(), "must not vote (L11)"):
        assert part in reason(wiped)
    exchange(nodes[0], wiped)
    assert nodes[0].outcome == before


def test_a_copied_data_directory_is_found_out() -> None:
    """Two numbers with one birth id are one disk, twice."""
    told = peers(1, 2, 3)
    one, two, copy = fresh(1, told), fresh(2, told), fresh(3, told, born=2)

    exchange(one, two)
    exchange(one, copy)

    assert reason(one) == (
        f"nodes 2 and 3 have one birth id, {birth(2).hex()}: a data directory was copied; give one of them an empty one"
    )
    exchange(copy, two)
    assert "nodes 3 and 2 have one birth id" in reason(copy)


def test_two_nodes_under_one_number_do_not_both_get_in() -> None:
    """The one that the others reach at the known address forms with them; the other is told that it is not it."""
    told = peers(1, 2, 3)
    nodes = [fresh(node_id, told) for node_id in told]
    impostor = fresh(1, told, born="impostor")
    for _ in range(3):
        exchange(impostor, nodes[1])
        exchange(impostor, nodes[2])
    assert impostor.outcome is None

    talk(nodes)
    exchange(impostor, nodes[1])

    assert all(isinstance(node.outcome, Formed) for node in nodes)
    assert birth("impostor").hex() in reason(impostor)
    assert "two nodes run under one id" in nodes[0].answer(impostor.ask().request).refusal


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (peers(1, 2), peers(1, 2, 3)),
        (peers(1, 2, 3), peers(1, 2)),
        (peers(1, 2), peers(1, 2) | {NodeId(1): "elsewhere:7000"}),
    ],
)
def test_nodes_that_were_told_different_peers_never_form(mine: dict[NodeId, str], theirs: dict[NodeId, str]) -> None:
    """Both lists are named, whichever side asks."""
    for asker, answerer in ((fresh(1, mine), fresh(2, theirs)), (fresh(2, theirs), fresh(1, mine))):
        exchange(asker, answerer)

        assert "--peers differ" in reason(asker)
        assert normalize_peers(mine) in reason(asker)
        assert normalize_peers(theirs) in reason(asker)
        assert answerer.outcome is None, "who is asked only answers"


def test_a_node_that_the_cluster_was_not_formed_with_is_not_let_in() -> None:
    """New members come through the log, not through ``--peers``."""
    told = peers(1, 2)
    nodes = [fresh(node_id, told) for node_id in told]
    talk(nodes)
    late = fresh(3, peers(1, 2, 3))

    exchange(late, nodes[0])

    assert "was formed by nodes 1, 2: node 3 is not one of them" in reason(late)


def test_an_address_that_leads_to_another_node_is_named() -> None:
    """Crossed addresses are a mistake in ``--peers``, and it says which."""
    told = peers(1, 2, 3)
    one, three = fresh(1, told), fresh(3, told)
    question = one.ask()

    one.hear(NodeId(2), question, three.answer(question.request))

    assert f"{address(2)} should be node 2, but is node 3: correct --peers" in reason(one)


def test_another_protocol_version_is_refused_with_both() -> None:
    """Nodes that speak differently do not form."""
    told = peers(1, 2)
    one, two = fresh(1, told), fresh(2, told)
    question = one.ask()
    question.request.protocol_version = PROTOCOL_VERSION + 1

    one.hear(NodeId(2), question, two.answer(question.request))

    assert reason(one) == (f"node 1 speaks protocol version {PROTOCOL_VERSION + 1}, node 2 {PROTOCOL_VERSION}")


def test_a_cluster_id_that_does_not_come_from_its_members_is_refused() -> None:
    """The id is a digest of the set; whoever names another one is not believed."""
    told = peers(1, 2)
    nodes = [fresh(node_id, told) for node_id in told]
    talk(nodes)
    again = fresh(1, told)
    question = again.ask()
    reply = nodes[1].answer(question.request)
    reply.cluster_id = b"\x07" * 8

    again.hear(NodeId(2), question, reply)

    assert "names cluster 0707070707070707, but its members make" in reason(again)


def test_a_birth_id_of_a_strange_length_is_not_believed() -> None:
    """Nothing is concluded from it; the next answer may be better."""
    told = peers(1, 2)
    one, two = fresh(1, told), fresh(2, told)
    question = one.ask()
    reply = two.answer(question.request)
    reply.birth_id = b"short"

    one.hear(NodeId(2), question, reply)

    assert one.outcome is None
    assert [known.node_id for known in one.ask().request.known] == [1]


def test_a_formed_node_hears_nothing_any_more() -> None:
    """What was decided stays, whatever comes in late."""
    told = peers(1, 2)
    one, two = fresh(1, told), fresh(2, told)
    talk([one, two])
    before = one.outcome
    question = one.ask()

    one.hear(NodeId(2), question, pb.HelloReply(node_id=2, refusal="go away"))
    one.hear(NodeId(2), question, fresh(2, told, born="another").answer(question.request))

    assert one.outcome == before


@EXAMPLES
@given(births=st.dictionaries(st.integers(1, 9).map(NodeId), st.binary(min_size=16, max_size=16), min_size=1))
def test_the_cluster_id_does_not_depend_on_the_order_of_the_set(births: dict[NodeId, bytes]) -> None:
    """All derive the same eight bytes from the same set, and never those that mean unknown."""
    backwards = dict(reversed(births.items()))

    assert cluster_id_of(backwards) == cluster_id_of(births)
    assert len(cluster_id_of(births)) == 8
    assert any(cluster_id_of(births))
    grown = births | {NodeId(10): b"x" * 16}
    assert cluster_id_of(grown) != cluster_id_of(births)
