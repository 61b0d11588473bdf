from __future__ import annotations

import numpy as np
import pytest

from seg_perception.evidence.geometry import Pose
from seg_perception.evidence.transforms import Transform
from seg_perception.ros.frames import Frames
from seg_perception.ros.parameters import MountSettings

S = 10**9


def mounted(**mounts: tuple[float, ...]) -> Frames:
    frames = Frames()
    frames.mount = MountSettings(**mounts)
    return frames


def test_what_is_in_the_cameras_frame_stays() -> None:
    pose = mounted(camera=(1.0, 2, 3, 0.1, 0.2, 0.3)).into_camera("camera", "camera", S)
    np.testing.assert_array_equal(pose.rotation, np.eye(3))
    np.testing.assert_array_equal(pose.translation, np.zeros(3))


def test_a_camera_without_roll_and_yaw_is_that_of_the_geometry() -> None:
    pose = mounted(camera=(0.5, 0.2, 1.5, 0.0, 0.1, 0.0)).vehicle_to_camera()
    expected = Pose.of_mounted_camera(1.5, 0.1, 0.5, 0.2)
    np.testing.assert_allclose(pose.rotation, expected.rotation, atol=1e-12)
    np.testing.assert_allclose(pose.translation, expected.translation, atol=1e-12)


@pytest.mark.parametrize(
    ("turned", "ahead"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 10.0)),
        ((0.0, 0.0, np.pi / 2), (10.0, 0.0, 0.0)),  # the camera looks to the left
        ((np.pi / 2, 0.0, 0.0), (0.0, 0.0, 10.0)),
        ((0.0, np.pi / 2, 0.0), (0.0, -10.0, 0.0)),  # it looks at the ground
    ],
)
def test_what_is_ahead_of_the_vehicle_is_where_the_camera_sees_it(
    turned: tuple[float, float, float], ahead: tuple[float, float, float]
) -> None:
    pose = mounted(camera=(0.0, 0.0, 1.5, *turned)).into_camera("base_link", "camera", S)
    (found,) = pose.apply(np.array([[10.0, 0.0, 1.5]]))
    np.testing.assert_allclose(found, ahead, atol=1e-9)


def test_a_lidar_sits_where_its_mount_says() -> None:
    frames = mounted(camera=(1.0, 0.0, 1.5, 0.0, 0.0, 0.0), points=(0.0, 0.0, 2.0, 0.0, 0.0, np.pi))
    pose = frames.into_camera("lidar", "camera", S, is_cloud=True)
    (found,) = pose.apply(np.array([[-11.0, 0.0, -2.0]]))  # the lidar looks back: 11 m ahead
    np.testing.assert_allclose(found, (0.0, 1.5, 10.0), atol=1e-9)
    lane = frames.into_camera("map", "camera", S)
    np.testing.assert_allclose(lane.apply(np.array([[11.0, 0.0, 0.0]]))[0], (0.0, 1.5, 10.0))


def test_tf_is_believed_where_it_knows_the_way() -> None:
    frames = Frames()
    known = Transform(0, np.array([1.0, 0.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    frames.told.add("camera", "lidar", known, fixed=True)
    pose = frames.into_camera("lidar", "camera", S, is_cloud=True)
    np.testing.assert_allclose(pose.apply(np.zeros((1, 3)))[0], (1.0, 0.0, 0.0))
    by_mount = frames.into_camera("radar", "camera", S, is_cloud=True)
    np.testing.assert_allclose(by_mount.translation, frames.vehicle_to_camera().translation)
