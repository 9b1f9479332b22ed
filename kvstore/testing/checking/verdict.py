"""What a checker finds: violations as values, each with its rule, the operations and both values."""

from dataclasses import dataclass
from enum import Enum

from kvstore.testing.checking.history import Operation

__all__ = ["Rule", "Verdict", "Violation"]


class Rule(Enum):
    AGREEMENT = "replicas decided different commands for one slot"
    LOG_WHOLE = "a slot is recorded by no replica"
    RESPONSE = "an answer is not the model's"
    UNIQUE_REVISION = "two writes were answered with one revision"
    REAL_TIME = "what had returned before another was invoked took effect after it"
    ACKNOWLEDGED = "an acknowledged write did not take effect"
    ONCE = "a write took effect twice"
    NEVER = "a write that definitely failed took effect"
    THIN_AIR = "no operation explains a change"
    SAME_ANSWER = "one (session, sequence) had two requests or two answers"


@dataclass(frozen=True, slots=True)
class Violation:
    """``expected`` is what the rule asks for, ``actual`` what is recorded; both are for people to read."""

    rule: Rule
    operations: tuple[Operation, ...]
    expected: object
    actual: object
    revision: int | None = None
    slot: int | None = None

    def __str__(self) -> str:
        where = f" at revision {self.revision}" if self.revision is not None else ""
        where += f" in slot {self.slot}" if self.slot is not None else ""
        lines = [
            f"{self.rule.name}{where}: {self.rule.value}",
            f"  expected {self.expected}",
            f"  actual   {self.actual}",
        ]
        return "\n".join(lines + [f"  {operation}" for operation in self.operations])


@dataclass(frozen=True, slots=True)
class Verdict:
    """``undecided`` is a contradiction that some untried choice of unknown writes might still explain."""

    violations: tuple[Violation, ...] = ()
    undecided: Violation | None = None

    @property
    def ok(self) -> bool:
        return not self.violations and self.undecided is None

    def __str__(self) -> str:
        if self.undecided is not None:
            return f"undecided: too many ways to place the unknown writes\n{self.undecided}"
        return "\n".join(map(str, self.violations)) if self.violations else "ok"
