"""One call's life, on a clock of the test's own: whom it asks, when, and for how long."""

from random import Random

import pytest
from kvclient import Code, DeadlineExceeded, InvalidArgument, NoLeader, ServerFailed, Unavailable, UnknownOutcome, calls
from kvclient.attempts import PAUSE_FIRST_S, PAUSE_MAX_S, TIMEOUT_MAX_S, Attempt, Attempts, checked_timeout
from kvclient.decisions import Failure

READ = calls.get("a", revision=0, serializable=False)
WRITE = calls.put("a", "1")
ENDPOINTS = ("a:1", "b:2", "c:3")
NO_LEADER = "etcdserver: no leader"


def attempts(call, *, first=0, endpoints=ENDPOINTS, timeout_s=6.0, now=100.0):
    return Attempts(call, endpoints=endpoints, first=first, timeout_s=timeout_s, now=now, rng=Random(7))


def fail(call: Attempts, attempt: Attempt, *, now: float, code=Code.UNAVAILABLE, text="gone") -> Attempt:
    return call.failed(Failure(code, text, attempt.endpoint), now=now)


def test_the_first_attempt_is_at_once_and_where_it_was_good_last_time():
    assert attempts(WRITE).first() == Attempt("a:1", pause_s=0.0, timeout_s=6.0)
    assert attempts(WRITE, first=2).first().endpoint == "c:3"
    assert attempts(WRITE, first=3).first().endpoint == "a:1"


def test_a_read_shares_its_time_among_the_endpoints_not_tried():
    call = attempts(READ)
    first = call.first()
    assert first.timeout_s == 2.0
    second = fail(call, first, now=102.0, code=Code.DEADLINE_EXCEEDED)
    assert second.endpoint == "b:2"
    assert second.timeout_s == (4.0 - second.pause_s) / 2
    third = fail(call, second, now=104.0)
    assert (third.endpoint, third.timeout_s) == ("c:3", 2.0 - third.pause_s)
    fourth = fail(call, third, now=104.1)
    assert fourth.endpoint == "a:1"
    assert fourth.timeout_s == pytest.approx(1.9 - fourth.pause_s)


def test_a_write_gets_all_the_time_that_remains():
    """Cut short, it would be of unknown outcome."""
    call = attempts(WRITE)
    second = fail(call, call.first(), now=101.0, text=NO_LEADER)
    assert second == Attempt("b:2", pause_s=second.pause_s, timeout_s=5.0 - second.pause_s)


def test_pauses_double_up_to_a_limit_and_are_jittered():
    call = attempts(READ, timeout_s=1000.0)
    attempt, pauses = call.first(), []
    for _ in range(20):
        attempt = fail(call, attempt, now=100.0)
        pauses.append(attempt.pause_s)
    for number, pause_s in enumerate(pauses):
        longest = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2**number)
        assert longest / 2 <= pause_s <= longest
    assert len(set(pauses)) == 20


def test_the_error_is_raised_when_no_time_is_left_for_another_pause():
    for call, kind in ((attempts(READ), Unavailable), (attempts(WRITE), NoLeader)):
        first = call.first()
        with pytest.raises(kind):
            fail(call, first, now=105.995, text="gone" if kind is Unavailable else NO_LEADER)


def test_a_late_answer_of_the_clock_changes_nothing():
    call = attempts(READ)
    with pytest.raises(DeadlineExceeded):
        fail(call, call.first(), now=500.0, code=Code.DEADLINE_EXCEEDED)


def test_what_must_not_be_sent_again_ends_it():
    call = attempts(WRITE)
    with pytest.raises(UnknownOutcome):
        fail(call, call.first(), now=100.1)
    assert call.preferred == 1, "the next call begins at another endpoint"


def test_a_refusal_ends_it_and_the_endpoint_is_a_good_one():
    call = attempts(READ)
    with pytest.raises(InvalidArgument):
        fail(call, call.first(), now=100.1, code=Code.INVALID_ARGUMENT, text="etcdserver: key is not provided")
    assert call.preferred == 0


def test_a_servers_fault_is_tried_once_at_each_of_the_others():
    call = attempts(READ)
    second = fail(call, call.first(), now=100.1, code=Code.INTERNAL)
    third = fail(call, second, now=100.2, code=Code.INTERNAL)
    assert [second.endpoint, third.endpoint] == ["b:2", "c:3"]
    with pytest.raises(ServerFailed):
        fail(call, third, now=100.3, code=Code.INTERNAL)


def test_with_one_endpoint_a_fault_is_final_and_a_lost_connection_is_not():
    call = attempts(READ, endpoints=("a:1",))
    again = fail(call, call.first(), now=100.1)
    assert again.endpoint == "a:1"
    with pytest.raises(ServerFailed):
        fail(call, again, now=100.2, code=Code.DATA_LOSS)


def test_an_answer_that_cannot_be_read_is_a_failure_of_who_gave_it():
    for call, kind in ((attempts(READ, endpoints=("a:1",)), ServerFailed), (attempts(WRITE), UnknownOutcome)):
        attempt = call.first()
        result = call.result_in(b"\xff\xff")
        assert isinstance(result, Failure)
        assert (result.code, result.endpoint) == (Code.INTERNAL, "a:1")
        with pytest.raises(kind, match="unreadable answer"):
            call.failed(result, now=100.0 + attempt.pause_s)


def test_an_answer_is_the_result():
    assert attempts(READ).result_in(b"") is None
    assert attempts(WRITE).result_in(b"").revision == 0


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), TIMEOUT_MAX_S + 1])
def test_a_timeout_has_limits(timeout_s):
    with pytest.raises(ValueError, match="more than 0 seconds and at most"):
        checked_timeout(timeout_s)


def test_a_timeout_within_them_passes():
    assert (checked_timeout(0.001), checked_timeout(TIMEOUT_MAX_S)) == (0.001, TIMEOUT_MAX_S)
