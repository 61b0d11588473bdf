"""Arrays as rosbag2 messages, of rosbags' own types: no ROS is needed to write a bag."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo, classes_to_json
from seg_perception.datasets import Camera, Sample
from seg_perception.evaluation.bag import (
    CAMERA_INFO_TYPE,
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    ODOMETRY_TYPE,
    PATH_TYPE,
    POINTS_TYPE,
    STRING_TYPE,
    TF_TYPE,
    TRANSFORM_TYPE,
    TYPESTORE,
)
from seg_perception.evidence.geometry import Pose
from seg_perception.evidence.transforms import quaternion_of

JPEG_QUALITY = 95
POINT_FIELDS = ("x", "y", "z", "intensity")
FLOAT32 = 7  # of sensor_msgs/PointField

T = TYPESTORE.types


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = T["builtin_interfaces/msg/Time"](seconds, nanoseconds)
    return T["std_msgs/msg/Header"](stamp, frame_id)


def image(header: Any, array: NDArray[np.generic], encoding: str) -> Any:
    """An uncompressed image of [h,w] or [h,w,channels]."""
    height, width = array.shape[:2]
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    step = data.nbytes // height
    return T[IMAGE_TYPE](header, height, width, encoding, 0, step, data.view(np.uint8).ravel())


def jpeg(header: Any, rgb: NDArray[np.uint8]) -> Any:
    """A JPEG of uint8 [h,w,3] RGB."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return T[COMPRESSED_TYPE](header, "rgb8; jpeg compressed bgr8", data.ravel())


def camera_info(header: Any, sample: Sample) -> Any:
    """Intrinsics; all zeros where they are unknown, as REP 104 has it."""
    height, width = sample.labels.shape
    k, r, p = np.zeros(9), np.zeros(9), np.zeros(12)
    camera: Camera | None = sample.camera
    if camera is not None:
        matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
        k, r = matrix.ravel(), np.eye(3).ravel()
        p = np.hstack([matrix, np.zeros((3, 1))]).ravel()
    whole_image = T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return T[CAMERA_INFO_TYPE](
        header, height, width, "plumb_bob", np.zeros(5), k, r, p, 0, 0, whole_image
    )


def path(header: Any, line: NDArray[np.floating[Any]]) -> Any:
    """A polyline [N,3] in metres."""
    stamped = T["geometry_msgs/msg/PoseStamped"]
    return T[PATH_TYPE](header, [stamped(header, _pose(x, y, z, 0.0)) for x, y, z in line.tolist()])


def points(header: Any, cloud: NDArray[np.float32]) -> Any:
    """An unorganised cloud [N,3] in metres, with an intensity of 0 as lidars have one."""
    padded = np.zeros((len(cloud), len(POINT_FIELDS)), "<f4")
    padded[:, :3] = cloud
    step, data = padded.strides[0], padded.view(np.uint8).ravel()
    field = T["sensor_msgs/msg/PointField"]
    fields = [field(name, 4 * i, FLOAT32, 1) for i, name in enumerate(POINT_FIELDS)]
    return T[POINTS_TYPE](header, 1, len(cloud), fields, False, step, data.nbytes, data, True)


def label_info(classes: Sequence[ClassInfo]) -> Any:
    """Which class has which id, as JSON."""
    return T[STRING_TYPE](classes_to_json(classes))


def tf(header: Any, places: Mapping[str, Pose]) -> Any:
    """Where frames lie in the header's: the pose from each into it, by name."""
    stamped = T[TRANSFORM_TYPE]
    return T[TF_TYPE]([stamped(header, name, _transform(pose)) for name, pose in places.items()])


def odometry(header: Any, frame_id: str, pose: tuple[float, float, float]) -> Any:
    """Where the frame `frame_id` is in the header's: x and y in metres, yaw in radians."""
    x, y, yaw = pose
    unknown = np.zeros(36)
    vector = T["geometry_msgs/msg/Vector3"]
    still = T["geometry_msgs/msg/Twist"](vector(0.0, 0.0, 0.0), vector(0.0, 0.0, 0.0))
    return T[ODOMETRY_TYPE](
        header,
        frame_id,
        T["geometry_msgs/msg/PoseWithCovariance"](_pose(x, y, 0.0, yaw), unknown),
        T["geometry_msgs/msg/TwistWithCovariance"](still, unknown),
    )


def _transform(pose: Pose) -> Any:
    vector = T["geometry_msgs/msg/Vector3"](*pose.translation.tolist())
    w, *xyz = quaternion_of(pose.rotation).tolist()
    turned = T["geometry_msgs/msg/Quaternion"](*xyz, w)
    return T["geometry_msgs/msg/Transform"](vector, turned)


def _pose(x: float, y: float, z: float, yaw: float) -> Any:
    upright = T["geometry_msgs/msg/Quaternion"](0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
    return T["geometry_msgs/msg/Pose"](T["geometry_msgs/msg/Point"](x, y, z), upright)
