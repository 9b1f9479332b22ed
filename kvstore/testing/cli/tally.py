"""What many runs amount to: which faults fired how often, which laws were looked at, and how eventful a seed was."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from kvstore.testing.cli.options import fault_name
from kvstore.testing.cli.seeds import SeedResult
from kvstore.testing.sim import LAWS, FaultKind, Report

__all__ = ["Tally"]

_COUNTED_NOWHERE = ("invariants",)
"""Asserted within the code under test."""


@dataclass(slots=True)
class Tally:
    kinds: Sequence[FaultKind]
    reports: list[Report] = field(default_factory=list)
    cpu_s: float = 0.0

    def add(self, result: SeedResult) -> None:
        self.cpu_s += result.cpu_s
        if result.report is not None:
            self.reports.append(result.report)

    @property
    def events(self) -> int:
        return sum(report.events for report in self.reports)

    @property
    def fired(self) -> dict[FaultKind, int]:
        return {kind: sum(report.faults.get(kind, 0) for report in self.reports) for kind in self.kinds}

    @property
    def checked(self) -> dict[str, int]:
        return {law: sum(report.checked.get(law, 0) for report in self.reports) for law in LAWS}

    @property
    def lease_seeds(self) -> int:
        """Runs in which clusters read by leases."""
        return sum(report.lease_ms > 0 for report in self.reports)

    @property
    def lease_reads(self) -> int:
        """Reads that a lease answered, without a quorum's confirmation."""
        return sum(report.lease_reads for report in self.reports)

    def medians(self) -> dict[str, float]:
        """Per seed."""
        columns: dict[str, list[float]] = {
            "events": [report.events for report in self.reports],
            "client operations": [report.operations for report in self.reports],
            "faults": [sum(report.faults.values()) for report in self.reports],
            "leader changes": [report.leader_changes for report in self.reports],
            "slots decided": [report.decided for report in self.reports],
            "simulated seconds": [report.simulated_s for report in self.reports],
            "seconds from heal to recovery": [report.recovered_s for report in self.reports],
        }
        return {name: statistics.median(values) if values else 0.0 for name, values in columns.items()}

    def missing(self, *, fired_min: int) -> list[str]:
        """What was not exercised enough to prove anything; every law must have been looked at."""
        lacking = [
            f"{fault_name(kind)} fired {count} times, not {fired_min}"
            for kind, count in self.fired.items()
            if count < fired_min
        ]
        if fired_min and self.reports:
            lacking += [
                f"nothing looked at {law}"
                for law, count in self.checked.items()
                if not count and law not in _COUNTED_NOWHERE
            ]
        return lacking

    def as_json(self) -> dict[str, object]:
        return {
            "seeds": len(self.reports),
            "events": self.events,
            "faults": {fault_name(kind): count for kind, count in self.fired.items()},
            "checked": self.checked,
            "lease_seeds": self.lease_seeds,
            "lease_reads": self.lease_reads,
            "medians": self.medians(),
        }

    def show(self, console: Console, *, wall_s: float) -> None:
        faults = Table("fault", "fired", title="Faults", title_justify="left")
        faults.columns[1].justify = "right"
        for kind, count in self.fired.items():
            faults.add_row(fault_name(kind), f"{count:,}")
        laws = Table("law", "checks", "what it says", title="Laws", title_justify="left")
        laws.columns[1].justify = "right"
        for law, count in self.checked.items():
            laws.add_row(law, "always" if law in _COUNTED_NOWHERE else f"{count:,}", LAWS[law])
        medians = Table("median seed", "", title="How eventful", title_justify="left")
        medians.columns[1].justify = "right"
        for name, value in self.medians().items():
            medians.add_row(name, f"{value:,.3f}" if name.startswith(("sim", "sec")) else f"{value:,.0f}")
        for table in (faults, laws, medians):
            console.print(table)
        console.print(f"{self.lease_seeds:,} seeds read by leases, which answered {self.lease_reads:,} reads alone.")
        rate = self.events / self.cpu_s if self.cpu_s else 0.0
        console.print(
            f"{len(self.reports):,} seeds, {self.events:,} events in {wall_s:.1f} s: "
            f"{len(self.reports) / wall_s if wall_s else 0:.2f} seeds/s, {rate:,.0f} events per CPU second"
        )
