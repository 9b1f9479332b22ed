"""The constants of a node."""

import pytest

from kvstore.paxos.config import PaxosConfig

from .bench import node


def test_the_limits_of_the_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="heartbeat"):
        PaxosConfig(node_id=node(1), heartbeat_s=1.0, election_timeout_s=1.0)
    with pytest.raises(ValueError, match="alpha"):
        PaxosConfig(node_id=node(1), alpha=4, inflight_slots_max=5)
