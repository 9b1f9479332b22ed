"""How much is measured: for figures to quote, for a first look, and for tests that only ask whether it works."""

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "Sizes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """``rounds`` alternate between what is compared; each loads for ``warmup_s`` and then counts for ``seconds``."""

    rounds: int
    seconds: float
    warmup_s: float
    kills: int
    watch_s: float
    """How long the puts after a kill are watched; longer where none is answered."""
    settle_s: float
    """Between a node's return and the next kill."""
    idle_s: float
    keys: int
    keys_many: int
    restarts: int
    overload_in_flight: tuple[int, ...]
    """Calls in flight of all clients together, all of which are tried to find how many saturate the store."""
    value_bytes: int = 256
    overload_factor: int = 10
    in_flight: tuple[int, ...] = (1, 64, 256)
    sync_threads: int = 32
    h2_connections: int = 4
    h2_streams: int = 64


FULL = Sizes(
    rounds=5,
    seconds=4.0,
    warmup_s=1.0,
    kills=20,
    watch_s=4.0,
    settle_s=1.5,
    idle_s=20.0,
    keys=1_000,
    keys_many=1_000_000,
    restarts=5,
    overload_in_flight=(64, 128, 256, 512, 1024, 2048),
)

QUICK = Sizes(
    rounds=2,
    seconds=1.5,
    warmup_s=0.5,
    kills=3,
    watch_s=4.0,
    settle_s=1.0,
    idle_s=4.0,
    keys=1_000,
    keys_many=20_000,
    restarts=1,
    overload_in_flight=(64, 256, 1024),
)
