"""Candidates elect a leader among them through compare-and-swap, and one that falls silent is replaced.

    python examples/leader_election.py

Two keys. ``election/leader`` says "TERM NAME" and changes only by a compare-and-swap; ``election/heartbeat`` says
"TERM COUNT", and whoever leads counts on. A candidate looks at both again and again. Where there is no leader, or where
the heartbeat has not changed for a while *on the candidate's own clock*, it campaigns: it swaps in the next term and
its own name, if both keys are still what it saw. Of all that try, one succeeds. Names are unique: a candidate that
finds its own there has won, even if it did not hear the answer.

What that guarantees, and what not. Each term has at most one leader, and terms grow: that is the compare-and-swap's
doing. But a leader that is frozen, or cut off, does not know that it was replaced, and may go on believing for a while:
then two believe to lead. No timeout prevents that, and the store cannot either, for nothing expires by itself. So
believing must not be enough. Everything that a leader does (here: lines in ``election/journal/``) is one transaction
with the condition that the leader key still holds its own term; a leader of yesterday is refused. Work outside of the
store must check the term where it is done.

The play: three candidates, of whom one is elected. It is killed; another takes over. That one is frozen; the third
takes over. The frozen one thaws, finds its work refused, and follows. At the end the journal is checked.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kvclient import Client, Compare, KeyValue, KvError, Put

from kvstore.server.local_cluster import LocalCluster
from kvstore.server.ports import free_base_port

LEADER, HEARTBEAT, JOURNAL = "election/leader", "election/heartbeat", "election/journal/"
BELIEFS = "election/beliefs/"
"""What each candidate believes, for the audience: "leads in term 3", or "follows"."""
BEAT_S = 0.1
SILENCE_S = 1.5
"""So long must the heartbeat have been still before anybody campaigns."""
CALL_S = 0.5
"""Whoever leads must know soon that it cannot: a call that takes longer is given up."""
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Leadership:
    term: int
    name: str

    @classmethod
    def parse(cls, stored: bytes) -> "Leadership":
        term, _, name = stored.decode().partition(" ")
        return cls(int(term), name)

    def __str__(self) -> str:
        return f"{self.term} {self.name}"


# A candidate


class Candidate:
    """Call ``step`` again and again; in between, wait for ``BEAT_S``. Its clock is given, for tests."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._beats = 0
        self._seen: tuple[KeyValue | None, KeyValue | None] = (None, None)
        self._seen_at = 0.0
        self.leads: Leadership | None = None
        """What this candidate believes of itself."""

    def step(self, now: float) -> None:
        """Raises KvError where the store does not answer: the candidate is none the wiser, and its belief stays."""
        if self.leads is not None:
            self._work(self.leads)
        else:
            self._watch(now)

    def _work(self, mine: Leadership) -> None:
        """A heartbeat and a line in the journal, if the term is still this candidate's own: both or neither."""
        done = (
            self._client.txn()
            .when(Compare.value(LEADER) == str(mine))
            .then(
                Put(HEARTBEAT, f"{mine.term} {self._beats}"),
                Put(f"{JOURNAL}{mine.term:06}/{self._beats:06}", self._name),
            )
            .commit(timeout=CALL_S)
        )
        self._beats += 1
        if not done.succeeded:
            self.leads = None

    def _watch(self, now: float) -> None:
        seen = (self._client.get(LEADER, timeout=CALL_S), self._client.get(HEARTBEAT, timeout=CALL_S))
        leader = Leadership.parse(seen[0].value) if seen[0] else None
        if leader and leader.name == self._name:
            self.leads, self._beats = leader, 0
        elif seen != self._seen:
            self._seen, self._seen_at = seen, now
        elif leader is None or now - self._seen_at > SILENCE_S:
            self._campaign(Leadership(leader.term + 1 if leader else 1, self._name))

    def _campaign(self, wanted: Leadership) -> None:
        """Nothing may have changed since it was seen: then the silence was one of the leader that is replaced."""
        leader, heartbeat = (kv.mod_revision if kv else 0 for kv in self._seen)
        won = (
            self._client.txn()
            .when(Compare.mod(LEADER) == leader, Compare.mod(HEARTBEAT) == heartbeat)
            .then(Put(LEADER, str(wanted)))
            .commit(timeout=CALL_S)
        )
        if won.succeeded:
            self.leads, self._beats = wanted, 0


def campaign(client: Client, name: str) -> NoReturn:
    candidate, told = Candidate(client, name), ""
    while True:
        with suppress(KvError):  # a node has died, or is slow: ask again
            candidate.step(time.monotonic())
            belief = f"leads in term {candidate.leads.term}" if candidate.leads else "follows"
            if belief != told:
                client.put(BELIEFS + name, belief, timeout=CALL_S)
                told = belief
        time.sleep(BEAT_S)


# The play


def main() -> int:
    parser = argparse.ArgumentParser(description="Three candidates elect a leader, lose it, and elect another.")
    parser.add_argument("--candidate", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--at", metavar="ENDPOINTS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.candidate:
        with Client(options.at) as client:
            campaign(client, options.candidate)
    with tempfile.TemporaryDirectory(prefix="kv-election-") as scratch:
        cluster = LocalCluster(Path(scratch) / "data", nodes=3, base_port=free_base_port(nodes=3))
        try:
            with step("start three nodes"):
                cluster.start()
                cluster.wait_serving()
            play(cluster)
        finally:
            cluster.stop()
    print("done: every term had one leader, and no leader of yesterday wrote anything")
    return 0


def play(cluster: LocalCluster) -> None:
    candidates: dict[str, subprocess.Popen[bytes]] = {}
    try:
        with Client(cluster.endpoints) as client:
            with step("start three candidates: Ada, Bob and Cyd"):
                for name in ("Ada", "Bob", "Cyd"):
                    command = [sys.executable, __file__, "--candidate", name, "--at", ",".join(cluster.endpoints)]
                    candidates[name] = subprocess.Popen(command)
            with step("wait until one is elected and works"):
                first = working_leader(client, after_term=0)

            with step(f"kill {first.name} with SIGKILL"):
                candidates[first.name].kill()
                candidates[first.name].wait()
            with step("wait until another has noticed the silence and taken over"):
                second = working_leader(client, after_term=first.term)
            require(second.name != first.name, f"{first.name} is dead and was elected")

            with step(f"freeze {second.name} with SIGSTOP, while it believes to lead"):
                leading = f"leads in term {second.term}"
                wait_until(lambda: belief(client, second.name) == leading, f"{second.name} does not believe to lead")
                os.kill(candidates[second.name].pid, signal.SIGSTOP)
            with step("wait until the third one has taken over"):
                third = working_leader(client, after_term=second.term)
            require(third.name not in {first.name, second.name}, f"{third.name} was elected")
            revision = last_line_of(client, second.term).mod_revision

            with step(f"thaw {second.name}: its next line is refused, so it follows"):
                os.kill(candidates[second.name].pid, signal.SIGCONT)
                wait_until(lambda: belief(client, second.name) == "follows", f"{second.name} does not give up")
            require(
                last_line_of(client, second.term).mod_revision == revision,
                f"{second.name} wrote in term {second.term}, which was over",
            )
            with step("check the journal"):
                check(client.get_prefix(JOURNAL).kvs)
    finally:
        for candidate in candidates.values():
            candidate.kill()
            candidate.wait()


def current(client: Client) -> Leadership | None:
    stored = client.get(LEADER)
    return Leadership.parse(stored.value) if stored else None


def working_leader(client: Client, *, after_term: int) -> Leadership:
    """One of a later term, as soon as it has written a line."""
    found: list[Leadership] = []

    def look() -> bool:
        leader = current(client)
        if leader and leader.term > after_term and client.get_prefix(journal_of(leader.term), count_only=True).count:
            found.append(leader)
        return bool(found)

    wait_until(look, "nobody leads and works")
    print(f"          {found[0].name} leads in term {found[0].term}")
    return found[0]


def belief(client: Client, name: str) -> str:
    stored = client.get(BELIEFS + name)
    return stored.value.decode() if stored else "follows"


def wait_until(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        require(time.monotonic() < deadline, f"{complaint} after {PATIENCE_S:g} s")
        time.sleep(0.05)


def journal_of(term: int) -> str:
    return f"{JOURNAL}{term:06}/"


def last_line_of(client: Client, term: int) -> KeyValue:
    return client.get_prefix(journal_of(term), descending=True, limit=1).kvs[0]


def check(lines: tuple[KeyValue, ...]) -> None:
    """Each term's lines are one candidate's, and none was written after a line of a later term."""
    authors: dict[int, bytes] = {}
    newest_term = 0
    for line in sorted(lines, key=lambda line: line.mod_revision):
        term = int(line.key.decode().removeprefix(JOURNAL).partition("/")[0])
        author = authors.setdefault(term, line.value)
        require(author == line.value, f"both {author!r} and {line.value!r} wrote in term {term}")
        require(term >= newest_term, f"term {term} went on after term {newest_term} had begun")
        newest_term = term
    told = ", ".join(f"term {term} {author.decode()}" for term, author in sorted(authors.items()))
    print(f"          {len(lines)} lines: {told}")


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
