"""Who belongs to the cluster: the configuration says who, the members' own words say how to reach them."""

from kvproto.command_pb2 import PublishMember
from kvproto.etcd.rpc_pb2 import Member, MemberListRequest, MemberListResponse

from kvstore.api.context import Context
from kvstore.api.port import ConfiguredMember
from kvstore.api.service import Service

__all__ = ["Cluster"]


class Cluster(Service):
    """``etcdserverpb.Cluster``."""

    async def member_list(self, request: MemberListRequest, context: Context) -> MemberListResponse:
        """By node id. A member that has not published anything yet has no name: etcdctl calls it unstarted."""
        self._admit(context)
        if request.linearizable:
            await self._linearizable(context)
        store = self._port.store
        published = {member.node_id: member for member in store.members()}
        response = MemberListResponse(
            members=[_member(one, published.get(one.node_id)) for one in self._port.configuration()]
        )
        response.header.revision = store.revision
        return self._signed(response)


def _member(configured: ConfiguredMember, published: PublishMember | None) -> Member:
    member = Member(ID=configured.node_id, isLearner=configured.is_learner)
    if published is not None:
        member.name = published.name
        member.clientURLs.extend(published.client_urls)
        member.peerURLs.extend(published.peer_urls)
    if not member.peerURLs:
        member.peerURLs.append(f"http://{configured.peer_address}")
    return member
