"""Pure Multi-Paxos: bytes are proposed, bytes are decided. Start reading in ``kvstore.paxos.core``."""

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import (
    AcceptedValue,
    AcceptRecord,
    DurableState,
    GoverningConfiguration,
    LearnRecord,
    PromiseRecord,
    Record,
    Write,
)
from kvstore.paxos.effects import Effects, Fate, LeadershipChanged, Role, Status
from kvstore.paxos.errors import NotLeader, PaxosError, WindowFull
from kvstore.paxos.types import (
    ZERO_BALLOT,
    Application,
    Ballot,
    Configuration,
    NodeId,
    Noop,
    ProposalId,
    ReadId,
    Slot,
    Value,
    WriteId,
)

__all__ = [
    "ZERO_BALLOT",
    "AcceptRecord",
    "AcceptedValue",
    "Application",
    "Ballot",
    "Configuration",
    "DurableState",
    "Effects",
    "Fate",
    "GoverningConfiguration",
    "LeadershipChanged",
    "LearnRecord",
    "NodeId",
    "Noop",
    "NotLeader",
    "Paxos",
    "PaxosConfig",
    "PaxosError",
    "PromiseRecord",
    "ProposalId",
    "ReadId",
    "Record",
    "Role",
    "Slot",
    "Status",
    "Value",
    "WindowFull",
    "Write",
    "WriteId",
]
