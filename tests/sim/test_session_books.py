"""The books about sessions, and what the judge of the state machine concludes from them and from reads."""

from typing import Any

import pytest
from kvproto.command_pb2 import CommandBatch, Entry, ExpireSessions, OpenSession
from kvproto.etcd.rpc_pb2 import DeleteRangeResponse, PutRequest, PutResponse

from kvstore.mvcc.errors import AnswerForgotten, SessionExpired
from kvstore.mvcc.limits import Limits
from kvstore.mvcc.results import Refusal, Result, SessionOpened, SessionsExpired
from kvstore.paxos.types import Configuration, NodeId, ReadId, Slot
from kvstore.testing.checking.model import Put, Range
from kvstore.testing.sim.consensus_judge import ConsensusJudge
from kvstore.testing.sim.laws import Broken, Ledger
from kvstore.testing.sim.session_books import SessionBooks
from kvstore.testing.sim.state_file import StateFile
from kvstore.testing.sim.state_judge import StateJudge
from kvstore.testing.sim.world import World, WorldConfig

from .stories import ask, elect, started

N1, N2, N3 = NODES = (NodeId(1), NodeId(2), NodeId(3))
LIMITS = Limits(sessions_max=2, answers_per_session_max=2, answer_bytes_per_session_max=100)
OPEN = Entry(open_session=OpenSession())
ANSWER = PutResponse()
EXPIRED = Refusal.of(SessionExpired(1))
FORGOTTEN = Refusal.of(AnswerForgotten(session=1, sequence=1, floor=1))
HEAVY = DeleteRangeResponse()
HEAVY.prev_kvs.add(value=bytes(60))


def request(session: int, sequence: int, *, unanswered_from: int = 0) -> Entry:
    return Entry(session=session, sequence=sequence, unanswered_from=unanswered_from, put=PutRequest(key=b"k"))


@pytest.fixture
def books() -> SessionBooks:
    """With session 1."""
    books = SessionBooks(LIMITS)
    assert books.enter(0, OPEN, SessionOpened(1)) is None
    return books


@pytest.fixture
def judge() -> StateJudge:
    ledger = Ledger()
    first = Configuration(epoch=1, voters=NODES)
    consensus = ConsensusJudge(ledger, NODES, first, alpha=4, inflight_slots_max=2, ran_s=lambda _: 0.0)
    return StateJudge(ledger, NODES, consensus, LIMITS)


def test_a_request_is_carried_out_once_and_answered_again(books: SessionBooks) -> None:
    """Nothing is refused that is new or whose answer is owed; sequences may come out of order."""
    for sequence in (2, 1, 2, 1):
        assert books.enter(1, request(1, sequence), ANSWER) is None
    for refusal in (EXPIRED, FORGOTTEN):
        assert books.enter(1, request(1, 2), refusal)
        assert books.enter(1, request(1, 3), refusal)


def test_as_many_answers_are_owed_as_the_limit_says(books: SessionBooks) -> None:
    """Two here: the third request makes the first one's answer forgotten, neither sooner nor later."""
    for sequence in (1, 2):
        assert books.enter(1, request(1, sequence), ANSWER) is None
    assert books.enter(1, request(1, 1), FORGOTTEN)
    assert books.enter(1, request(1, 3), ANSWER) is None
    assert books.enter(1, request(1, 1), FORGOTTEN) is None
    assert books.enter(1, request(1, 1), ANSWER)


def test_what_the_client_has_is_owed_no_more(books: SessionBooks) -> None:
    assert books.enter(1, request(1, 1), ANSWER) is None
    assert books.enter(1, request(1, 2, unanswered_from=2), ANSWER) is None
    assert books.enter(1, request(1, 1), FORGOTTEN) is None
    assert books.owes(1, 1), "who waits for it must not have said that"


def test_heavy_answers_are_forgotten_from_the_lowest_on(books: SessionBooks) -> None:
    """The newest is kept whatever it weighs."""
    assert books.enter(1, request(1, 1), HEAVY) is None
    assert books.enter(1, request(1, 1), HEAVY) is None
    assert books.enter(1, request(1, 2), HEAVY) is None
    assert books.enter(1, request(1, 1), FORGOTTEN) is None
    assert books.enter(1, request(1, 2), HEAVY) is None
    assert not books.owes(1, 1)
    assert books.owes(1, 2)


def test_the_session_that_was_unused_for_longest_makes_room(books: SessionBooks) -> None:
    """Session 1 was used after session 2 was opened, so it stays."""
    assert books.enter(1, OPEN, SessionOpened(2)) is None
    assert books.enter(2, request(1, 1), ANSWER) is None
    assert books.enter(3, OPEN, SessionOpened(3)) is None
    assert books.enter(4, request(2, 1), EXPIRED) is None
    assert books.enter(4, request(1, 2), ANSWER) is None
    assert books.enter(4, request(2, 1), ANSWER), "a session that is gone has no requests"


def test_a_session_expires_exactly_if_it_was_unused(books: SessionBooks) -> None:
    assert books.enter(1, OPEN, SessionOpened(2)) is None
    expire = Entry(expire_sessions=ExpireSessions(unused_since_slot=1))
    assert books.enter(2, expire, SessionsExpired(1)) is None
    assert books.enter(3, request(1, 1), EXPIRED) is None
    assert books.enter(3, request(2, 1), ANSWER) is None
    assert books.enter(4, expire, SessionsExpired(1)), "there is none left that was unused since"


@pytest.mark.parametrize("result", [SessionOpened(1), EXPIRED])
def test_a_new_session_is_one_that_never_was(books: SessionBooks, result: Result) -> None:
    assert books.enter(1, OPEN, result)


def test_the_judge_holds_answers_against_the_books(judge: StateJudge) -> None:
    """L12: a replica that refuses what it must answer, in the first slot that shows it."""
    judge._judge_answers(N1, Slot(0), CommandBatch(entries=[OPEN, request(1, 1)]), [SessionOpened(1), ANSWER])
    with pytest.raises(Broken, match="L12: slot 1: request"):
        judge._judge_answers(N1, Slot(1), CommandBatch(entries=[request(1, 1)]), [FORGOTTEN])


def test_doubt_that_the_session_could_lift(judge: StateJudge) -> None:
    """L12: a client that waits is told what came of its write as long as the session knows."""
    judge._judge_answers(N1, Slot(0), CommandBatch(entries=[OPEN, request(1, 1)]), [SessionOpened(1), ANSWER])
    judge.leaves_in_doubt(N1, request(2, 1))
    with pytest.raises(Broken, match="L12"):
        judge.leaves_in_doubt(N1, request(1, 1))


def test_a_read_that_joins_a_confirmation_under_way(judge: StateJudge) -> None:
    """L7: somebody must be asked who leads after the read came."""
    judge.asks_to_confirm(N1, ReadId(1))
    judge.read_arrives(N2, 1)
    judge.read_arrives(N2, 2)
    judge.asks_to_confirm(N1, ReadId(2))
    judge.is_confirmed(N1, ReadId(1))
    with pytest.raises(Broken, match="L7"):
        judge.read_is_allowed(N2, 1, applied_end=0)
    judge.is_confirmed(N1, ReadId(2))
    judge.read_is_allowed(N2, 2, applied_end=0)


def test_a_state_that_keeps_too_much(judge: StateJudge) -> None:
    """L13: more sessions or answers than the limits allow, and answers of sessions that are gone."""
    world = World(1, WorldConfig())
    file = StateFile(world.rng("state file"), checkpoint_chance=0.0)
    file.look(Limits())
    assert not file.too_many(LIMITS)
    add_session = "INSERT INTO sessions (id, last_slot, highest_sequence, floor, puts) VALUES (?, 0, 3, 0, x'')"
    add_answer = "INSERT INTO answers (session, sequence, kind, number, weight, body) VALUES (?, ?, 'put', 1, 0, x'')"
    file.connection.executemany(add_session, [(1,), (2,)])
    file.connection.executemany(add_answer, [(1, 1), (1, 2), (2, 1)])
    assert not file.too_many(LIMITS)
    file.connection.execute(add_session, (3,))
    file.connection.executemany(add_answer, [(1, 3), (4, 1)])
    found = file.too_many(LIMITS)
    assert found == ["sessions: 3", "answers of one session: 3", "answers of no session: 1"]
    start: dict[str, Any] = {"applied_end": 0, "state_hash": b"", "power_lost": False, "beyond": []}
    with pytest.raises(Broken, match="L13"):
        judge.process_started(N1, **start, too_many=found)


def test_what_a_node_owes_its_clients() -> None:
    """Requests count from when the replica took them until they are settled, whether or not a client still waits."""
    world = started()
    leader = elect(world)
    for other in world.node_ids:
        if other != leader:
            world.crash(other)
    asked = [ask(world, leader, Put(b"k", b"1"), timeout_s=0.01), ask(world, leader, Range(b"k"), timeout_s=0.01)]
    assert world.run_until(lambda: all(one.replies for one in asked), within_s=1.0)
    assert world.processes[leader].owed
    for other in world.node_ids:
        if other != leader:
            world.restart(other)
    assert world.run_until(lambda: not world.processes[leader].owed, within_s=world.config.liveness_bound_s)
