from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.errors import EvidenceError
from seg_perception.evidence.geometry import Pinhole, Pose
from seg_perception.evidence.lanes import (
    BETWEEN,
    LINE,
    evidence_from_lane_borders,
    evidence_from_lane_lines,
    evidence_from_lane_mask,
)

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


# -- lane lines

FEET = {20: -70, 70: 20, 120: 140, 170: 230}
"""Column at which each line meets the bottom row of a 160x100 image, by its id."""


def lines(ids: dict[int, int] | None = None) -> NDArray[np.uint8]:
    """Four lines that meet at the vanishing point (80, 30)."""
    image = np.zeros((100, 160), np.uint8)
    for line, foot in FEET.items():
        value = line if ids is None else ids.get(line, 0)
        cv2.line(image, (80, 30), (foot, 99), value, 2)
    image[:40] = 0
    return image


def lane(image: NDArray[np.uint8], reach: float = 1.0) -> NDArray[np.uint8]:
    return evidence_from_lane_lines(image, (2,), 4, reach=reach).index


def test_the_surface_between_the_ego_lanes_lines_is_road() -> None:
    index = lane(lines())
    assert (index[lines() > 0] == LINE).all()
    assert (index[60:95, 80] == BETWEEN).all()
    assert not index[:, :20][lines()[:, :20] == 0].any()
    assert not index[90, 145:155].any()


@pytest.mark.parametrize("value", [1, 255])
def test_a_binary_image_shows_the_same_lane(value: int) -> None:
    binary = (lines() > 0).astype(np.uint8) * np.uint8(value)
    np.testing.assert_array_equal(lane(binary), lane(lines()))


def test_unknown_pixels_say_nothing() -> None:
    image = lines()
    image[:, :10] = 255
    assert not lane(image)[:, :10].any()
    assert (lane(image)[60:95, 80] == BETWEEN).all()


def test_the_far_part_of_the_lane_may_hide_a_car() -> None:
    index = lane(lines(), reach=0.5)
    assert not (index[:66] == BETWEEN).any()
    assert (index[75:95, 80] == BETWEEN).all()


def test_one_line_alone_makes_no_lane() -> None:
    index = lane(lines({70: 1}))
    assert (index > 0).any()
    assert not (index == BETWEEN).any()


def test_gaps_of_a_line_are_bridged() -> None:
    image = lines()
    image[60:70] = 0
    assert (lane(image)[60:70, 80] == BETWEEN).all()


def test_the_lane_weighs_less_than_its_lines() -> None:
    assert evidence_from_lane_lines(lines(), (2,), 4, weight=0.8).weight.tolist() == pytest.approx(
        [0, 0.8, 0.4]
    )


def test_nothing_seen_is_nothing_known() -> None:
    assert not lane(np.zeros((10, 10), np.uint8)).any()
    assert not lane(np.full((10, 10), 255, np.uint8)).any()
    speck = np.zeros((10, 10), np.uint8)
    speck[8, 2] = 1
    assert np.count_nonzero(lane(speck)) == 1


def test_a_region_is_not_taken_for_lines() -> None:
    with pytest.raises(EvidenceError, match="give a region as a lane mask"):
        lane(np.ones((10, 10), np.uint8))


# -- lane borders

CAMERA = Pinhole(160, 120, 140.0, 140.0, 79.5, 59.5)
POSE = Pose.of_mounted_camera(1.5, 0.05)


def border(y: float, start: float = 4.0, end: float = 25.0) -> NDArray[np.float32]:
    x = np.linspace(start, end, 12)
    return np.column_stack([x, np.full(12, y), np.zeros(12)]).astype(np.float32)


def between(
    left: NDArray[np.float32], right: NDArray[np.float32], max_range_m: float = 30.0
) -> NDArray[np.uint8]:
    return evidence_from_lane_borders(
        left, right, CAMERA, POSE, (2,), 4, max_range_m=max_range_m
    ).index


def on_lane(near: float, far: float, half: float) -> NDArray[np.bool_]:
    """The pixels whose ground lies on the lane, by casting their rays: bool [H, W]."""
    x, y = np.meshgrid(*CAMERA.ray_slopes())
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float64) @ POSE.rotation
    scale = np.where(rays[..., 2] < 0, -1.5 / np.minimum(rays[..., 2], -1e-9), np.inf)
    ahead, aside = scale * rays[..., 0], scale * rays[..., 1]
    return (ahead > near) & (ahead < far) & (np.abs(aside) < half)


def test_the_surface_between_the_borders_is_road_to_the_pixel() -> None:
    index = between(border(1.75), border(-1.75))
    expected = on_lane(4, 25, 1.75)
    edge = cv2.dilate(expected.view(np.uint8), np.ones((3, 3))) - cv2.erode(
        expected.view(np.uint8), np.ones((3, 3))
    )
    np.testing.assert_array_equal(index[edge == 0], expected[edge == 0])


def test_borders_from_far_to_near_give_the_same() -> None:
    there = between(border(1.75), border(-1.75))
    np.testing.assert_array_equal(between(border(1.75)[::-1], border(-1.75)[::-1]), there)


def test_what_lies_behind_the_camera_is_cut_off() -> None:
    index = between(border(1.75, start=-20), border(-1.75, start=-20))
    assert index[-1].any()
    assert not index[:60].any()
    near = between(border(1.75, start=3), border(-1.75, start=3))
    assert (index >= near).mean() > 0.99


def test_borders_are_believed_up_to_a_range() -> None:
    index = between(border(1.75), border(-1.75), max_range_m=10)
    expected = on_lane(4, 10, 1.75)
    assert abs(int(index.sum()) - int(expected.sum())) < 0.1 * expected.sum()


def test_a_lane_that_may_have_something_on_it_is_told_as_far_as_it_is_known() -> None:
    sides = border(1.75, end=70), border(-1.75, end=70)
    bare = evidence_from_lane_borders(*sides, CAMERA, POSE, (2,), 4)
    used = evidence_from_lane_borders(*sides, CAMERA, POSE, (2,), 4, obstacle_ids=(0,))
    assert bare.sets[1].tolist() == [0, 0, 1, 0]
    assert used.sets[1].tolist() == [1, 0, 1, 0]
    for evidence, reach in ((bare, 12), (used, 60)):
        expected = on_lane(4, reach, 1.75)
        assert abs(int(evidence.index.sum()) - int(expected.sum())) < 0.05 * expected.sum()


def test_a_missing_border_says_nothing() -> None:
    assert not between(border(1.75), np.empty((0, 3), np.float32)).any()
    assert not between(border(1.75, -9, -2), border(-1.75, -9, -2)).any()


def test_borders_that_are_not_finite_are_refused() -> None:
    broken = border(1.75)
    broken[3, 1] = np.nan
    with pytest.raises(EvidenceError, match=r"left border .* give points \[N, 3\] in metres"):
        between(broken, border(-1.75))
