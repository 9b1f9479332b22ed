"""Mermaid diagrams are whole: blocks end, brackets and quotes close, and who speaks was introduced."""

import re

import pytest

from tests.docs.pages import PAGES, Block, Page

DIAGRAMS = [(page, block) for page in PAGES for block in page.blocks("mermaid")]
IDS = [f"{page}:{block.line}" for page, block in DIAGRAMS]

OPENING = {"loop", "alt", "opt", "par", "critical", "break", "rect", "box"}
MIDDLE = {"else": "alt", "and": "par", "option": "critical"}
ARROW = re.compile(r"(\w+)\s*(?:-?->>?|--?x|--?\))\s*([+-]?)(\w+)\s*:\s*(\S.*)")
NOTE = re.compile(r"Note (?:over|left of|right of) (\w+(?:,\s*\w+)?)\s*:\s*(\S.*)")


@pytest.mark.parametrize(("page", "block"), DIAGRAMS, ids=IDS)
def test_it_is_of_a_known_kind_and_nothing_is_left_open(page: Page, block: Block) -> None:
    first, *lines = block.text.strip().splitlines()
    assert first.split()[0] in {"sequenceDiagram", "graph", "flowchart", "stateDiagram-v2", "erDiagram"}
    for line in lines:
        if not first.startswith("sequenceDiagram"):
            assert line.count('"') % 2 == 0, line
            for left, right in ("[]", "{}", "()"):
                assert line.count(left) == line.count(right), line


@pytest.mark.parametrize(("page", "block"), DIAGRAMS, ids=IDS)
def test_a_sequence_is_made_of_what_mermaid_knows(page: Page, block: Block) -> None:
    """A semicolon would end the statement, a hash begin an entity."""
    first, *lines = [line.strip() for line in block.text.strip().splitlines()]
    if first != "sequenceDiagram":
        return
    introduced: set[str] = set()
    open_blocks: list[str] = []
    for line in filter(None, lines):
        assert not set(line) & set(";#"), line
        word = line.split()[0]
        if match := re.fullmatch(r"(?:participant|actor) (\w+)(?: as .+)?", line):
            introduced.add(match[1])
        elif word in OPENING:
            open_blocks.append(word)
        elif word in MIDDLE:
            assert open_blocks, line
            assert open_blocks[-1] == MIDDLE[word], line
        elif line == "end":
            assert open_blocks, "an end without a beginning"
            open_blocks.pop()
        elif match := NOTE.fullmatch(line):
            assert set(re.split(r",\s*", match[1])) <= introduced, line
        elif match := ARROW.fullmatch(line):
            assert {match[1], match[3]} <= introduced, line
        else:
            pytest.fail(f"{page}:{block.line}: mermaid would not know {line!r}")
    assert not open_blocks, f"{open_blocks} have no end"


def test_the_protocol_shows_its_sequences() -> None:
    titles = ("Election", "write", "read through a follower", "Catching up", "Handing over")
    protocol = next(page for page in PAGES if page.path.name == "protocol.md")
    for title in titles:
        assert re.search(rf"^## .*{title}.*\n(?:(?!^## ).*\n)*```mermaid\n", protocol.text, re.MULTILINE), title
