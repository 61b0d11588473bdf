from __future__ import annotations

import math

import numpy as np
import pytest

from seg_perception.errors import EvidenceError
from seg_perception.evidence.geometry import GroundPlane, Pinhole, Pose, project

CAMERA = Pinhole(640, 480, 500.0, 400.0, 319.5, 239.5)
POSE = Pose.of_mounted_camera(1.5, 0.1, x_m=1.2, y_m=0.3)


def test_a_point_straight_ahead_lies_above_the_centre_by_the_pitch() -> None:
    pixels, depth = project(np.array([[11.2, 0.3, 1.5]]), POSE, CAMERA)
    assert depth[0] == pytest.approx(10 * math.cos(0.1))
    np.testing.assert_allclose(pixels[0], [319.5, 239.5 - 400 * math.tan(0.1)])


def test_left_and_up_of_the_vehicle_are_left_and_up_in_the_image() -> None:
    pixels, _ = project(np.array([[11.2, 0.3, 1.5], [11.2, 1.3, 2.5]]), POSE, CAMERA)
    assert pixels[1, 0] < pixels[0, 0]
    assert pixels[1, 1] < pixels[0, 1]


def test_scaling_moves_pixels_as_resizing_does() -> None:
    point = np.array([[7.0, -1.0, 0.2]])
    (full,), _ = project(point, POSE, CAMERA)
    (half,), _ = project(point, POSE, CAMERA.scaled(320, 160))
    np.testing.assert_allclose(half + 0.5, (full + 0.5) * (1 / 2, 1 / 3))


def test_poses_compose_and_invert() -> None:
    points = np.random.default_rng(0).normal(size=(5, 3))
    other = Pose.of_mounted_camera(0.7, -0.3)
    np.testing.assert_allclose(POSE.after(other).apply(points), POSE.apply(other.apply(points)))
    np.testing.assert_allclose(POSE.inverse().apply(POSE.apply(points)), points, atol=1e-12)


def test_float32_points_stay_float32() -> None:
    assert POSE.apply(np.ones((2, 3), np.float32)).dtype == np.float32


def test_the_ground_below_a_mounted_camera_has_height_zero() -> None:
    plane = GroundPlane.of_mounted_camera(1.5, 0.1)
    points = POSE.apply(np.array([[5.0, 2.0, 0.0], [30.0, -4.0, 0.0], [9.0, 0.0, 1.8]]))
    np.testing.assert_allclose(plane.heights(points), [0, 0, 1.8], atol=1e-12)


def test_rays_gain_height_as_their_points_do() -> None:
    plane = GroundPlane.of_mounted_camera(1.5, 0.1)
    point = np.array([[8.0, 1.0, 0.6]])
    ((column, row),), (depth,) = project(point, POSE, CAMERA)
    x, y = (column - CAMERA.cx) / CAMERA.fx, (row - CAMERA.cy) / CAMERA.fy
    rising = plane.ray_heights(CAMERA)
    at_ray = plane.heights(np.array([[x, y, 1.0]])) - plane.offset_m
    assert depth * at_ray[0] + plane.offset_m == pytest.approx(0.6)
    np.testing.assert_allclose(rising[round(row), round(column)], at_ray[0], atol=2e-3)


def test_an_uncalibrated_camera_is_told_to_be_calibrated() -> None:
    with pytest.raises(EvidenceError, match="publish a CameraInfo whose P is filled in"):
        Pinhole(640, 480, 0.0, 0.0, 0.0, 0.0)
    with pytest.raises(EvidenceError, match="calibrate it again"):
        Pinhole(640, 480, 500.0, 500.0, math.nan, 0.0)


@pytest.mark.parametrize("rotation", [2 * np.eye(3), np.diag([1.0, 1.0, -1.0]), np.eye(2)])
def test_what_is_no_rotation_is_refused(rotation: np.ndarray) -> None:
    with pytest.raises(EvidenceError):
        Pose(rotation, np.zeros(3))


def test_degrees_are_refused() -> None:
    with pytest.raises(EvidenceError, match="give radians"):
        Pose.of_mounted_camera(1.5, 5.0)
