"""Status, MemberList, and the registry."""

import asyncio

import pytest
from kvproto.command_pb2 import Entry, PublishMember
from kvproto.etcd.rpc_pb2 import Member, MemberListRequest, ResponseHeader, StatusRequest, StatusResponse

from kvstore.api import ApiError, ConfiguredMember, Context, etcd_methods
from kvstore.api.cluster import Cluster
from kvstore.api.errors import TooManyRequests
from kvstore.api.maintenance import Maintenance
from kvstore.mvcc.errors import Code
from tests.api.fake_replica import FakeReplica
from tests.mvcc.helpers import put

CONTEXT = Context()
HAS_LEADER = Context(metadata=(("hasleader", "true"),))
PUBLISH = PublishMember(node_id=1, name="one", client_urls=["http://c:1"], peer_urls=["http://p:1"])


def test_status_tells_what_this_node_knows():
    replica = FakeReplica()
    replica.apply(Entry(put=put(b"a")))

    answer = asyncio.run(Maintenance(replica).status(StatusRequest(), CONTEXT))

    assert answer == StatusResponse(
        header=ResponseHeader(cluster_id=0xC1, member_id=1, raft_term=7, revision=2),
        version="3.4.0",
        dbSize=replica.store.size_bytes(),
        dbSizeInUse=replica.store.size_in_use_bytes(),
        leader=1,
        raftIndex=1,
        raftAppliedIndex=1,
        raftTerm=7,
    )
    assert answer.dbSize > 0


def test_status_is_answered_without_a_leader_and_says_so():
    replica = FakeReplica()
    replica.leads = False
    replica.go.clear()
    replica.is_learner = True

    answer = asyncio.run(Maintenance(replica).status(StatusRequest(), CONTEXT))

    assert (answer.leader, list(answer.errors), answer.isLearner) == (0, ["etcdserver: no leader"], True)


def test_members_are_those_of_the_configuration_in_their_own_words():
    """A learner that has said nothing yet has an address and no name; who left is no member, whatever it once said."""
    replica = FakeReplica()
    replica.members = [
        ConfiguredMember(node_id=1, peer_address="127.0.0.1:2380"),
        ConfiguredMember(node_id=2, peer_address="127.0.0.1:2390", is_learner=True),
    ]
    replica.apply(Entry(publish_member=PUBLISH))
    replica.apply(Entry(publish_member=PublishMember(node_id=3, name="gone")))

    answer = asyncio.run(Cluster(replica).member_list(MemberListRequest(), CONTEXT))

    assert answer.header == ResponseHeader(cluster_id=0xC1, member_id=1, raft_term=7, revision=1)
    assert list(answer.members) == [
        Member(ID=1, name="one", clientURLs=["http://c:1"], peerURLs=["http://p:1"]),
        Member(ID=2, peerURLs=["http://127.0.0.1:2390"], isLearner=True),
    ]
    assert replica.confirmations == 0


def test_a_linearizable_member_list_waits_for_the_state():
    async def story() -> None:
        replica = FakeReplica()
        replica.go.clear()
        asking = asyncio.create_task(Cluster(replica).member_list(MemberListRequest(linearizable=True), CONTEXT))
        await replica.someone_waits.wait()
        replica.apply(Entry(publish_member=PUBLISH))
        replica.go.set()

        answer = await asking

        assert answer.members[0].name == "one"
        assert replica.confirmations == 1

    asyncio.run(story())


@pytest.mark.parametrize("path", ["/etcdserverpb.Maintenance/Status", "/etcdserverpb.Cluster/MemberList"])
def test_they_too_refuse_a_client_that_wants_a_leader_where_there_is_none(path):
    replica = FakeReplica()
    replica.leads = False
    method = etcd_methods(replica)[path]

    with pytest.raises(ApiError) as caught:
        asyncio.run(method.handler(method.request_class(), HAS_LEADER))

    assert (caught.value.code, caught.value.text) == (Code.UNAVAILABLE, "etcdserver: no leader")


def test_the_registry_names_etcds_paths_and_their_messages():
    methods = etcd_methods(FakeReplica())

    assert {(path, m.request_class.__name__, m.response_class.__name__) for path, m in methods.items()} == {
        ("/etcdserverpb.KV/Range", "RangeRequest", "RangeResponse"),
        ("/etcdserverpb.KV/Put", "PutRequest", "PutResponse"),
        ("/etcdserverpb.KV/DeleteRange", "DeleteRangeRequest", "DeleteRangeResponse"),
        ("/etcdserverpb.KV/Txn", "TxnRequest", "TxnResponse"),
        ("/etcdserverpb.Maintenance/Status", "StatusRequest", "StatusResponse"),
        ("/etcdserverpb.Cluster/MemberList", "MemberListRequest", "MemberListResponse"),
    }
    assert all(path == method.path == f"/{method.service}/{method.name}" for path, method in methods.items())


def test_the_text_of_overload_is_etcds():
    error = TooManyRequests()

    assert (error.code, error.text) == (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
