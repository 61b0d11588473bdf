"""Messages of a flat street with a box on it (`tiny_scene`), as sensors send them."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, Quaternion, TransformStamped, Vector3
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header
from tiny_scene import CAMERA, POSE, street_depth

from seg_perception.evidence.geometry import Pose
from seg_perception.evidence.transforms import quaternion_of
from seg_perception.ros.messages import from_array

FRONT = "front_optical"


def header(stamp: int, frame: str = FRONT) -> Header:
    return Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id=frame)


def camera_info(stamp: int) -> CameraInfo:
    message = CameraInfo(header=header(stamp), width=CAMERA.width, height=CAMERA.height)
    message.k = [CAMERA.fx, 0, CAMERA.cx, 0, CAMERA.fy, CAMERA.cy, 0, 0, 1]
    return message


def label_image(labels: NDArray[np.uint8], stamp: int) -> Image:
    return from_array(labels, "mono8", header(stamp))


def depth_image(stamp: int, depth: NDArray[np.float32] | None = None) -> Image:
    pixels = street_depth() if depth is None else depth
    message = Image(header=header(stamp), encoding="32FC1")
    message.height, message.width = pixels.shape
    message.step = 4 * message.width
    message.data = array.array("B", pixels.astype("<f4").tobytes())
    return message


def cloud(stamp: int, frame: str = FRONT) -> PointCloud2:
    """The street's points, every second pixel of every second row."""
    x, y = np.meshgrid(*CAMERA.ray_slopes())
    z = street_depth()
    points = np.stack([x * z, y * z, z], axis=-1)[::2, ::2].reshape(-1, 3)
    points = points[np.isfinite(points).all(axis=1)]
    if frame != FRONT:
        points = POSE.inverse().apply(points)
    return points_message(points, header(stamp, frame))


def points_message(points: NDArray[np.floating], about: Header) -> PointCloud2:
    fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate("xyz")
    ]
    message = PointCloud2(header=about, height=1, width=len(points), fields=fields, point_step=12)
    message.row_step = 12 * len(points)
    message.data = array.array("B", points.astype("<f4").tobytes())
    return message


def border(stamp: int, side_m: float, frame: str = "base_link") -> Path:
    """A lane's border, so far to the left of the vehicle, 3 to 20 m ahead."""
    return path([(ahead, side_m, 0.0) for ahead in np.linspace(3.0, 20.0, 8)], stamp, frame)


def path(points: Sequence[tuple[float, float, float]], stamp: int, frame: str) -> Path:
    message = Path(header=header(stamp, frame))
    for x, y, z in points:
        pose = PoseStamped()
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = x, y, z
        message.poses.append(pose)
    return message


def transform(parent: str, child: str, pose: Pose, stamp: int = 0) -> TransformStamped:
    """Where a frame lies in its parent; always, with a stamp of 0."""
    message = TransformStamped(header=header(stamp, parent), child_frame_id=child)
    x, y, z = pose.translation.tolist()
    message.transform.translation = Vector3(x=x, y=y, z=z)
    w, x, y, z = quaternion_of(pose.rotation).tolist()
    message.transform.rotation = Quaternion(w=w, x=x, y=y, z=z)
    return message


def odometry(stamp: int, x_m: float) -> Odometry:
    message = Odometry(header=header(stamp, "odom"), child_frame_id="base_link")
    message.pose.pose.position.x = x_m
    message.pose.pose.orientation.w = 1.0
    return message
