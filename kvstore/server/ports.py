"""Which ports a local cluster uses, and whether they are free."""

import random
import socket
from typing import Final

__all__ = ["HOST", "PORTS_A_NODE", "free_base_port", "is_free"]

HOST: Final = "127.0.0.1"
PORTS_A_NODE: Final = 10


def free_base_port(*, nodes: int = 3) -> int:
    """A base port with which all ports of a local cluster are free now.

    Below the range from which systems pick ports for outgoing connections, so that none of those takes one meanwhile.
    """
    chance = random.SystemRandom()  # two test runs with the same seed must not try the same ports in the same order
    for base in chance.sample(range(10_000, 32_000, PORTS_A_NODE * 10), k=200):
        if all(is_free(f"{HOST}:{base + PORTS_A_NODE * i + peer}") for i in range(nodes) for peer in (0, 1)):
            return base
    raise OSError("found no free ports between 10000 and 32000")


def is_free(address: str) -> bool:
    """Whether a server could listen on ``HOST:PORT`` now. False too where this machine does not have the address."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, _, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As servers do: connections of a former process that still linger do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError:
        return False
    return True
