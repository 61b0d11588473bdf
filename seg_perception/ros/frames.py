"""From a sensor's frame into the camera's: by TF where tf2 is installed, else by parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time

from seg_perception.evidence.geometry import Pose
from seg_perception.ros.parameters import MountSettings

try:
    from tf2_ros import Buffer, TransformException, TransformListener
except ImportError:  # as with ROS 2 from wheels
    Buffer = None

OPTICAL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""From a body's axes (forward, left, up) to those of its camera (right, down, forward), REP 103."""
STAY = Pose(np.eye(3), np.zeros(3))


class Frames:
    """Where the frames of sensors lie to each other.

    What lies in the camera's own frame needs no transform. For all else TF is asked; where it does
    not know, a cloud sits where the parameter `mount.points` says, and anything else is in the
    vehicle's frame.

    Args:
        node: through which TF is heard; None = by parameters only.
    """

    def __init__(self, node: Node | None = None) -> None:
        self.mount = MountSettings()
        self._tf: Any = None
        if node is not None and Buffer is not None:
            self._tf = Buffer(node=node)
            self._listener = TransformListener(self._tf, node)

    def destroy(self) -> None:
        """Unsubscribe from TF."""
        if self._tf is not None:
            self._listener.unregister()

    def vehicle_to_camera(self) -> Pose:
        """From the vehicle's frame into the optical one, by the parameter `mount.camera`."""
        body = _placed(self.mount.camera)
        return Pose(OPTICAL, np.zeros(3)).after(body.inverse())

    def into_camera(self, frame: str, camera: str, *, is_cloud: bool = False) -> Pose:
        """The motion from a sensor's frame into the camera's optical one.

        Args:
            frame: `frame_id` of the sensor's message.
            camera: `frame_id` of the camera's.
            is_cloud: the message is a point cloud.
        """
        if frame == camera:
            return STAY
        told = self._look_up(frame, camera)
        if told is not None:
            return told
        on_vehicle = self.vehicle_to_camera()
        return on_vehicle.after(_placed(self.mount.points)) if is_cloud else on_vehicle

    def _look_up(self, frame: str, camera: str) -> Pose | None:
        if self._tf is None:
            return None
        try:
            transform = self._tf.lookup_transform(camera, frame, Time()).transform
        except TransformException:
            return None
        q, t = transform.rotation, transform.translation
        return Pose(_of_quaternion(q.w, q.x, q.y, q.z), np.array([t.x, t.y, t.z]))


def _placed(mount: tuple[float, ...]) -> Pose:
    """From the frame of what is mounted so (x, y, z, roll, pitch, yaw) into the vehicle's."""
    x, y, z, roll, pitch, yaw = mount
    turn = _about("z", yaw) @ _about("y", pitch) @ _about("x", roll)
    return Pose(turn, np.array([x, y, z]))


def _about(axis: str, angle: float) -> NDArray[np.float64]:
    """Rotation [3,3] by an angle in radians."""
    i = "xyz".index(axis)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    j, k = (i + 1) % 3, (i + 2) % 3
    turn[j, j] = turn[k, k] = cos
    turn[k, j], turn[j, k] = sin, -sin
    return turn


def _of_quaternion(w: float, x: float, y: float, z: float) -> NDArray[np.float64]:
    """Rotation [3,3]."""
    v = np.array([x, y, z])
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: NDArray[np.float64] = (w * w - v @ v) * np.eye(3) + 2 * np.outer(v, v) + 2 * w * cross
    return turn
