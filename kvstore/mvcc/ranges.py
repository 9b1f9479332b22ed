"""Range: every option of etcd's one read.

``count`` is the number of keys in the range at the revision, whatever ``limit`` and the revision filters leave out;
``more`` says that ``limit`` did. Results are ordered by what was asked for and then by key: a total order (L8), where
etcd leaves ties open. With a limit, etcd cuts before it sorts if a sort target comes without a sort order; here the
sort comes first in every case.

The statements are built from a closed set of fragments and cached by shape; values only ever travel as parameters.
"""

from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from typing import NamedTuple

from kvproto.etcd.rpc_pb2 import RangeRequest, RangeResponse

from kvstore.mvcc.interval import interval
from kvstore.mvcc.revisions import Revisions

__all__ = ["RangeScan", "execute_range"]

# SQLite's integers end at 2^63 - 1, and one more row than the limit is asked for.
_LIMIT_MAX = 2**62

_PAGE_ROWS = 1000
_PAGE_BYTES = 1 << 20
_PAGE_COUNTED = 20_000

# The key's newest row at the bound, found by walking back from its head (see `revisions`). Ids only fall along the
# walk, and a key without a row at the bound ends at 0, which is no row's id.
_WALK = (
    "(WITH RECURSIVE walk (id) AS (SELECT h.row UNION ALL"
    " SELECT CASE WHEN w.milestone > :bound THEN w.milestone ELSE w.previous END"
    " FROM walk JOIN revisions w ON w.id = walk.id WHERE walk.id > :bound)"
    " SELECT id FROM walk WHERE id <= :bound)"
)

_SORT_FIELDS: dict[int, str] = {
    RangeRequest.VERSION: "version",
    RangeRequest.CREATE: "create_revision",
    RangeRequest.MOD: "mod_revision",
    RangeRequest.VALUE: "value",
}

_FILTERS = {
    "min_mod_revision": "r.revision >= :min_mod_revision",
    "max_mod_revision": "r.revision <= :max_mod_revision",
    "min_create_revision": "r.create_revision >= :min_create_revision",
    "max_create_revision": "r.create_revision <= :max_create_revision",
}


class RangeScan:
    """One request, read a page at a time, all of it at one revision however the state moves on between pages.

    Whoever owns the store may so let others work in between: no page takes long. Raises ``FutureRevision`` or
    ``Compacted`` at the beginning; the request passed ``validate``.
    """

    def __init__(self, revisions: Revisions, request: RangeRequest) -> None:
        current = revisions.visible_revision
        revisions.check_readable(request.revision, current=current)
        self.response = RangeResponse()
        self.response.header.revision = current
        self._revisions = revisions
        self._request = request
        self._past = 0 < request.revision < current
        self._rows_end = revisions.rows_end_at(request.revision) if self._past else revisions.rows_end
        self._filters = tuple(name for name in _FILTERS if getattr(request, name))
        self._is_point = not (request.range_end or self._past or self._filters)
        keys = interval(request.key, request.range_end)
        self._start, self._end = keys.start, keys.end
        self._by_key = request.sort_target == RangeRequest.KEY
        self._descending = request.sort_order == RangeRequest.DESCEND
        self._left = min(request.limit, _LIMIT_MAX) if request.limit > 0 else _LIMIT_MAX
        self._rows: list[_Row] = []
        self._rows_wanted = not request.count_only
        self._count_from: bytes | None = None if self._rows_wanted else self._start

    def step(self) -> bool:
        """Reads a page. True once the response is whole."""
        if self._is_point:
            _point(self._revisions, self._request, self.response)
            return True
        self._revisions.flush()
        if self._rows_wanted:
            self._read_page()
        elif self._count_from is not None:
            self._count_page(self._count_from)
        return not self._rows_wanted and self._count_from is None

    def _read_page(self) -> None:
        page, whole = self._page()
        if self._by_key:
            self._add(page)
        else:
            self._rows += page
            if whole:
                self._sort_and_add()
        if whole or self.response.more:
            self._finish_rows()
        elif self._by_key and self._descending:
            self._end = page[-1].key
        else:
            self._start = page[-1].key + b"\0"

    def _page(self) -> tuple[list["_Row"], bool]:
        """The next rows in the order of their keys, and whether they are the last."""
        parameters = self._parameters(self._start, self._end)
        wanted = min(_PAGE_ROWS, self._left + 1) if self._by_key else _PAGE_ROWS
        parameters["limit"] = wanted
        shape = _Shape(
            bounded=self._end is not None,
            past=self._is_past,
            with_values=not self._request.keys_only or self._request.sort_target == RangeRequest.VALUE,
            filters=self._filters,
            descending=self._by_key and self._descending,
        )
        page: list[_Row] = []
        size = 0
        with closing(self._revisions.connection.execute(_rows_sql(shape), parameters)) as cursor:
            for columns in cursor:
                row = _Row._make(columns)
                page.append(row)
                size += len(row.value)
                if size >= _PAGE_BYTES:
                    return page, False
        return page, len(page) < wanted

    def _add(self, rows: Sequence["_Row"]) -> None:
        """As many as the limit allows; ``more`` says that there were others."""
        if len(rows) > self._left:
            self.response.more = True
            rows = rows[: self._left]
        self._left -= len(rows)
        keys_only = self._request.keys_only
        add = self.response.kvs.add
        for row in rows:
            add(
                key=row.key,
                create_revision=row.create_revision,
                mod_revision=row.mod_revision,
                version=row.version,
                value=b"" if keys_only else row.value,
                lease=row.lease,
            )

    def _sort_and_add(self) -> None:
        """By the target and then by key: the rows came in the order of their keys, which sorting keeps either way."""
        target = _SORT_FIELDS[self._request.sort_target]
        rows = sorted(self._rows, key=lambda row: getattr(row, target), reverse=self._descending)
        self._rows.clear()
        self._add(rows)

    def _finish_rows(self) -> None:
        self._rows_wanted = False
        if self.response.more or self._filters:
            self._count_from = interval(self._request.key, self._request.range_end).start
        else:
            self.response.count = len(self.response.kvs)

    def _count_page(self, start: bytes) -> None:
        end = interval(self._request.key, self._request.range_end).end
        parameters = self._parameters(start, end)
        parameters["limit"] = _PAGE_COUNTED
        sql = _count_sql(end is not None, self._is_past)
        count, last = self._revisions.connection.execute(sql, parameters).fetchone()
        self.response.count += count
        self._count_from = last + b"\0" if count == _PAGE_COUNTED else None

    @property
    def _is_past(self) -> bool:
        """Whether the state has moved on since this revision: its rows must be looked for."""
        return self._past or self._revisions.rows_end > self._rows_end

    def _parameters(self, start: bytes, end: bytes | None) -> dict[str, int | bytes]:
        parameters: dict[str, int | bytes] = {name: getattr(self._request, name) for name in self._filters}
        parameters["start"] = start
        if end is not None:
            parameters["end"] = end
        if self._is_past:
            parameters["bound"] = self._rows_end - 1
        return parameters


def execute_range(revisions: Revisions, request: RangeRequest) -> RangeResponse:
    """Answers a request that ``validate`` let pass, at once. Raises ``FutureRevision`` or ``Compacted``."""
    scan = RangeScan(revisions, request)
    while not scan.step():
        pass
    return scan.response


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


class _Row(NamedTuple):
    key: bytes
    create_revision: int
    mod_revision: int
    version: int
    value: bytes
    lease: int


class _Shape(NamedTuple):
    """All that tells two statements apart."""

    bounded: bool
    past: bool
    with_values: bool
    filters: tuple[str, ...]
    descending: bool


def _source(bounded: bool, past: bool) -> str:
    row = _WALK if past else "h.row"
    exists = "r.version > 0" if past else "h.deleted = 0"
    end = " AND h.key < :end" if bounded else ""
    return f"FROM head h JOIN revisions r ON r.id = {row} WHERE h.key >= :start{end} AND {exists}"


@lru_cache(maxsize=8)
def _count_sql(bounded: bool, past: bool) -> str:
    source = _source(bounded, past)
    if not past:
        source = source.replace("FROM head h JOIN revisions r ON r.id = h.row", "FROM head h")  # knows which keys exist
    return f"SELECT count(*), max(key) FROM (SELECT h.key AS key {source} ORDER BY h.key LIMIT :limit)"  # noqa: S608


@lru_cache(maxsize=512)
def _rows_sql(shape: _Shape) -> str:
    value = "r.value" if shape.with_values else "x''"
    conditions = "".join(f" AND {_FILTERS[name]}" for name in shape.filters)
    direction = "DESC" if shape.descending else "ASC"
    return (
        f"SELECT h.key, r.create_revision, r.revision, r.version, {value}, r.lease"
        f" {_source(shape.bounded, shape.past)}{conditions} ORDER BY h.key {direction} LIMIT :limit"
    )
