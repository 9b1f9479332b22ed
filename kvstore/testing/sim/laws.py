"""The laws that a run is held to, by the numbers of ``docs/protocol.md``, and what is raised when one is broken."""

from collections.abc import Iterable
from typing import Final, NoReturn

from kvstore.testing.sim.events import Event
from kvstore.testing.sim.narrate import narrate

__all__ = ["LAWS", "Broken", "LawBroken", "Ledger"]

LAWS: Final = {
    "L1": "an acceptor neither promises nor accepts below its promise",
    "L2": "promises, votes and new ballots leave a node only after they are durable",
    "L3": "one ballot, one proposer, one value; never a recovered ballot",
    "L4": "a leader proposes what a quorum of promises reports, and only where it may",
    "L5": "no two replicas decide different values for one slot",
    "L6": "slots are applied in order, once, without gaps",
    "L7": "a linearizable read sees everything decided before it came",
    "L8": "equal slots give equal states",
    "L9": "a turn is in the state whole or not at all",
    "L12": "a retried request gets the first answer and is never applied twice",
    "L13": "windows are bounded",
    "L14": "who granted a lease promises nobody else while it runs; a read by lease needs a quorum's that run",
    "invariants": "what the code asserts about itself, and that nothing else goes wrong in it",
    "linearizable": "the clients' histories have an order that explains them",
    "liveness": "after the faults everything is decided, applied and answered in time",
}


class Broken(Exception):
    """A law is broken. Whoever runs the simulation adds the seed and the last events: ``LawBroken``."""

    def __init__(self, law: str, detail: str) -> None:
        super().__init__(f"{law}: {detail}")
        self.law = law
        self.detail = detail


class LawBroken(Exception):
    """``law`` is a key of ``LAWS``, ``seed`` replays the run, ``events`` are the last ones before ``at``."""

    def __init__(self, law: str, detail: str, *, seed: int, at: float, events: Iterable[Event]) -> None:
        self.law = law
        self.detail = detail
        self.seed = seed
        self.at = at
        self.events = tuple(events)
        super().__init__(law, detail, seed)

    def __str__(self) -> str:
        story = "\n".join(f"  {narrate(event)}" for event in self.events)
        return (
            f"seed {self.seed} breaks {self.law} ({LAWS[self.law]}) at {self.at:.6f} s:\n"
            f"  {self.detail}\nThe last events:\n{story}"
        )


class Ledger:
    """Counts how often each law was looked at; a law that nobody looks at proves nothing."""

    def __init__(self) -> None:
        self.checked: dict[str, int] = dict.fromkeys(LAWS, 0)

    def broken(self, law: str, detail: str) -> NoReturn:
        assert law in LAWS, f"nobody knows the law {law}"
        raise Broken(law, detail)
