"""The command: what it prints is the same everywhere, its status says how it ended, and wrong usage is refused."""

import json
from pathlib import Path

import pytest

from kvstore.paxos.phase_one import PhaseOne
from kvstore.testing.cli.main import cli
from tests.testing.cli.command import invoke, kv_sim
from tests.testing.cli.stories import forget_to_adopt


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rounds", "3", "--nodes", "5"),
        ("run", "--proposers", "2", "--rounds", "2", "--faults", "all", "--seed", "9"),
        ("--scenario", "adoption", "-o", "json"),
    ],
    ids=" ".join,
)
def test_the_same_seed_prints_and_draws_the_same_bytes_in_every_process(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Neither the process nor the order of hashes enters."""
    found: list[list[bytes]] = []
    for hash_seed in ("0", "4711"):
        here = tmp_path / hash_seed
        here.mkdir()
        files = ("picture.html", "picture.svg", "picture.mmd")
        runs = [kv_sim(*arguments, "--diagram", name, cwd=here, PYTHONHASHSEED=hash_seed) for name in files]
        assert [run.returncode for run in runs] == [0, 0, 0], runs[0].stderr
        found.append([run.stdout for run in runs] + [(here / name).read_bytes() for name in files])
    assert found[0] == found[1]
    assert found[0][0] == found[0][1] == found[0][2]


def test_the_package_has_the_command() -> None:
    project = (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert 'kv-sim = "kvstore.testing.cli.main:main"' in project


def test_without_a_subcommand_it_runs() -> None:
    assert invoke("--rounds", "2").output == invoke("run", "--rounds", "2").output


def test_quiet_leaves_out_the_story_and_keeps_the_outcome() -> None:
    whole, quiet = invoke("--rounds", "2"), invoke("--rounds", "2", "--quiet")
    assert quiet.output.strip() in whole.output
    assert "Verdict: all laws held" in quiet.output
    assert "from → to" not in quiet.output


def test_json_tells_the_same() -> None:
    found = json.loads(invoke("--rounds", "2", "-o", "json").output)
    assert found["ok"] is True
    assert [row["value"] for row in found["log"]] == ["open session", "put round1=alice", "put round2=alice"]
    assert found["messages"]["Accept"] == 6
    assert any("accepts slot 0" in line for line in found["story"])
    assert "story" not in json.loads(invoke("--rounds", "2", "-o", "json", "-q").output)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--nodes", "0"), "--nodes"),
        (("--proposers", "4"), "4 proposers"),
        (("--faults", "crash,gremlins"), "gremlins"),
        (("--diagram", "picture.png"), "picture.png"),
        (("--scenario", "unheard-of"), "unheard-of"),
        (("--scenario", "gap", "--nodes", "5"), "--nodes"),
        (("check", "--nodes", "3,x"), "3,x"),
        (("check", "--seeds", "0"), "--seeds"),
        (("connectivity", "--graph", "5:1-9"), "1-9"),
        (("conectivity",), "conectivity"),
    ],
)
def test_wrong_usage_is_refused_with_status_2(arguments: tuple[str, ...], complaint: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert complaint in result.output


@pytest.mark.parametrize("subcommand", [(), *((name,) for name in cli.commands)])
def test_help_has_examples(subcommand: tuple[str, ...]) -> None:
    result = invoke(*subcommand, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output
    assert "kv-sim" in result.output.split("Examples:")[1]


def test_a_broken_law_ends_the_story_with_status_1_and_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a leader forgets to adopt what it was told of."""
    monkeypatch.setattr(PhaseOne, "_adopt", forget_to_adopt)
    result = invoke("--scenario", "leader-crash")
    assert result.exit_code == 1
    assert "L4 is broken" in result.output
    assert "It is replayed by: kv-sim run --scenario leader-crash --seed 31" in result.output
    assert json.loads(invoke("--scenario", "leader-crash", "-o", "json").output)["law"] == "L4"
