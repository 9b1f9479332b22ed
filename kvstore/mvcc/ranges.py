"""Range: every option of etcd's one read.

``count`` is the number of keys in the range at the revision, whatever ``limit`` and the revision filters leave out;
``more`` says that ``limit`` did. Results are ordered by what was asked for and then by key: a total order (L8), where
etcd leaves ties open. With a limit, etcd cuts before it sorts if a sort target comes without a sort order; here the
sort comes first in every case.

The statements are built from a closed set of fragments and cached by shape; values only ever travel as parameters.
"""

from functools import lru_cache
from typing import NamedTuple

from kvproto.etcd.rpc_pb2 import RangeRequest, RangeResponse

from kvstore.mvcc.interval import Interval, interval
from kvstore.mvcc.revisions import Revisions

__all__ = ["execute_range"]

# SQLite's integers end at 2^63 - 1, and one more row than the limit is asked for.
_LIMIT_MAX = 2**62

# The key's newest row at the bound, found by walking back from its head (see `revisions`). Ids only fall along the
# walk, and a key without a row at the bound ends at 0, which is no row's id.
_WALK = (
    "(WITH RECURSIVE walk (id) AS (SELECT h.row UNION ALL"
    " SELECT CASE WHEN w.milestone > :bound THEN w.milestone ELSE w.previous END"
    " FROM walk JOIN revisions w ON w.id = walk.id WHERE walk.id > :bound)"
    " SELECT id FROM walk WHERE id <= :bound)"
)

_SORT_COLUMNS: dict[int, str] = {
    RangeRequest.VERSION: "r.version",
    RangeRequest.CREATE: "r.create_revision",
    RangeRequest.MOD: "r.revision",
    RangeRequest.VALUE: "r.value",
}

_FILTERS = {
    "min_mod_revision": "r.revision >= :min_mod_revision",
    "max_mod_revision": "r.revision <= :max_mod_revision",
    "min_create_revision": "r.create_revision >= :min_create_revision",
    "max_create_revision": "r.create_revision <= :max_create_revision",
}


def execute_range(revisions: Revisions, request: RangeRequest) -> RangeResponse:
    """Answers a request that ``validate`` let pass. Raises ``FutureRevision`` or ``Compacted``."""
    current = revisions.visible_revision
    revisions.check_readable(request.revision, current=current)
    response = RangeResponse()
    response.header.revision = current
    past = 0 < request.revision < current
    filters = tuple(name for name in _FILTERS if getattr(request, name))
    if request.range_end or past or filters:
        _scan(revisions, request, response, past=past, filters=filters)
    else:
        _point(revisions, request, response)
    return response


def _point(revisions: Revisions, request: RangeRequest, response: RangeResponse) -> None:
    """One key, now: the commonest read."""
    head = revisions.live_head(request.key)
    if head is None:
        return
    response.count = 1
    if not request.count_only:
        response.kvs.add(
            key=request.key,
            create_revision=head.create_revision,
            mod_revision=head.revision,
            version=head.version,
            value=b"" if request.keys_only else revisions.value(head.row),
            lease=head.lease,
        )


def _scan(
    revisions: Revisions, request: RangeRequest, response: RangeResponse, *, past: bool, filters: tuple[str, ...]
) -> None:
    revisions.flush()
    keys = interval(request.key, request.range_end)
    parameters = _parameters(revisions, request, keys, past=past, filters=filters)
    bounded = keys.end is not None
    if request.count_only:
        (response.count,) = revisions.connection.execute(_count_sql(bounded, past), parameters).fetchone()
        return
    limit = min(request.limit, _LIMIT_MAX) if request.limit > 0 else 0
    parameters["limit"] = limit + 1 if limit else -1
    shape = _Shape(bounded, past, request.keys_only, filters, request.sort_order, request.sort_target)
    rows = revisions.connection.execute(_rows_sql(shape), parameters).fetchall()
    if limit and len(rows) > limit:
        response.more = True
        rows.pop()
    add = response.kvs.add
    for key, create_revision, mod_revision, version, value, lease in rows:
        add(
            key=key,
            create_revision=create_revision,
            mod_revision=mod_revision,
            version=version,
            value=value,
            lease=lease,
        )
    if response.more or filters:
        (response.count,) = revisions.connection.execute(_count_sql(bounded, past), parameters).fetchone()
    else:
        response.count = len(rows)


def _parameters(
    revisions: Revisions, request: RangeRequest, keys: Interval, *, past: bool, filters: tuple[str, ...]
) -> dict[str, int | bytes]:
    parameters: dict[str, int | bytes] = {name: getattr(request, name) for name in filters}
    parameters["start"] = keys.start
    if keys.end is not None:
        parameters["end"] = keys.end
    if past:
        parameters["bound"] = revisions.rows_end_at(request.revision) - 1
    return parameters


class _Shape(NamedTuple):
    """All that tells two statements apart."""

    bounded: bool
    past: bool
    keys_only: bool
    filters: tuple[str, ...]
    sort_order: int
    sort_target: int


def _source(bounded: bool, past: bool) -> str:
    row = _WALK if past else "h.row"
    exists = "r.version > 0" if past else "h.deleted = 0"
    end = " AND h.key < :end" if bounded else ""
    return f"FROM head h JOIN revisions r ON r.id = {row} WHERE h.key >= :start{end} AND {exists}"


@lru_cache(maxsize=8)
def _count_sql(bounded: bool, past: bool) -> str:
    if past:
        return f"SELECT count(*) {_source(bounded, past)}"
    # Now, head alone knows which keys exist.
    return _source(bounded, past).replace("FROM head h JOIN revisions r ON r.id = h.row", "SELECT count(*) FROM head h")


@lru_cache(maxsize=512)
def _rows_sql(shape: _Shape) -> str:
    value = "x''" if shape.keys_only else "r.value"
    conditions = "".join(f" AND {_FILTERS[name]}" for name in shape.filters)
    direction = "DESC" if shape.sort_order == RangeRequest.DESCEND else "ASC"
    if shape.sort_target == RangeRequest.KEY:
        order = f"h.key {direction}"
    else:
        order = f"{_SORT_COLUMNS[shape.sort_target]} {direction}, h.key"
    return (
        f"SELECT h.key, r.create_revision, r.revision, r.version, {value}, r.lease"
        f" {_source(shape.bounded, shape.past)}{conditions} ORDER BY {order} LIMIT :limit"
    )
