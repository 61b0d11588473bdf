from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, Quaternion
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from seg_perception.errors import EvidenceError, MessageError
from seg_perception.ros.messages import from_array
from seg_perception.ros.spatial_messages import (
    is_distorted,
    to_depth,
    to_pinhole,
    to_planar_pose,
    to_points,
    to_polyline,
)

RNG = np.random.default_rng(0)


def cloud(
    points: NDArray[np.floating[Any]],
    *,
    order: str = "xyz",
    gap: int = 0,
    tail: int = 4,
    row_padding: int = 0,
    height: int = 1,
    big: bool = False,
) -> PointCloud2:
    """A message of points [N,3], with `gap` bytes between fields and `tail` after them."""
    size = points.dtype.itemsize
    offsets = {name: i * (size + gap) for i, name in enumerate(order)}
    step = 3 * (size + gap) + tail
    width = len(points) // height
    dtype = points.dtype.newbyteorder(">" if big else "<")
    memory = np.full((height, width * step + row_padding), 0xEE, np.uint8)
    for column, name in enumerate("xyz"):
        raw = np.ascontiguousarray(points[:, column].astype(dtype)).view(np.uint8)
        raw = raw.reshape(height, width, size)
        for byte in range(size):
            memory[:, offsets[name] + byte : width * step : step] = raw[..., byte]
    kind = PointField.FLOAT32 if size == 4 else PointField.FLOAT64
    fields = [PointField(name=n, offset=o, datatype=kind, count=1) for n, o in offsets.items()]
    message = PointCloud2(height=height, width=width, fields=fields, point_step=step)
    message.row_step, message.is_bigendian = memory.shape[1], big
    message.data = array.array("B", memory.tobytes())
    return message


@given(
    order=st.permutations("xyz").map("".join),
    gap=st.integers(0, 5),
    tail=st.integers(0, 9),
    row_padding=st.integers(0, 7),
    height=st.sampled_from([1, 2, 4]),
    big=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_points_come_out_whatever_their_layout(dtype: type, **layout: Any) -> None:
    points = RNG.normal(size=(8, 3)).astype(dtype)
    found = to_points(cloud(points, **layout))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, points.astype(np.float32))


def test_usual_points_are_a_view() -> None:
    message = cloud(RNG.normal(size=(8, 3)).astype(np.float32))
    assert np.shares_memory(to_points(message), np.frombuffer(message.data, np.uint8))


def test_a_cloud_may_be_empty() -> None:
    assert to_points(cloud(np.empty((0, 3), np.float32))).shape == (0, 3)


def changed(**changes: Any) -> PointCloud2:
    message = cloud(RNG.normal(size=(8, 3)).astype(np.float32))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def of_type(datatype: int) -> PointCloud2:
    message = changed()
    message.fields[0].datatype = datatype
    return message


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (changed(fields=[]), "the fields none, but no x and y and z"),
        (of_type(PointField.INT16), r"datatypes \[3, 7\]: publish all three as FLOAT32"),
        (changed(point_step=8), "point_step is 8, but x, y and z reach to byte 12"),
        (changed(row_step=100), "row_step is 100, but 8 points of 16 bytes have 128"),
        (changed(height=2), "data has 128 bytes, but 2 rows of 128 have 256"),
    ],
)
def test_a_wrong_cloud_is_refused_with_the_fix(message: PointCloud2, complaint: str) -> None:
    with pytest.raises(MessageError, match=complaint):
        to_points(message)


def test_depth_is_metres() -> None:
    metres = np.array([[0.5, np.nan], [np.inf, 80.0]], np.float32)
    message = Image(height=2, width=2, encoding="32FC1", step=8)
    message.data = array.array("B", metres.tobytes())
    np.testing.assert_array_equal(to_depth(message), metres)
    millimetres = np.array([[500, 0], [65535, 1]], np.uint16)
    message = Image(height=2, width=2, encoding="16UC1", step=4)
    message.data = array.array("B", millimetres.tobytes())
    np.testing.assert_allclose(to_depth(message), [[0.5, 0], [65.535, 0.001]], rtol=1e-6)


def test_a_picture_is_no_depth() -> None:
    with pytest.raises(MessageError, match=r"32FC1 \(metres\) or 16UC1"):
        to_depth(from_array(np.zeros((2, 2, 3), np.uint8), "rgb8", Header()))


def info(**changes: Any) -> CameraInfo:
    message = CameraInfo(width=640, height=480)
    message.k = [500.0, 0, 320, 0, 510, 240, 0, 0, 1]
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_pinhole_is_that_of_the_rectified_image() -> None:
    camera = to_pinhole(info())
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (500, 510, 320, 240)
    rectified = to_pinhole(info(p=[400.0, 0, 300, 0, 0, 410, 200, 0, 0, 0, 1, 0]))
    assert (rectified.fx, rectified.fy, rectified.cx, rectified.cy) == (400, 410, 300, 200)


def test_binning_and_region_of_interest_are_applied() -> None:
    message = info(binning_x=2, binning_y=2)
    message.roi.x_offset, message.roi.y_offset = 100, 40
    message.roi.width, message.roi.height = 400, 200
    camera = to_pinhole(message)
    assert (camera.width, camera.height) == (200, 100)
    assert (camera.fx, camera.cx, camera.cy) == (250, 110, 100)


def test_an_uncalibrated_camera_is_refused() -> None:
    with pytest.raises(EvidenceError, match="calibrate it"):
        to_pinhole(CameraInfo(width=640, height=480))


def test_distortion_is_noticed() -> None:
    assert not is_distorted(info(d=[0.0] * 5))
    assert is_distorted(info(d=[0.1, 0.0, 0.0, 0.0, 0.0]))


def path(points: list[tuple[float, float, float]]) -> Path:
    message = Path()
    for x, y, z in points:
        pose = PoseStamped()
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = x, y, z
        message.poses.append(pose)
    return message


def test_path_is_its_positions() -> None:
    points = [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)]
    np.testing.assert_array_equal(to_polyline(path(points)), points)
    assert to_polyline(Path()).shape == (0, 3)
    with pytest.raises(MessageError, match="not finite"):
        to_polyline(path([(1.0, float("nan"), 0.0)]))


@pytest.mark.parametrize("yaw", [-3.0, 0.0, 0.5, 3.1])
def test_odometry_is_a_place_on_the_plane(yaw: float) -> None:
    message = Odometry()
    message.header.stamp.sec = 2
    message.pose.pose.position.x, message.pose.pose.position.y = 3.0, 4.0
    turned = Quaternion(z=np.sin(yaw / 2), w=np.cos(yaw / 2))
    message.pose.pose.orientation = turned
    pose = to_planar_pose(message)
    assert (pose.stamp_ns, pose.x_m, pose.y_m) == (2 * 10**9, 3.0, 4.0)
    assert pose.yaw_rad == pytest.approx(yaw)
    message.pose.pose.position.x = float("inf")
    with pytest.raises(MessageError, match="x inf"):
        to_planar_pose(message)
