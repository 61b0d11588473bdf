from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.errors import EvidenceError
from seg_perception.evidence.geometry import Pose
from seg_perception.evidence.transforms import (
    HISTORY_NS,
    REACH_NS,
    Transform,
    TransformTree,
    quaternion_of,
    rotation_of,
)

S = 10**9
HALF = np.sqrt(0.5)
LEFT = (HALF, 0.0, 0.0, HALF)
"""A quarter turn about z: from x to y."""

parts = st.floats(-1, 1, allow_subnormal=False)
quaternions = st.tuples(parts, parts, parts, parts).filter(lambda q: np.linalg.norm(q) > 0.1)


def at(
    stamp: int,
    place: tuple[float, float, float],
    turn: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0),
) -> Transform:
    return Transform(stamp, np.array(turn), np.array(place, float))


def moved(pose: Pose | None, *point: float) -> NDArray[np.float64]:
    assert pose is not None
    (found,) = pose.apply(np.array([point], np.float64))
    return found


@given(quaternions)
def test_a_rotation_is_that_of_its_quaternion(values: tuple[float, ...]) -> None:
    quaternion = np.array(values) / np.linalg.norm(values)
    rotation = rotation_of(quaternion)
    Pose(rotation, np.zeros(3))  # raises if it were none
    found = quaternion_of(rotation)
    assert found[0] >= 0
    np.testing.assert_allclose(abs(found @ quaternion), 1, atol=1e-9)


def test_the_way_leads_over_the_shared_parent() -> None:
    tree = TransformTree()
    tree.add("base_link", "mast", at(0, (1, 0, 2)), fixed=True)
    tree.add("mast", "lidar", at(0, (0, 0, 0.5), LEFT), fixed=True)
    tree.add("/base_link", "/camera", at(0, (2, 0, 1)), fixed=True)
    # 3 m before the lidar is 3 m to the vehicle's left, since the lidar is turned.
    np.testing.assert_allclose(moved(tree.look_up("lidar", "camera", S), 3, 0, 0), (-1, 3, 1.5))
    back = moved(tree.look_up("camera", "lidar", S), -1, 3, 1.5)
    np.testing.assert_allclose(back, (3, 0, 0), atol=1e-12)
    np.testing.assert_allclose(moved(tree.look_up("lidar", "base_link", S), 0, 0, 0), (1, 0, 2.5))
    np.testing.assert_allclose(moved(tree.look_up("lidar", "lidar", S), 1, 2, 3), (1, 2, 3))


def test_frames_without_a_way_between_them() -> None:
    tree = TransformTree()
    tree.add("base_link", "camera", at(0, (0, 0, 1)), fixed=True)
    tree.add("trailer", "lidar", at(0, (0, 0, 1)), fixed=True)
    assert tree.look_up("lidar", "camera", S) is None
    assert tree.look_up("nowhere", "camera", S) is None


def test_a_moving_frame_is_found_between_what_was_told() -> None:
    tree = TransformTree()
    tree.add("odom", "base_link", at(2 * S, (10, 0, 0), LEFT), fixed=False)
    tree.add("odom", "base_link", at(S, (0, 0, 0)), fixed=False)  # late, and yet before
    np.testing.assert_allclose(moved(tree.look_up("base_link", "odom", S), 1, 0, 0), (1, 0, 0))
    midway = moved(tree.look_up("base_link", "odom", 3 * S // 2), 1, 0, 0)
    np.testing.assert_allclose(midway, (5 + HALF, HALF, 0))
    third = moved(tree.look_up("base_link", "odom", S + S // 3), 1, 0, 0)
    np.testing.assert_allclose(third, (10 / 3 + np.cos(np.pi / 6), 0.5, 0), atol=1e-6)


def test_quaternions_of_opposite_sign_are_the_same_rotation() -> None:
    tree = TransformTree()
    tree.add("odom", "base_link", at(0, (0, 0, 0), LEFT), fixed=False)
    opposite = (-HALF, 0.0, 0.0, -HALF)
    tree.add("odom", "base_link", at(S, (0, 0, 0), opposite), fixed=False)
    midway = moved(tree.look_up("base_link", "odom", S // 2), 1, 0, 0)
    np.testing.assert_allclose(midway, (0, 1, 0), atol=1e-9)


def test_what_is_told_of_another_time_is_not_believed() -> None:
    tree = TransformTree()
    tree.add("odom", "base_link", at(10 * S, (1, 0, 0)), fixed=False)
    for near in (10 * S - REACH_NS, 10 * S + REACH_NS):
        np.testing.assert_allclose(moved(tree.look_up("base_link", "odom", near), 0, 0, 0)[0], 1)
    with pytest.raises(EvidenceError, match=r"base_link is in odom only 0\.6 s .*clocks agree"):
        tree.look_up("base_link", "odom", 10 * S + REACH_NS + S // 10)


def test_a_fixed_frame_holds_at_any_time_and_can_be_told_anew() -> None:
    tree = TransformTree()
    for x in (1.0, 2.0):
        tree.add("base_link", "camera", at(5 * S, (x, 0, 0)), fixed=True)
        np.testing.assert_allclose(moved(tree.look_up("camera", "base_link", 0), 0, 0, 0)[0], x)


def test_a_new_parent_makes_the_old_one_forgotten() -> None:
    tree = TransformTree()
    tree.add("odom", "base_link", at(S, (1, 0, 0)), fixed=False)
    tree.add("map", "base_link", at(S, (7, 0, 0)), fixed=False)
    assert tree.look_up("base_link", "odom", S) is None
    np.testing.assert_allclose(moved(tree.look_up("base_link", "map", S), 0, 0, 0)[0], 7)


def test_only_the_last_seconds_are_remembered_and_a_clock_may_start_anew() -> None:
    tree = TransformTree()
    for stamp in range(0, 3 * HISTORY_NS, HISTORY_NS // 4):
        tree.add("odom", "base_link", at(stamp, (stamp / S, 0, 0)), fixed=False)
    with pytest.raises(EvidenceError, match="clocks"):
        tree.look_up("base_link", "odom", HISTORY_NS // 2)
    tree.add("odom", "base_link", at(S, (1, 0, 0)), fixed=False)
    np.testing.assert_allclose(moved(tree.look_up("base_link", "odom", S), 0, 0, 0)[0], 1)
    with pytest.raises(EvidenceError, match="clocks"):
        tree.look_up("base_link", "odom", 2 * HISTORY_NS)


def test_a_cycle_ends_somewhere() -> None:
    tree = TransformTree()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        tree.add(parent, child, at(0, (0, 0, 1)), fixed=True)
    assert tree.look_up("a", "elsewhere", 0) is None
    assert tree.look_up("a", "c", 0) is not None


@pytest.mark.parametrize(
    ("parent", "child", "turn", "complaint"),
    [
        ("a", "a", (1.0, 0, 0, 0), "name two frames"),
        ("", "a", (1.0, 0, 0, 0), "name two frames"),
        ("a", "b", (0.0, 0, 0, 0), "check its publisher"),
        ("a", "b", (float("nan"), 0, 0, 0), "check its publisher"),
    ],
)
def test_what_is_no_transform_is_refused(
    parent: str, child: str, turn: tuple[float, float, float, float], complaint: str
) -> None:
    with pytest.raises(EvidenceError, match=complaint):
        TransformTree().add(parent, child, at(0, (0, 0, 0), turn), fixed=True)
