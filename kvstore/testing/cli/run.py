"""``kv-sim run``: rounds or a scenario, told as they happen."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from kvstore.testing.cli.diagram_html import html
from kvstore.testing.cli.diagram_mermaid import mermaid
from kvstore.testing.cli.diagram_svg import svg
from kvstore.testing.cli.options import EXIT_BROKEN, FAULTS, plain_console, version
from kvstore.testing.cli.play import Outcome, play
from kvstore.testing.cli.record import Recorder
from kvstore.testing.cli.rounds import Rounds
from kvstore.testing.cli.scenarios import SCENARIOS
from kvstore.testing.cli.stage import Stage, teaching_config
from kvstore.testing.cli.story import HEADING
from kvstore.testing.cli.summary import show
from kvstore.testing.sim import FaultKind

__all__ = ["run"]

NODES_MAX: Final = 9
DIAGRAMS: Final[dict[str, Callable[[Recorder, str], str]]] = {
    ".mmd": lambda recorder, _title: mermaid(recorder),
    ".svg": svg,
    ".html": html,
}


def _check_diagram(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix not in DIAGRAMS:
        raise click.BadParameter(f"{path.name} is none of {', '.join('*' + suffix for suffix in DIAGRAMS)}")
    return path


@click.command(
    epilog="""\b
Examples:
  kv-sim --nodes 5 --rounds 3
      five nodes, three values, nothing goes wrong
  kv-sim --proposers 2 --rounds 2 --diagram duel.html
      two nodes try to lead in every round; a picture for the browser
  kv-sim --faults all --seed 7
      with every fault that the simulator knows
  kv-sim --faults crash,loss --quiet
      with some of them; only the outcome
  kv-sim --scenario adoption --diagram adoption.svg
      one of the stories of docs/learn-paxos.md"""
)
@click.option("--nodes", type=click.IntRange(1, NODES_MAX), default=3, show_default=True, help="How many nodes.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many rounds.")
@click.option("--seed", type=int, help="All chance comes from it.  [default: 1, or the scenario's own]")
@click.option(
    "--proposers",
    type=click.IntRange(1, NODES_MAX),
    default=1,
    show_default=True,
    help="How many nodes have a value in each round. From 2 on they duel for the leadership.",
)
@click.option(
    "--faults", type=FAULTS, default="none", metavar="none|all|LIST", show_default=True, help="What may go wrong."
)
@click.option("--scenario", type=click.Choice(list(SCENARIOS)), help="A story with a plot, instead of rounds.")
@click.option("--heartbeats", is_flag=True, help="Tell of the heartbeats that cause nothing, too.")
@click.option(
    "--diagram",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    callback=_check_diagram,
    metavar="FILE",
    help="Draw it: *.mmd (Mermaid), *.svg or *.html.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only the outcome.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def run(
    context: click.Context,
    *,
    nodes: int,
    rounds: int,
    seed: int | None,
    proposers: int,
    faults: tuple[FaultKind, ...],
    scenario: str | None,
    heartbeats: bool,
    diagram: Path | None,
    quiet: bool,
    output: str,
) -> None:
    """Play rounds of the protocol and tell the story: a line a message, and what it caused.

    Then the decided log, a verdict, and a summary. The same seed and version give the same story, byte for byte.
    The status is 0 where all went well, 1 where a law of docs/protocol.md was broken, 2 for wrong usage.
    """
    if proposers > nodes:
        raise click.BadParameter(
            f"{proposers} proposers need as many nodes; there are {nodes}", param_hint="--proposers"
        )
    if scenario is not None:
        for name in ("nodes", "rounds", "proposers", "faults"):
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError(f"a scenario has its own {name}: leave --{name} out")
        plot = SCENARIOS[scenario]
        nodes, act, title = plot.nodes, plot.act, f"kv-sim run --scenario {scenario}"
        seed = plot.seed if seed is None else seed
    else:
        seed = 1 if seed is None else seed
        act = Rounds(rounds=rounds, proposers=proposers, kinds=faults)
        title = f"kv-sim run --nodes {nodes} --rounds {rounds} --proposers {proposers}"
        if faults:
            title += " --faults " + ",".join(shlex.quote(kind.value.replace(" ", "-")) for kind in faults)
    title += f" --seed {seed}"
    story: list[str] = []
    aloud = not quiet and output == "text"

    def tell(line: str) -> None:
        story.append(click.unstyle(line))
        if aloud:
            click.echo(line)

    stage = Stage(seed, teaching_config(nodes), tell=tell, heartbeats=heartbeats)
    if aloud:
        click.echo(click.style(HEADING, bold=True))
    outcome = play(stage, act, story=story)
    if diagram is not None:
        diagram.write_text(DIAGRAMS[diagram.suffix](stage.recorder, title), encoding="utf-8")
    _tell_outcome(outcome, title, output=output, quiet=quiet)
    if not outcome.ok:
        context.exit(EXIT_BROKEN)


def _tell_outcome(outcome: Outcome, title: str, *, output: str, quiet: bool) -> None:
    if output == "json":
        found = {"version": version(), "command": title, **outcome.as_json()}
        if quiet:
            del found["story"]
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    console: Console = plain_console()
    if not quiet:
        console.print()
    show(outcome, console)
    if not outcome.ok:
        click.echo(outcome.last_events)
        click.echo(f"\nIt is replayed by: {title}")
