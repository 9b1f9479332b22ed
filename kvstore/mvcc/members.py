"""What the nodes of the cluster made known about themselves: names and addresses, by node id."""

import json
import sqlite3

from kvproto.command_pb2 import PublishMember

from kvstore.mvcc.results import MemberPublished
from kvstore.mvcc.state_hash import StateHash

__all__ = ["Members"]

_SELECT = "SELECT node_id, name, client_urls, peer_urls FROM members ORDER BY node_id"
_PUBLISH = "INSERT OR REPLACE INTO members (node_id, name, client_urls, peer_urls) VALUES (?, ?, ?, ?)"


class Members:
    """A thin face of the members table; publishing is rare."""

    def __init__(self, connection: sqlite3.Connection, state_hash: StateHash) -> None:
        self._connection = connection
        self._hash = state_hash

    def all(self) -> list[PublishMember]:
        return [
            PublishMember(
                node_id=node_id, name=name, client_urls=json.loads(client_urls), peer_urls=json.loads(peer_urls)
            )
            for node_id, name, client_urls, peer_urls in self._connection.execute(_SELECT)
        ]

    def publish(self, member: PublishMember) -> MemberPublished:
        """The newest word of a node about itself replaces the one before."""
        row = (
            member.node_id,
            member.name,
            json.dumps(list(member.client_urls)),
            json.dumps(list(member.peer_urls)),
        )
        self._connection.execute(_PUBLISH, row)
        self._hash.fact("member", *row)
        return MemberPublished(member.node_id)
