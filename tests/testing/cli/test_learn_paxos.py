"""The page that teaches: its diagrams are what the commands above them draw, and what it says of them is in them."""

import re
from pathlib import Path

import pytest

from kvstore.testing.cli.scenarios import SCENARIOS
from tests.testing.cli.command import invoke

PAGE = (Path(__file__).resolve().parents[3] / "docs/learn-paxos.md").read_text(encoding="utf-8")
DRAWN = re.findall(
    r"```console\n\$ kv-sim (--scenario (\S+) --diagram (\S+\.mmd))\n```\n\n```mermaid\n(.*?)```\n", PAGE, re.DOTALL
)


def test_every_scenario_is_told() -> None:
    assert [name for _, name, _, _ in DRAWN] == list(SCENARIOS)
    assert PAGE.count("```mermaid") == len(DRAWN)


@pytest.mark.parametrize(("arguments", "file", "diagram"), [(a, f, d) for a, _, f, d in DRAWN], ids=list(SCENARIOS))
def test_a_diagram_is_what_the_command_above_it_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, file: str, diagram: str
) -> None:
    """Where the protocol has changed on purpose: run the command, and put what it wrote into the page."""
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments.split(), "--quiet")
    assert result.exit_code == 0, result.output
    assert (tmp_path / file).read_text(encoding="utf-8") == diagram, f"kv-sim {arguments}"


@pytest.mark.parametrize(
    ("heading", "told"),
    [
        ("A clean round", ("stands: raises ballot 1.2", "a quorum has it: chosen")),
        ("Two proposers duel", ("Nack: promised 3.3", "raises ballot 4.2", "accepted slot 3 at 2.2 put x=2")),
        ("The leader dies between accept and decision", ("Promise 2.3: accepted slot 3 at 1.1 put x=1",)),
        ("Adoption", ("raises ballot 2.1", "Nack: promised 2.2", "accepted slot 3 at 2.2 put x=bob")),
        ("A gap is filled", ("Accept 2.3 slot 3: no-op", "Accept 2.3 slot 4: put y=2")),
        ("A partition", ("n1: knows no leader", "slot 3: put x=majority", "slot 4: put x=minority")),
    ],
)
def test_what_the_text_points_at_is_in_the_diagram(heading: str, told: tuple[str, ...]) -> None:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    diagram = section.partition("```mermaid\n")[2].partition("```")[0]
    for text in told:
        assert text in diagram, text
