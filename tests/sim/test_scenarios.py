"""Bugs that seeds found in the production code, each told as a story: seeds drift, stories stay."""

from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.testing.checking.model import Put

from .stories import ask, elect, started


def test_a_leader_with_a_small_cache_accepts_all_that_it_proposes() -> None:
    """A window wider than the cache: the leader took its own proposal for one too far ahead to keep, nobody sends a
    leader its own Accept again, and where its vote was needed nothing was ever decided any more."""
    world = started(nodes=2, cached_slots_max=1, inflight_slots_max=8, batch_entries_max=1)
    leader = elect(world)
    asked = [ask(world, leader, Put(b"k", b"%d" % number)) for number in range(8)]
    assert world.run_until(lambda: all(one.replies for one in asked), within_s=1.0)
    assert all(isinstance(one.reply, PutResponse) for one in asked)


def test_followers_with_a_small_cache_take_the_next_slot_at_once() -> None:
    """As small as the window: a follower took the next slot for one too far ahead, as the news that the last one is
    decided came with it, and every slot waited for its Accept to be sent again."""
    world = started(nodes=3, cached_slots_max=1, inflight_slots_max=1, batch_entries_max=1)
    leader = elect(world)
    asked = [ask(world, leader, Put(b"k", b"%d" % number)) for number in range(8)]
    assert world.run_until(lambda: all(one.replies for one in asked), within_s=0.25)
    assert all(isinstance(one.reply, PutResponse) for one in asked)
