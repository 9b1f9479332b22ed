"""Kills by the dozen under a load that never lets up, and then the question whether anything acknowledged was lost.

A kill is SIGKILL, from outside at a random moment or by the node itself at a named point before or after a commit, a
send or an apply (``KV_FAILPOINTS``). They come in four patterns:

- *one*: a node is killed, often the leader; it comes back armed, dies at its point, and comes back again;
- *both*: the leader is killed and comes back armed; its successor is killed and comes back armed, so that an armed node
  may lead; both die at their points, maybe at once, which takes the quorum away;
- *all*: the whole cluster is killed at once; one of the nodes comes back armed.

Twenty kills are seven patterns: ten kills at points, each point at least once, one of the whole cluster, and at least a
third hit whoever leads. Every wait is for a condition: nodes are dead, serve, acknowledge writes again.

``python -m tests.e2e.kill_loop --kills 200 --dir DIR`` runs it by hand.
"""

import argparse
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from kvstore.server.failpoints import POINTS, VARIABLE
from kvstore.server.local_cluster import Health, LocalCluster
from kvstore.server.ports import free_base_port
from kvstore.server.processes import send, wait_until
from tests.e2e.clusters import WAIT_S, leader_of, statuses
from tests.e2e.load import Fate, Write, WriteLoad
from tests.e2e.verify import check_disks_agree, check_order, check_read_back, check_rows, read_disk

__all__ = ["KillLoop", "Report"]

_POINT_S = 20.0
_ANSWERS_AFTER_RESTART = 20


@dataclass(slots=True)
class Report:
    """``kills`` counts events: the whole cluster at once is one. ``at_points`` are those that nodes did themselves."""

    kills: int = 0
    leader_kills: int = 0
    whole_cluster_kills: int = 0
    at_points: Counter[str] = field(default_factory=Counter)
    points_not_reached: int = 0
    in_flight_min: int = sys.maxsize
    acknowledged: int = 0
    unknown: int = 0
    not_done: int = 0
    read_back: int = 0
    slots: int = 0
    seconds: float = 0.0
    checked_seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        points = ", ".join(f"{name} {count}" for name, count in sorted(self.at_points.items()))
        kills = (
            f"{self.kills} kills in {self.seconds:.0f} s: {self.leader_kills} of the leader, "
            f"{self.whole_cluster_kills} of the whole cluster, {self.at_points.total()} at points ({points}); "
            f"{self.points_not_reached} points not reached"
        )
        checked = (
            f"{self.read_back} answers read back from all nodes at their revisions, {self.slots} slots equal on all of "
            f"them ({self.checked_seconds:.0f} s)"
        )
        return [
            kills,
            f"at least {self.in_flight_min} writes in flight at every kill",
            f"{self.acknowledged} writes acknowledged, {self.unknown} unknown, {self.not_done} not done",
            checked,
            *(f"{count} × {text}" for text, count in self.errors.most_common()),
        ]


class KillLoop:
    """Runs in ``directory``, which keeps the cluster's data and logs and ``kill-loop.log``."""

    def __init__(self, directory: Path, *, kills: int, seed: int, nodes: int = 3) -> None:
        assert kills % 20 == 0, f"kills come by the twenty: {kills}"
        self._rng = Random(seed)
        self._kills = kills
        self._cluster = LocalCluster(directory / "cluster", nodes=nodes, base_port=free_base_port(nodes=nodes))
        self._points = self._endless_points()
        self._load: WriteLoad
        self._armed: dict[int, str] = {}
        self._log = directory / "kill-loop.log"
        self._began = time.monotonic()
        self.report = Report()
        self._say(f"seed {seed}, {kills} kills, {nodes} nodes")

    def run(self) -> Report:
        """Raises AssertionError where anything that was promised does not hold."""
        cluster, report = self._cluster, self.report
        try:
            cluster.start()
            cluster.wait_serving()
            endpoints = {node_id: cluster.endpoint(node_id) for node_id in cluster.node_ids}
            with WriteLoad(endpoints) as self._load:
                self._await_answers(*cluster.node_ids)
                for _ in range(self._kills // 20):
                    self._twenty()
            writes = self._load.writes
            report.seconds = time.monotonic() - self._began
            report.errors = self._load.errors
            fates = Counter(write.fate for write in writes)
            report.acknowledged = fates[Fate.ACKNOWLEDGED]
            report.unknown = fates[Fate.UNKNOWN]
            report.not_done = fates[Fate.NOT_DONE]
            self._check(writes)
            report.checked_seconds = time.monotonic() - self._began - report.seconds
        finally:
            for line in report.lines():
                self._say(line)
            cluster.stop()
        return report

    # Patterns

    def _twenty(self) -> None:
        before = self.report.kills
        patterns = [self._all] + [self._both] * 2 + [self._one] * 5
        self._rng.shuffle(patterns)
        for pattern in patterns:
            pattern()
        assert self.report.kills - before == 20, "one 'all', two 'both' and five 'one' are twenty kills"

    def _one(self) -> None:
        victim = self._leader() if self._rng.random() < 0.6 else self._rng.choice(self._cluster.node_ids)
        self._kill(victim)
        self._start(victim, armed_for=self._rng.randint(1, 120))
        self._await_points()

    def _both(self) -> None:
        first = self._leader()
        self._kill(first)
        self._start(first, armed_for=self._rng.randint(150, 400))
        second = self._leader(but=first)
        self._kill(second)
        self._start(second, armed_for=self._rng.randint(1, 120))
        self._await_points()

    def _all(self) -> None:
        for node_id in self._cluster.node_ids:
            process = self._cluster.process(node_id)
            assert process is not None
            send(process, signal.SIGKILL)
        for node_id in self._cluster.node_ids:
            assert wait_until(lambda n=node_id: not self._cluster.is_alive(n), timeout_s=WAIT_S)  # type: ignore[misc]
        self.report.whole_cluster_kills += 1
        self._count("the whole cluster", led=True)
        armed = self._rng.choice(self._cluster.node_ids)
        for node_id in self._cluster.node_ids:
            self._start(node_id, armed_for=self._rng.randint(1, 120) if node_id == armed else None, wait=False)
        self._await_points()
        self._await_answers(*self._cluster.node_ids)

    # Parts

    def _kill(self, node_id: int) -> None:
        if node_id in self._armed and self._reaped(node_id):
            return  # it was faster
        assert self._load.in_flight >= 64, f"only {self._load.in_flight} writes in flight"
        self._cluster.kill(node_id)
        if node_id in self._armed:
            self.report.points_not_reached += 1
            del self._armed[node_id]
        self._count(f"node {node_id}", led=self._led(node_id))

    def _start(self, node_id: int, *, armed_for: int | None, wait: bool = True) -> None:
        environment = {}
        if armed_for is not None:
            point = next(self._points)
            environment[VARIABLE] = f"{point}={armed_for}"
            self._armed[node_id] = point
        self._say(f"starts node {node_id} {environment or ''}")
        self._cluster.restart(node_id, environment=environment)
        if wait:
            self._await_answers(node_id)

    def _await_points(self) -> None:
        """Until every armed node has died at its point and has come back."""
        deadline = time.monotonic() + _POINT_S
        while self._armed:
            for node_id in list(self._armed):
                if self._reaped(node_id):
                    self._start(node_id, armed_for=None, wait=False)
                elif time.monotonic() > deadline:
                    self._kill(node_id)
                    self._start(node_id, armed_for=None, wait=False)
            wait_until(self._any_armed_died, timeout_s=0.2)
        self._await_answers(*self._cluster.node_ids)

    def _any_armed_died(self) -> bool:
        return any(not self._cluster.is_alive(node_id) for node_id in self._armed)

    def _reaped(self, node_id: int) -> bool:
        """Whether the armed node has died at its point; counts it."""
        if self._cluster.is_alive(node_id):
            return False
        code = self._cluster.exit_code(node_id)
        assert code == -signal.SIGKILL, f"node {node_id} ended with {code}:\n{self._cluster.log_tail(node_id)}"
        point = self._armed.pop(node_id)
        self.report.at_points[point] += 1
        self._count(f"node {node_id} at {point}", led=self._led(node_id))
        return True

    def _count(self, what: str, *, led: bool) -> None:
        report, load = self.report, self._load
        report.kills += 1
        report.leader_kills += led
        report.in_flight_min = min(report.in_flight_min, load.in_flight)
        self._say(
            f"kill {report.kills}: {what}{' (leads)' if led else ''}, {load.in_flight} writes in flight, "
            f"{load.acknowledged} acknowledged"
        )

    def _await_answers(self, *node_ids: int) -> None:
        """Until each of these nodes serves and its writers' writes are acknowledged, or it has died at its point."""
        for node_id in node_ids:
            self._await(node_id, lambda n: self._cluster.health(n) is Health.SERVING, "does not serve")
            self._load.return_to(node_id)
        wanted = {node_id: self._load.acknowledged_at[node_id] + _ANSWERS_AFTER_RESTART for node_id in node_ids}
        for node_id in node_ids:
            self._await(node_id, lambda n: self._load.acknowledged_at[n] >= wanted[n], "acknowledges no writes")

    def _await(self, node_id: int, condition: Callable[[int], bool], complaint: str) -> None:
        assert wait_until(lambda: self._settled(node_id) or condition(node_id), timeout_s=WAIT_S), (
            f"node {node_id} {complaint}:\n{self._cluster.log_tail(node_id)}"
        )

    def _settled(self, node_id: int) -> bool:
        return node_id in self._armed and not self._cluster.is_alive(node_id)

    def _leader(self, *, but: int | None = None) -> int:
        """Who leads now; whoever it is, ``but`` is somebody else."""
        leader = leader_of(self._cluster)
        if leader != but:
            return leader
        return self._rng.choice([node_id for node_id in self._cluster.node_ids if node_id != but])

    def _led(self, node_id: int) -> bool:
        """Whether the node's last process led when it ended: by the last word in its log."""
        offset = self._cluster._state().nodes[node_id].log_offset
        with self._cluster.log_path(node_id).open("rb") as log:
            log.seek(offset)
            said = re.findall(rb"(leads in|follows node|knows no leader)", log.read())
        return bool(said) and said[-1] == b"leads in"

    def _endless_points(self) -> Iterator[str]:
        while True:
            yield from self._rng.sample(POINTS, k=len(POINTS))

    # Afterwards

    def _check(self, writes: list[Write]) -> None:
        cluster, report = self._cluster, self.report
        check_order(writes)
        cluster.wait_serving()
        with ThreadPoolExecutor() as pool:
            report.read_back = sum(pool.map(lambda endpoint: check_read_back(endpoint, writes), cluster.endpoints))
        self._await_quiet()
        for node_id in cluster.node_ids:
            cluster.kill(node_id)
        disks = [read_disk(cluster.node_dir(node_id), node_id) for node_id in cluster.node_ids]
        check_disks_agree(disks)
        report.slots = disks[0].applied_end
        for disk in disks:
            check_rows(disk, writes)

    def _await_quiet(self) -> None:
        """Until all nodes have applied the same slots: nobody writes any more."""

        def quiet() -> bool:
            applied = [status.raftAppliedIndex for status in statuses(self._cluster).values()]
            return len(applied) == len(self._cluster.node_ids) and len(set(applied)) == 1

        assert wait_until(quiet, timeout_s=WAIT_S), "the nodes do not come to the same slot"

    def _say(self, line: str) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{time.monotonic() - self._began:8.2f} s  {line}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill the nodes of a cluster under load and check what they promised.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument("--dir", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.dir.mkdir(parents=True, exist_ok=True)
    print(*KillLoop(arguments.dir, kills=arguments.kills, seed=arguments.seed).run().lines(), sep="\n")


if __name__ == "__main__":
    main()
