"""The pages of the project, taken apart: blocks of code, links, headings, tables and words in backticks."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "Page", "commands_in"]

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; ``line`` is where its first line of code is in the page."""

    language: str
    text: str
    line: int


class Page:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.prose = _FENCE.sub("", self.text)
        """Everything outside of fenced blocks."""

    def __repr__(self) -> str:
        return str(self.path.relative_to(ROOT))

    def blocks(self, language: str) -> list[Block]:
        found = _FENCE.finditer(self.text)
        return [
            Block(match[1], match[2], self.text.count("\n", 0, match.start(2)) + 1)
            for match in found
            if match[1] == language
        ]

    def links(self) -> list[str]:
        return re.findall(r"\]\(([^)\s]+)\)", self.prose)

    def code(self) -> list[str]:
        """What stands in single backticks."""
        return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", self.prose)

    def anchors(self) -> set[str]:
        """Of the headings, as the usual viewers of Markdown make them."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def rows(self, *columns: str) -> list[list[str]]:
        """The cells of all tables that have exactly this heading."""
        rows: list[list[str]] = []
        inside = False
        for line in self.prose.splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] if line.startswith("|") else []
            if cells == list(columns):
                inside = True
            elif not cells:
                inside = False
            elif inside and not set("".join(cells)) <= set("-: "):
                rows.append(cells)
        return rows


def commands_in(page: Page) -> Iterator[tuple[int, list[str]]]:
    """Every command of the page's console blocks, as (line, words); pipes and lists taken apart."""
    for block in page.blocks("console"):
        for offset, line in enumerate(block.text.splitlines()):
            if line.startswith("$ "):
                for words in _simple_commands(line[2:]):
                    yield block.line + offset, words


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word and not set(word) - set("|&;"):
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield words
            words = []
        else:
            words.append(word)


PAGES = [Page(ROOT / name) for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += [Page(path) for path in sorted((ROOT / "docs").glob("*.md"))]
