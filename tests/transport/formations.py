"""Formations and those who were told of each other, for the stories of forming."""

import hashlib

from kvstore.paxos.types import NodeId
from kvstore.transport.formation import (
    Formation,
    FormationRefused,
)


def address(node_id: int) -> str:
    return f"host{node_id}:7000"


def peers(*node_ids: int) -> dict[NodeId, str]:
    return {NodeId(node_id): address(node_id) for node_id in node_ids}


def birth(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()[:16]


def fresh(node_id: int, told: dict[NodeId, str], born: object = None) -> Formation:
    return Formation(node_id=NodeId(node_id), birth_id=birth(born or node_id), peers=told)


def reason(formation: Formation) -> str:
    assert isinstance(formation.outcome, FormationRefused), formation.outcome
    return formation.outcome.reason
