"""How one node is."""

from kvproto.etcd.rpc_pb2 import StatusRequest, StatusResponse

from kvstore.api.context import Context
from kvstore.api.errors import NoLeader
from kvstore.api.service import Service

__all__ = ["ETCD_API_VERSION", "Maintenance"]

ETCD_API_VERSION = "3.4.0"
"""The API that is spoken, not this software's version: clients parse it as a plain dotted version and compare."""


class Maintenance(Service):
    """``etcdserverpb.Maintenance``."""

    async def status(self, _request: StatusRequest, context: Context) -> StatusResponse:
        """Answers from this node alone, so also while it knows no leader. Slots stand in for Raft's indexes."""
        self._admit(context)
        status = self._port.status()
        store = self._port.store
        response = StatusResponse(
            version=ETCD_API_VERSION,
            dbSize=store.size_bytes(),
            dbSizeInUse=store.size_in_use_bytes(),
            leader=status.leader or 0,
            raftIndex=status.decided_end,
            raftAppliedIndex=store.applied_end,
            isLearner=status.is_learner,
            errors=[] if status.leader is not None else [NoLeader().text],
        )
        response.header.revision = store.revision
        self._signed(response)
        response.raftTerm = response.header.raft_term
        return response
