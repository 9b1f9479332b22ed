"""The space–time diagram as one page that needs nothing else: the picture, a legend that shows and hides, and hovering.

Hovering over an arrow or a dot tells what it is, in full; a click on it keeps that open. The names of the lanes stay in
sight while time scrolls by.
"""

from html import escape
from typing import Final

from kvstore.testing.cli.diagram_svg import COLORS, LABELS, STYLE, drawing, sign
from kvstore.testing.cli.layout import TOP_PX, Layout
from kvstore.testing.cli.record import Recorder

__all__ = ["html"]

_CROP_PX: Final = TOP_PX - 14
"""The names of the lanes stand in the header."""
_PAGE_STYLE: Final = """
body { margin: 0; font: 13px ui-sans-serif, system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1f2937; }
header { position: sticky; top: 0; background: #fffffff2; border-bottom: 1px solid #d1d5db; z-index: 2; }
h1 { font-size: 15px; margin: 0; padding: 10px 16px 4px; font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
.legend { padding: 0 16px 6px; display: flex; flex-wrap: wrap; gap: 2px 16px; }
.legend label { cursor: pointer; white-space: nowrap; }
.legend i { display: inline-block; width: 18px; height: 3px; vertical-align: middle; margin-right: 5px; }
.legend b { display: inline-block; width: 11px; height: 14px; border-radius: 3px; vertical-align: middle;
            margin-right: 5px; }
.legend span { white-space: nowrap; color: #4b5563; } .legend svg { vertical-align: middle; margin-right: 4px; }
.lanes { position: relative; height: 22px; font-weight: 700; }
.lanes span { position: absolute; transform: translateX(-50%); }
#tip { position: fixed; display: none; max-width: 460px; background: #111827; color: #f9fafb; padding: 7px 10px;
       border-radius: 6px; white-space: pre-wrap; pointer-events: none; z-index: 3;
       font-size: 12px; line-height: 1.45; }
g.arrow:hover line, g.arrow.kept line { stroke-width: 3.2; } g.arrow .wide { stroke-width: 11 !important; }
g.arrow, g.mark { cursor: pointer; } .hidden { display: none; }
"""
_SCRIPT: Final = """
const tip = document.getElementById("tip");
let kept = null;
for (const group of document.querySelectorAll("g.arrow, g.mark")) {
  const title = group.querySelector("title");
  const text = title.textContent;
  title.remove();
  const show = event => {
    tip.textContent = text;
    tip.style.display = "block";
    tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + "px";
  };
  group.addEventListener("mousemove", event => { if (!kept) show(event); });
  group.addEventListener("mouseleave", () => { if (!kept) tip.style.display = "none"; });
  group.addEventListener("click", event => {
    event.stopPropagation();
    if (kept) kept.classList.remove("kept");
    kept = kept === group ? null : group;
    if (kept) { kept.classList.add("kept"); show(event); }
  });
}
document.addEventListener("click", () => {
  if (kept) kept.classList.remove("kept");
  kept = null;
  tip.style.display = "none";
});
for (const box of document.querySelectorAll(".legend input")) {
  box.addEventListener("change", () => {
    for (const group of document.querySelectorAll("g.arrow." + box.value)) {
      group.classList.toggle("hidden", !box.checked);
    }
  });
}
"""


def html(recorder: Recorder, title: str) -> str:
    layout = Layout(recorder)
    used = dict.fromkeys(arrow.kind for arrow in recorder.arrows)
    kinds = "".join(
        f'<label><input type="checkbox" checked value="k-{kind.name}"><i style="background:{color}"></i>'
        f"{escape(kind.value)}</label>"
        for kind, color in COLORS.items()
        if kind in used
    )
    signs = "".join(
        f'<span><svg width="18" height="18">{sign(shape, 9, 9, color)}</svg>{escape(text)}</span>'
        for text, (shape, color) in LABELS.items()
    )
    bars = '<span><b style="background:#fbbf24"></b>leads</span><span><b style="background:#93c5fd"></b>stands</span>'
    names = "".join(
        f'<span style="left:{layout.x(lane):.0f}px">{escape(f"node {lane}" if lane in recorder.nodes else lane)}</span>'
        for lane in layout.lanes
    )
    width, height = layout.width, layout.height - _CROP_PX
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{_PAGE_STYLE}{STYLE}</style></head>\n<body>\n"
        f'<header style="min-width:{width:.0f}px"><h1>{escape(title)}</h1>\n'
        f'<div class="legend">{kinds}{signs}{bars}</div>\n'
        f'<div class="lanes">{names}</div></header>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 {_CROP_PX} {width:.0f} {height:.0f}">\n{drawing(layout, heads=False)}\n</svg>\n'
        f'<div id="tip"></div>\n<script>{_SCRIPT}</script>\n</body></html>\n'
    )
