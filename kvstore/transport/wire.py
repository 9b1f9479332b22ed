"""What both ends of a peer connection must agree on: method paths, sizes, and how a dead connection is noticed."""

from typing import Any, Final

import grpc.aio

__all__ = ["CHANNEL_OPTIONS", "EOF", "FRAME_BYTES_MAX", "HELLO_METHOD", "LINK_METHOD", "SERVER_OPTIONS", "SERVICE"]

SERVICE: Final = "kvstore.paxos.v1.Peer"
LINK_METHOD: Final = f"/{SERVICE}/Link"
HELLO_METHOD: Final = f"/{SERVICE}/Hello"

EOF: Final[Any] = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
"""What a read gives once the other side has said all it had to say."""

FRAME_BYTES_MAX: Final = 64 << 20
"""No frame is larger, and so no message either."""

# A connection whose other end fell silent (a cable, a stopped process) is dead after at most 4 + 4 seconds. Consensus
# notices sooner through its heartbeats; this frees the link to dial anew.
_KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 4_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

_SIZES: Final = (
    ("grpc.max_receive_message_length", FRAME_BYTES_MAX),
    ("grpc.max_send_message_length", FRAME_BYTES_MAX),
)

CHANNEL_OPTIONS: Final = (
    *_KEEPALIVE,
    *_SIZES,
    # A connection per channel: without this, two lanes to one address share one and bulk delays heartbeats.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)

SERVER_OPTIONS: Final = (
    *_KEEPALIVE,
    *_SIZES,
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Two nodes on one port must not share it in silence.
    ("grpc.so_reuseport", 0),
)
