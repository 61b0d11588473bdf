"""From a sensor's frame into the camera's: by TF where it knows the way, else by parameters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.evidence.geometry import Pose
from seg_perception.evidence.transforms import STAY, TransformTree
from seg_perception.ros.parameters import MountSettings

OPTICAL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""From a body's axes (forward, left, up) to those of its camera (right, down, forward), REP 103."""


class Frames:
    """Where the frames of sensors lie to each other.

    What lies in the camera's own frame needs no transform. For all else `told` is asked; where it
    knows no way, a cloud sits where the parameter `mount.points` says, and anything else is in the
    vehicle's frame.

    Attributes:
        told: what came by TF.
        mount: the parameters.
    """

    def __init__(self) -> None:
        self.told = TransformTree()
        self.mount = MountSettings()

    def vehicle_to_camera(self) -> Pose:
        """From the vehicle's frame into the optical one, by the parameter `mount.camera`."""
        body = _placed(self.mount.camera)
        return Pose(OPTICAL, np.zeros(3)).after(body.inverse())

    def into_camera(
        self, frame: str, camera: str, stamp_ns: int, *, is_cloud: bool = False
    ) -> Pose:
        """The motion from a sensor's frame into the camera's optical one.

        Args:
            frame: `frame_id` of the sensor's message.
            camera: `frame_id` of the camera's.
            stamp_ns: of the sensor's message, nanoseconds.
            is_cloud: the message is a point cloud.

        Raises:
            EvidenceError: TF knows the way, but only at another time.
        """
        if frame == camera:
            return STAY
        told = self.told.look_up(frame, camera, stamp_ns)
        if told is not None:
            return told
        on_vehicle = self.vehicle_to_camera()
        return on_vehicle.after(_placed(self.mount.points)) if is_cloud else on_vehicle


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
