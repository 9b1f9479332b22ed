"""Linearizable reads (L7): one confirmation of leadership serves all reads that waited for it.

Reads that arrive in one turn form a group; the group gets a read index, from its own node if that leads, from the
leader otherwise, and is allowed once this node has applied that far. A group whose confirmation failed or stayed
unanswered asks again, and every attempt is a fresh confirmation. A read that its client gave up is dropped from
wherever it is.
"""

from dataclasses import dataclass

from kvstore.paxos.types import NodeId, ReadId, Slot
from kvstore.replica.writes import Overloaded

__all__ = ["ReadGroup", "Reads", "RemoteReader"]


@dataclass(frozen=True, slots=True)
class RemoteReader:
    """A follower's ReadIndex request."""

    node_id: NodeId
    request: int


@dataclass(slots=True)
class ReadGroup:
    """Reads that share one confirmation: tickets of this node's clients and requests of followers."""

    tickets: list[int]
    remote: list[RemoteReader]


class Reads:
    def __init__(self, incarnation: int, *, retry_s: float, pending_max: int) -> None:
        self._retry_s = retry_s
        self._pending_max = pending_max
        self._next_ticket = (incarnation << 32) + 1
        self._next_request = (incarnation << 32) + 1
        self._pending: dict[int, None] = {}
        """Every read that somebody still waits for, wherever it is."""
        self._waiting: dict[int, None] = {}
        self._waiting_remote: list[RemoteReader] = []
        self._confirming: dict[ReadId, ReadGroup] = {}
        self._asked: dict[int, tuple[list[int], float]] = {}
        self._until: list[tuple[Slot, list[int]]] = []

    # In

    def add(self) -> int:
        """Raises Overloaded."""
        if len(self._pending) >= self._pending_max:
            raise Overloaded
        ticket = self._next_ticket
        self._next_ticket += 1
        self._pending[ticket] = self._waiting[ticket] = None
        return ticket

    def forget(self, ticket: int) -> None:
        """The client gave up."""
        self._pending.pop(ticket, None)
        self._waiting.pop(ticket, None)

    def add_remote(self, reader: RemoteReader) -> None:
        self._waiting_remote.append(reader)

    @property
    def any_waiting(self) -> bool:
        return bool(self._waiting or self._waiting_remote)

    @property
    def any_local_waiting(self) -> bool:
        return bool(self._waiting)

    def next_retry(self) -> float | None:
        """When the oldest unanswered request counts as lost."""
        return min((at for _, at in self._asked.values()), default=None)

    # This node leads

    def take_group(self) -> ReadGroup:
        group = ReadGroup(list(self._waiting), self._waiting_remote)
        self._waiting, self._waiting_remote = {}, []
        return group

    def confirming(self, read_id: ReadId, group: ReadGroup) -> None:
        self._confirming[read_id] = group

    def confirmed(self, read_id: ReadId, index: Slot) -> list[RemoteReader]:
        """The group may read at ``index``: returns the followers to tell."""
        group = self._confirming.pop(read_id)
        if group.tickets:
            self._until.append((index, group.tickets))
        return group.remote

    def failed(self, read_id: ReadId) -> list[RemoteReader]:
        """Leadership was lost: own reads wait again; returns the followers to tell."""
        group = self._confirming.pop(read_id)
        self._wait_again(group.tickets)
        return group.remote

    def take_remote(self) -> list[RemoteReader]:
        """Requests that this node, not leading, cannot confirm."""
        remote, self._waiting_remote = self._waiting_remote, []
        return remote

    # Another node leads

    def ask(self, now: float) -> int:
        """All that waits shares one request to the leader, sent after they arrived; returns its number."""
        request = self._next_request
        self._next_request += 1
        self._asked[request] = (list(self._waiting), now + self._retry_s)
        self._waiting = {}
        return request

    def answered(self, request: int, *, confirmed: bool, index: Slot) -> None:
        """A late or repeated answer changes nothing."""
        tickets, _ = self._asked.pop(request, ([], 0.0))
        if not tickets:
            return
        if confirmed:
            self._until.append((index, tickets))
        else:
            self._wait_again(tickets)

    def expire(self, now: float) -> None:
        """Requests that stayed unanswered wait again."""
        for request in [r for r, (_, at) in self._asked.items() if at <= now]:
            tickets, _ = self._asked.pop(request)
            self._wait_again(tickets)

    # Out

    def take_allowed(self, applied_end: Slot) -> list[int]:
        """Reads whose index is applied now."""
        if not self._until:
            return []
        allowed = [t for index, tickets in self._until if index <= applied_end for t in tickets if t in self._pending]
        self._until = [(index, tickets) for index, tickets in self._until if index > applied_end]
        for ticket in allowed:
            del self._pending[ticket]
        return allowed

    def _wait_again(self, tickets: list[int]) -> None:
        self._waiting = {ticket: None for ticket in tickets if ticket in self._pending} | self._waiting
