from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.errors import EvidenceError
from seg_perception.evidence.geometry import GroundPlane, Pose
from seg_perception.evidence.ground import FEWEST_INLIERS, HELD_FRAMES, GroundTracker


def road(height_m: float, pitch_rad: float, seed: int = 0, n: int = 1500) -> NDArray[np.float32]:
    """Points of a road with 2 cm of noise, in the optical frame of a camera above it."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((3, -6, 0), (28, 6, 0), (n, 3)) + rng.normal(0, (0, 0, 0.02), (n, 3))
    pose = Pose.of_mounted_camera(height_m, pitch_rad)
    return np.asarray(pose.apply(points), np.float32)


def wall(n: int = 900) -> NDArray[np.float32]:
    """Points of a wall across the street."""
    rng = np.random.default_rng(9)
    return rng.uniform((-6, -3, 15), (6, 1.4, 15.05), (n, 3)).astype(np.float32)


def degrees_between(a: GroundPlane, b: GroundPlane) -> float:
    return math.degrees(math.acos(min(1.0, float(a.normal @ b.normal))))


@pytest.mark.parametrize("pitch_rad", [-0.06, 0.0, 0.08])
def test_finds_the_road_beside_a_wall_and_outliers(pitch_rad: float) -> None:
    rng = np.random.default_rng(1)
    clutter = rng.uniform((-8, -2, 2), (8, 1.5, 40), (600, 3)).astype(np.float32)
    nan = np.full((50, 3), np.nan, np.float32)
    points = np.concatenate([clutter, road(1.6, pitch_rad), wall(), nan])
    plane = GroundTracker(1.5, 0.0).update(points)
    assert plane is not None
    assert plane.offset_m == pytest.approx(1.6, abs=0.03)
    assert degrees_between(plane, GroundPlane.of_mounted_camera(1.6, pitch_rad)) < 0.3


def test_a_wall_is_no_ground() -> None:
    assert GroundTracker(1.5, 0.0).update(wall()) is None


def test_a_plane_far_from_the_mounting_is_not_believed() -> None:
    assert GroundTracker(1.5, 0.0).update(road(1.5, math.radians(15))) is None
    assert GroundTracker(1.5, 0.0).update(road(3.0, 0.0)) is None


def test_the_plane_is_held_for_a_while_and_then_given_up() -> None:
    tracker = GroundTracker(1.5, 0.0)
    found = tracker.update(road(1.5, 0.0))
    for _ in range(HELD_FRAMES):
        assert tracker.update(road(1.5, 0.0, n=FEWEST_INLIERS - 1)) is found
    assert tracker.update(np.empty((0, 3))) is None


def test_tracking_calms_the_plane_and_follows_it() -> None:
    tracker, truth = GroundTracker(1.5, 0.0), GroundPlane.of_mounted_camera(1.5, 0.03)
    tracker.update(road(1.5, 0.0))
    errors = []
    for seed in range(8):
        plane = tracker.update(road(1.5, 0.03, seed))
        assert plane is not None
        errors.append(degrees_between(plane, truth))
    assert 0.3 < errors[0] < 1.5
    assert errors[-1] < 0.1


def test_the_same_points_and_seed_give_the_same_plane() -> None:
    first, second = (GroundTracker(1.5, 0.0, seed=3).update(road(1.6, 0.02)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.offset_m == second.offset_m


def test_reset_forgets() -> None:
    tracker = GroundTracker(1.5, 0.0)
    tracker.update(road(1.5, 0.0))
    tracker.reset()
    assert tracker.update(np.empty((0, 3))) is None


def test_centimetres_are_noticed() -> None:
    with pytest.raises(EvidenceError, match="height in metres"):
        GroundTracker(150.0, 0.0)
