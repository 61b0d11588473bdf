from __future__ import annotations

import numpy as np
import pytest

from seg_perception.errors import ConfigError
from seg_perception.evidence.buffer import EvidenceBuffer
from seg_perception.evidence.record import Evidence, evidence_from_labels


def heard(source: str, stamp_ns: int) -> Evidence:
    return evidence_from_labels(np.zeros((2, 2), np.uint8), 3, stamp_ns=stamp_ns, source=source)


def stamps(found: tuple[Evidence, ...]) -> dict[str, int]:
    return {one.source: one.stamp_ns for one in found}


def test_every_source_gives_what_is_nearest_before_or_after() -> None:
    buffer = EvidenceBuffer()
    for stamp in (100, 300, 200):  # not in order
        buffer.add(heard("lanes", stamp))
    buffer.add(heard("depth", 240))
    assert stamps(buffer.nearest(210)) == {"lanes": 200, "depth": 240}
    assert stamps(buffer.nearest(290)) == {"lanes": 300, "depth": 240}


def test_what_is_too_far_in_time_is_left_out() -> None:
    buffer = EvidenceBuffer()
    buffer.add(heard("lanes", 100))
    buffer.add(heard("depth", 150))
    assert stamps(buffer.nearest(105, tolerance_ns=5)) == {"lanes": 100}
    assert stamps(buffer.nearest(95, tolerance_ns=5)) == {"lanes": 100}


def test_of_two_as_near_the_newest_arrival_counts() -> None:
    buffer = EvidenceBuffer()
    first, second = heard("lanes", 100), heard("lanes", 100)
    buffer.add(first)
    buffer.add(second)
    assert buffer.nearest(100)[0] is second


def test_memory_does_not_grow() -> None:
    buffer = EvidenceBuffer(length=3)
    for stamp in range(10):
        buffer.add(heard("lanes", stamp))
    assert stamps(buffer.nearest(0)) == {"lanes": 7}


def test_clear_forgets() -> None:
    buffer = EvidenceBuffer()
    buffer.add(heard("lanes", 1))
    buffer.clear()
    assert buffer.nearest(1) == ()


def test_a_buffer_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="keep at least 1"):
        EvidenceBuffer(0)
