"""The pictures are whole: every message is there, lost ones break off, labels do not cover each other."""

import re
from collections.abc import Iterator
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from kvstore.testing.cli.diagram_html import html
from kvstore.testing.cli.diagram_mermaid import mermaid
from kvstore.testing.cli.diagram_svg import svg
from kvstore.testing.cli.layout import Layout, spans_of
from kvstore.testing.cli.record import Arrow, FaultSpan, Mark, MarkKind, Recorder
from kvstore.testing.cli.scenarios import SCENARIOS
from kvstore.testing.sim import FaultKind
from tests.testing.cli.stories import play_rounds, play_scenario

SVG = "{http://www.w3.org/2000/svg}"


def _recorders() -> Iterator[tuple[str, Recorder]]:
    for name in SCENARIOS:
        yield name, play_scenario(name, 1)[1].recorder
    yield "storm", play_rounds(7, nodes=5, rounds=4, proposers=3, kinds=tuple(FaultKind))[1].recorder


RECORDERS = dict(_recorders())


@pytest.mark.parametrize("name", RECORDERS)
def test_an_svg_is_well_formed_and_has_every_message_and_its_content(name: str) -> None:
    recorder = RECORDERS[name]
    root = ET.fromstring(svg(recorder, f"kv-sim <{name}>"))
    tips = [title.text or "" for title in root.iter(f"{SVG}title")]
    for arrow in recorder.arrows:
        if arrow.landed_at is not None:
            assert any(arrow.full in tip and f"{arrow.sender} → {arrow.to}" in tip for tip in tips), arrow


@pytest.mark.parametrize("name", RECORDERS)
def test_a_page_needs_nothing_but_itself(name: str) -> None:
    """No script, style, font or picture comes from elsewhere."""
    page = html(RECORDERS[name], f"kv-sim {name}")
    assert not re.search(r"""(?:src|href)=|@import|url\((?!#)""", page)
    assert re.findall(r"https?://[^\"' ]+", page) == [] or set(re.findall(r"https?://[^\"' ]+", page)) == {
        "http://www.w3.org/2000/svg"
    }
    drawing = page[page.index("<svg xmlns") : page.rindex("</svg>") + len("</svg>")]
    ET.fromstring(drawing)


@pytest.mark.parametrize("name", RECORDERS)
def test_no_two_labels_of_a_gap_share_a_line(name: str) -> None:
    layout = Layout(RECORDERS[name])
    by_gap: dict[int, list[float]] = {}
    for placed in layout.placed:
        if isinstance(placed.item, Arrow | Mark) and getattr(placed.item, "kind", None) is not MarkKind.NOTE:
            gap = layout.gap_of(placed.item)
            if gap is not None:
                by_gap.setdefault(gap, []).append(placed.y)
    assert by_gap
    for ys in by_gap.values():
        assert all(later - earlier >= 12 for earlier, later in pairwise(sorted(ys)))


@pytest.mark.parametrize("name", RECORDERS)
def test_time_flows_down(name: str) -> None:
    """What happened later is not drawn above what happened before; a message never arrives above where it left."""
    recorder = RECORDERS[name]
    layout = Layout(recorder)
    ys = [layout.y(moment) for moment in sorted(mark.at for mark in recorder.marks)]
    assert ys == sorted(ys)
    assert all(placed.from_y <= placed.y for placed in layout.placed if isinstance(placed.item, Arrow))


def test_lost_messages_break_off_and_crashes_partitions_and_leaderships_are_marked() -> None:
    crash, partition = RECORDERS["leader-crash"], RECORDERS["partition"]
    lost = [arrow for arrow in crash.arrows if arrow.lost and not arrow.is_idle and arrow.kind.name != "CLIENT"]
    assert lost
    picture = svg(crash, "")
    assert picture.count("crashes") >= 1
    whats = {(span.lane, span.what) for span in spans_of(crash)}
    assert ("1", "leads") in whats
    assert ("1", "down") in whats
    assert "cut: 1 | 2 3" in svg(partition, "")
    assert "cut is over" in svg(partition, "")
    assert [span.until is not None for span in partition.faults] == [True]


def test_a_leadership_that_began_before_the_story_is_drawn_from_its_beginning() -> None:
    recorder = RECORDERS["partition"]
    first = next(span for span in spans_of(recorder) if (span.lane, span.what) == ("1", "leads"))
    assert first.since == recorder.began_at
    assert recorder.began_at < first.until < recorder.now


@pytest.mark.parametrize("name", RECORDERS)
def test_mermaid_has_every_message_that_mattered_once(name: str) -> None:
    recorder = RECORDERS[name]
    lines = mermaid(recorder).splitlines()
    drawn = 0
    for line in lines:
        assert not set(line) & set(";#"), line
        if re.search(r"-x|->>", line):
            times = re.search(r"\((\d+) times\)$", line)
            drawn += int(times[1]) if times else 1
    wanted = [a for a in recorder.order if isinstance(a, Arrow) and not a.is_idle]
    assert drawn == len(wanted)
    assert sum("-x" in line for line in lines) > 0 or not any(a.lost for a in wanted)
    assert all(f"{span.kind}: " in "\n".join(lines) for span in recorder.order if isinstance(span, FaultSpan))
