"""Whom a replica that is behind asks, and when: one question at a time, of somebody else when it did not help."""

from kvstore.paxos.catch_up import CatchUpState
from kvstore.paxos.types import NodeId

from .bench import node, slot

OTHERS = (node(2), node(3), node(4))


def behind(known_end: int = 10, source: int = 3) -> CatchUpState:
    state = CatchUpState(retry_s=0.5)
    state.hear(node(source), slot(known_end))
    return state


def ask(state: CatchUpState, now: float, *, decided_end: int = 0) -> NodeId | None:
    return state.ask(decided_end=slot(decided_end), others=OTHERS, now=now)


def test_it_asks_the_one_that_knows_more() -> None:
    assert ask(behind(source=3), 0.0) == 3


def test_it_asks_nobody_when_nothing_is_lacking() -> None:
    state = behind(known_end=10)
    assert ask(state, 0.0, decided_end=10) is None
    assert state.retry_at is None


def test_it_asks_nobody_when_there_is_nobody() -> None:
    assert behind().ask(decided_end=slot(0), others=(), now=0.0) is None


def test_one_question_at_a_time() -> None:
    state = behind()
    assert ask(state, 0.0) == 3
    assert ask(state, 0.4) is None
    assert state.retry_at == 0.5


def test_a_silent_source_is_passed_over() -> None:
    state = behind(source=3)
    assert [ask(state, now) for now in (0.0, 0.5, 1.0, 1.5)] == [3, 4, 2, 3]


def test_a_useful_answer_is_followed_by_the_next_question_at_once() -> None:
    state = behind()
    ask(state, 0.0)
    state.answered(useful=True, others=OTHERS)
    assert ask(state, 0.01, decided_end=5) == 3


def test_a_useless_answer_sends_it_elsewhere_at_once_but_not_in_circles() -> None:
    """Nodes that know nothing new must not answer each other as fast as the network goes."""
    state = behind(source=2)
    asked = [ask(state, 0.0)]
    for _ in range(5):
        state.answered(useful=False, others=OTHERS)
        asked.append(ask(state, 0.01))
    assert asked == [2, 3, 4, None, None, None]
    assert state.retry_at == 0.51
    assert ask(state, 0.51) == 2


def test_a_source_that_is_no_member_any_more_is_replaced() -> None:
    assert ask(behind(source=9), 0.0) == 2


def test_hearing_of_less_changes_nothing() -> None:
    state = behind(known_end=10, source=3)
    state.hear(node(4), slot(10))
    state.hear(node(4), slot(2))
    assert state.known_end == 10
    assert ask(state, 0.0) == 3


def test_probes_go_round() -> None:
    state = CatchUpState(retry_s=0.5)
    assert {state.probe(OTHERS) for _ in range(3)} == set(OTHERS)
    assert state.probe(()) is None
