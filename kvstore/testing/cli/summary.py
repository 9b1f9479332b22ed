"""What is shown when a run is over: the decided log, the verdict and the counts."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kvstore.testing.cli.play import Outcome

__all__ = ["show"]


def show(outcome: Outcome, console: Console) -> None:
    console.print(_log_table(outcome))
    color = "green" if outcome.ok else "red"
    console.print(f"\n[bold {color}]Verdict:[/] {escape(outcome.verdict)}")
    sent = sum(outcome.messages.values())
    console.print(f"\n{outcome.simulated_s * 1000:.3f} ms of simulated time, seed {outcome.seed}")
    console.print(f"{sent} messages: {_counts(outcome.messages)}")
    if outcome.lost:
        console.print(f"{sum(outcome.lost.values())} of them never arrived: {_counts(outcome.lost)}")
    if outcome.heartbeats_untold:
        console.print(f"{outcome.heartbeats_untold} heartbeats and replies caused nothing and are not told")
    console.print(f"ballots that came to lead: {', '.join(outcome.leader_ballots) or 'none'}")
    console.print(f"faults: {_counts(outcome.faults) or 'none'}")
    console.print(f"writes answered: {outcome.answered}")


def _log_table(outcome: Outcome) -> Table:
    table = Table(
        "slot", "value", "chosen in ballot", "decided by nodes", title="The decided log", title_justify="left"
    )
    for row in outcome.log:
        table.add_row(str(row.slot), escape(row.value), row.ballot, " ".join(map(str, row.decided_by)))
    return table


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
