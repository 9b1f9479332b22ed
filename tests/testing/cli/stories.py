"""Scenarios and rounds, played within a test."""

import click

from kvstore.paxos.messages import AcceptedEntry
from kvstore.paxos.phase_one import PhaseOne
from kvstore.paxos.types import Slot
from kvstore.testing.cli.play import Outcome, play
from kvstore.testing.cli.rounds import Rounds
from kvstore.testing.cli.scenarios import SCENARIOS
from kvstore.testing.cli.stage import Stage, teaching_config
from kvstore.testing.sim import FaultKind

__all__ = ["forget_to_adopt", "play_rounds", "play_scenario"]


def play_scenario(name: str, seed: int) -> tuple[Outcome, Stage]:
    story: list[str] = []
    stage = Stage(seed, teaching_config(SCENARIOS[name].nodes), tell=lambda line: story.append(click.unstyle(line)))
    return play(stage, SCENARIOS[name].act, story=story), stage


def play_rounds(
    seed: int, *, nodes: int = 3, rounds: int = 3, proposers: int = 1, kinds: tuple[FaultKind, ...] = ()
) -> tuple[Outcome, Stage]:
    story: list[str] = []
    stage = Stage(seed, teaching_config(nodes), tell=lambda line: story.append(click.unstyle(line)))
    return play(stage, Rounds(rounds=rounds, proposers=proposers, kinds=kinds), story=story), stage


def forget_to_adopt(self: PhaseOne, entry: AcceptedEntry) -> None:
    """A mistake to put in the place of ``PhaseOne._adopt``: what the promises report is taken for a gap (L4)."""
    self.end_slot = max(self.end_slot, Slot(entry.slot + 1))
