"""The pipelined stream: everything that is per call in the unary API is per batch here.

A stream speaks for one session. Its writes go to the replica as they come and are answered as they are applied, all
that a turn applied in one message; plain puts in two columns. Its reads share one confirmation per batch (L7).

**Flow control (L13).** The client may have ``REQUESTS_MAX`` requests and ``BYTES_MAX`` bytes of them unanswered; more
ends the stream. Where the replica itself has too much to do, the stream reads on when there is room again; meanwhile
HTTP/2 holds the client back. A client that reads no answers gets none made: those of its reads wait until it does.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import DeleteRangeResponse, PutResponse, RangeRequest, RangeResponse, TxnResponse
from kvproto.session_pb2 import ClientBatch, Read, ServerBatch
from kvproto.session_pb2 import Refusal as WireRefusal

from kvstore.api.context import Context
from kvstore.api.errors import ApiError, NoLeader, TimedOut
from kvstore.api.port import ReplicaPort
from kvstore.api.service import REQUEST_TIMEOUT_S, Service
from kvstore.api.vacancy import Vacancy
from kvstore.mvcc import Refusal, Result, txn_is_readonly
from kvstore.mvcc.errors import Code, Refused
from kvstore.mvcc.validate import check_delete_range, check_put, check_size, check_txn

__all__ = ["BYTES_MAX", "REQUESTS_MAX", "Sessions"]

REQUESTS_MAX: Final = 4096
BYTES_MAX: Final = 32 << 20
_ANSWER_BYTES_MAX: Final = 8 << 20
"""Answers to reads beyond this wait until the client has read what is there."""

_OPEN_S: Final = 1.0
_GRPC_NUMBERS: Final = {
    Code.INVALID_ARGUMENT: 3,
    Code.NOT_FOUND: 5,
    Code.RESOURCE_EXHAUSTED: 8,
    Code.FAILED_PRECONDITION: 9,
    Code.OUT_OF_RANGE: 11,
    Code.INTERNAL: 13,
    Code.UNAVAILABLE: 14,
}
assert set(_GRPC_NUMBERS) == set(Code), "every code has its number"


class Sessions(Service):
    """``kvstore.session.v1.Session``. Belongs to the event loop that it is made in."""

    def __init__(self, port: ReplicaPort, *, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        super().__init__(port, request_timeout_s=request_timeout_s)
        self.vacancy = Vacancy(port)

    async def stream(self, batches: AsyncIterator[ClientBatch], context: Context) -> AsyncIterator[ServerBatch]:
        """Raises ApiError where the client breaks the protocol, or no session can be opened in time."""
        self._admit(context)
        first = await anext(batches, None)
        if first is None:
            return
        if not first.HasField("open") or first.entries or first.reads:
            raise ApiError(Code.INVALID_ARGUMENT, "kvstore: a session stream begins with open, and nothing else")
        session = first.open.session or await self._opened(context)
        stream = _Stream(self._port, session, self)
        self._port.attach(session, stream.answered)
        stop_watching = self._port.watch_leadership(stream.leadership_changed)
        stop_telling = self.vacancy.tell(stream.hand_back)
        reading = asyncio.get_running_loop().create_task(stream.read(batches))
        reading.add_done_callback(lambda _: stream.wake())
        try:
            yield stream.opened()
            async for answers in stream.answers(reading):
                yield answers
        finally:
            reading.cancel()
            stop_watching()
            stop_telling()
            self._port.detach(session, stream.answered)
            await asyncio.gather(reading, *stream.confirming, return_exceptions=True)

    async def _opened(self, context: Context) -> int:
        """A new session. Where nobody leads the client hears of it soon, and may ask another node."""
        try:
            return await self._in_time(self._port.open_session(), Context(min(context.timeout_s, _OPEN_S)))
        except TimedOut:
            if self._port.status().leader is None:
                raise NoLeader from None
            raise

    async def confirm(self) -> None:
        """Raises ApiError."""
        await self._linearizable(Context())

    async def read(self, request: RangeRequest) -> RangeResponse:
        """Raises Refused."""
        return await self._read(request)


class _Stream:
    def __init__(self, port: ReplicaPort, session: int, service: Sessions) -> None:
        self._port = port
        self._session = session
        self._service = service
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._unanswered = 0
        self._unanswered_bytes = 0
        self._bytes: dict[int, int] = {}
        self._sequences: list[int] = []
        self._revisions: list[int] = []
        self._batch = ServerBatch()
        self._answer_bytes = 0
        self._leader_known = False
        self.confirming: set[asyncio.Task[None]] = set()

    # Out

    def opened(self) -> ServerBatch:
        batch = self._batch
        batch.opened.session = self._session
        batch.opened.requests_max = REQUESTS_MAX
        batch.opened.bytes_max = BYTES_MAX
        return self._take()

    async def answers(self, reading: "asyncio.Task[None]") -> AsyncIterator[ServerBatch]:
        """Until the client has closed its side and everything is answered. Raises what ``reading`` raised."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if reading.done():
                reading.result()
            batch = self._take()
            if batch.put_sequences or batch.writes or batch.reads or batch.HasField("leader"):
                yield batch
            if reading.done() and not self._unanswered:
                return

    def _take(self) -> ServerBatch:
        """What gathered since the last time. A leader whose address nobody knew is looked up again each time."""
        batch, self._batch = self._batch, ServerBatch()
        if not self._leader_known:
            batch.leader.CopyFrom(self._port.leader())
            self._leader_known = bool(batch.leader.client_urls)
        batch.put_sequences.extend(self._sequences)
        batch.put_revisions.extend(self._revisions)
        self._sequences.clear()
        self._revisions.clear()
        fields = self._port.header_fields()
        header = batch.header
        header.cluster_id, header.member_id, header.raft_term = fields
        header.revision = self._port.store.revision
        self._answer_bytes = 0
        self._drained.set()
        return batch

    def wake(self) -> None:
        self._wake.set()

    def leadership_changed(self) -> None:
        self._leader_known = False
        self._wake.set()

    def hand_back(self) -> None:
        """Nobody leads: what certainly was not proposed is the client's again."""
        self._refuse_all([sequence for sequence in self._bytes if self._port.forget(self._session, sequence)])

    def _refuse_all(self, sequences: list[int]) -> None:
        refusal = Refusal(NoLeader().code, NoLeader().text)
        self.answered([(sequence, refusal) for sequence in sequences])

    def answered(self, answers: Sequence[tuple[int, Result]]) -> None:
        """The sink of this session's answers."""
        sequences, revisions, sizes = self._sequences, self._revisions, self._bytes
        for sequence, result in answers:
            size = sizes.pop(sequence, None)
            if size is not None:
                self._unanswered -= 1
                self._unanswered_bytes -= size
            if type(result) is PutResponse and not result.HasField("prev_kv"):
                sequences.append(sequence)
                revisions.append(result.header.revision)
            else:
                self._answer_write(sequence, result)
        self._wake.set()

    def _answer_write(self, sequence: int, result: Result) -> None:
        answer = self._batch.writes.add()
        answer.sequence = sequence
        match result:
            case PutResponse():
                answer.put.CopyFrom(result)
            case DeleteRangeResponse():
                answer.delete_range.CopyFrom(result)
            case TxnResponse():
                answer.txn.CopyFrom(result)
            case Refusal():
                _refuse(answer.refusal, result)
            case _:
                raise AssertionError(f"a client's request was answered with {result}")

    # In

    async def read(self, batches: AsyncIterator[ClientBatch]) -> None:
        """Takes what the client sends until it closes its side. Raises ApiError."""
        async for batch in batches:
            if batch.HasField("open"):
                raise ApiError(Code.INVALID_ARGUMENT, "kvstore: a session stream opens once")
            if batch.entries:
                await self._write(batch)
            if batch.reads:
                await self._read(batch)

    async def _write(self, batch: ClientBatch) -> None:
        entries = [entry for entry in batch.entries if self._admits(entry)]
        if not entries:
            self._wake.set()
            return
        if self._service.vacancy.is_long:
            self._refuse_all([entry.sequence for entry in entries])
            return
        if batch.unanswered_from:
            entries[0].unanswered_from = batch.unanswered_from
        await self._port.submit(self._session, entries)

    def _admits(self, entry: Entry) -> bool:
        """Whether the entry may be proposed; one that could not succeed is refused at once."""
        if entry.session != self._session or not entry.sequence:
            raise ApiError(
                Code.INVALID_ARGUMENT,
                f"kvstore: the stream of session {self._session} got request {entry.sequence} of {entry.session}",
            )
        size = entry.ByteSize()
        self._count(1, size)
        try:
            match entry.WhichOneof("command"):
                case "put":
                    check_put(entry.put)
                    if size > 1 << 20:
                        check_size(entry.put)
                case "delete_range":
                    check_delete_range(entry.delete_range)
                    check_size(entry.delete_range)
                case "txn":
                    check_txn(entry.txn, self._port.store.limits)
                    check_size(entry.txn)
                case other:
                    raise ApiError(Code.INVALID_ARGUMENT, f"kvstore: a client may not send {other or 'nothing'}")
        except Refused as refused:
            self._count(-1, -size)
            self._answer_write(entry.sequence, Refusal.of(refused))
            return False
        self._bytes[entry.sequence] = size
        return True

    async def _read(self, batch: ClientBatch) -> None:
        self._count(len(batch.reads), 0)
        task = asyncio.get_running_loop().create_task(self._answer_reads(list(batch.reads)))
        self.confirming.add(task)
        task.add_done_callback(self.confirming.discard)

    async def _answer_reads(self, reads: list[Read]) -> None:
        """The serializable ones at once, the others after one confirmation for all."""
        waiting = []
        for read in reads:
            if read.WhichOneof("request") == "range" and read.range.serializable:
                await self._answer_read(read)
            else:
                waiting.append(read)
        if not waiting:
            return
        try:
            await self._confirmed()
        except ApiError as error:
            for read in waiting:
                self._refuse_read(read, error.code, error.text)
            return
        for read in waiting:
            await self._answer_read(read)

    async def _confirmed(self) -> None:
        """Raises ApiError, NoLeader as soon as nobody has led for long."""
        loop = asyncio.get_running_loop()
        confirming = loop.create_task(self._service.confirm())
        giving_up = loop.create_task(self._service.vacancy.wait())
        try:
            await asyncio.wait((confirming, giving_up), return_when=asyncio.FIRST_COMPLETED)
            if not confirming.done():
                raise NoLeader
            confirming.result()
        finally:
            for task in (confirming, giving_up):
                task.cancel()
            await asyncio.gather(confirming, giving_up, return_exceptions=True)

    async def _answer_read(self, read: Read) -> None:
        while self._answer_bytes > _ANSWER_BYTES_MAX:
            self._drained.clear()
            await self._drained.wait()
        store = self._port.store
        try:
            match read.WhichOneof("request"):
                case "range":
                    ranged = await self._service.read(read.range)
                    answer = self._batch.reads.add()
                    answer.range.CopyFrom(ranged)
                case "txn":
                    check_txn(read.txn, store.limits)
                    if not txn_is_readonly(read.txn):
                        self._refuse_read(read, Code.INVALID_ARGUMENT, "kvstore: a read must not write")
                        return
                    done = store.read_txn(read.txn)
                    answer = self._batch.reads.add()
                    answer.txn.CopyFrom(done)
                case _:
                    self._refuse_read(read, Code.INVALID_ARGUMENT, "kvstore: an empty read")
                    return
        except Refused as refused:
            self._refuse_read(read, refused.code, refused.text)
            return
        answer.number = read.number
        self._answer_bytes += answer.ByteSize()
        self._count(-1, 0)
        self._wake.set()

    def _refuse_read(self, read: Read, code: Code, text: str) -> None:
        answer = self._batch.reads.add()
        answer.number = read.number
        _refuse(answer.refusal, Refusal(code, text))
        self._count(-1, 0)
        self._wake.set()

    def _count(self, requests: int, size: int) -> None:
        self._unanswered += requests
        self._unanswered_bytes += size
        if self._unanswered > REQUESTS_MAX or self._unanswered_bytes > BYTES_MAX:
            raise ApiError(
                Code.RESOURCE_EXHAUSTED,
                f"kvstore: {self._unanswered} requests of {self._unanswered_bytes} bytes are unanswered in session "
                f"{self._session}; {REQUESTS_MAX} of {BYTES_MAX} may be",
            )


def _refuse(wire: WireRefusal, refusal: Refusal) -> None:
    wire.code = _GRPC_NUMBERS[refusal.code]
    wire.text = refusal.text
    wire.session_expired = refusal.session_expired
    wire.unknown = refusal.fate_unknown
