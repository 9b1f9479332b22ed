"""A story as a space–time diagram in SVG: lanes for clients and nodes, an arrow for each message, time flows down.

Lost messages break off; leaderships and candidacies are bars on the lanes, dots are what became a fact on a disk,
hovering tells the whole content. ``drawing`` is the picture alone, for ``diagram_html`` to put into a page.
"""

from html import escape
from typing import Final

from kvstore.testing.cli.layout import LANE_PX, SILENT, TOP_PX, Layout, Placed, Span, is_broken, spans_of
from kvstore.testing.cli.record import Arrow, FaultSpan, Mark, MarkKind, Recorder
from kvstore.testing.cli.words import Kind

__all__ = ["COLORS", "DOTS", "LABELS", "STYLE", "drawing", "sign", "svg"]

COLORS: Final = {
    Kind.PREPARE: "#2563eb",
    Kind.PROMISE: "#0891b2",
    Kind.ACCEPT: "#d97706",
    Kind.ACCEPTED: "#15803d",
    Kind.NACK: "#dc2626",
    Kind.SUSPECT: "#9333ea",
    Kind.HEARTBEAT: "#6b7280",
    Kind.CATCH_UP: "#0f766e",
    Kind.FORWARD: "#be185d",
    Kind.TRANSFER: "#4338ca",
    Kind.CLIENT: "#111827",
}
DOTS: Final = {
    MarkKind.PROMISED: ("square", "#0891b2"),
    MarkKind.ACCEPTED: ("square", "#15803d"),
    MarkKind.CHOSEN: ("star", "#15803d"),
    MarkKind.LEARNED: ("square", "#0f766e"),
    MarkKind.DECIDED: ("circle", "#111827"),
    MarkKind.CRASHED: ("cross", "#dc2626"),
    MarkKind.WRITE_LOST: ("cross", "#dc2626"),
    MarkKind.STARTED: ("triangle", "#15803d"),
    MarkKind.PAUSED: ("square", "#d97706"),
    MarkKind.RESUMED: ("triangle", "#d97706"),
    MarkKind.STANDS: ("triangle", "#2563eb"),
    MarkKind.LEADS: ("triangle", "#d97706"),
}
LABELS: Final = {
    "promise on disk": ("square", "#0891b2"),
    "acceptance on disk": ("square", "#15803d"),
    "… by which the value is chosen": ("star", "#15803d"),
    "decided and applied": ("circle", "#111827"),
    "crash": ("cross", "#dc2626"),
    "start": ("triangle", "#15803d"),
}
_LABEL_CHARS: Final = 39
_HEADING_PX: Final = 26
STYLE: Final = """
text { font: 11.5px ui-sans-serif, system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2937; }
.halo { paint-order: stroke; stroke: #fff; stroke-width: 5px; stroke-linejoin: round; }
.lane { stroke: #9ca3af; stroke-width: 1.5; }
.head { font-weight: 700; font-size: 14px; text-anchor: middle; }
.time { fill: #6b7280; font-size: 10.5px; text-anchor: end; }
.note { font-weight: 600; font-size: 12.5px; }
.fact { fill: #374151; font-style: italic; }
.fault { fill: #b91c1c; font-weight: 600; }
.leads { fill: #fbbf24; } .stands { fill: #93c5fd; }
.down { stroke: #fff; stroke-width: 3; } .down2 { stroke: #dc2626; stroke-width: 1.5; stroke-dasharray: 2 5; }
.paused { stroke: #f59e0b; stroke-width: 5; stroke-dasharray: 3 3; }
.arrow line { stroke-width: 1.6; } .arrow.idle { opacity: .28; } .arrow.client line { stroke-dasharray: 5 3; }
.arrow .wide { stroke-width: 11; stroke: transparent; }
"""


def svg(recorder: Recorder, title: str) -> str:
    """A whole file, with a heading and a legend."""
    layout = Layout(recorder)
    legend, legend_px = _legend(layout.width)
    top = _HEADING_PX + legend_px
    width, height = layout.width, layout.height + top
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="16" y="22" class="note">{escape(title)}</text>\n{legend}\n'
        f'<g transform="translate(0 {top})">\n{drawing(layout)}\n</g>\n</svg>\n'
    )


def drawing(layout: Layout, *, heads: bool = True) -> str:
    """``heads``: with the names of the lanes. What is written lies above all that is drawn."""
    recorder = layout.recorder
    parts = [_markers()]
    bottom = layout.height - 16
    for lane in layout.lanes:
        x = layout.x(lane)
        name = f"node {lane}" if lane in recorder.nodes else lane
        if heads:
            parts.append(f'<text class="head" x="{x:.1f}" y="{TOP_PX - 24}">{escape(name)}</text>')
        dash = "" if lane in recorder.nodes else ' stroke-dasharray="2 4"'
        parts.append(f'<line class="lane" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP_PX - 14}" y2="{bottom:.1f}"{dash}/>')
    parts += [_span(layout, span) for span in spans_of(recorder)]
    parts += [_fault_bar(layout, span, index) for index, span in enumerate(recorder.faults)]
    parts += [
        f'<text class="time" x="98" y="{y + 4:.1f}">⋮ {seconds * 1000:.0f} ms pass ⋮</text>'
        for y, seconds in layout.breaks
    ]
    parts += [_idle(layout, arrow) for arrow in recorder.arrows if arrow.is_idle]
    arrows = [(placed, placed.item) for placed in layout.placed if isinstance(placed.item, Arrow)]
    parts += [_arrow(layout, arrow, placed) for placed, arrow in arrows]
    parts += [_arrow_label(layout, arrow, placed) for placed, arrow in arrows]
    parts += [_placed(layout, placed) for placed in layout.placed if not isinstance(placed.item, Arrow)]
    parts += _clock(layout)
    return "\n".join(part for part in parts if part)


def _placed(layout: Layout, placed: Placed) -> str:
    match placed.item:
        case Mark(kind=MarkKind.NOTE):
            return _band(layout, placed.y, placed.item.text, "note", "#f3f4f6")
        case Mark():
            return _mark(layout, placed.item, placed.y)
        case FaultSpan():
            text = f"{placed.item.kind} is over" if placed.ends else f"{placed.item.kind}: {placed.item.text}"
            return _band(layout, placed.y, text, "fault", "#fef2f2")
        case _:
            return ""


def _band(layout: Layout, y: float, text: str, style: str, color: str) -> str:
    left = layout.x(layout.lanes[0]) - 60
    return (
        f'<rect x="{left:.1f}" y="{y - 12:.1f}" width="{layout.width - left - 10:.1f}" height="19" rx="4" '
        f'fill="{color}" fill-opacity=".92"/>'
        f'<text class="{style}" x="{left + 8:.1f}" y="{y + 2:.1f}">{escape(text)}</text>'
    )


def _arrow(layout: Layout, arrow: Arrow, placed: Placed) -> str:
    x1, x2 = layout.x(arrow.sender), layout.x(arrow.to)
    direction = 1 if x2 > x1 else -1
    color = COLORS[arrow.kind]
    if is_broken(arrow, layout.recorder):
        end = x1 + direction * LANE_PX * 0.62
        tail, marker = sign("cross", end, placed.y, color), ""
    else:
        end = x2 - 5 * direction
        tail, marker = "", f' marker-end="url(#m-{arrow.kind.name})"'
    line = f'x1="{x1:.1f}" y1="{placed.from_y:.1f}" x2="{end:.1f}" y2="{placed.y:.1f}"'
    return _group(arrow, f'<line class="wide" {line}/><line {line} stroke="{color}"{marker}/>{tail}')


def _arrow_label(layout: Layout, arrow: Arrow, placed: Placed) -> str:
    """Where it arrives, or where it leaves if it never does."""
    x1, x2 = layout.x(arrow.sender), layout.x(arrow.to)
    direction = 1 if x2 > x1 else -1
    broken = is_broken(arrow, layout.recorder)
    x = x1 + 9 * direction if broken else x2 - 12 * direction
    anchor = "end" if (direction > 0) != broken else "start"
    text = arrow.text
    if arrow.copy_of is not None:
        text += " (a copy)"
    if broken:
        text += f", to {arrow.to}"
    text = _short(text)
    place = f'x="{x:.1f}" y="{placed.y - 4:.1f}" text-anchor="{anchor}" style="fill:{COLORS[arrow.kind]}"'
    return _group(arrow, f'<text class="halo" {place}>{escape(text)}</text>')


def _group(arrow: Arrow, content: str) -> str:
    client = " client" if arrow.kind is Kind.CLIENT else ""
    return f'<g class="arrow k-{arrow.kind.name}{client}"><title>{escape(_tip(arrow))}</title>{content}</g>'


def _idle(layout: Layout, arrow: Arrow) -> str:
    if arrow.landed_at is None:
        return ""
    x1, x2 = layout.x(arrow.sender), layout.x(arrow.to)
    x2 = x1 + (x2 - x1) * 0.3 if arrow.lost else x2
    y1, y2 = layout.y(arrow.sent_at), layout.y(arrow.landed_at)
    marker = "" if arrow.lost else f' marker-end="url(#m-{arrow.kind.name})"'
    return (
        f'<g class="arrow idle k-{arrow.kind.name}"><title>{escape(_tip(arrow))}</title>'
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{COLORS[arrow.kind]}"{marker}/></g>'
    )


def _tip(arrow: Arrow) -> str:
    landed = "" if arrow.landed_at is None else f" – {arrow.landed_at * 1000:.3f}"
    lines = [f"{arrow.sender} → {arrow.to}, {arrow.sent_at * 1000:.3f}{landed} ms", arrow.full]
    if arrow.lost:
        lines.append(f"never arrived: {arrow.lost}" if arrow.kind is not Kind.CLIENT else arrow.lost)
    lines += [f"{mark.node} {mark.text}" for mark in arrow.effects]
    return "\n".join(lines)


def _mark(layout: Layout, mark: Mark, y: float) -> str:
    x = layout.x(mark.node)
    dot = DOTS.get(mark.kind)
    shape = sign(dot[0], x, y, dot[1]) if dot else ""
    tip = f"{mark.at * 1000:.3f} ms: {mark.node} {mark.text}"
    label = ""
    if mark.kind not in SILENT:
        text = _short(_fact(mark))
        label = f'<text class="fact halo" x="{x + 11:.1f}" y="{y + 4:.1f}">{escape(text)}</text>'
    return f'<g class="mark"><title>{escape(tip)}</title>{shape}{label}</g>' if shape or label else ""


def _fact(mark: Mark) -> str:
    """The lane says who."""
    first, last = mark.slots or (0, 0)
    slots = f"slot {first}" if last - first == 1 else f"slots {first} to {last - 1}"
    match mark.kind:
        case MarkKind.ACCEPTED:
            return f"accepts {slots}"
        case MarkKind.CHOSEN:
            return f"accepts {slots}: chosen"
        case MarkKind.DECIDED:
            return f"decides, applies {slots}"
        case MarkKind.LEADS:
            return f"leads in ballot {mark.ballot}"
        case MarkKind.STANDS:
            return f"stands in ballot {mark.ballot}"
        case _:
            return mark.text


def sign(shape: str, x: float, y: float, color: str) -> str:
    match shape:
        case "square":
            return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{color}" stroke="#fff"/>'
        case "circle":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.6" fill="{color}" stroke="#fff"/>'
        case "star":
            points = ((0, -8), (2.4, -2.6), (8, -2.4), (3.6, 1.4), (5, 7), (0, 3.8), (-5, 7), (-3.6, 1.4), (-8, -2.4))
            path = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in (*points, (-2.4, -2.6)))
            return f'<polygon points="{path}" fill="{color}" stroke="#fff"/>'
        case "triangle":
            path = f"{x - 5:.1f},{y - 5:.1f} {x + 6:.1f},{y:.1f} {x - 5:.1f},{y + 5:.1f}"
            return f'<polygon points="{path}" fill="{color}" stroke="#fff"/>'
        case _:
            path = f"M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10"
            return f'<path d="{path}" stroke="{color}" stroke-width="2.4" fill="none"/>'


def _span(layout: Layout, span: Span) -> str:
    x, y1, y2 = layout.x(span.lane), layout.y(span.since), layout.y(span.until)
    tip = f"<title>{escape(f'node {span.lane} {span.what} {span.text}'.strip())}</title>"
    if span.what in {"leads", "stands"}:
        height = max(2.0, y2 - y1)
        place = f'x="{x - 6:.1f}" y="{y1:.1f}" width="12" height="{height:.1f}" rx="3"'
        return f'<rect class="{span.what}" {place}>{tip}</rect>'
    line = f'x1="{x:.1f}" x2="{x:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"'
    below = f'<line class="down" {line}/>' if span.what == "down" else ""
    style = "down2" if span.what == "down" else "paused"
    return f'{below}<line class="{style}" {line}>{tip}</line>'


def _fault_bar(layout: Layout, span: FaultSpan, index: int) -> str:
    x = 104 + 6 * (index % 7)
    y1 = layout.y(span.since)
    y2 = layout.y(span.until if span.until is not None else layout.recorder.now)
    return (
        f'<rect x="{x}" y="{y1:.1f}" width="4" height="{max(3.0, y2 - y1):.1f}" fill="#ef4444" fill-opacity=".7">'
        f"<title>{escape(f'{span.kind}: {span.text}')}</title></rect>"
    )


def _clock(layout: Layout) -> list[str]:
    """A time every now and then."""
    parts: list[str] = []
    last = 0.0
    taken = [y for y, _ in layout.breaks]
    for placed in layout.placed:
        at = placed.item.landed_at if isinstance(placed.item, Arrow) else None
        if at is None or placed.y < last + 38 or any(abs(placed.y - y) < 14 for y in taken):
            continue
        last = placed.y
        parts.append(f'<text class="time" x="92" y="{placed.y + 4:.1f}">{at * 1000:.1f} ms</text>')
    return parts


def _markers() -> str:
    heads = "".join(
        f'<marker id="m-{kind.name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{color}"/></marker>'
        for kind, color in COLORS.items()
    )
    return f"<defs>{heads}</defs>"


def _legend(width: float) -> tuple[str, int]:
    """And how high it is."""
    parts: list[str] = []
    x, y = 16.0, 18.0
    entries: list[tuple[str, str, str]] = [(kind.value, "line", color) for kind, color in COLORS.items()]
    entries += [(text, shape, color) for text, (shape, color) in LABELS.items()]
    entries += [("leads", "bar", "#fbbf24"), ("stands", "bar", "#93c5fd")]
    for text, shape, color in entries:
        entry_px = 40 + 6.4 * len(text)
        if x + entry_px > width:
            x, y = 16.0, y + 20
        match shape:
            case "line":
                drawn = f'<line x1="{x}" x2="{x + 20}" y1="{y - 4}" y2="{y - 4}" stroke="{color}" stroke-width="2.5"/>'
            case "bar":
                drawn = f'<rect x="{x + 4}" y="{y - 11}" width="12" height="14" rx="3" fill="{color}"/>'
            case _:
                drawn = sign(shape, x + 11, y - 4, color)
        parts.append(f'{drawn}<text x="{x + 26:.1f}" y="{y}">{escape(text)}</text>')
        x += entry_px
    height = int(y + 14)
    return f'<g transform="translate(0 {_HEADING_PX})">{"".join(parts)}</g>', height


def _short(text: str) -> str:
    return text if len(text) <= _LABEL_CHARS else text[: _LABEL_CHARS - 1] + "…"
