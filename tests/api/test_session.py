"""The session stream: batches in, batches out, each request answered once, within its limits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from kvproto.command_pb2 import Entry, OpenSession
from kvproto.session_pb2 import ClientBatch, Read, ServerBatch, WriteAnswer

from kvstore.api import ApiError, Context
from kvstore.api.session import REQUESTS_MAX, Sessions
from kvstore.mvcc.errors import Code
from tests.api.fake_replica import FakeReplica
from tests.mvcc.helpers import delete, get, put, txn

WAIT_S = 20.0


class Conversation:
    """The client's end of one stream."""

    def __init__(self, stream: Callable[..., AsyncIterator[ServerBatch]], *, session: int = 0) -> None:
        self._in: asyncio.Queue[ClientBatch | None] = asyncio.Queue()
        first = ClientBatch()
        first.open.session = session
        self._in.put_nowait(first)
        self._out = stream(self._incoming(), Context())
        self.session = 0

    async def opened(self) -> ServerBatch:
        batch = await self.next()
        self.session = batch.opened.session
        return batch

    def send(self, *entries: Entry, reads: tuple[Read, ...] = (), unanswered_from: int = 0) -> None:
        self._in.put_nowait(ClientBatch(entries=entries, reads=reads, unanswered_from=unanswered_from))

    def write(self, sequence: int, **command) -> Entry:
        return Entry(session=self.session, sequence=sequence, **command)

    def close(self) -> None:
        self._in.put_nowait(None)

    async def next(self) -> ServerBatch:
        async with asyncio.timeout(WAIT_S):
            return await anext(self._out)

    async def next_write_answer(self) -> WriteAnswer:
        while not (batch := await self.next()).writes:
            pass
        (answer,) = batch.writes
        return answer

    async def ends(self) -> bool:
        async with asyncio.timeout(WAIT_S):
            return await anext(self._out, None) is None

    async def end(self) -> None:
        await self._out.aclose()

    async def _incoming(self) -> AsyncIterator[ClientBatch]:
        while (batch := await self._in.get()) is not None:
            yield batch


@asynccontextmanager
async def conversation(replica: FakeReplica, *, session: int = 0) -> AsyncIterator[Conversation]:
    talk = Conversation(Sessions(replica).stream, session=session)
    try:
        yield talk
    finally:
        await talk.end()


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), WAIT_S))


def test_a_stream_opens_a_session_in_the_log_and_says_its_limits_and_who_leads():
    async def story() -> None:
        replica = FakeReplica()
        async with conversation(replica) as talk:
            opened = await talk.opened()
            assert replica.store.has_session(opened.opened.session)
            assert (opened.opened.requests_max, opened.leader.is_this_node) == (REQUESTS_MAX, True)
            assert list(opened.leader.client_urls) == replica.leader_urls
            assert (opened.header.cluster_id, opened.header.member_id, opened.header.raft_term) == (0xC1, 1, 7)

    run(story)


def test_the_puts_of_a_batch_are_answered_in_two_columns():
    async def story() -> None:
        async with conversation(FakeReplica()) as talk:
            await talk.opened()
            talk.send(*(talk.write(n, put=put(b"k%d" % n)) for n in (1, 2, 3)))
            answers = await talk.next()
            assert (list(answers.put_sequences), list(answers.put_revisions)) == ([1, 2, 3], [2, 3, 4])
            assert not answers.writes
            assert answers.header.revision == 4

    run(story)


def test_other_writes_are_answered_whole():
    async def story() -> None:
        async with conversation(FakeReplica()) as talk:
            await talk.opened()
            talk.send(
                talk.write(1, put=put(b"a", b"1", prev_kv=True)),
                talk.write(2, put=put(b"a", b"2", prev_kv=True)),
                talk.write(3, txn=txn(success=[put(b"b"), get(b"a")])),
                talk.write(4, delete_range=delete(b"a", b"\0")),
            )
            answers = await talk.next()
            assert list(answers.put_sequences) == [1]
            second, third, fourth = answers.writes
            assert (second.sequence, second.put.prev_kv.value) == (2, b"1")
            assert (third.sequence, third.txn.responses[1].response_range.kvs[0].value) == (3, b"2")
            assert (fourth.sequence, fourth.delete_range.deleted) == (4, 2)

    run(story)


def test_a_request_sent_again_is_answered_again_and_applied_once():
    """Also on another stream that goes on with the session (L12)."""

    async def story() -> None:
        replica = FakeReplica()
        async with conversation(replica) as talk:
            session = (await talk.opened()).opened.session
            talk.send(talk.write(1, put=put(b"a")))
            first = await talk.next()
        async with conversation(replica, session=session) as talk:
            assert (await talk.opened()).opened.session == session
            talk.send(talk.write(1, put=put(b"a")), talk.write(2, put=put(b"a")))
            again = await talk.next()
        assert list(first.put_revisions) == [2]
        assert list(again.put_revisions) == [2, 3]

    run(story)


def test_what_could_not_succeed_is_refused_at_once_and_costs_no_slot():
    async def story() -> None:
        replica = FakeReplica()
        async with conversation(replica) as talk:
            await talk.opened()
            talk.send(talk.write(1, put=put(b"")), talk.write(2, put=put(b"a")))
            answers = await talk.next()
            if not answers.put_sequences:
                answers.MergeFrom(await talk.next())
            (refused,) = answers.writes
            assert (refused.sequence, refused.refusal.code) == (1, 3)
            assert refused.refusal.text == "etcdserver: key is not provided"
            assert list(answers.put_sequences) == [2]
            assert [entry.sequence for entry in replica.proposed] == [2]

    run(story)


def test_an_expired_session_says_so():
    async def story() -> None:
        async with conversation(FakeReplica(), session=77) as talk:
            await talk.opened()
            talk.send(talk.write(1, put=put(b"a")))
            (answer,) = (await talk.next()).writes
            assert (answer.sequence, answer.refusal.session_expired, answer.refusal.code) == (1, True, 9)

    run(story)


def test_the_reads_of_a_batch_share_one_confirmation():
    async def story() -> None:
        replica = FakeReplica()
        async with conversation(replica) as talk:
            await talk.opened()
            talk.send(talk.write(1, put=put(b"a", b"1")))
            await talk.next()
            before = replica.confirmations
            reads = tuple(Read(number=n, range=get(b"a")) for n in range(1, 51))
            talk.send(reads=(*reads, Read(number=51, txn=txn(success=[get(b"a")]))))
            answers = await talk.next()
            assert replica.confirmations == before + 1
            assert [answer.number for answer in answers.reads] == list(range(1, 52))
            assert {answer.range.kvs[0].value for answer in answers.reads[:50]} == {b"1"}
            assert answers.reads[50].txn.responses[0].response_range.kvs[0].value == b"1"

    run(story)


def test_serializable_reads_wait_for_nobody():
    async def story() -> None:
        replica = FakeReplica()
        async with conversation(replica) as talk:
            await talk.opened()
            replica.go.clear()
            talk.send(reads=(Read(number=1, range=get(b"a")), Read(number=2, range=get(b"a", serializable=True))))
            (answer,) = (await talk.next()).reads
            assert answer.number == 2
            replica.go.set()
            (answer,) = (await talk.next()).reads
            assert answer.number == 1

    run(story)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (Read(number=1, range=get(b"a", revision=99)), "required revision is a future revision"),
        (Read(number=1, txn=txn(success=[put(b"a")])), "a read must not write"),
        (Read(number=1), "an empty read"),
    ],
    ids=lambda value: str(value).replace("\n", " ")[:40],
)
def test_a_read_that_cannot_be_answered_is_refused(read, text):
    async def story() -> None:
        async with conversation(FakeReplica()) as talk:
            await talk.opened()
            talk.send(reads=(read,))
            (answer,) = (await talk.next()).reads
            assert text in answer.refusal.text

    run(story)


def test_a_changed_leader_is_told_at_once():
    async def story() -> None:
        replica = FakeReplica()
        async with conversation(replica) as talk:
            await talk.opened()
            replica.leader_urls = ["http://127.0.0.1:2389"]
            replica.tell_leadership()
            assert list((await talk.next()).leader.client_urls) == ["http://127.0.0.1:2389"]
        assert not replica.sinks

    run(story)


def test_a_write_that_nobody_leads_is_handed_back_as_not_done():
    async def story() -> None:
        replica = FakeReplica()
        async with conversation(replica) as talk:
            await talk.opened()
            replica.go.clear()
            replica.leads = False
            talk.send(talk.write(1, put=put(b"a")))
            await replica.someone_waits.wait()
            replica.tell_leadership()
            answer = await talk.next_write_answer()
            assert (answer.sequence, answer.refusal.code, answer.refusal.text) == (1, 14, "etcdserver: no leader")
            assert not answer.refusal.unknown
            assert replica.forgotten == [(1, 1)]

    run(story)


def test_where_nobody_has_led_for_long_a_new_stream_hands_back_at_once():
    """However new the stream is: the node knows, and no copy is left waiting at the client's deadline."""

    async def story() -> None:
        replica = FakeReplica()
        sessions = Sessions(replica)
        first = Conversation(sessions.stream)
        session = (await first.opened()).opened.session
        replica.leads = False
        replica.tell_leadership()
        await sessions.vacancy.wait()
        await first.end()

        second = Conversation(sessions.stream, session=session)
        await second.opened()
        second.send(second.write(1, put=put(b"a")), reads=(Read(number=1, range=get(b"a")),))
        answer = await second.next_write_answer()
        assert answer.refusal.text == "etcdserver: no leader"
        assert not replica.proposed

        replica.leads = True
        replica.tell_leadership()
        second.send(second.write(1, put=put(b"a")))
        while not (batch := await second.next()).put_sequences:
            pass
        assert list(batch.put_sequences) == [1]
        await second.end()

    run(story)


def test_without_a_leader_no_session_is_opened_and_the_client_hears_so():
    async def story() -> None:
        replica = FakeReplica()
        replica.go.clear()
        replica.leads = False
        async with conversation(replica) as talk:
            with pytest.raises(ApiError, match="etcdserver: no leader"):
                await talk.opened()

    run(story)


def test_a_client_that_closes_its_side_still_gets_its_answers():
    async def story() -> None:
        replica = FakeReplica()
        async with conversation(replica) as talk:
            await talk.opened()
            replica.go.clear()
            talk.send(talk.write(1, put=put(b"a")))
            talk.close()
            await replica.someone_waits.wait()
            replica.go.set()
            assert list((await talk.next()).put_sequences) == [1]
            assert await talk.ends()

    run(story)


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (ClientBatch(), Code.INVALID_ARGUMENT),
        (ClientBatch(entries=[Entry(session=1, sequence=1, put=put(b"a"))]), Code.INVALID_ARGUMENT),
    ],
)
def test_a_stream_that_does_not_begin_with_open_ends(batch, code):
    async def story() -> None:
        async def batches() -> AsyncIterator[ClientBatch]:
            yield batch

        with pytest.raises(ApiError) as caught:
            await anext(Sessions(FakeReplica()).stream(batches(), Context()))
        assert caught.value.code is code

    run(story)


@pytest.mark.parametrize(
    "entry",
    [
        Entry(session=99, sequence=1, put=put(b"a")),
        Entry(session=1, put=put(b"a")),
        Entry(session=1, sequence=1, open_session=OpenSession()),
        Entry(session=1, sequence=1),
    ],
    ids=["another session", "no sequence", "not a client's command", "no command"],
)
def test_a_client_that_breaks_the_protocol_ends_its_own_stream(entry):
    async def story() -> None:
        async with conversation(FakeReplica()) as talk:
            assert (await talk.opened()).opened.session == 1
            talk.send(entry)
            with pytest.raises(ApiError) as caught:
                await talk.next()
            assert caught.value.code is Code.INVALID_ARGUMENT

    run(story)


@pytest.mark.parametrize("excess", [0, 1])
def test_more_unanswered_requests_than_allowed_end_the_stream(excess):
    """At the limit all is well; one more is refused, and nothing of that batch is proposed."""

    async def story() -> None:
        replica = FakeReplica()
        async with conversation(replica) as talk:
            await talk.opened()
            replica.go.clear()
            talk.send(*(talk.write(n, put=put(b"a")) for n in range(1, REQUESTS_MAX + 1 + excess)))
            if excess:
                with pytest.raises(ApiError) as caught:
                    await talk.next()
                assert caught.value.code is Code.RESOURCE_EXHAUSTED
                assert not replica.proposed
            else:
                await replica.someone_waits.wait()
                replica.go.set()
                assert len((await talk.next()).put_sequences) == REQUESTS_MAX

    run(story)
