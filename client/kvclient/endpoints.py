"""Where the servers are, and how to connect to them.

The options of a channel carry two decisions. gRPC may not send anything again by itself: what is sent twice is decided
in ``decisions`` alone. And connecting is bounded apart from the call: an address that swallows packets then fails as
*not connected*, which is a safe thing to know about a write, instead of using up the whole deadline.
"""

from collections.abc import Iterable, Sequence

__all__ = ["DEFAULT_ENDPOINT", "channel_options", "parse_endpoints"]

DEFAULT_ENDPOINT = "127.0.0.1:2379"
DEFAULT_PORT = 2379

CONNECT_TIMEOUT_MAX_S = 1.0
CONNECT_TIMEOUT_MIN_S = 0.05


def parse_endpoints(endpoints: str | Iterable[str]) -> tuple[str, ...]:
    """``"a:2379,b"`` or a list of such. ``http://`` is dropped, a missing port is 2379; raises ValueError."""
    parts = (
        endpoints.split(",") if isinstance(endpoints, str) else [part for one in endpoints for part in one.split(",")]
    )
    parsed = tuple(_parse_one(part.strip()) for part in parts if part.strip())
    if not parsed:
        raise ValueError(f"no endpoint in {endpoints!r}; one looks like {DEFAULT_ENDPOINT}")
    return tuple(dict.fromkeys(parsed))


def _parse_one(endpoint: str) -> str:
    scheme, separator, rest = endpoint.partition("://")
    if separator:
        if scheme.lower() != "http":
            raise ValueError(f"endpoint {endpoint!r}: only http:// is spoken here, not {scheme}://")
        endpoint = rest.rstrip("/")
    host, colon, port = endpoint.rpartition(":")
    if not colon or endpoint.endswith("]"):  # "host", "[::1]"
        host, port = endpoint, str(DEFAULT_PORT)
    if not host or "/" in endpoint or (":" in host and not host.startswith("[")):
        raise ValueError(
            f"endpoint {endpoint!r} is not host:port; an IPv6 address needs brackets: [::1]:{DEFAULT_PORT}"
        )
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise ValueError(f"endpoint {endpoint!r}: the port {port!r} is not between 1 and 65535")
    return f"{host}:{port}"


def channel_options(endpoints: Sequence[str], *, timeout_s: float) -> list[tuple[str, int]]:
    """Options for one channel; ``timeout_s`` is a whole call's: connecting gets a share, so that all can be tried."""
    share_s = timeout_s / (len(endpoints) + 1)
    connect_ms = int(1000 * min(CONNECT_TIMEOUT_MAX_S, max(CONNECT_TIMEOUT_MIN_S, share_s)))
    return [
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),  # nor may a DNS record tell it to
        ("grpc.min_reconnect_backoff_ms", connect_ms),  # despite its name: how long one attempt to connect may last
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.max_receive_message_length", -1),  # else the answer to a write that was done could be thrown away
        ("grpc.max_send_message_length", -1),  # the server says what is too large
        ("grpc.keepalive_time_ms", 10_000),  # during calls only: a vanished server is noticed before a long deadline
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.enable_http_proxy", 0),  # a proxy from the environment is meant for the web, not for a cluster
        ("grpc.use_local_subchannel_pool", 1),  # one client's back-off is not another's
    ]
