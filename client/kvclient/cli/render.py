"""Results on stdout: plain for people and pipes, json for programs, table for looking at.

Plain output is bytes, exactly as stored. json is one line, with etcdctl's names and base64 for keys and values.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any, assert_never

import click

from kvclient.cli.group import readable
from kvclient.cli.tables import print_table
from kvclient.results import (
    DeleteResult,
    EndpointStatus,
    KeyValue,
    Member,
    OperationResult,
    PutResult,
    RangeResult,
    TxnResult,
)

__all__ = ["deleted", "found", "members", "put", "statuses", "swapped", "transaction"]

KEY_COLUMNS = ("key", "value", "version", "created", "modified", "lease")
STATUS_COLUMNS = ("endpoint", "id", "leader", "ballot", "decided", "applied", "size", "version")
MEMBER_COLUMNS = ("id", "name", "peers", "clients", "learner")


def put(result: PutResult, output: str | None) -> None:
    """``OK``."""
    _one(output, _json_of(result), b"OK")


def deleted(result: DeleteResult, output: str | None) -> None:
    """How many."""
    _one(output, _json_of(result), b"%d" % result.deleted)


def swapped(result: TxnResult, output: str | None) -> None:
    """``OK``, or nothing: why not is said on stderr."""
    if output == "json":
        _print_json(_json_of_txn(result))
    elif result.succeeded:
        click.echo(b"OK")


def found(result: RangeResult, output: str | None, *, keys: bool, values: bool) -> None:
    """Keys and values, a line each; only those asked for."""
    if output == "json":
        _print_json(_json_of(result))
    elif output == "table":
        print_table(KEY_COLUMNS, map(_key_row, result.kvs))
    else:
        _print_kvs(result.kvs, keys=keys, values=values)


def transaction(result: TxnResult, output: str | None) -> None:
    """Which branch, and what each of its operations answered."""
    if output == "json":
        _print_json(_json_of_txn(result))
        return
    click.echo("SUCCESS" if result.succeeded else "FAILURE")
    for answer in result.results:
        match answer:
            case PutResult():
                put(answer, None)
            case DeleteResult():
                deleted(answer, None)
            case RangeResult():
                found(answer, output, keys=True, values=True)
            case _:
                assert_never(answer)


def statuses(results: Sequence[EndpointStatus], output: str | None) -> None:
    """One row per endpoint; an endpoint that did not answer has an empty one."""
    if output == "json":
        _print_json([_json_of_status(status) for status in results])
    else:
        _rows(STATUS_COLUMNS, [_status_row(status, plain=output == "plain") for status in results], output)


def members(results: Sequence[Member], output: str | None) -> None:
    """One row per node."""
    if output == "json":
        _print_json({"members": [_json_of_member(member) for member in results]})
    else:
        _rows(MEMBER_COLUMNS, [_member_row(member) for member in results], output)


# --- plain and table -------------------------------------------------------------------------------------------------


def _one(output: str | None, document: dict[str, Any], line: bytes) -> None:
    if output == "json":
        _print_json(document)
    else:
        click.echo(line)


def _print_kvs(kvs: Iterable[KeyValue], *, keys: bool, values: bool) -> None:
    for kv in kvs:
        if keys:
            click.echo(kv.key)
        if values:
            click.echo(kv.value)


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]], output: str | None) -> None:
    """In plain, tab-separated without a heading."""
    if output == "plain":
        for row in rows:
            click.echo("\t".join(row))
    else:
        print_table(columns, rows)


def _key_row(kv: KeyValue) -> list[str]:
    numbers = (kv.version, kv.create_revision, kv.mod_revision, kv.lease)
    return [readable(kv.key), readable(kv.value), *map(str, numbers)]


def _status_row(status: EndpointStatus, *, plain: bool) -> list[str]:
    if status.error is not None:
        return [status.endpoint, *["-"] * (len(STATUS_COLUMNS) - 1)]
    return [
        status.endpoint,
        str(status.member_id),
        str(status.leader or "none"),
        str(status.ballot_round),
        str(status.decided),
        str(status.applied),
        str(status.size_bytes) if plain else _size(status.size_bytes),
        status.version,
    ]


def _member_row(member: Member) -> list[str]:
    learner = "yes" if member.is_learner else "no"
    return [str(member.member_id), member.name, ",".join(member.peer_urls), ",".join(member.client_urls), learner]


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


# --- json ------------------------------------------------------------------------------------------------------------


def _print_json(document: object) -> None:
    click.echo(json.dumps(document))


def _json_of(result: OperationResult) -> dict[str, Any]:
    header = {"header": {"revision": result.revision}}
    match result:
        case PutResult():
            return header
        case DeleteResult():
            return {**header, "deleted": result.deleted}
        case RangeResult():
            kvs = [_json_of_kv(kv) for kv in result.kvs]
            return {**header, "kvs": kvs, "more": result.more, "count": result.count}
        case _:
            assert_never(result)


def _json_of_txn(result: TxnResult) -> dict[str, Any]:
    names: dict[type[OperationResult], str] = {
        PutResult: "response_put",
        RangeResult: "response_range",
        DeleteResult: "response_delete_range",
    }
    return {
        "header": {"revision": result.revision},
        "succeeded": result.succeeded,
        "responses": [{names[type(answer)]: _json_of(answer)} for answer in result.results],
    }


def _json_of_kv(kv: KeyValue) -> dict[str, Any]:
    return {
        "key": base64.b64encode(kv.key).decode(),
        "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision,
        "version": kv.version,
        "value": base64.b64encode(kv.value).decode(),
        "lease": kv.lease,
    }


def _json_of_status(status: EndpointStatus) -> dict[str, Any]:
    if status.error is not None:
        return {"endpoint": status.endpoint, "error": status.error.text or status.error.code.value}
    return {
        "endpoint": status.endpoint,
        "id": status.member_id,
        "leader": status.leader,
        "ballot": status.ballot_round,
        "decided": status.decided,
        "applied": status.applied,
        "size": status.size_bytes,
        "version": status.version,
        "revision": status.revision,
        "learner": status.is_learner,
    }


def _json_of_member(member: Member) -> dict[str, Any]:
    return {
        "ID": member.member_id,
        "name": member.name,
        "peerURLs": list(member.peer_urls),
        "clientURLs": list(member.client_urls),
        "isLearner": member.is_learner,
    }
