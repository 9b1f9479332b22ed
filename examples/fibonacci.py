"""A distributed Fibonacci: several processes compute one sequence together, and survive the deaths of each other.

    python examples/fibonacci.py --terms 300

Term n is the key ``fibonacci/n``, and its value says the number and who found it. A worker takes up where the sequence
ends: it adds the last two terms and puts the sum with a compare-and-swap that expects the key to be absent. So of all
workers that computed a term, the store takes exactly one's, whoever dies meanwhile. Where a worker cannot know whether
its write was done, it need not: it reads the key like everybody else.

On the way a worker is killed, then the node that leads, then another worker, and a new worker joins. At the end the
sequence is read from every node and checked: each number, that each term was written once, and by whom.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kvclient import Client, KeyValue, KvError

from kvstore.server.local_cluster import LocalCluster
from kvstore.server.ports import free_base_port

PREFIX = "fibonacci/"
THINKING_S = 0.01
"""Adding is too quick to show anything: a term takes this long."""
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Term:
    number: int
    by: str

    @classmethod
    def parse(cls, stored: bytes) -> "Term":
        number, _, by = stored.decode().partition(" by ")
        return cls(int(number), by)

    def __str__(self) -> str:
        return f"{self.number} by {self.by}"


def key_of(index: int) -> str:
    return f"{PREFIX}{index:06}"


# A worker


def work(client: Client, *, name: str, terms: int) -> int:
    """Until there are so many ``terms``. Returns how many this worker knows to be its own."""
    last: list[int] = []  # at most two: all that the next term needs
    own = 0
    for index in range(terms):
        found = find(client, index)
        if found is None:
            time.sleep(THINKING_S)
            offer(client, index, Term(sum(last) if index > 1 else index, name))
            found = certainly(client, index)
        own += found.by == name
        last = [*last[-1:], found.number]
    return own


def find(client: Client, index: int) -> Term | None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            stored = client.get(key_of(index))
        except KvError:  # a read may be repeated at will
            if time.monotonic() > deadline:
                raise
        else:
            return None if stored is None else Term.parse(stored.value)


def offer(client: Client, index: int, term: Term) -> None:
    """Returns when somebody's term is there. Repeating is safe: once it is there, nobody's offer changes it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.compare_and_swap(key_of(index), None, str(term))
        except KvError:
            if time.monotonic() > deadline:
                raise
        else:
            return


def certainly(client: Client, index: int) -> Term:
    found = find(client, index)
    assert found is not None, f"term {index} was there, and nobody deletes terms"
    return found


# The experiment


class Workers:
    """Worker processes, by name."""

    def __init__(self, endpoints: list[str], *, terms: int) -> None:
        self._endpoints = ",".join(endpoints)
        self._terms = terms
        self._living: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str) -> None:
        command = [sys.executable, __file__, "--terms", str(self._terms), "--worker", name, "--at", self._endpoints]
        self._living[name] = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def kill(self, name: str) -> None:
        process = self._living.pop(name)
        process.kill()
        process.communicate()

    def results(self) -> dict[str, int]:
        """Waits until all that live are done; how many terms each says it found."""
        found = {}
        for name, process in self._living.items():
            output, _ = process.communicate(timeout=2 * PATIENCE_S)
            require(process.returncode == 0, f"{name} ended with exit code {process.returncode}")
            found[name] = int(output)
        return found

    def end(self) -> None:
        for name in tuple(self._living):
            self.kill(name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Several processes compute one Fibonacci sequence together.")
    parser.add_argument("--terms", type=int, default=300, help="how many terms to compute (default: 300)")
    parser.add_argument("--worker", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--at", metavar="ENDPOINTS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.terms < 20:
        parser.error("at least 20 terms, or the workers are done before anybody can be killed")
    if options.worker:
        with Client(options.at) as client:
            print(work(client, name=options.worker, terms=options.terms))
        return 0
    with tempfile.TemporaryDirectory(prefix="kv-fibonacci-") as scratch:
        cluster = LocalCluster(Path(scratch) / "data", nodes=3, base_port=free_base_port(nodes=3))
        try:
            with step("start three nodes"):
                cluster.start()
                cluster.wait_serving()
            experiment(cluster, terms=options.terms)
        finally:
            cluster.stop()
    print("done: every term is right, and was written exactly once")
    return 0


def experiment(cluster: LocalCluster, *, terms: int) -> None:
    workers = Workers(cluster.endpoints, terms=terms)
    try:
        with Client(cluster.endpoints) as client:
            with step("start four workers: Ada, Bob, Cyd and Dan"):
                for name in ("Ada", "Bob", "Cyd", "Dan"):
                    workers.start(name)
            wait_for(client, terms * 1 // 5)
            with step("kill Ada with SIGKILL, wherever she is in her work"):
                workers.kill("Ada")
            wait_for(client, terms * 2 // 5)
            leader = find_leader(client)
            with step(
                f"kill node {leader}, which leads, with SIGKILL: the other two elect a leader, the workers go on"
            ):
                cluster.kill(leader)
            wait_for(client, terms * 3 // 5)
            with step("kill Bob, and start Eve in his place: she reads what there is and takes up the work"):
                workers.kill("Bob")
                workers.start("Eve")
            require(length(client) < terms, "the workers were done before the last of these deaths: take more --terms")
            with step(f"restart node {leader}: it recovers from its disk and catches up"):
                cluster.restart(leader)
                cluster.wait_serving(leader)
        with step("wait for Cyd, Dan and Eve"):
            claims = workers.results()
    finally:
        workers.end()
    for node_id in cluster.node_ids:
        told = step(f"read all {terms} terms through node {node_id} and check them")
        with told, Client(cluster.endpoint(node_id)) as client:
            found = check(client.get_prefix(PREFIX).kvs, terms=terms)
    print("          found by " + ", ".join(f"{name}: {count}" for name, count in sorted(found.items())))
    print(f"          the last one is {sum_of(terms)}")
    for name, claimed in claims.items():
        require(found[name] == claimed, f"{name} knows of {claimed} terms of its own, the store of {found[name]}")
    require(len(found) > 1, "one worker found everything: that was not together")


def check(stored: tuple[KeyValue, ...], *, terms: int) -> Counter[str]:
    """Each term is there, right, written once and after the one before. Returns who found how many."""
    require(len(stored) == terms, f"{len(stored)} terms are there, not {terms}")
    by: Counter[str] = Counter()
    before, last, revision = 1, 0, 0  # the terms -1 and 0
    for index, kv in enumerate(stored):
        term = Term.parse(kv.value)
        require(kv.key.decode() == key_of(index), f"term {index} is missing: {kv.key!r} comes in its place")
        require(term.number == last, f"term {index} is {last}, and not {term.number}")
        require(kv.version == 1, f"term {index} was written {kv.version} times")
        require(kv.create_revision > revision, f"term {index} was written before the one that it needs")
        by[term.by] += 1
        before, last, revision = last, before + last, kv.create_revision
    return by


def sum_of(terms: int) -> int:
    """The last of so many terms, computed alone."""
    before, last = 1, 0
    for _ in range(terms - 1):
        before, last = last, before + last
    return last


def length(client: Client) -> int:
    return client.get_prefix(PREFIX, count_only=True).count


def wait_for(client: Client, terms: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            now = length(client)
        except KvError:
            now = 0
        if now >= terms:
            print(f"          ({now} terms are there)")
            return
        require(time.monotonic() < deadline, f"after {PATIENCE_S:g} s there are not yet {terms} terms")
        time.sleep(0.02)


def find_leader(client: Client) -> int:
    """Whom the nodes name as their leader."""
    return next(status.leader for status in client.status() if status.leader)


def require(condition: bool, complaint: str) -> None:
    if not condition:
        sys.exit(f"FAILED: {complaint}")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is done and, afterwards, how long it took."""
    began = time.perf_counter()
    yield
    print(f"{(time.perf_counter() - began) * 1000:6.0f} ms  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
