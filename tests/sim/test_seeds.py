"""Runs from seeds: no law breaks, and what is run is worth running."""

import statistics
from dataclasses import replace

import pytest

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.types import NodeId
from kvstore.testing.sim import FaultKind, Report, Simulation, SimulationConfig

_SEEDS = 100


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    """Every law holds in every one of them: a broken one raises."""
    return [Simulation(seed).run() for seed in range(1, _SEEDS + 1)]


def test_seeds_keep_every_law_and_every_law_is_looked_at(reports: list[Report]) -> None:
    """Nothing breaks, and no check is idle."""
    for law in reports[0].checked:
        if law != "invariants":  # asserted within the code under test, and counted nowhere
            assert sum(report.checked[law] for report in reports) > 0, law


def test_the_median_seed_is_eventful(reports: list[Report]) -> None:
    """Thousands of events, hundreds of operations that were answered, faults, and leaders that change."""
    assert statistics.median(report.events for report in reports) >= 3000
    assert statistics.median(report.answered for report in reports) >= 200
    assert statistics.median(sum(report.faults.values()) for report in reports) >= 10
    assert statistics.median(report.leader_changes for report in reports) >= 2


def test_some_clusters_read_by_leases(reports: list[Report]) -> None:
    """About a quarter of them, and leases answer most of what their leaders are asked. The others never rely on one."""
    by_lease = [report for report in reports if report.lease_ms]
    assert _SEEDS * 0.1 <= len(by_lease) <= _SEEDS * 0.5
    assert all(report.lease_reads > 0 for report in by_lease)
    assert statistics.median(report.lease_reads for report in by_lease) >= 20
    assert sum(report.lease_reads for report in reports if not report.lease_ms) == 0


def test_where_leases_are_used_clocks_keep_within_their_bound() -> None:
    """They drift, each by itself and from one rate to another, and never jump (L14)."""
    seed = next(seed for seed in range(1, 100) if SimulationConfig.draw(seed).world.lease_ms)
    simulation = Simulation(seed)
    world, drift_max = simulation.world, PaxosConfig(node_id=NodeId(1)).clock_drift_max
    assert not any(fault.kind is FaultKind.CLOCK_JUMP for fault in simulation.config.plan)
    seen: dict[NodeId, set[float]] = {node_id: set() for node_id in world.node_ids}
    while simulation.step():
        rates = {node_id: process.clock.rate for node_id, process in world.processes.items()}
        assert min(rates.values()) > max(rates.values()) * (1 - drift_max)
        for node_id, rate in rates.items():
            seen[node_id].add(rate)
    assert all(len(rates) > 5 for rates in seen.values())


def test_every_kind_of_fault_strikes(reports: list[Report]) -> None:
    """Among a few dozen seeds each kind of fault comes up, and both forms of the liveness phase do."""
    for kind in FaultKind:
        assert sum(report.faults[kind] for report in reports) > 0, kind
    assert {len(report.core) == report.nodes for report in reports} == {True, False}


@pytest.mark.parametrize("kind", FaultKind)
def test_one_kind_of_fault_alone(kind: FaultKind) -> None:
    """Some mistakes show only where other faults are absent."""
    report = Simulation(21, SimulationConfig.draw(21, nodes=(5,), kinds=(kind,))).run()
    assert report.faults[kind] == sum(report.faults.values()) > 0


def test_without_faults_everything_is_answered() -> None:
    """In a healthy world the first leader stays, and no operation is in doubt."""
    simulation = Simulation(22, SimulationConfig.draw(22, nodes=(3,), kinds=()))
    report = simulation.run()
    assert (report.leader_changes, sum(report.faults.values())) == (0, 0)


def test_a_part_of_a_plan_leaves_the_rest_of_the_run_its_chance() -> None:
    """Taking faults out of a plan changes nothing before the first one that was taken out."""
    whole = Simulation(23)
    plan = whole.config.plan
    part = Simulation(23, replace(whole.config, plan=plan[:5]))
    seen: list[list[object]] = [[], []]
    whole.trace.subscribe(lambda event: seen[0].append(event) if event.at < plan[5].at else None)
    part.trace.subscribe(lambda event: seen[1].append(event) if event.at < plan[5].at else None)
    whole.run()
    part.run()
    assert seen[0] == seen[1]
    assert seen[0]
