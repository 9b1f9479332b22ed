"""The state machine: etcd's data model in SQLite, deterministic, driven by decided slots.

``Store`` is the one object; ``schema.open_state`` opens its file, ``validate`` holds the checks that need no state, and
``errors`` everything it refuses.
"""

from kvstore.mvcc.limits import Limits
from kvstore.mvcc.results import MemberPublished, Refusal, Reply, Result, SessionOpened, SessionsExpired
from kvstore.mvcc.schema import open_state
from kvstore.mvcc.store import Store
from kvstore.mvcc.txn import txn_is_readonly

__all__ = [
    "Limits",
    "MemberPublished",
    "Refusal",
    "Reply",
    "Result",
    "SessionOpened",
    "SessionsExpired",
    "Store",
    "open_state",
    "txn_is_readonly",
]
