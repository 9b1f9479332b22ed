"""``python -m kvclient.cli``."""

from kvclient.cli.commands import main

main(prog_name="kv-client")
