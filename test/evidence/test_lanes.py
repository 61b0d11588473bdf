from __future__ import annotations

import numpy as np
import pytest

from seg_perception.errors import EvidenceError
from seg_perception.evidence.lanes import evidence_from_lane_mask

MASK = np.array([[0, 1, 254, 255]], np.uint8)


def test_lane_pixels_are_road_and_nothing_else_is_known() -> None:
    evidence = evidence_from_lane_mask(MASK, (2,), 4, weight=0.5, stamp_ns=9)
    np.testing.assert_array_equal(evidence.index, [[0, 1, 1, 0]])
    np.testing.assert_array_equal(evidence.sets, [[1, 1, 1, 1], [0, 0, 1, 0]])
    np.testing.assert_array_equal(evidence.weight, np.array([0, 0.5], np.float32))
    assert (evidence.source, evidence.stamp_ns) == ("lane_mask", 9)


def test_lanes_may_lie_on_several_classes() -> None:
    np.testing.assert_array_equal(evidence_from_lane_mask(MASK, (0, 2), 4).sets[1], [1, 0, 1, 0])


@pytest.mark.parametrize("road_ids", [(), (4,), (-1,)])
def test_lanes_on_no_class_of_the_model_are_refused(road_ids: tuple[int, ...]) -> None:
    with pytest.raises(EvidenceError, match="classes 0 to 3: give at least one"):
        evidence_from_lane_mask(MASK, road_ids, 4)


def test_a_mask_of_another_kind_is_refused() -> None:
    with pytest.raises(EvidenceError, match=r"float64 \[1, 4\].*uint8 map"):
        evidence_from_lane_mask(MASK.astype(float), (2,), 4)  # type: ignore[arg-type]
