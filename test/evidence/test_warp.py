from __future__ import annotations

import math

import numpy as np
import pytest
from tiny_scene import CAMERA, PLANE, POSE

from seg_perception.classes import CAMVID_CLASSES
from seg_perception.evidence.depth import evidence_from_depth
from seg_perception.evidence.geometry import project
from seg_perception.evidence.lanes import evidence_from_lane_borders
from seg_perception.evidence.record import Evidence, evidence_from_labels
from seg_perception.evidence.terrain import HIGH, OBSTACLE
from seg_perception.evidence.warp import OdometryBuffer, PlanarPose, warp

MS = 1_000_000
HERE = PlanarPose(0, 3.0, -2.0, 0.4)


def ahead(metres: float, turn_rad: float = 0.0) -> PlanarPose:
    """A pose so far along the heading of `HERE`."""
    x, y = metres * math.cos(HERE.yaw_rad), metres * math.sin(HERE.yaw_rad)
    return PlanarPose(100 * MS, HERE.x_m + x, HERE.y_m + y, HERE.yaw_rad + turn_rad)


def lane_seen_from(pose: PlanarPose) -> Evidence:
    """A lane that lies still in the world, 5 to 20 m ahead of `HERE`."""
    start = HERE.world_to_camera(POSE)
    to_here = POSE.inverse().after(start)  # world to base_link at HERE
    x = np.linspace(5.0, 20.0, 20)
    borders = [np.column_stack([x, np.full(20, y), np.zeros(20)]) for y in (1.7, -1.7)]
    world = [to_here.inverse().apply(border) for border in borders]
    now = pose.world_to_camera(POSE)
    return evidence_from_lane_borders(world[0], world[1], CAMERA, now, (2,), 4)


def moved(evidence: Evidence, to: PlanarPose, ground_ids: tuple[int, ...] = ()) -> Evidence:
    start, end = HERE.world_to_camera(POSE), to.world_to_camera(POSE)
    return warp(evidence, start, end, CAMERA, PLANE, ground_ids, stamp_ns=to.stamp_ns)


@pytest.mark.parametrize(("metres", "turn_rad"), [(0.0, 0.0), (1.0, 0.0), (0.5, 0.04), (0.0, -0.1)])
def test_a_lane_is_moved_to_where_it_is_seen_now(metres: float, turn_rad: float) -> None:
    now = ahead(metres, turn_rad)
    seen, expected = moved(lane_seen_from(HERE), now), lane_seen_from(now)
    overlap = (seen.index & expected.index).sum() / (seen.index | expected.index).sum()
    assert overlap > 0.93
    assert seen.stamp_ns == now.stamp_ns


def test_standing_still_changes_nothing() -> None:
    labels = np.random.default_rng(0).integers(0, 4, (120, 160)).astype(np.uint8)
    evidence = evidence_from_labels(labels, 4)
    for ground_ids in ((), (1,)):
        np.testing.assert_array_equal(moved(evidence, HERE, ground_ids).index, evidence.index)


def test_obstacles_are_kept_only_where_their_depth_does_not_matter() -> None:
    evidence = evidence_from_labels(np.full((120, 160), 3, np.uint8), 4)
    index = moved(evidence, ahead(1.0), ground_ids=(1, 2)).index
    horizon = round(project(np.array([[1e6, 0.0, 0.0]]), POSE, CAMERA)[0][0, 1])
    assert index[:horizon].any()
    assert not index[-20:].any()


def test_evidence_of_another_size_is_warped_too() -> None:
    small = evidence_from_labels(np.zeros((60, 80), np.uint8), 4)
    assert moved(small, ahead(0.5)).index.shape == (60, 80)


def test_odometry_is_interpolated_the_short_way_round() -> None:
    buffer = OdometryBuffer()
    buffer.add(PlanarPose(100 * MS, 1.0, 0.0, math.pi - 0.1))
    buffer.add(PlanarPose(0, 0.0, 2.0, math.pi + 0.1))  # late
    buffer.add(PlanarPose(200 * MS, math.nan, 0.0, 0.0))
    pose = buffer.at(25 * MS)
    assert pose is not None
    assert (pose.x_m, pose.y_m) == pytest.approx((0.25, 1.5))
    assert pose.yaw_rad == pytest.approx(math.pi + 0.05)
    assert buffer.at(100 * MS) == PlanarPose(100 * MS, 1.0, 0.0, math.pi - 0.1)


def test_odometry_reaches_a_little_beyond_its_ends() -> None:
    buffer = OdometryBuffer(most_gap_s=0.2)
    assert buffer.at(0) is None
    buffer.add(PlanarPose(100 * MS, 1.0, 0.0, 0.0))
    assert buffer.at(150 * MS) is None
    buffer.add(PlanarPose(200 * MS, 2.0, 0.0, 0.0))
    later, sooner = buffer.at(300 * MS), buffer.at(50 * MS)
    assert later is not None
    assert sooner is not None
    assert (later.x_m, sooner.x_m) == pytest.approx((3.0, 0.5))
    assert buffer.at(401 * MS) is None


def test_nothing_is_told_across_a_gap() -> None:
    buffer = OdometryBuffer(most_gap_s=0.2)
    buffer.add(PlanarPose(0, 0.0, 0.0, 0.0))
    buffer.add(PlanarPose(300 * MS, 1.0, 0.0, 0.0))
    assert buffer.at(150 * MS) is None
    buffer.clear()
    assert buffer.at(0) is None


def test_odometry_does_not_grow() -> None:
    buffer = OdometryBuffer(length=3, most_gap_s=0.001)
    for i in range(6):
        buffer.add(PlanarPose(i * MS, 0.0, 0.0, 0.0))
    assert buffer.at(MS) is None
    assert buffer.at(3 * MS) is not None


def test_a_moved_box_is_still_an_obstacle_above_the_horizon() -> None:
    depth = np.full((120, 160), 8.0, np.float32)
    groups = {"ground": ("road",), "sky": ("sky",)}
    evidence = evidence_from_depth(depth, CAMERA, PLANE, CAMVID_CLASSES, groups)
    index = moved(evidence, ahead(0.05), ground_ids=(3,)).index
    assert np.isin(index[20:40, 40:120], (OBSTACLE, HIGH)).all()
