"""What both clients share beside the decisions: their settings, and where grpc's words become ours."""

import random
import time
from collections.abc import Iterable
from typing import TypeVar, cast

import grpc

from kvclient.attempts import Attempts, checked_timeout
from kvclient.calls import Call
from kvclient.decisions import CLOSED_DURING_THE_CALL, Failure, error_of
from kvclient.endpoints import channel_options, parse_endpoints
from kvclient.errors import Code
from kvclient.results import EndpointStatus

__all__ = ["DEFAULT_TIMEOUT_S", "Shell", "answer_of", "closed_failure", "failure_of", "remaining", "status_of"]

DEFAULT_TIMEOUT_S = 5.0

# How long a server may keep a session's requests without a word before another one is asked; where there is no other
# one, only for as long as it takes to be sure that this connection is dead.
SILENCE_MIN_S = 0.25
SILENCE_MAX_S = 2.0
SILENCE_ALONE_S = 10.0

T = TypeVar("T")


class Shell:
    """The settings of a client, and the endpoint that answered last."""

    def __init__(self, endpoints: str | Iterable[str], *, timeout_s: float) -> None:
        self.endpoints = parse_endpoints(endpoints)
        self.timeout_s = checked_timeout(timeout_s)
        self.channel_options = channel_options(self.endpoints, timeout_s=timeout_s)
        self.preferred = 0
        alone = len(self.endpoints) == 1
        share_s = timeout_s / (len(self.endpoints) + 1)
        self.silence_s = SILENCE_ALONE_S if alone else min(SILENCE_MAX_S, max(SILENCE_MIN_S, share_s))
        self.rng = random.Random()  # noqa: S311  # spreads pauses, guards no secret

    def timeout(self, timeout_s: float | None) -> float:
        """A call's own timeout, or else the client's."""
        return self.timeout_s if timeout_s is None else checked_timeout(timeout_s)

    def attempts(self, call: Call[T], *, timeout_s: float | None) -> Attempts[T]:
        """A call about to begin."""
        return Attempts(
            call,
            endpoints=self.endpoints,
            first=self.preferred,
            timeout_s=self.timeout(timeout_s),
            now=time.monotonic(),
            rng=self.rng,
        )


def status_of(call: Call[EndpointStatus], endpoint: str, answer: bytes | Failure) -> EndpointStatus:
    """What one endpoint answered about itself. Nobody else can answer that: a failure is part of the result."""
    if isinstance(answer, bytes):
        try:
            return call.decode(answer)
        except ValueError as unreadable:
            answer = Failure(Code.INTERNAL, f"unreadable answer: {unreadable}", endpoint)
    return EndpointStatus(endpoint, error_of(answer))


def remaining(deadline: float, now: float) -> float:
    """What is left of a call's time; never nothing, so that the call ends where calls end."""
    return max(0.001, deadline - now)


def answer_of(payload: bytes | None, *, endpoint: str) -> bytes | Failure:
    """What a call returned. grpc's is None, against its types, where the status was OK and no whole message came."""
    if payload is None:
        return Failure(Code.INTERNAL, "the status is OK, and there is no answer", endpoint)
    return payload


def failure_of(error: grpc.RpcError, *, endpoint: str) -> Failure:
    """grpc's exception in our words. Both of its kinds carry a status, though only the class ``Call`` is typed so."""
    status = cast("grpc.Call", error)
    return Failure(Code[status.code().name], " ".join((status.details() or "").split()), endpoint)


def closed_failure(endpoint: str) -> Failure:
    """The call was under way when the client was closed."""
    return Failure(Code.CANCELLED, CLOSED_DURING_THE_CALL, endpoint)
