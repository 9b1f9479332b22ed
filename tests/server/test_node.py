"""The node loop: who waits is answered, in time or with the truth, and a wrong replica stops."""

import asyncio

import pytest
from kvproto.command_pb2 import Entry, PublishMember
from kvproto.etcd.rpc_pb2 import PutRequest, PutResponse, RangeRequest

from kvstore.mvcc import Refusal
from kvstore.paxos.effects import Role
from kvstore.paxos.messages import Message
from kvstore.paxos.types import NodeId
from kvstore.replica.messages import Forward, ReadIndexReply, ReplicaMessage
from kvstore.replica.steps import Undone
from kvstore.server.assembly import publish
from kvstore.server.node import WriteUndone
from kvstore.storage.errors import DiskFull
from tests.server.trio import trio
from tests.waiting import until

ME = PublishMember(node_id=1, name="node1", client_urls=["http://a:1"], peer_urls=["http://a:2"])


def put(key: bytes, value: bytes = b"value") -> Entry:
    return Entry(put=PutRequest(key=key, value=value))


def test_a_write_through_any_node_is_applied_there_before_it_is_answered() -> None:
    async def story() -> None:
        async with trio() as cluster:
            for node_id, node in cluster.nodes.items():
                key = f"through {node_id}".encode()
                result = await node.write(put(key))
                assert isinstance(result, PutResponse)
                found = cluster.stores[node_id].range(RangeRequest(key=key))
                assert found.kvs[0].mod_revision == result.header.revision
            await until(lambda: len({store.state_hash for store in cluster.stores.values()}) == 1)

    asyncio.run(story())


def test_an_answered_write_is_on_a_majority_of_the_disks() -> None:
    """L2: the answer comes after the commits."""

    async def story() -> None:
        async with trio() as cluster:
            await cluster.nodes[NodeId(1)].write(put(b"a needle"))
            holding = [disk for disk in cluster.disks.values() if "a needle" in repr(disk.newest)]
            assert len(holding) >= 2

    asyncio.run(story())


def test_a_linearizable_read_through_any_node_sees_what_was_acknowledged_before() -> None:
    async def story() -> None:
        async with trio() as cluster:
            for number in range(5):
                for writer in cluster.nodes.values():
                    value = f"{number}".encode()
                    await writer.write(put(b"key", value))
                    for node_id, reader in cluster.nodes.items():
                        await reader.linearizable()
                        assert cluster.stores[node_id].range(RangeRequest(key=b"key")).kvs[0].value == value

    asyncio.run(story())


def test_what_the_state_machine_refuses_is_answered_as_well() -> None:
    async def story() -> None:
        async with trio() as cluster:
            result = await cluster.nodes[NodeId(2)].write(Entry(put=PutRequest(key=b"key", ignore_value=True)))
            assert isinstance(result, Refusal)
            assert result.text == "etcdserver: key not found"

    asyncio.run(story())


def test_a_write_that_nobody_took_is_certainly_not_done() -> None:
    """Without a leader it waits here; whoever gives up is told that it never left."""

    async def story() -> None:
        async with trio(links_up=False) as cluster:
            cluster.cut = True
            with pytest.raises(WriteUndone) as undone:
                async with asyncio.timeout(0.1):
                    await cluster.nodes[NodeId(1)].write(put(b"key"))
            assert undone.value.why is Undone.NOT_PROPOSED
            assert not cluster.nodes[NodeId(1)].busy

    asyncio.run(story())


def test_whoever_gives_up_on_a_write_that_was_sent_learns_nothing_about_it() -> None:
    async def story() -> None:
        async with trio() as cluster:
            await until(lambda: cluster.leader is not None)
            follower = cluster.followers[0]
            await cluster.nodes[follower].write(put(b"before"))

            def cut_after_forward(_from: NodeId, _to: NodeId, message: Message | ReplicaMessage) -> None:
                cluster.cut = cluster.cut or isinstance(message, Forward)

            cluster.on_message = cut_after_forward
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await cluster.nodes[follower].write(put(b"key"))
            assert not cluster.nodes[follower].busy

    asyncio.run(story())


def test_leadership_can_be_handed_over() -> None:
    async def story() -> None:
        async with trio() as cluster:
            await until(lambda: cluster.leader is not None)
            leader = cluster.leader
            assert leader is not None
            await cluster.nodes[leader].write(put(b"before"))

            await cluster.nodes[leader].hand_over()

            assert not cluster.nodes[leader].leads
            await until(lambda: cluster.leader not in {None, leader})
            assert isinstance(await cluster.nodes[leader].write(put(b"after")), PutResponse)

    asyncio.run(story())


@pytest.mark.parametrize("size", [1, 3])
def test_who_cannot_hand_over_does_not_wait(size: int) -> None:
    """A follower has nothing to hand over, a single node nobody to hand over to."""

    async def story() -> None:
        async with trio(size=size) as cluster:
            await until(lambda: cluster.leader is not None)
            one = NodeId(1) if size == 1 else cluster.followers[0]
            async with asyncio.timeout(30):
                await cluster.nodes[one].hand_over()

    asyncio.run(story())


def test_changes_of_leadership_are_told() -> None:
    async def story() -> None:
        async with trio() as cluster:
            told: dict[NodeId, list[NodeId | None]] = {node_id: [] for node_id in cluster.nodes}
            for node_id, node in cluster.nodes.items():
                node.watch_leadership(lambda change, seen=told[node_id]: seen.append(change.leader))  # type: ignore[misc]
            await until(lambda: all(seen and seen[-1] is not None for seen in told.values()))
            assert {seen[-1] for seen in told.values()} == {cluster.leader}

            cluster.cut = True

            await until(lambda: all(seen[-1] is None for seen in told.values()))
            assert not any(node.status().role is Role.LEADER for node in cluster.nodes.values())

    asyncio.run(story())


def test_a_disk_that_fails_ends_the_loop() -> None:
    """Whoever runs it ends the process: what this node would say may not be durable."""

    async def story() -> None:
        async with trio(size=1) as cluster:
            (node,) = cluster.nodes.values()
            await node.write(put(b"before"))
            cluster.disks[NodeId(1)].full = True
            writing = asyncio.ensure_future(node.write(put(b"key")))

            await asyncio.wait([cluster.running[NodeId(1)]], timeout=30)

            assert isinstance(cluster.running[NodeId(1)].exception(), DiskFull)
            assert not writing.done(), "an answer would be a lie"
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    asyncio.run(story())


def test_a_member_is_published_once() -> None:
    async def story() -> None:
        async with trio() as cluster:
            store = cluster.stores[NodeId(1)]
            await publish(ME, cluster.nodes[NodeId(1)], store)
            assert list(store.members()) == [ME]
            applied_end = store.applied_end

            await publish(ME, cluster.nodes[NodeId(1)], store)

            assert store.applied_end == applied_end, "what is there already costs no slot"

    asyncio.run(story())


def test_publishing_can_be_stopped_while_nobody_leads() -> None:
    """The write says "not proposed" in place of the cancellation; that must not be taken for a reason to try again."""

    async def story() -> None:
        async with trio() as cluster:
            await until(lambda: cluster.leader is not None)
            leader, follower = cluster.leader, cluster.followers[0]
            assert leader is not None

            def cut_after_the_read(_from: NodeId, to: NodeId, message: Message | ReplicaMessage) -> None:
                if to == follower and isinstance(message, ReadIndexReply) and message.confirmed:
                    cluster.cut = True
                    cluster.nodes[follower].link_lost(leader)

            cluster.on_message = cut_after_the_read
            publishing = asyncio.ensure_future(publish(ME, cluster.nodes[follower], cluster.stores[follower]))
            await until(lambda: cluster.cut and bool(cluster.nodes[follower]._writes))

            publishing.cancel()

            done, _ = await asyncio.wait([publishing], timeout=30)
            assert done, "it goes on for ever"
            (ended,) = await asyncio.gather(publishing, return_exceptions=True)
            assert isinstance(ended, WriteUndone)
            assert not cluster.nodes[follower].busy

    asyncio.run(story())
