"""Many seeds over several processes. Results come in the order of the seeds: the first failure is always the same."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, TypeVar

from kvstore.testing.sim import FaultKind, LawBroken, Report, Simulation, SimulationConfig

__all__ = ["Failure", "SeedResult", "config_of", "in_order", "processes_by_default", "run_seed"]

_AHEAD_PER_JOB: Final = 8

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Failure:
    """A broken law as it travels between processes; ``story`` tells the last events."""

    law: str
    at: float
    detail: str
    story: str


@dataclass(frozen=True, slots=True)
class SeedResult:
    """``report`` of a run that broke nothing, or else ``failure``."""

    seed: int
    report: Report | None
    failure: Failure | None
    cpu_s: float


def config_of(
    seed: int, nodes: Sequence[int], kinds: Sequence[FaultKind], plan: Sequence[int] | None
) -> SimulationConfig:
    """``plan``: the numbers of the faults to keep; None keeps all."""
    config = SimulationConfig.draw(seed, nodes=nodes, kinds=kinds)
    if plan is None:
        return config
    return replace(config, plan=tuple(fault for fault in config.plan if fault.number in plan))


def run_seed(job: tuple[int, tuple[int, ...], tuple[FaultKind, ...], tuple[int, ...] | None]) -> SeedResult:
    seed, nodes, kinds, plan = job
    began = time.process_time()
    report: Report | None = None
    failure: Failure | None = None
    try:
        report = Simulation(seed, config_of(seed, nodes, kinds, plan)).run()
    except LawBroken as broken:
        failure = Failure(broken.law, broken.at, broken.detail, str(broken))
    return SeedResult(seed, report, failure, time.process_time() - began)


def in_order(work: Callable[[Job], Result], jobs: Iterator[Job], *, processes: int) -> Iterator[Result]:
    """``work`` done on all ``jobs``; results in their order, a bounded number of them ahead.

    Whoever stops listening stops the work.
    """
    if processes == 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: list[Future[Result]] = [pool.submit(work, job) for job in islice(jobs, processes * _AHEAD_PER_JOB)]
        try:
            while waiting:
                result = waiting.pop(0).result()
                waiting += [pool.submit(work, job) for job in islice(jobs, 1)]
                yield result
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def processes_by_default() -> int:
    return os.cpu_count() or 1
