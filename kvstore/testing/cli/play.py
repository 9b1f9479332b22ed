"""What a run amounts to once it is over: the decided log, the verdict, the counts; for rounds and scenarios alike."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from kvstore.testing.cli.stage import Stage
from kvstore.testing.cli.words import value_words
from kvstore.testing.sim import LAWS, LawBroken

__all__ = ["LogRow", "Outcome", "play"]


@dataclass(frozen=True, slots=True)
class LogRow:
    """``ballot`` is where a quorum first had the value; ``decided_by`` who knows it."""

    slot: int
    ballot: str
    value: str
    decided_by: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``law`` and ``detail`` are empty where all laws held; ``story`` is without colours."""

    seed: int
    story: tuple[str, ...]
    log: tuple[LogRow, ...]
    law: str
    detail: str
    last_events: str
    messages: dict[str, int]
    lost: dict[str, int]
    heartbeats_untold: int
    faults: dict[str, int]
    checked: dict[str, int]
    answered: int
    leader_ballots: tuple[str, ...]
    simulated_s: float

    @property
    def ok(self) -> bool:
        return not self.law

    @property
    def verdict(self) -> str:
        if self.ok:
            checks = sum(self.checked.values())
            return f"all laws held ({checks} checks); every node has the same log and the same state"
        return f"{self.law} is broken ({LAWS[self.law]}): {self.detail}"

    def as_json(self) -> dict[str, object]:
        return {"ok": self.ok, "verdict": self.verdict, **asdict(self)}


def play(stage: Stage, acts: Callable[[Stage], None], *, story: list[str]) -> Outcome:
    """Plays to the end, or to the first law that is broken. ``story`` is where the stage's lines were put."""
    broken: LawBroken | None = None
    try:
        acts(stage)
        stage.world.check_histories()
    except LawBroken as error:
        broken = error
    stage.story.finish()
    recorder, world = stage.recorder, stage.world
    faults: dict[str, int] = {}
    for span in recorder.faults:
        faults[span.kind] = faults.get(span.kind, 0) + 1
    return Outcome(
        seed=stage.seed,
        story=tuple(story),
        log=_log(stage),
        law=broken.law if broken else "",
        detail=broken.detail if broken else "",
        last_events=str(broken) if broken else "",
        messages=dict(sorted(recorder.sent.items())),
        lost=dict(sorted(recorder.lost.items())),
        heartbeats_untold=stage.story.heartbeats_untold,
        faults=dict(sorted(faults.items())),
        checked=dict(world.ledger.checked),
        answered=sum(client.answered for client in world.clients),
        leader_ballots=tuple(recorder.led),
        simulated_s=world.scheduler.now,
    )


def _log(stage: Stage) -> tuple[LogRow, ...]:
    consensus = stage.world.consensus
    return tuple(
        LogRow(
            slot=slot,
            ballot=str(stage.recorder.chosen_at.get(slot, "")),
            value=value_words(consensus.chosen[slot]),
            decided_by=tuple(node for node, log in consensus.logs.items() if slot in log),
        )
        for slot in sorted(consensus.chosen)
    )
