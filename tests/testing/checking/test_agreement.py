"""The two checkers know nothing of each other and must say the same.

Agreement is demanded for every history of at most 25 operations, good or bad: both ask whether some order that keeps
real time explains all answers, revisions included. The linear checker may be undecided only where many unknown writes
can be placed in many ways, which does not happen at this length. Without revisions the search asks for less, so there
it only has to accept whatever the linear checker accepts.
"""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvstore.testing.checking import check, search
from tests.testing.checking.making import damage, make_history

SHAPES = st.fixed_dictionaries(
    {
        "operations": st.integers(1, 12),
        "clients": st.integers(1, 5),
        "keys": st.integers(1, 3),
        "values": st.sampled_from([None, 1, 2, 4]),
        "unknown": st.sampled_from([0.0, 0.2, 0.5]),
        "failed": st.sampled_from([0.0, 0.1]),
        "sessions": st.booleans(),
    }
)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), shape=SHAPES)
def test_both_accept_what_was_executed(seed, shape):
    """A history made by executing is accepted by both, with revisions and without, and with the log."""
    made = make_history(Random(seed), **shape)

    assert check(made.history).ok, check(made.history)
    assert check(made.history, made.logs).ok, check(made.history, made.logs)
    assert search(made.history) is not None
    assert search(made.history, revisions=False) is not None


@settings(max_examples=700, deadline=None)
@given(seed=st.integers(0, 2**32), shape=SHAPES, damages=st.integers(1, 3))
def test_both_say_the_same_of_a_damaged_history(seed, shape, damages):
    """Whatever was changed, the linear checker accepts if and only if the search finds an order; with the log, which
    fixes the order, it accepts nothing more."""
    rng = Random(seed)
    made = make_history(rng, **shape)
    history = made.history
    for _ in range(damages):
        history = damage(rng, history)

    verdict = check(history)

    assert verdict.undecided is None
    assert verdict.ok == (search(history) is not None), verdict
    if verdict.ok:
        assert search(history, revisions=False) is not None
    else:
        assert not check(history, made.logs).ok


def test_damage_is_mostly_found():
    """The property above would say nothing if nearly all damaged histories were good still."""
    rejected = 0
    for seed in range(200):
        rng = Random(seed)
        history = damage(rng, make_history(rng, 12, clients=3, keys=2).history)
        rejected += not check(history).ok

    assert 60 <= rejected <= 190


def test_the_search_refuses_what_is_too_long():
    """Beyond its limit it raises instead of running for ever."""
    made = make_history(Random(1), 40, unknown=0, failed=0)

    with pytest.raises(ValueError, match="too many to search, the limit is 25"):
        search(made.history)
