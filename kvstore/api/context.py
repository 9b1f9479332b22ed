"""What a front knows about one call besides its message."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Context"]

_LEADER_KEY = "hasleader"
_LEADER_VALUE = "true"


@dataclass(slots=True)
class Context:
    """``timeout_s``: how long the client will still wait. ``metadata``: its pairs, keys in lower case."""

    timeout_s: float = math.inf
    metadata: Iterable[tuple[str, str | bytes]] = ()

    @property
    def requires_leader(self) -> bool:
        """Whether the client wants an error at once where no leader is known. As in etcd, the first value counts."""
        for key, value in self.metadata:
            if key == _LEADER_KEY:
                return value == _LEADER_VALUE
        return False
