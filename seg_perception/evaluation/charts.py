"""Charts as inline SVG, so that a report needs neither scripts nor other files.

Colours come from the page's style sheet: a series is drawn in the class of its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 960, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 12, 30


def grouped_bars(
    categories: Sequence[str], series: Mapping[str, Sequence[float]], top: float = 100.0
) -> str:
    """A group of bars for each category, a bar for each series.

    Args:
        categories: the names below the groups.
        series: values by name, one for each category; nan leaves a gap.
        top: the value at the upper edge; the axis begins at 0.
    """
    group = (WIDTH - LEFT - RIGHT) / max(len(categories), 1)
    bar = group * 0.82 / max(len(series), 1)
    marks = []
    for i, category in enumerate(categories):
        x0 = LEFT + i * group
        marks.append(_text(x0 + group / 2, HEIGHT - BOTTOM + 18, category, "middle"))
        for j, (name, values) in enumerate(series.items()):
            x, height = x0 + group * 0.09 + j * bar, _span(values[i], 0, top)
            if not math.isnan(values[i]):
                marks.append(
                    f'<rect class="{escape(name)}" x="{x:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" '
                    f'width="{bar * 0.92:.1f}" height="{height:.1f}">'
                    f"<title>{escape(category)}, {escape(name)}: {values[i]:.1f}</title></rect>"
                )
    return _svg([*_grid(0, top), *marks])


def timeline(
    seconds: Sequence[float], series: Mapping[str, Sequence[float]], unit: str, *, from_zero: bool
) -> str:
    """A line over time for each series.

    Args:
        seconds: when; rising.
        series: values by name, one for each moment; nan breaks the line. Without any other value
            the axis is from 0 to 1.
        unit: of the values, shown above the axis.
        from_zero: whether the axis begins at 0 rather than near the lowest value.
    """
    values = [v for line in series.values() for v in line if not math.isnan(v)]
    low, high = _bounds(values or [0.0, 1.0], from_zero)
    start, length = seconds[0], max(seconds[-1] - seconds[0], 1e-9)
    marks = [_text(LEFT, TOP, unit, "start")]
    for name, line in series.items():
        points = [
            (LEFT + (t - start) / length * (WIDTH - LEFT - RIGHT), v)
            for t, v in zip(seconds, line, strict=True)
        ]
        d = _path([(x, HEIGHT - BOTTOM - _span(v, low, high)) for x, v in points])
        marks.append(f'<path class="{escape(name)}" d="{d}"><title>{escape(name)}</title></path>')
    marks += [
        _text(LEFT, HEIGHT - BOTTOM + 18, "0 s", "start"),
        _text(WIDTH - RIGHT, HEIGHT - BOTTOM + 18, f"{length:.1f} s", "end"),
    ]
    return _svg([*_grid(low, high), *marks])


def _svg(marks: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(marks)}</svg>'


def _grid(low: float, high: float) -> list[str]:
    """Horizontal lines with their values."""
    lines = []
    for i in range(5):
        value = low + (high - low) * i / 4
        y = HEIGHT - BOTTOM - _span(value, low, high)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        lines.append(_text(LEFT - 6, y + 4, f"{value:g}", "end"))
    return lines


def _bounds(values: Sequence[float], from_zero: bool) -> tuple[float, float]:
    """A range of round numbers around the values, in steps that quarter well."""
    low, high = (0.0 if from_zero else min(values)), max(values)
    power = 10.0 ** math.floor(math.log10(max(high - low, 1.0) / 4))
    for step in (power * factor for factor in (1, 2, 2.5, 5, 10, 20)):
        bottom = math.floor(low / step) * step
        if bottom + 4 * step >= high:
            break
    return bottom, bottom + 4 * step


def _span(value: float, low: float, high: float) -> float:
    """Length in pixels from the axis to a value."""
    share = (value - low) / (high - low)
    return (HEIGHT - TOP - BOTTOM) * min(max(share, 0.0), 1.0)


def _path(points: Sequence[tuple[float, float]]) -> str:
    """SVG path data; a nan breaks the line."""
    parts, down = [], False
    for x, y in points:
        if not math.isnan(y):
            parts.append(f"{'L' if down else 'M'}{x:.1f} {y:.1f}")
        down = not math.isnan(y)
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
