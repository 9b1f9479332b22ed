"""The checkers' model and the store agree on every action, though they share nothing."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from kvproto.etcd.rpc_pb2 import Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest

from kvstore.testing.checking import CompareAndSwap, Delete, KeyValue, Model, Put, Range, Response
from tests.mvcc.helpers import new_store, run
from tests.testing.checking.making import make_action

TARGETS = {
    "value": Compare.VALUE,
    "version": Compare.VERSION,
    "create_revision": Compare.CREATE,
    "mod_revision": Compare.MOD,
}


def ask_store(store, action) -> Response:
    """What the store answers, in the checkers' words."""
    match action:
        case Put():
            answer = run(store, PutRequest(key=action.key, value=action.value, prev_kv=True))
            entries = [answer.prev_kv] if answer.HasField("prev_kv") else []
            return Response(answer.header.revision, converted(entries))
        case Range():
            answer = store.range(RangeRequest(key=action.key, range_end=action.range_end, limit=action.limit))
            return Response(answer.header.revision, converted(answer.kvs), answer.count)
        case Delete():
            answer = run(store, DeleteRangeRequest(key=action.key, range_end=action.range_end, prev_kv=True))
            return Response(answer.header.revision, converted(answer.prev_kvs), answer.deleted)
        case CompareAndSwap():
            before = store.range(RangeRequest(key=action.key))
            compare = Compare(key=action.key, target=TARGETS[action.compare], result=Compare.EQUAL)
            setattr(compare, action.compare, action.expected)
            if action.value is None:
                then = RequestOp(request_delete_range=DeleteRangeRequest(key=action.key))
            else:
                then = RequestOp(request_put=PutRequest(key=action.key, value=action.value))
            answer = run(store, TxnRequest(compare=[compare], success=[then]))
            return Response(answer.header.revision, converted(before.kvs), succeeded=answer.succeeded)


def converted(kvs) -> tuple[KeyValue, ...]:
    return tuple(KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version) for kv in kvs)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), keys=st.integers(1, 4))
def test_the_model_answers_as_the_store_does(seed, keys):
    """Revision, entries, counts and success, for every kind of action in any order."""
    rng, model, store = Random(seed), Model(), new_store()

    for number in range(60):
        action = make_action(rng, keys, b"v%d" % (number % 4), model.revision)
        assert model.apply(action).response == ask_store(store, action)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_undone_was_never_there(seed):
    """After any actions are taken back, in the reverse order, the state is the one before them."""
    rng, model = Random(seed), Model()
    for number in range(20):
        model.apply(make_action(rng, 3, b"v%d" % number, model.revision))
    before = (model.revision, model.snapshot(), model.select(b"k", b"\0"))

    done = [model.apply(make_action(rng, 3, b"w%d" % number, model.revision)) for number in range(20)]
    for applied in reversed(done):
        model.undo(applied)

    assert (model.revision, model.snapshot(), model.select(b"k", b"\0")) == before
