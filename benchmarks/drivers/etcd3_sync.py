"""etcd through python-etcd3, one blocking client for all threads.

Its own protobuf modules are so old that protobuf takes them only with its slow pure-Python implementation. aetcd's are
generated from the same files and have the same names: with them in place it is measured at its best.
"""

import sys
from collections.abc import Sequence

from aetcd.rpc import auth_pb2, kv_pb2, rpc_pb2, rpc_pb2_grpc

sys.modules.update(
    {
        "etcd3.etcdrpc.auth_pb2": auth_pb2,
        "etcd3.etcdrpc.kv_pb2": kv_pb2,
        "etcd3.etcdrpc.rpc_pb2": rpc_pb2,
        "etcd3.etcdrpc.rpc_pb2_grpc": rpc_pb2_grpc,
    }
)
import etcd3  # noqa: E402

from benchmarks.drivers.load import key_name  # noqa: E402

__all__ = ["EtcdBlocking", "connect"]


class EtcdBlocking:
    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._client = etcd3.client(host=host, port=int(port), timeout=5)

    def put(self, key: int, value: bytes) -> None:
        self._client.put(key_name(key), value)

    def get(self, key: int) -> None:
        self._client.get(key_name(key))

    def close(self) -> None:
        self._client.close()


def connect(endpoints: Sequence[str]) -> EtcdBlocking:
    return EtcdBlocking(endpoints[0])
