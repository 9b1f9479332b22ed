"""``kv-sim``: the simulator as a command, to learn from and to find mistakes with.

The status is 0 where all went well, 1 where a law was broken, 2 for wrong usage.
"""

from typing import Final

import click

from kvstore.testing.cli.check import check
from kvstore.testing.cli.connectivity import connectivity
from kvstore.testing.cli.run import run

__all__ = ["cli", "main"]

_DEFAULT: Final = "run"


class _Group(click.Group):
    """``kv-sim --rounds 3`` is ``kv-sim run --rounds 3``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {option for parameter in self.get_params(ctx) for option in parameter.opts}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  kv-sim                                  ten rounds of three nodes, told line by line
  kv-sim --proposers 2 --rounds 3         two proposers duel
  kv-sim --scenario gap --diagram gap.html
  kv-sim check --seeds 1000               look for a broken law under every fault
  kv-sim connectivity                     every graph of five nodes: who has a quorum makes progress
  kv-sim run --help                       what there is to choose

The status is 0 where all went well, 1 where a law was broken, 2 for wrong usage.""",
)
@click.version_option(package_name="kvstore", prog_name="kv-sim")
def cli() -> None:
    """The replicas of this store on a simulated clock, network and disk.

    Without a subcommand it is `kv-sim run`.
    """


cli.add_command(run)
cli.add_command(check)
cli.add_command(connectivity)


def main() -> None:
    cli(prog_name="kv-sim")


if __name__ == "__main__":
    main()
