"""Where messages leave. Those to oneself come back as inputs; those that speak for records wait at the gate (L2)."""

from collections import deque

from kvstore.paxos.gate import Gate
from kvstore.paxos.messages import Envelope, Message
from kvstore.paxos.types import NodeId, WriteId

__all__ = ["Outbox"]


class Outbox:
    def __init__(self, node_id: NodeId, gate: Gate) -> None:
        self._me = node_id
        self._gate = gate
        self._messages: list[Envelope] = []
        self.to_self: deque[Message] = deque()

    def send(self, to: NodeId, message: Message) -> None:
        """Leaves with the next drain."""
        self._post(Envelope(to, message))

    def send_when_durable(self, to: NodeId, message: Message) -> None:
        """Leaves once everything recorded so far is on the disk."""
        envelope = self._gate.send_when_durable(Envelope(to, message))
        if envelope is not None:
            self._post(envelope)

    def persisted(self, write_id: WriteId) -> None:
        for envelope in self._gate.persisted(write_id):
            self._post(envelope)

    def take(self) -> tuple[Envelope, ...]:
        messages = tuple(self._messages)
        self._messages.clear()
        return messages

    def _post(self, envelope: Envelope) -> None:
        if envelope.to == self._me:
            self.to_self.append(envelope.message)
        else:
            self._messages.append(envelope)
