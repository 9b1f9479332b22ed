"""What servers of the etcd API say of themselves. Ours and etcd itself are asked the same way, by our own client.

By single calls: for one question a session would be opened in vain.
"""

from collections.abc import Sequence
from typing import Final

from kvclient import Client, KvError

from benchmarks.stores.port import wait_until

__all__ = ["answers", "leader_of", "revision_of"]

_ASKS_S: Final = 1.0


def leader_of(endpoints: Sequence[str]) -> int:
    """The index of the endpoint whose node leads, as soon as there is one that says so itself."""
    found: list[int] = []

    def look() -> bool:
        with Client(endpoints, pipelined=False) as client:
            statuses = client.status(timeout=_ASKS_S)
        leaders = [(s.ballot_round, n) for n, s in enumerate(statuses) if s.error is None and s.leader == s.member_id]
        found[:] = [n for _, n in sorted(leaders)]
        return bool(found)

    wait_until(look, "no leader is elected")
    return found[-1]


def revision_of(endpoint: str) -> int:
    """How many writes there have been."""
    with Client(endpoint, pipelined=False) as client:
        status = client.status()[0]
    if status.error is not None:
        raise status.error
    return status.revision


def answers(endpoint: str, *, timeout_s: float = _ASKS_S) -> bool:
    """Whether the node answers a linearizable read now."""
    with Client(endpoint, timeout=timeout_s, pipelined=False) as client:
        try:
            client.get_prefix("key-", limit=1)
        except KvError:
            return False
    return True
