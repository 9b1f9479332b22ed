"""What server reflection tells: the services under the names that they have on the wire.

Within this process the messages belong to ``kvproto.etcd`` and there are no service descriptors, so reflection gets a
descriptor pool of its own: the same messages in the package ``etcdserverpb``, with the services of the registry.
"""

from collections.abc import Collection, Iterable
from typing import Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from kvproto import command_pb2, session_pb2
from kvproto.etcd import rpc_pb2

from kvstore.api import Method

__all__ = ["reflection_pool"]

_PACKAGE: Final = "etcdserverpb"
_FILE: Final = "etcdserverpb/rpc.proto"


def reflection_pool(methods: Collection[Method]) -> DescriptorPool:
    """A pool that describes the methods' services, the health service and reflection itself."""
    pool = DescriptorPool()
    for under_its_own_name in (health_pb2, reflection_pb2, rpc_pb2, command_pb2, session_pb2):
        pool.AddSerializedFile(under_its_own_name.DESCRIPTOR.serialized_pb)
    etcd = [method for method in methods if method.service.startswith(f"{_PACKAGE}.")]
    pool.AddSerializedFile(_etcd_file(etcd).SerializeToString())
    return pool


def _etcd_file(methods: Collection[Method]) -> FileDescriptorProto:
    file = FileDescriptorProto.FromString(rpc_pb2.DESCRIPTOR.serialized_pb)
    assert not file.dependency, f"etcd's messages stand alone: {list(file.dependency)}"
    file.name, file.package = _FILE, _PACKAGE
    _rename_types(file.message_type)
    for service in sorted({method.service for method in methods}):
        package, _, name = service.rpartition(".")
        assert package == _PACKAGE, f"{service} is not in {_PACKAGE}"
        described = file.service.add(name=name)
        for method in methods:
            if method.service == service:
                described.method.add(
                    name=method.name,
                    input_type=f".{_PACKAGE}.{method.request_class.DESCRIPTOR.name}",
                    output_type=f".{_PACKAGE}.{method.response_class.DESCRIPTOR.name}",
                )
    return file


def _rename_types(messages: Iterable[DescriptorProto]) -> None:
    before = f".{rpc_pb2.DESCRIPTOR.package}."
    for message in messages:
        for field in message.field:
            if field.type_name:
                assert field.type_name.startswith(before), f"{message.name}.{field.name} is a {field.type_name}"
                field.type_name = f".{_PACKAGE}.{field.type_name.removeprefix(before)}"
        _rename_types(message.nested_type)
