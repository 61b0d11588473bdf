from __future__ import annotations

import numpy as np
import pytest

from seg_perception.datasets.faults import lie, shift
from seg_perception.errors import ConfigError
from seg_perception.evidence.record import Evidence


def evidence_of(sets: list[list[int]], index: np.ndarray) -> Evidence:
    weight = np.ones(len(sets), np.float32)
    weight[0] = 0
    return Evidence(index.astype(np.uint8), np.array(sets, np.float32), weight, 5, "test")


LANE = evidence_of([[1, 1, 1, 1], [0, 1, 0, 0]], np.tile([0, 1], (20, 50)))
GROUPS = evidence_of([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1]], np.tile([0, 1, 2, 1], (10, 25)))


@pytest.mark.parametrize("evidence", [LANE, GROUPS])
def test_that_fraction_of_the_known_pixels_contradicts_what_was_known(evidence: Evidence) -> None:
    lied = lie(evidence, 0.2, np.random.default_rng(0))
    shared = np.einsum("hwc,hwc->hw", evidence.sets[evidence.index], lied.sets[lied.index])
    known = evidence.index > 0
    assert np.count_nonzero(shared == 0) == round(0.2 * known.sum())
    np.testing.assert_array_equal(lied.index > 0, known)
    np.testing.assert_array_equal(lied.index[shared > 0], evidence.index[shared > 0])


def test_a_lane_detector_lies_with_every_other_class() -> None:
    lied = lie(LANE, 1.0, np.random.default_rng(0))
    said = lied.sets[lied.index[lied.index > 0]]
    np.testing.assert_array_equal(said.sum(axis=0) > 0, [True, False, True, True])
    assert (said.sum(axis=1) == 1).all()
    assert (lied.weight[1:] == 1).all()


def test_a_source_with_several_sets_lies_in_its_own_words() -> None:
    lied = lie(GROUPS, 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(lied.sets, GROUPS.sets)


def test_knowing_nothing_cannot_be_a_lie() -> None:
    vague = evidence_of([[1, 1], [1, 1]], np.ones((3, 3)))
    np.testing.assert_array_equal(lie(vague, 1.0, np.random.default_rng(0)).index, vague.index)


def test_a_fraction_of_lies_is_a_fraction() -> None:
    with pytest.raises(ConfigError, match="0 to 1"):
        lie(LANE, 1.5, np.random.default_rng(0))


@pytest.mark.parametrize(("fraction", "expected"), [(0.25, [0, 1, 2, 3]), (-0.5, [3, 4, 0, 0])])
def test_shift_moves_sideways_and_knows_nothing_where_it_left(
    fraction: float, expected: list[int]
) -> None:
    evidence = evidence_of([[1] * 4, *np.eye(4).tolist()], np.tile([1, 2, 3, 4], (2, 1)))
    moved = shift(evidence, fraction)
    np.testing.assert_array_equal(moved.index, np.tile(expected, (2, 1)))
    assert moved.stamp_ns == evidence.stamp_ns
