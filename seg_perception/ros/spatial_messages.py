"""ROS messages about space to arrays: point clouds, depth, intrinsics, paths, odometry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from geometry_msgs.msg import Quaternion, TransformStamped
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from seg_perception.errors import MessageError
from seg_perception.evidence.geometry import Pinhole
from seg_perception.evidence.transforms import Transform
from seg_perception.evidence.warp import PlanarPose
from seg_perception.ros.messages import image_view, stamp_ns

COORDINATES = ("x", "y", "z")
FLOATS = {PointField.FLOAT32: "f4", PointField.FLOAT64: "f8"}
MM = np.float32(1e-3)


def to_points(message: PointCloud2) -> NDArray[np.float32]:
    """The points of a cloud float32 [N, 3] in metres, in its frame; some may not be finite.

    Fields may come in any order, with padding, in either byte order, organised or not. Where x, y
    and z are FLOAT32 side by side and rows are not padded, it is a view of the message's memory.

    Raises:
        MessageError: x, y or z is missing or no floating-point number, or the sizes do not add up.
    """
    offsets, dtype = _coordinate_fields(message)
    _check_cloud_size(message, max(offsets) + dtype.itemsize)
    if not len(message.data):
        return np.empty((0, 3), np.float32)
    data, steps = memoryview(message.data), (message.row_step, message.point_step)
    shape = (message.height, message.width)
    grid: NDArray[Any]
    if (np.diff(offsets) == dtype.itemsize).all():
        grid = np.ndarray((*shape, 3), dtype, data, offsets[0], (*steps, dtype.itemsize))
    else:
        columns = [np.ndarray(shape, dtype, data, offset, steps) for offset in offsets]
        grid = np.stack(columns, axis=-1)
    return grid.reshape(-1, 3).astype(np.float32, copy=False)


def to_depth(message: Image) -> NDArray[np.float32]:
    """A depth image (REP 118) float32 [h, w] in metres; 0 and NaN = not known, inf = no return.

    Raises:
        MessageError: as `image_view`, or neither 32FC1 (metres) nor 16UC1 (millimetres).
    """
    if message.encoding not in ("32FC1", "16UC1", "mono16"):
        raise MessageError(
            f"a depth image has the encoding 32FC1 (metres) or 16UC1 (millimetres), this one has "
            f"{message.encoding!r}: remap to the driver's depth topic"
        )
    pixels = image_view(message)
    depth = pixels.astype(np.float32, copy=False)
    return depth if message.encoding == "32FC1" else depth * MM


def to_pinhole(message: CameraInfo) -> Pinhole:
    """The camera of a rectified image: from P, or K where P is unset; binning and ROI applied.

    Raises:
        EvidenceError: it is uncalibrated, or has no pixels.
    """
    fx, fy, cx, cy = _intrinsics(message)
    roi, bin_x, bin_y = message.roi, max(message.binning_x, 1), max(message.binning_y, 1)
    return Pinhole(
        width=(roi.width or message.width) // bin_x,
        height=(roi.height or message.height) // bin_y,
        fx=fx / bin_x,
        fy=fy / bin_y,
        cx=(cx - roi.x_offset) / bin_x,
        cy=(cy - roi.y_offset) / bin_y,
    )


def is_distorted(message: CameraInfo) -> bool:
    """Whether the lens bends straight lines, so that the image has to be rectified first."""
    return bool(np.any(message.d))


def to_polyline(message: Path) -> NDArray[np.float64]:
    """The positions of a path, float64 [N, 3] in metres, in its frame.

    Raises:
        MessageError: a position is not finite.
    """
    positions = [pose.pose.position for pose in message.poses]
    line = np.array([(p.x, p.y, p.z) for p in positions], np.float64).reshape(-1, 3)
    if not np.isfinite(line).all():
        raise MessageError("the path has positions that are not finite: check its publisher")
    return line


def to_planar_pose(message: Odometry) -> PlanarPose:
    """Where the vehicle is on the plane.

    Raises:
        MessageError: a value is not finite.
    """
    position, yaw = message.pose.pose.position, _yaw(message.pose.pose.orientation)
    if not all(map(math.isfinite, (position.x, position.y, yaw))):
        raise MessageError(
            f"the odometry says x {position.x}, y {position.y}, yaw {yaw}: check its publisher"
        )
    return PlanarPose(stamp_ns(message.header), position.x, position.y, yaw)


def to_transform(message: TransformStamped) -> Transform:
    """Where the child's frame lies in the header's.

    Raises:
        EvidenceError: it is no rigid motion.
    """
    q, t = message.transform.rotation, message.transform.translation
    return Transform(
        stamp_ns(message.header), np.array([q.w, q.x, q.y, q.z]), np.array([t.x, t.y, t.z])
    )


def _coordinate_fields(message: PointCloud2) -> tuple[list[int], np.dtype[Any]]:
    """Byte offsets of x, y and z in a point, and their common type."""
    fields: Mapping[str, PointField] = {field.name: field for field in message.fields}
    missing = [name for name in COORDINATES if name not in fields]
    if missing:
        raise MessageError(
            f"the point cloud has the fields {', '.join(fields) or 'none'}, but no "
            f"{' and '.join(missing)}: publish points with x, y and z"
        )
    kinds = {fields[name].datatype for name in COORDINATES}
    if len(kinds) > 1 or not kinds <= FLOATS.keys():
        raise MessageError(
            f"x, y and z of the point cloud have the datatypes {sorted(kinds)}: publish all three "
            f"as FLOAT32 ({PointField.FLOAT32}) or FLOAT64 ({PointField.FLOAT64})"
        )
    order = ">" if message.is_bigendian else "<"
    return [fields[name].offset for name in COORDINATES], np.dtype(order + FLOATS[kinds.pop()])


def _check_cloud_size(message: PointCloud2, used_bytes: int) -> None:
    if message.point_step < used_bytes:
        raise MessageError(
            f"point_step is {message.point_step}, but x, y and z reach to byte {used_bytes}: set "
            "point_step to the bytes from one point to the next"
        )
    if message.row_step < message.width * message.point_step:
        raise MessageError(
            f"row_step is {message.row_step}, but {message.width} points of {message.point_step} "
            f"bytes have {message.width * message.point_step}: set row_step to the bytes of a row"
        )
    if len(message.data) != message.height * message.row_step:
        raise MessageError(
            f"data has {len(message.data)} bytes, but {message.height} rows of {message.row_step} "
            f"have {message.height * message.row_step}: the publisher cut it"
        )


def _intrinsics(message: CameraInfo) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy in pixels of the full, unbinned image."""
    p, k = message.p, message.k
    if p[0] > 0:
        return float(p[0]), float(p[5]), float(p[2]), float(p[6])
    return float(k[0]), float(k[4]), float(k[2]), float(k[5])


def _yaw(q: Quaternion) -> float:
    """Angle about the vertical, radians."""
    return math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
