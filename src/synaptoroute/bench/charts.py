"""Small SVG charts: no script, no font, no file beside them. Colours are classes of the page's style sheet.

Every chart has a title and a description for screen readers, and tells its series apart by dashes and markers as well
as by colour. The markup is well-formed XML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

Point = tuple[float, float]

#: Size of a line chart and the space around its plot, in SVG units.
_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 44
_LEGEND_LINE = 16
_CELL, _LABEL_CHARS = 22, 26
_CHAR = 6.2
COLOURS = 8

STYLE = """
svg { max-width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .faint { fill: var(--faint); }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--faint); stroke-width: 1; }
svg .diagonal { stroke: var(--faint); stroke-dasharray: 2 4; }
svg .series { fill: none; stroke-width: 2; } svg .whisker { stroke: var(--ink); stroke-width: 1.5; }
svg .cell { fill: var(--c0); } svg .frame { fill: none; stroke: var(--line); }
""" + "".join(
    f"svg .c{place} {{ stroke: var(--c{place}); }} svg .f{place} {{ fill: var(--c{place}); }}\n"
    for place in range(COLOURS)
)


@dataclass(frozen=True, slots=True)
class Series:
    """A named line; points from left to right."""

    name: str
    points: Sequence[Point]


def line_chart(
    title: str,
    description: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    x_range: Point = (0, 1),
    y_range: Point = (0, 1),
    x_names: Mapping[float, str] | None = None,
    diagonal: bool = False,
    dots: bool = False,
) -> str:
    """Lines over numbers.

    Args:
        title: What it shows, for people who do not see it.
        description: How to read it, likewise.
        series: The lines, at least one.
        x_label: With its unit.
        y_label: With its unit.
        x_range: Least and greatest x.
        y_range: Least and greatest y.
        x_names: Ticks with names in place of numbers.
        diagonal: Draw the line from corner to corner.
        dots: Mark every point.
    """
    height = _HEIGHT + _LEGEND_LINE * len(series)
    x, y = _scale(x_range, _LEFT, _WIDTH - _RIGHT), _scale(y_range, _HEIGHT - _BOTTOM, _TOP)
    parts = _head(title, description, _WIDTH, height)
    for at in ticks(*y_range):
        parts.append(_line("grid", _LEFT, y(at), _WIDTH - _RIGHT, y(at)))
        parts.append(_text(_LEFT - 6, y(at) + 4, f"{at:g}", "end"))
    named = x_names if x_names is not None else {at: f"{at:g}" for at in ticks(*x_range)}
    for at, name in named.items():
        parts.append(_line("axis", x(at), _HEIGHT - _BOTTOM, x(at), _HEIGHT - _BOTTOM + 4))
        parts.append(_text(x(at), _HEIGHT - _BOTTOM + 16, name, "middle"))
    parts.append(_line("axis", _LEFT, _HEIGHT - _BOTTOM, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, x_label, "middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
    if diagonal:
        parts.append(_line("diagonal", x(x_range[0]), y(y_range[0]), x(x_range[1]), y(y_range[1])))
    for place, one in enumerate(series):
        parts.extend(_drawn(place, [(x(a), y(b)) for a, b in one.points], dots=dots or len(one.points) == 1))
        top = _HEIGHT + _LEGEND_LINE * place + 4
        parts.extend(_drawn(place, [(_LEFT, top), (_LEFT + 28, top)], dots=False))
        parts.append(_text(_LEFT + 36, top + 4, one.name, "start"))
    return "".join([*parts, "</svg>"])


def bar_chart(title: str, description: str, bars: Sequence[tuple[str, float, float, float]]) -> str:
    """Horizontal bars from 0 to 1 with intervals: (name, value, low, high) each, shown in percent."""
    left = 12 + _CHAR * max((len(name) for name, *_ in bars), default=0)
    width, step = left + 330, 24
    x = _scale((0, 1), left, left + 270)
    parts = _head(title, description, width, step * len(bars) + 8)
    for place, (name, value, low, high) in enumerate(bars):
        top = step * place + 4
        parts.append(_text(left - 6, top + 13, name, "end"))
        parts.append(f'<rect class="f0" x="{left:.1f}" y="{top}" width="{x(value) - left:.1f}" height="{step - 8}"/>')
        parts.append(_line("whisker", x(low), top + 8, x(high), top + 8))
        parts.append(_text(x(1) + 6, top + 13, f"{100 * value:.1f} %", "start"))
    return "".join([*parts, "</svg>"])


def heat_map(title: str, description: str, cells: Mapping[tuple[str, str], int], *, rows: str, columns: str) -> str:
    """Counts by (row, column): rows and columns in the order they first come, the darker the more."""
    downs, acrosses = (list(dict.fromkeys(cell[axis] for cell in cells)) for axis in (0, 1))
    left, top = (_CHAR * max((len(_short(name)) for name in names), default=0) + 14 for names in (downs, acrosses))
    most = max(cells.values(), default=1)
    # Slanted names of the last columns stick out to the right.
    parts = _head(title, description, left + _CELL * len(acrosses) + top, top + _CELL * len(downs) + 24)
    for place, name in enumerate(acrosses):
        at = f"translate({left + _CELL * (place + 0.6):.1f} {top - 6:.1f}) rotate(-55)"
        parts.append(f'<text transform="{at}">{escape(_short(name))}</text>')
    for place, name in enumerate(downs):
        parts.append(_text(left - 6, top + _CELL * (place + 0.7), _short(name), "end"))
    for (down, across), number in cells.items():
        a, b = left + _CELL * acrosses.index(across), top + _CELL * downs.index(down)
        label = escape(f"{down} → {across}: {number}")
        parts.append(
            f'<g><title>{label}</title><rect class="cell" fill-opacity="{0.15 + 0.6 * number / most:.2f}" x="{a:.1f}" '
            f'y="{b:.1f}" width="{_CELL - 2}" height="{_CELL - 2}"/>{_text(a + 10, b + 14, str(number), "middle")}</g>'
        )
    width, height = _CELL * len(acrosses), _CELL * len(downs)
    parts.append(f'<rect class="frame" x="{left - 1:.1f}" y="{top - 1:.1f}" width="{width}" height="{height}"/>')
    parts.append(_text(left, top + height + 16, f"down: {rows}; across: {columns}", "start"))
    return "".join([*parts, "</svg>"])


def ticks(least: float, greatest: float, wanted: int = 5) -> list[float]:
    """Round numbers from least to greatest: steps of 1, 2 or 5 times a power of ten, about as many as wanted."""
    if greatest <= least:
        return [least]
    rough = (greatest - least) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(least / step - 1e-9), math.floor(greatest / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _drawn(place: int, points: Sequence[Point], *, dots: bool) -> list[str]:
    colour, dash = place % COLOURS, ("", "7 3", "2 3", "9 3 2 3")[place % 4]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    parts = [f'<polyline class="series c{colour}" stroke-dasharray="{dash or "none"}" points="{path}"/>']
    if dots:
        parts.extend(f'<circle class="f{colour}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in points)
    return parts


def _scale(domain: Point, start: float, end: float) -> _Scale:
    return _Scale(domain[0], (end - start) / ((domain[1] - domain[0]) or 1), start)


@dataclass(frozen=True, slots=True)
class _Scale:
    least: float
    factor: float
    start: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.least) * self.factor


def _head(title: str, description: str, width: float, height: float) -> list[str]:
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label={quoteattr(f"{title}. {description}")} '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}">'
    )
    return [opening, f"<title>{escape(title)}</title>"]


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(name: str) -> str:
    return name if len(name) <= _LABEL_CHARS else name[: _LABEL_CHARS - 1] + "…"
