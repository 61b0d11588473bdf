from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_perception.evaluation.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    grouped_bars,
    timeline,
)

VALUES = st.lists(st.floats(0, 1e6) | st.just(math.nan), min_size=2, max_size=20).filter(
    lambda values: not all(map(math.isnan, values))
)


def points(svg: str) -> list[tuple[float, float]]:
    (path,) = ElementTree.fromstring(svg).iter("path")
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+?) ([\d.]+)", path.attrib["d"])]


def axis(svg: str) -> list[float]:
    """The figures beside the axis, upwards."""
    texts = ElementTree.fromstring(svg).iter("text")
    return [float(t.text or "") for t in texts if float(t.attrib["x"]) < LEFT]


def test_bars_are_as_high_as_their_values() -> None:
    svg = grouped_bars(["sky", "road"], {"refined": [50, 100], "corrected": [25, math.nan]})
    bars = list(ElementTree.fromstring(svg).iter("rect"))
    heights = [float(bar.attrib["height"]) / (HEIGHT - TOP - BOTTOM) for bar in bars]
    assert [bar.attrib["class"] for bar in bars] == ["refined", "corrected", "refined"]
    assert heights == pytest.approx([0.5, 0.25, 1.0], abs=1e-3)
    assert bars[1][0].text == "sky, corrected: 25.0"


def test_names_are_escaped() -> None:
    svg = grouped_bars(["<road> & kerb"], {"a": [1]})
    assert "<road> & kerb" in [text.text for text in ElementTree.fromstring(svg).iter("text")]


@given(VALUES, st.booleans())
def test_every_value_lies_on_the_axis(values: list[float], from_zero: bool) -> None:
    seconds = list(range(len(values)))
    svg = timeline(seconds, {"latency": values}, "ms", from_zero=from_zero)
    known = [value for value in values if not math.isnan(value)]
    low, high = axis(svg)[0], axis(svg)[-1]
    slack = 1e-5 * max(map(abs, (low, high)))  # figures have six digits
    assert low - slack <= min(known)
    assert max(known) <= high + slack
    assert low == 0 or not from_zero
    drawn = points(svg)
    assert len(drawn) == len(known)
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in drawn)


def test_without_values_there_is_no_line() -> None:
    svg = timeline([0, 1], {"latency": [math.nan] * 2}, "ms", from_zero=False)
    assert points(svg) == []
    assert axis(svg) == [0, 0.25, 0.5, 0.75, 1]


def test_higher_values_are_drawn_higher_and_gaps_break_the_line() -> None:
    svg = timeline([0, 1, 2, 3], {"latency": [1, 3, math.nan, 2]}, "ms", from_zero=True)
    first, second, third = points(svg)
    assert first[1] > third[1] > second[1]
    assert svg.count("M") == 2
    assert "3.0 s" in svg
