"""The node loop: the one task that owns the replica. It adds queues, futures and the disk; it decides nothing.

Everything that comes from outside (messages, hints about links, the clock) waits in the inbox while a turn runs, so no
lock is needed. A turn's steps are performed in the order in which the replica gives them.

The commit runs inline in the loop: measured on this path, a thread of its own costs a context switch and two hand-overs
of the interpreter lock per commit, and starves beside a busy loop. Before it blocks, the loop runs once, so that what
the turn sent is on its way. A disk that stalls therefore stalls the heartbeats too: a leader that cannot write does not
look healthy. Whatever goes wrong in here ends the process (a wrong replica must stop, not vote).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, assert_never

from kvproto.command_pb2 import Entry

from kvstore.api.port import SessionSink
from kvstore.mvcc.results import Result
from kvstore.paxos.durable import GoverningConfiguration
from kvstore.paxos.effects import LeadershipChanged, Role, Status
from kvstore.paxos.messages import Message
from kvstore.paxos.types import NodeId
from kvstore.replica.messages import ReplicaMessage
from kvstore.replica.replica import Replica
from kvstore.replica.steps import (
    Answer,
    AnswerAll,
    Answered,
    Commit,
    LeadershipStep,
    Outgoing,
    ReadAllowed,
    ReadLog,
    Send,
    SessionAnswers,
    SessionOpenedHere,
    Step,
    Undone,
    WriteFailed,
)
from kvstore.server.failpoints import failpoint
from kvstore.storage.port import AcceptorLog

__all__ = ["Node", "Peers", "WriteUndone"]

logger = logging.getLogger(__name__)

_LOG_PAGE_BYTES_MAX = 1 << 20
_GATHER_PASSES_MAX = 16
_GATHER_ENTRIES_MAX = 512
_INBOX_MAX = 65536


class Peers(Protocol):
    """Sends towards other nodes: never blocks, may drop."""

    def send(self, to: NodeId, message: Message | ReplicaMessage) -> None: ...


class WriteUndone(Exception):
    def __init__(self, why: Undone) -> None:
        super().__init__(why.value)
        self.why = why


class Node:
    def __init__(self, replica: Replica, log: AcceptorLog, peers: Peers, *, clock: Callable[[], float]) -> None:
        self._replica = replica
        self._log = log
        self._peers = peers
        self._clock = clock
        self._inbox: deque[Callable[[float], None]] = deque()
        self._work = asyncio.Event()
        self.dropped = 0
        """Messages of peers that were not taken in, because too many waited for a turn."""
        self._writes: dict[int, asyncio.Future[Result]] = {}
        self._reads: dict[int, asyncio.Future[None]] = {}
        self._openings: dict[int, asyncio.Future[int]] = {}
        self._sinks: dict[int, SessionSink] = {}
        self._arrived = 0
        self._applied_end = replica.store.applied_end
        self._stopping = False
        self._leadership_changed = asyncio.Event()
        self._on_leadership: dict[object, Callable[[LeadershipChanged], None]] = {}
        self._room = asyncio.Event()

    # From the network

    def receive(self, sender: NodeId, messages: Sequence[Message | ReplicaMessage]) -> None:
        if len(self._inbox) > _INBOX_MAX:
            self.dropped += len(messages)  # as a network may; turns are behind
            return
        for message in messages:
            self._post(lambda now, m=message: self._replica.receive(sender, m, now))  # type: ignore[misc]

    def link_up(self, node_id: NodeId) -> None:
        self._post(lambda _now: self._replica.link_up(node_id))

    def link_lost(self, node_id: NodeId) -> None:
        self._post(lambda now: self._replica.link_lost(node_id, now))

    # From clients

    async def write(self, entry: Entry) -> Result:
        """The reply, or the refusal, once the entry was applied here. Raises Overloaded or WriteUndone.

        Cancelled, it gives up waiting: ``WriteUndone(NOT_PROPOSED)`` replaces the cancellation where that is certain.
        """
        ticket = self._replica.write(entry)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._writes[ticket] = future
        self._arrived += 1
        self._work.set()
        try:
            return await future
        except asyncio.CancelledError:
            if self._replica.forget_write(ticket):
                raise WriteUndone(Undone.NOT_PROPOSED) from None
            raise
        finally:
            self._writes.pop(ticket, None)

    async def open_session(self) -> int:
        """A new session, which is in the log and applied here."""
        number = self._replica.open_session()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._openings[number] = future
        self._work.set()
        try:
            return await future
        finally:
            self._openings.pop(number, None)

    def attach(self, session: int, sink: SessionSink) -> None:
        """``sink`` gets the answers to what is submitted in this session; it replaces one that did so before."""
        self._sinks[session] = sink
        self._replica.attach(session)

    def detach(self, session: int, sink: SessionSink) -> None:
        """No answers come any more, unless another sink has taken the place of this one."""
        if self._sinks.get(session) == sink:
            del self._sinks[session]
            self._replica.detach(session)

    def forget(self, session: int, sequence: int) -> bool:
        """Gives a submitted request up. True where it certainly was not proposed here, and never will be."""
        return self._replica.forget_request(session, sequence)

    def watch_leadership(self, tell: Callable[[LeadershipChanged], None]) -> Callable[[], None]:
        """``tell`` gets every change until the returned function is called."""
        watcher = object()
        self._on_leadership[watcher] = tell

        def stop() -> None:
            self._on_leadership.pop(watcher, None)

        return stop

    async def room(self) -> None:
        """Returns when some of what waits here has been answered."""
        self._room.clear()
        await self._room.wait()

    def submit(self, session: int, entries: Sequence[Entry]) -> None:
        """Requests of an attached session. Raises Overloaded; then none was taken."""
        self._replica.submit(session, entries)
        self._arrived += len(entries)
        self._work.set()

    async def linearizable(self) -> None:
        """Returns once the local state may serve a linearizable read that began with this call (L7).

        Raises Overloaded.
        """
        ticket = self._replica.read()
        future = self._reads[ticket] = asyncio.get_running_loop().create_future()
        self._arrived += 1
        self._work.set()
        try:
            await future
        finally:
            self._reads.pop(ticket, None)
            self._replica.forget_read(ticket)

    # The loop

    async def run(self) -> None:
        """Runs until ``stop``; any exception out of here is fatal to the process."""
        while not self._stopping:
            await self._wait_for_work()
            await self._gather()
            self._work.clear()
            now = self._clock()
            while self._inbox:
                self._inbox.popleft()(now)
            self._replica.tick(now)
            for step in self._replica.turn(now):
                await self._perform(step)
            self._pass_applied()

    def stop(self) -> None:
        self._stopping = True
        self._work.set()

    async def hand_over(self) -> None:
        """Asks another node to lead, if this one does and one could. Returns when this node leads no more."""
        asked: asyncio.Future[NodeId | None] = asyncio.get_running_loop().create_future()

        def ask(now: float) -> None:
            if not asked.done():  # whoever asked may have given up
                asked.set_result(self._replica.hand_over(now))

        self._post(ask)
        successor = await asked
        if successor is None:
            return
        logger.info("handing leadership over to node %s", successor)
        while self.leads:
            self._leadership_changed.clear()
            await self._leadership_changed.wait()

    def status(self) -> Status:
        return self._replica.status()

    def configurations(self) -> tuple[GoverningConfiguration, ...]:
        """Those that govern an undecided slot, in slot order."""
        return self._replica.configurations()

    @property
    def leads(self) -> bool:
        return self._replica.status().role is Role.LEADER

    @property
    def busy(self) -> bool:
        return bool(self._writes or self._reads)

    def _post(self, act: Callable[[float], None]) -> None:
        self._inbox.append(act)
        self._work.set()

    async def _wait_for_work(self) -> None:
        if self._replica.wants_turn(self._clock()):
            await asyncio.sleep(0)
            return
        deadline = self._replica.next_deadline()
        timeout = None if deadline is None else max(0.0, deadline - self._clock())
        try:
            async with asyncio.timeout(timeout):
                await self._work.wait()
        except TimeoutError:
            pass

    def _pass_applied(self) -> None:
        """Slots were applied and nobody has been answered: the point to die at, also where nobody waits here."""
        applied_end = self._replica.store.applied_end
        if applied_end != self._applied_end:
            self._applied_end = applied_end
            failpoint("apply.after")

    async def _gather(self) -> None:
        """Lets clients' requests that are ready come in before a turn begins; none ready, no delay.

        A batch's worth is enough: with hundreds of busy streams one pass of the loop takes long already, and a turn
        that waited for many would keep a leader from being heard.
        """
        enough = self._arrived + _GATHER_ENTRIES_MAX
        for _ in range(_GATHER_PASSES_MAX):
            before = self._arrived
            await asyncio.sleep(0)
            if self._arrived == before or self._arrived >= enough:
                return

    async def _perform(self, step: Step) -> None:
        match step:
            case Send(messages):
                self._send(messages)
            case Commit(write):
                await asyncio.sleep(0)
                failpoint("commit.before")
                self._log.append(write)
                failpoint("commit.after")
                self._post(lambda now: self._replica.persisted(write.write_id, now))
                failpoint("apply.before")
            case ReadLog(read):
                entries = self._log.read_decided(read.start, read.end, bytes_max=_LOG_PAGE_BYTES_MAX)
                self._send([self._replica.log_page(read, entries)])
            case AnswerAll(answers):
                self._pass_applied()
                for answer in answers:
                    self._answer(answer)
                self._room.set()
            case LeadershipStep(change):
                self._report(change)
            case _:
                assert_never(step)

    def _send(self, messages: Sequence[Outgoing]) -> None:
        failpoint("send.before")
        for outgoing in messages:
            self._peers.send(outgoing.to, outgoing.message)
        failpoint("send.after")

    def _answer(self, answer: Answer) -> None:
        match answer:
            case Answered(ticket, result):
                future = self._writes.get(ticket)
                if future is not None and not future.done():
                    future.set_result(result)
            case WriteFailed(ticket, why):
                future = self._writes.get(ticket)
                if future is not None and not future.done():
                    future.set_exception(WriteUndone(why))
            case ReadAllowed(ticket):
                allowed = self._reads.get(ticket)
                if allowed is not None and not allowed.done():
                    allowed.set_result(None)
            case SessionOpenedHere(number, session):
                opened = self._openings.get(number)
                if opened is not None and not opened.done():
                    opened.set_result(session)
            case SessionAnswers(session, answers):
                sink = self._sinks.get(session)
                if sink is not None:
                    sink(answers)
            case _:
                assert_never(answer)

    def _report(self, change: LeadershipChanged) -> None:
        if change.role is Role.LEADER:
            logger.info("leads in ballot %s", change.ballot)
        elif change.leader is not None:
            logger.info("follows node %s in ballot %s", change.leader, change.ballot)
        else:
            logger.info("knows no leader; %s in ballot %s", change.role.value, change.ballot)
        self._leadership_changed.set()
        for tell in list(self._on_leadership.values()):
            tell(change)
