"""Every command that a page shows can be typed: the command, its subcommand, flags and values exist."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import sqlite_utils.cli
from click.testing import CliRunner
from kvclient.cli.commands import main as kv_client
from kvproto.command_pb2 import CommandBatch, Entry
from kvproto.etcd.rpc_pb2 import PutRequest

from kvstore.mvcc import Store, open_state
from kvstore.server.cluster import cli as kv_cluster
from kvstore.server.main import command as kv_server
from kvstore.testing.cli.main import cli as kv_sim
from tests.docs.pages import PAGES, ROOT, Page, commands_in

COMMANDS: dict[str, click.Command] = {
    "kv-client": kv_client,
    "kv-cluster": kv_cluster,
    "kv-server": kv_server,
    "kv-sim": kv_sim,
}
TARGETS = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
KNOWN_ELSEWHERE = {"git", "export", "etcdctl", "sqlite-utils", "make", *COMMANDS}


def parse(command: click.Command, name: str, arguments: list[str], parent: click.Context | None = None) -> None:
    """As click does before it invokes anything. Raises UsageError."""
    context = command.make_context(name, list(arguments), parent=parent)
    if isinstance(command, click.Group):
        # Which of the two names click has for it depends on its version.
        held_back = getattr(context, "_protected_args", None) or getattr(context, "protected_args", [])
        sub_name, sub, rest = command.resolve_command(context, [*held_back, *context.args])
        assert sub is not None
        assert sub_name is not None
        parse(sub, sub_name, rest, context)


def every_command(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            yield from every_command(sub)


def flags() -> set[str]:
    options = [p for top in COMMANDS.values() for c in every_command(top) for p in c.params]
    return {opt for option in options for opt in option.opts} | {"-h", "--help"}


def variables() -> set[str]:
    named = [p.envvar for top in COMMANDS.values() for c in every_command(top) for p in c.params]
    return {str(one) for one in named if one} | {f"KV_{p.name}".upper() for p in kv_server.params} | {"KV_FAILPOINTS"}


def test_the_commands_are_those_that_are_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["scripts"]) == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_in_a_console_block_exists(page: Page) -> None:
    for line, (name, *arguments) in commands_in(page):
        where = f"{page}:{line}: {name} {' '.join(arguments)}"
        assert name in KNOWN_ELSEWHERE, f"{where}: what is {name}?"
        if name in COMMANDS:
            try:
                parse(COMMANDS[name], name, arguments)
            except click.UsageError as error:
                pytest.fail(f"{where}: {error.format_message()}")
        elif name == "make":
            unknown = {word for word in arguments if "=" not in word} - TARGETS
            assert not unknown, f"{where}: the Makefile has no {sorted(unknown)}"
        elif name == "export":
            exported = {word.partition("=")[0] for word in arguments}
            assert exported <= variables() | {"PATH"}, f"{where}: nothing reads {sorted(exported)}"


def test_the_readme_shows_each_of_our_commands() -> None:
    """Otherwise the test above would be green over an empty page."""
    shown = {words[0] for _, words in commands_in(PAGES[0])}
    assert shown >= {*COMMANDS, "make", "etcdctl", "sqlite-utils"}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_target_flag_and_variable_in_the_text_exists(page: Page) -> None:
    for code in page.code():
        if re.fullmatch(r"make [a-z0-9-]+(?: .*)?", code):
            assert code.split()[1] in TARGETS, f"{page}: the Makefile has no {code}"
        elif re.fullmatch(r"--[a-z][a-z-]+", code):
            assert code in flags(), f"{page}: no command of ours has {code}"
        elif re.fullmatch(r"KV_[A-Z_]+", code):
            assert code in variables(), f"{page}: nothing reads {code}"


def test_every_target_is_explained_in_the_makefile() -> None:
    phony = re.findall(r"^\.PHONY: ([\w-]+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(phony) == TARGETS


def test_what_the_readme_asks_sqlite_utils_is_answered(tmp_path: Path) -> None:
    """Run on the state of a store that has had two writes; the newest value is in each answer."""
    state = tmp_path / "state.db"
    connection = open_state(state)
    store = Store(connection)
    puts = [Entry(put=PutRequest(key=b"greeting", value=value)) for value in (b"hello", b"goodbye")]
    store.begin()
    store.apply(0, CommandBatch(entries=puts))
    store.commit()
    connection.close()
    asked = [words[1:] for _, words in commands_in(PAGES[0]) if words[0] == "sqlite-utils"]
    assert asked
    for arguments in asked:
        here = [str(state) if argument.endswith("state.db") else argument for argument in arguments]
        result = CliRunner().invoke(sqlite_utils.cli.cli, here)
        assert result.exit_code == 0, f"{arguments}: {result.output}"
        assert "goodbye" in result.output, f"{arguments}: {result.output}"
