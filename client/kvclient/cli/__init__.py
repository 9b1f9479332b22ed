"""``kv-client``: the client library at the command line. Keys and values are bytes: whatever goes in comes out."""

from kvclient.cli.commands import main

__all__ = ["main"]
