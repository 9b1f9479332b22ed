"""What the tables of the pages say of the code is what the code says: laws, messages, limits, rooms, dependencies."""

import ast
import dataclasses
import importlib
import re
import tomllib
from typing import get_args

import pytest

from kvstore.paxos.messages import Message
from kvstore.replica.messages import ReplicaMessage
from tests.docs.pages import PAGES, ROOT

PAGE = {page.path.name: page for page in PAGES}
PROTOCOL, ARCHITECTURE, DEPENDENCIES = PAGE["protocol.md"], PAGE["architecture.md"], PAGE["dependencies.md"]

UNITS = {"": 1, "s": 1, "MiB": 1 << 20}


def backticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_law_says_where_it_is_kept_and_what_shows_it() -> None:
    rows = PROTOCOL.rows("law", "kept in", "shown by")
    assert [re.match(r"\*\*(L\d+) ", law)[1] for law, _, _ in rows] == [f"L{n}" for n in range(1, 15)]  # type: ignore[index]
    for law, kept, shown in rows:
        assert "kvstore/" in kept or "architecture.md#limits" in kept, law
        assert "tests/" in shown or "named there" in shown, law


@pytest.mark.parametrize("law", [f"L{n}" for n in range(1, 15)])
def test_a_law_that_the_code_cites_is_one_of_the_page(law: str) -> None:
    """And none is cited nowhere: then either the page or the code would be wrong about what is kept."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "kvstore").rglob("*.py")]
    assert any(re.search(rf"\b{law}\b", source) for source in sources)
    cited = {number for source in sources for number in re.findall(r"\bL(\d{1,2})\b", source)}
    assert cited <= {str(n) for n in range(1, 15)}


def test_every_message_is_in_the_table_with_the_fields_that_it_has() -> None:
    """Fields in backticks are fields; the message types are those of the two unions, in any order."""
    rows = PROTOCOL.rows("message", "from → to", "carries", "may leave")
    types = {kind.__name__: kind for kind in (*get_args(Message), *get_args(ReplicaMessage))}
    assert sorted(backticked(row[0])[0] for row in rows) == sorted(types)
    fields = {name: {field.name for field in dataclasses.fields(kind)} for name, kind in types.items()}
    for message, _, carries, _ in rows:
        for word in backticked(carries):
            # CatchUp answers, replies and indexes speak of applied_end, and Forward of what is inside its bytes.
            if word not in {"applied_end", "Submission"}:
                assert word in fields[backticked(message)[0]], f"{message} has no {word}"


def test_what_waits_for_the_disk_is_what_the_page_says() -> None:
    """Exactly the messages that the core hands to ``send_when_durable``."""
    messages = {kind.__name__ for kind in get_args(Message)}
    rooms = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "kvstore/paxos").glob("*.py")]
    held = {
        argument.func.id
        for room in rooms
        for call in ast.walk(room)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "send_when_durable"
        for argument in call.args
        if isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name) and argument.func.id in messages
    }
    rows = PROTOCOL.rows("message", "from → to", "carries", "may leave")
    assert held == {backticked(row[0])[0] for row in rows if row[3].startswith("when durable")}


LIMITS = ARCHITECTURE.rows("limit", "in", "is", "at it")


@pytest.mark.parametrize(("name", "path", "value"), [row[:3] for row in LIMITS], ids=[row[0] for row in LIMITS])
def test_a_limit_is_what_the_page_says(name: str, path: str, value: str) -> None:
    module_path = backticked(path)[0].removeprefix("client/").removesuffix(".py")
    module = importlib.import_module(module_path.replace("/", "."))
    holder, _, field_name = backticked(name)[0].rpartition(".")
    if holder:
        default = {field.name: field.default for field in dataclasses.fields(getattr(module, holder))}[field_name]
    else:
        default = getattr(module, field_name)
    number, _, unit = value.partition(" ")
    assert default == float(number) * UNITS[unit]


@pytest.mark.parametrize(
    ("path", "holder"),
    [
        ("kvstore/mvcc/limits.py", "Limits"),
        ("kvstore/paxos/config.py", "PaxosConfig"),
        ("kvstore/replica/replica.py", "ReplicaConfig"),
    ],
)
def test_no_limit_of_a_configuration_is_left_out(path: str, holder: str) -> None:
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    named = {backticked(row[0])[0] for row in LIMITS}
    bounds = {f"{holder}.{field.name}" for field in dataclasses.fields(getattr(module, holder))}
    assert {bound for bound in bounds if bound.endswith("_max")} <= named


def test_the_picture_of_the_rooms_has_every_import_between_them() -> None:
    """``server`` apart, which may import all, and ``testing``."""
    graph = next(block.text for block in ARCHITECTURE.blocks("mermaid") if block.text.startswith("graph"))
    drawn = set(re.findall(r'(\w+)(?:\["[^"]*"\])? -->(?:\|[^|]*\|)? (\w+)', graph))
    for path in sorted((ROOT / "kvstore").rglob("*.py")) + sorted((ROOT / "client/kvclient").rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        room = "kvclient" if parts[0] == "client" else parts[1].removesuffix(".py")
        if room in {"server", "testing", "__init__"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            top, _, rest = node.module.partition(".")
            target = rest.split(".")[0] if top == "kvstore" else top
            if top in {"kvstore", "kvproto", "kvclient"} and target != room:
                assert (room, target) in drawn, f"{path.relative_to(ROOT)} imports {node.module}"


def test_every_dependency_is_explained_with_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    at_run_time = DEPENDENCIES.rows("package", "range", "why this one", "why this range")
    for_development = DEPENDENCIES.rows("package", "range", "why")
    assert sorted(row[0] + backticked(row[1])[0] for row in at_run_time) == sorted(project["dependencies"])
    assert sorted(row[0] + backticked(row[1])[0] for row in for_development) == sorted(
        project["optional-dependencies"]["dev"]
    )
    assert all(len(cell) > 3 for row in (*at_run_time, *for_development) for cell in row[2:])
