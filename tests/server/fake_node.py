"""Stands in for kv-server where a test is about processes: it listens, says that it is ready, and ends on SIGTERM.

With ``--refuse`` it says why and exits with status 2; with ``--stubborn`` it ignores SIGTERM; with ``--never-ready`` it
keeps silent.
"""

import os
import signal
import socket
import sys


def main() -> None:
    arguments = sys.argv[1:]
    own_id = arguments[arguments.index("--id") + 1]
    peers = dict(peer.split("=") for peer in arguments[arguments.index("--peers") + 1].split(","))
    host, port = peers[own_id].split(":")
    if "--refuse" in arguments:
        print("fake: refused", file=sys.stderr)
        sys.exit(2)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if "--stubborn" in arguments else lambda *_: os._exit(0))
    with socket.create_server((host, int(port) - 1)):
        if "--never-ready" not in arguments:
            print(f"node {own_id}: ready to serve client requests on {host}:{int(port) - 1}", file=sys.stderr)
        print("KV_FAKE is", os.environ.get("KV_FAKE"), file=sys.stderr)
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
