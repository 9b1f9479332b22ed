"""Exactly once (L12), within bounds (L13)."""

import sqlite3
import struct

import pytest
from kvproto.command_pb2 import ExpireSessions, OpenSession

from kvstore.mvcc import Limits, Refusal, SessionOpened, SessionsExpired, Store
from kvstore.mvcc.errors import Code

from .helpers import batch, delete, dump, entry, get, new_store, put, run, turn, txn


def opened(store) -> int:
    answer = run(store, OpenSession())
    assert isinstance(answer, SessionOpened)
    return answer.session


@pytest.mark.parametrize("turns", ["one turn", "two turns", "a restart"])
@pytest.mark.parametrize(
    "command",
    [
        put(b"k", b"v"),
        put(b"a", b"v", prev_kv=True),
        delete(b"a"),
        delete(b"a", prev_kv=True),
        txn(success=[put(b"k"), get(b"\0", b"\0")]),
        put(b""),
        OpenSession(),
    ],
    ids=lambda command: str(command).replace("\n", " "),
)
def test_a_retry_gets_the_first_answer_and_is_not_applied_again(command, turns):
    """Whether the first answer still waits for its commit, was committed, or comes from the disk."""
    connection = sqlite3.connect(":memory:")
    store = Store(connection)
    run(store, put(b"a", b"old"))
    session = opened(store)
    asked = batch(entry(command, session=session, sequence=1))
    later = batch(entry(put(b"a", b"later")))
    if turns == "one turn":
        first, _, again = turn(store, asked, later, asked)
    else:
        first, _ = turn(store, asked, later)
        (again,) = turn(Store(connection) if turns == "a restart" else store, asked)
    assert again == first
    assert Store(connection).range(get(b"a")).kvs[0].value == b"later"


def test_the_kept_answer_is_not_what_the_caller_does_to_its_own():
    """The API fills in a header that is true on one node only."""
    store = new_store()
    session = opened(store)
    store.begin()
    asked = batch(entry(txn(success=[put(b"a")]), session=session, sequence=1))
    (first,) = store.apply(store.applied_end, asked)
    first.header.member_id = 42
    (second,) = store.apply(store.applied_end, asked)
    second.header.member_id = 43
    store.commit()
    (third,) = turn(store, asked)
    assert third.header.member_id == 0


def test_sessions_are_numbered_by_a_counter_that_never_repeats():
    store = new_store(Limits(sessions_max=1))
    assert [opened(store) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("session", [1, 2**63, 2**64 - 1])
def test_an_unknown_session_is_refused_its_fate_unknown(session):
    store = new_store()
    refusal = run(store, put(b"a"), session=session, sequence=1)
    assert refusal == Refusal(
        Code.FAILED_PRECONDITION,
        f"kvstore: session {session} is unknown or has expired; the fate of its requests is unknown",
        session_expired=True,
    )
    assert store.revision == 1


@pytest.mark.parametrize("sequence", [0, 2**63, 2**64 - 1])
def test_a_sequence_that_cannot_be_kept_is_refused(sequence):
    store = new_store()
    refusal = run(store, put(b"a"), session=opened(store), sequence=sequence)
    assert (refusal.code, store.revision) == (Code.INVALID_ARGUMENT, 1)


def test_sequences_may_come_out_of_order():
    """Requests of one client may travel through several nodes."""
    store = new_store()
    session = opened(store)
    for sequence in (3, 1, 2):
        assert run(store, put(b"%d" % sequence), session=session, sequence=sequence).header.revision == store.revision
    assert store.revision == 4
    assert run(store, put(b"1"), session=session, sequence=1).header.revision == 3


@pytest.mark.parametrize("grouping", ["one turn", "many turns"])
def test_only_the_newest_answers_are_kept(grouping):
    """Below the floor a request is refused, wherever turns ended; above it all is as before."""
    store = new_store(Limits(answers_per_session_max=3))
    session = opened(store)
    asked = [batch(entry(put(b"%d" % n), session=session, sequence=n)) for n in range(1, 6)]
    if grouping == "one turn":
        turn(store, *asked)
    else:
        for one in asked:
            turn(store, one)
    ((kept,),) = store._connection.execute("SELECT puts FROM sessions").fetchall()
    assert struct.unpack("<6Q", kept) == (3, 4, 4, 5, 5, 6)
    results = turn(store, *asked)
    assert [result.code for result in results[:2]] == [Code.FAILED_PRECONDITION] * 2
    assert "keeps no answers up to sequence 2" in results[0].text
    assert [result.header.revision for result in results[2:]] == [4, 5, 6]
    assert store.revision == 6


def test_large_answers_make_room_by_their_weight():
    """The answer to the highest sequence is kept, whatever its size."""
    store = new_store(Limits(answer_bytes_per_session_max=1000))
    session = opened(store)
    big = txn(success=[put(b"a", bytes(800)), get(b"a")])
    for sequence in (1, 2, 3):
        run(store, big, session=session, sequence=sequence)
    assert store._connection.execute("SELECT sequence FROM answers").fetchall() == [(3,)]
    assert isinstance(run(store, big, session=session, sequence=2), Refusal)
    assert run(store, big, session=session, sequence=3).header.revision == 4


@pytest.mark.parametrize("restart", [False, True])
def test_the_session_unused_for_longest_makes_room(restart):
    """Which one that is survives a restart; its answers go with it."""
    connection = sqlite3.connect(":memory:")
    limits = Limits(sessions_max=2)
    store = Store(connection, limits)
    first, second = opened(store), opened(store)
    run(store, delete(b"a"), session=second, sequence=1)
    run(store, delete(b"a"), session=first, sequence=1)
    run(store, put(b"a"), session=first, sequence=2)
    if restart:
        store = Store(connection, limits)
    third = opened(store)
    assert "unknown or has expired" in run(store, put(b"a"), session=second, sequence=1).text
    assert run(store, put(b"a"), session=first, sequence=2).header.revision == 2
    assert connection.execute("SELECT id FROM sessions ORDER BY id").fetchall() == [(first,), (third,)]
    assert connection.execute("SELECT DISTINCT session FROM answers").fetchall() == [(first,)]


def test_an_answer_that_the_client_has_is_not_kept():
    """It says so with its next request, and may not repeat what it says that it has."""
    store = new_store()
    session = opened(store)
    for sequence in (1, 2, 3):
        run(store, put(b"a"), session=session, sequence=sequence)
    fourth = entry(put(b"a"), session=session, sequence=4)
    fourth.unanswered_from = 3
    turn(store, batch(fourth))
    ((kept,),) = store._connection.execute("SELECT puts FROM sessions").fetchall()
    assert struct.unpack("<4Q", kept) == (3, 4, 4, 5)
    assert "keeps no answers up to sequence 2" in run(store, put(b"a"), session=session, sequence=2).text
    assert run(store, put(b"a"), session=session, sequence=3).header.revision == 4


def test_a_client_cannot_declare_answered_what_it_has_yet_to_ask():
    store = new_store()
    session = opened(store)
    bold = entry(put(b"a"), session=session, sequence=1)
    bold.unanswered_from = 100
    turn(store, batch(bold))
    assert run(store, put(b"a"), session=session, sequence=2).header.revision == 3
    assert run(store, put(b"a"), session=session, sequence=1).header.revision == 2


@pytest.mark.parametrize("restart", [False, True])
def test_sessions_that_were_unused_for_long_expire_together(restart):
    """The log says since when; what was used in that slot or later stays."""
    connection = sqlite3.connect(":memory:")
    store = Store(connection)
    sessions = [opened(store) for _ in range(4)]
    run(store, put(b"a"), session=sessions[1], sequence=1)
    bound = store.applied_end
    run(store, put(b"a"), session=sessions[2], sequence=1)
    if restart:
        store = Store(connection)
    assert run(store, ExpireSessions(unused_since_slot=bound)) == SessionsExpired(3)
    assert [store.has_session(session) for session in sessions] == [False, False, True, False]
    assert run(store, put(b"b"), session=sessions[1], sequence=2).code is Code.FAILED_PRECONDITION
    assert run(store, put(b"b"), session=sessions[2], sequence=2).header.revision == 4


def test_how_slots_are_grouped_into_turns_does_not_matter():
    """Floors, drops and answers are decided by slots alone."""
    limits = Limits(sessions_max=2, answers_per_session_max=2, answer_bytes_per_session_max=500)
    slots = [batch(entry(OpenSession()), entry(OpenSession()))]
    for number in range(1, 30):
        heavy = txn(success=[put(b"k", bytes(number * 20)), get(b"k")])
        slots.append(
            batch(
                entry(heavy, session=1 + number % 4, sequence=1 + number // 2),
                entry(put(b"k", b"v"), session=2, sequence=1 + (number * 7) % 11),
            )
        )
        if number % 9 == 0:
            slots.append(batch(entry(OpenSession())))
    one_by_one, at_once = new_store(limits), new_store(limits)
    answers = [result for slot in slots for result in turn(one_by_one, slot)]
    assert turn(at_once, *slots) == answers
    assert dump(at_once) == dump(one_by_one)
    assert at_once.state_hash == one_by_one.state_hash
