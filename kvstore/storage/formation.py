"""What every implementation of the log checks before it stores which cluster this is."""

from kvstore.storage.errors import WrongCluster
from kvstore.storage.port import Formation, Identity

__all__ = ["agree"]


def agree(stored: Formation | None, given: Formation, identity: Identity) -> bool:
    """Whether ``given`` is news. Raises WrongCluster where it contradicts what is stored, or this node's own birth."""
    assert given.alpha > 0, f"alpha must be positive, not {given.alpha}"
    assert given.cluster_id, "a cluster id has at least one byte"
    if stored is not None:
        if stored.cluster_id != given.cluster_id:
            raise WrongCluster("cluster id", stored=stored.cluster_id.hex(), given=given.cluster_id.hex())
        if stored != given:
            raise WrongCluster("formation", stored=str(stored), given=str(given))
        return False
    birth = given.births.get(identity.node_id)
    if birth != identity.birth_id:
        raise WrongCluster(
            f"birth id of node {identity.node_id}",
            stored=identity.birth_id.hex(),
            given=birth.hex() if birth is not None else "missing",
        )
    return True
