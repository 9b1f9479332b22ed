"""Puts as any etcd client sends them, one gRPC call each, from a load generator in C: h2load.

It knows nothing of gRPC's statuses, which come after the answer; so a put counts only if it is in the revision too,
which counts exactly those that were done.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from kvproto.etcd.rpc_pb2 import PutRequest

from benchmarks.errors import BenchmarkError
from benchmarks.sizes import Sizes
from benchmarks.stores import Store
from benchmarks.stores.etcd_api import revision_of

__all__ = ["framed", "h2load_is_installed", "unary_puts"]

_METHOD: Final = "/etcdserverpb.KV/Put"
_SLACK_S: Final = 60.0


def h2load_is_installed() -> bool:
    return shutil.which("h2load") is not None


def framed(message: bytes) -> bytes:
    """A gRPC message as it is on the wire: not compressed, its length, itself."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def unary_puts(store: Store, sizes: Sizes) -> dict[str, Any]:
    """All to the leader, as a client that has found it would."""
    endpoint = store.endpoint(store.leader())
    body = framed(PutRequest(key=b"key-000000000", value=b"v" * sizes.value_bytes).SerializeToString())
    with tempfile.NamedTemporaryFile(suffix=".grpc") as file:
        Path(file.name).write_bytes(body)
        _h2load(endpoint, file.name, seconds=sizes.warmup_s, sizes=sizes)
        before = revision_of(endpoint)
        said = _h2load(endpoint, file.name, seconds=sizes.seconds, sizes=sizes)
        done = revision_of(endpoint) - before
    timed = re.search(r"finished in ([\d.]+)(ms|s),", said)
    answered = re.search(r"(\d+) 2xx", said)
    if timed is None or answered is None or done == 0:
        raise BenchmarkError(f"h2load did not work against {store.name}, {done} puts were done:\n{said}")
    seconds = float(timed[1]) / (1000 if timed[2] == "ms" else 1)
    return {"per_second": min(done, int(answered[1])) / seconds, "done": done, "answered": int(answered[1])}


def _h2load(endpoint: str, body: str, *, seconds: float, sizes: Sizes) -> str:
    command = [
        *("h2load", "-t", "1", "-c", str(sizes.h2_connections), "-m", str(sizes.h2_streams)),
        *("-D", str(max(1, round(seconds))), "-d", body),
        *("-H", "content-type:application/grpc", "-H", "te:trailers"),
        f"http://{endpoint}{_METHOD}",
    ]
    told = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _SLACK_S, check=False)
    if told.returncode:
        raise BenchmarkError(f"h2load ended with {told.returncode}:\n{told.stdout}{told.stderr}")
    return told.stdout
