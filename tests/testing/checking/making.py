"""Good histories, made by running operations one after the other, each at a moment inside its window; and damaged ones.

The clients take turns at random; an operation takes effect somewhere between its invocation and its return, an unknown
one somewhere after its invocation or never. The answers are the model's, so that the history is linearizable.
"""

from dataclasses import dataclass, field, replace
from random import Random

from kvstore.testing.checking import (
    Command,
    CompareAndSwap,
    Delete,
    Failed,
    History,
    Model,
    Opaque,
    Operation,
    Put,
    Range,
    Response,
    Unknown,
)


@dataclass
class Made:
    history: History
    log: list[tuple[int, tuple[Command, ...]]] = field(default_factory=list)

    @property
    def logs(self):
        """What three replicas decided: one of them is behind, one joined late."""
        return {1: self.log, 2: self.log[: len(self.log) * 2 // 3], 3: self.log[len(self.log) // 3 :]}


@dataclass
class _Attempt:
    client: str
    invoked_at: float
    returned_at: float | None
    effect_at: float | None
    action: object
    session: int = 0
    sequence: int = 0
    outcome: object = None


def make_history(
    rng: Random,
    operations: int,
    *,
    clients: int = 4,
    keys: int = 3,
    values: int | None = None,
    unknown: float = 0.1,
    failed: float = 0.05,
    sessions: bool = False,
) -> Made:
    """``values``: how many different ones are written; None: each write has its own."""
    attempts: list[_Attempt] = []
    free_at = [rng.random() for _ in range(clients)]
    revisions_guess = 1
    for number in range(operations):
        client = min(range(clients), key=free_at.__getitem__)
        invoked_at = free_at[client] + rng.random() * 0.5
        returned_at = invoked_at + rng.random() * 4
        free_at[client] = returned_at + rng.random() * 0.2
        value = b"v%d" % (number if values is None else rng.randrange(values))
        action = make_action(rng, keys, value, revisions_guess)
        revisions_guess += not isinstance(action, Range)
        attempt = _Attempt(f"c{client}", invoked_at, returned_at, rng.uniform(invoked_at, returned_at), action)
        if sessions and not isinstance(action, Range):
            attempt.session, attempt.sequence = client + 1, number + 1
        attempts.append(attempt)
        fate = rng.random()
        if isinstance(action, Range):
            continue
        if fate < unknown:
            attempt.outcome = Unknown("timeout")
            attempt.effect_at = None if rng.random() < 0.4 else invoked_at + rng.random() * 8
            if rng.random() < 0.5:
                attempt.returned_at = None
            if attempt.session and rng.random() < 0.6:
                again_at = free_at[client]
                free_at[client] = again_at + 2 * rng.random()
                effect_at = rng.uniform(again_at, free_at[client])
                again = _Attempt(attempt.client, again_at, free_at[client], effect_at, action)
                again.session, again.sequence = attempt.session, attempt.sequence
                attempts.append(again)
        elif fate < unknown + failed:
            attempt.outcome, attempt.effect_at = Failed("no leader"), None
    return _run(rng, attempts)


def _run(rng: Random, attempts: list[_Attempt]) -> Made:
    model, first_answers, log = Model(), {}, []
    for attempt in sorted((one for one in attempts if one.effect_at is not None), key=lambda one: one.effect_at):
        identity = (attempt.session, attempt.sequence)
        if identity in first_answers:
            answer = first_answers[identity]
        else:
            answer = model.apply(attempt.action).response
            if attempt.session:
                first_answers[identity] = answer
        if not isinstance(attempt.action, Range):
            _decide(rng, log, Command(attempt.action, *identity))
        if attempt.outcome is None:
            attempt.outcome = _recorded(rng, attempt.action, answer)
    operations = [
        Operation(one.client, one.invoked_at, one.returned_at, one.action, one.outcome, one.session, one.sequence)
        for one in attempts
    ]
    rng.shuffle(operations)
    return Made(History(operations), log)


def _decide(rng: Random, log: list, command: Command) -> None:
    """Into the last slot or a new one, sometimes with a no-op before it."""
    if log and rng.random() < 0.3:
        slot, commands = log[-1]
        log[-1] = (slot, (*commands, command))
        return
    if rng.random() < 0.1:
        log.append((len(log), (Command(Opaque(b"noop")),)))
    log.append((len(log), (command,)))


def _recorded(rng: Random, action: object, answer: Response) -> Response:
    """A client records what it asked for: mostly everything of a read, seldom the previous entries of a write."""
    if isinstance(action, Range):
        return answer
    return answer if rng.random() < 0.3 else replace(answer, entries=None)


def make_action(rng: Random, keys: int, value: bytes, revisions: int):
    key = b"k%d" % rng.randrange(keys)
    kind = rng.random()
    if kind < 0.35:
        return Put(key, value)
    if kind < 0.55:
        return Range(key)
    if kind < 0.65:
        return Range(b"k", b"l", limit=rng.choice([0, 0, 1]))
    if kind < 0.75:
        return Delete(key)
    if kind < 0.78:
        return Delete(b"k", rng.choice([b"k1", b"l", b"\0"]))
    compare = rng.choice(["value", "version", "create_revision", "mod_revision"])
    if compare == "value":
        expected: bytes | int = b"v%d" % rng.randrange(4)
    elif compare == "version":
        expected = rng.randrange(3)
    else:
        expected = rng.choice([0, rng.randrange(2, revisions + 2)])
    return CompareAndSwap(key, compare, expected, None if rng.random() < 0.2 else value)


def damage(rng: Random, history: History) -> History:
    """The history with one thing changed; it may be linearizable still."""
    operations = list(history.operations)
    answered = [index for index, one in enumerate(operations) if isinstance(one.outcome, Response)]
    if not answered:
        return history
    index = rng.choice(answered)
    one, answer = operations[index], operations[index].outcome
    match rng.randrange(9):
        case 0:
            answer = replace(answer, revision=max(1, answer.revision + rng.choice([-2, -1, 1, 2])))
        case 1 if answer.entries:
            entries = list(answer.entries)
            at = rng.randrange(len(entries))
            name = rng.choice(["create_revision", "mod_revision", "version"])
            entries[at] = entries[at]._replace(**{name: max(1, getattr(entries[at], name) + rng.choice([-1, 1]))})
            answer = replace(answer, entries=tuple(entries))
        case 2 if answer.entries:
            answer = replace(answer, entries=answer.entries[1:])
        case 3 if answer.entries:
            entry = answer.entries[0]._replace(value=b"v%d" % rng.randrange(12))
            answer = replace(answer, entries=(entry, *answer.entries[1:]))
        case 4 if answer.succeeded is not None:
            answer = replace(answer, succeeded=not answer.succeeded)
        case 5 if answer.count is not None:
            answer = replace(answer, count=max(0, answer.count + rng.choice([-1, 1])))
        case 6:
            shift = rng.uniform(-6, 6)
            one = replace(one, invoked_at=one.invoked_at + shift, returned_at=one.returned_at + shift)
        case 7 if not isinstance(one.action, Range):
            operations[index] = replace(one, outcome=rng.choice([Failed(), Unknown()]))
            return replace(history, operations=operations)
        case _:
            other = operations[rng.choice(answered)]
            if type(other.action) is type(one.action):
                answer = other.outcome
    operations[index] = replace(one, outcome=answer)
    return replace(history, operations=operations)
