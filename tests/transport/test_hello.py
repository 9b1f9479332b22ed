"""Forming over real sockets: three processes' worth of nodes that find each other, or learn why they cannot."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Iterator
from random import Random

import grpc
import grpc.aio
import pytest
from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.transport.formation import Formation, FormationRefused, Formed, cluster_id_of
from kvstore.transport.hello import form
from kvstore.transport.listener import PeerListener
from kvstore.transport.wire import SERVICE
from tests.transport.peers import DEADLINE_S
from tests.waiting import until

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def birth(node_id: int) -> bytes:
    return bytes([node_id]) * 16


@contextlib.contextmanager
def free_addresses(*node_ids: NodeId) -> Iterator[dict[NodeId, str]]:
    """Addresses that nobody listens at yet."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in node_ids]
    told = {node_id: f"127.0.0.1:{held.getsockname()[1]}" for node_id, held in zip(node_ids, sockets, strict=True)}
    for held in sockets:
        held.close()
    yield told


@contextlib.asynccontextmanager
async def node(
    node_id: NodeId, told: dict[NodeId, str], *, address: str | None = None, born: int = 0, formed: Formed | None = None
) -> AsyncIterator[Formation]:
    """A node that answers hellos, and has not begun to ask."""
    formation = Formation(node_id=node_id, birth_id=birth(born or node_id), peers=told, formed=formed)
    listener = PeerListener(
        node_id=node_id,
        incarnation=1,
        address=address or told[node_id],
        verify=lambda _handshake: "not in this story",
        answer_hello=formation.answer,
        on_introduced=lambda _handshake: None,
        on_messages=lambda _sender, _messages: None,
        on_lost=lambda _node_id: None,
    )
    await listener.start()
    try:
        yield formation
    finally:
        await listener.close(0)


async def outcome(formation: Formation, *, stores: bool = True) -> Formed | FormationRefused:
    async with asyncio.timeout(DEADLINE_S):
        result = await form(formation, rng=Random(formation.node_id))
    if stores and isinstance(result, Formed):
        formation.stored(result)
    return result


async def refused(formation: Formation) -> str:
    result = await outcome(formation)
    assert isinstance(result, FormationRefused), result
    return result.reason


def test_three_nodes_form_whatever_the_order_in_which_they_come() -> None:
    """The first two wait for the third; then all have the same id and the same births."""

    async def story() -> None:
        with free_addresses(ONE, TWO, THREE) as told:
            async with node(ONE, told) as one, node(TWO, told) as two:
                first, second = (asyncio.create_task(outcome(each)) for each in (one, two))
                await until(lambda: [len(each.ask().request.known) for each in (one, two)] == [2, 2])
                assert not first.done()
                assert not second.done()
                async with node(THREE, told) as three:
                    births = {node_id: birth(node_id) for node_id in told}
                    expected = Formed(cluster_id_of(births), births)
                    assert await asyncio.gather(first, second, outcome(three)) == [expected] * 3

    asyncio.run(story())


def test_one_node_forms_without_a_socket() -> None:
    """Nobody to ask, nothing to wait for."""
    alone = Formation(node_id=ONE, birth_id=birth(1), peers={ONE: "127.0.0.1:1"})

    assert asyncio.run(outcome(alone)) == Formed(cluster_id_of({ONE: birth(1)}), {ONE: birth(1)})


def test_a_node_that_comes_back_before_it_stored_anything_joins_the_others() -> None:
    """Those that have formed answer for it, though they ask no more."""

    async def story() -> None:
        with free_addresses(ONE, TWO, THREE) as told:
            async with node(ONE, told) as one, node(TWO, told) as two:
                async with node(THREE, told) as three:
                    formed, *_ = await asyncio.gather(outcome(one), outcome(two), outcome(three, stores=False))
                async with node(THREE, told) as again:
                    assert await outcome(again) == formed

    asyncio.run(story())


def test_a_wiped_node_is_refused_by_those_that_formed() -> None:
    """It learns both birth ids and what to do (L11)."""

    async def story() -> None:
        with free_addresses(ONE, TWO) as told:
            births = {ONE: birth(1), TWO: birth(2)}
            formed = Formed(cluster_id_of(births), births)
            async with node(ONE, told, formed=formed), node(TWO, told, born=9) as wiped:
                reason = await refused(wiped)
                assert birth(2).hex() in reason
                assert birth(9).hex() in reason
                assert "must not vote (L11)" in reason

    asyncio.run(story())


def test_nodes_that_were_told_different_peers_both_say_so() -> None:
    """Whoever asks first, each ends with the two lists."""

    async def story() -> None:
        with free_addresses(ONE, TWO, THREE) as told:
            fewer = {ONE: told[ONE], TWO: told[TWO]}
            async with node(ONE, told) as one, node(TWO, fewer) as two:
                for reason in await asyncio.gather(refused(one), refused(two)):
                    assert "--peers differ" in reason
                    assert f"3={told[THREE]}" in reason

    asyncio.run(story())


def test_a_copied_directory_is_refused() -> None:
    """Two numbers, one birth id: at least one of the three notices before a cluster can form."""

    async def story() -> None:
        with free_addresses(ONE, TWO, THREE) as told:
            async with node(ONE, told) as one, node(TWO, told), node(THREE, told, born=2):
                assert re.match(r"nodes (2 and 3|3 and 2) have one birth id", await refused(one))

    asyncio.run(story())


def test_a_wrong_address_is_named() -> None:
    """Crossed addresses do not form; the reason names the address and both numbers."""

    async def story() -> None:
        with free_addresses(ONE, TWO, THREE) as told:
            async with node(ONE, told) as one, node(THREE, told, address=told[TWO]):
                assert f"{told[TWO]} should be node 2, but is node 3" in await refused(one)

    asyncio.run(story())


def test_what_is_no_node_is_asked_again_until_it_is_one(caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that are no answer, errors and silence conclude nothing."""
    answers = [b"\xff", None]

    async def story() -> None:
        with free_addresses(ONE, TWO) as told:
            two = Formation(node_id=TWO, birth_id=birth(2), peers=told)

            async def hello(raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
                if not answers:
                    return two.answer(pb.HelloRequest.FromString(raw)).SerializeToString()
                answer = answers.pop(0)
                if answer is None:
                    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method here")
                return answer

            server = grpc.aio.server()
            handlers = {"Hello": grpc.unary_unary_rpc_method_handler(hello)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
            server.add_insecure_port(told[TWO])
            await server.start()
            try:
                async with node(ONE, told) as one:
                    assert isinstance((await asyncio.gather(outcome(one), outcome(two)))[0], Formed)
            finally:
                await server.stop(0)

    asyncio.run(story())
    assert answers == []
    assert "what answers for node 2" in caplog.text


def test_forming_can_be_given_up() -> None:
    """A node that is stopped while it waits leaves no task behind."""

    async def story() -> None:
        with free_addresses(ONE, TWO) as told:
            async with node(ONE, told) as one:
                before = asyncio.all_tasks()
                asking = asyncio.create_task(form(one, rng=Random(1)))
                await until(lambda: len(asyncio.all_tasks()) >= len(before) + 3)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                assert one.outcome is None
                assert asyncio.all_tasks() <= before

    asyncio.run(story())
