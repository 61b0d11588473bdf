"""Where a point in metres lies in the image: the pinhole camera, poses, the ground plane.

The camera's optical frame is that of REP 103: x right, y down, z along the optical axis, metres.
Pixels count from the centre of the top left one, as in CameraInfo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import EvidenceError

Floating = TypeVar("Floating", np.float32, np.float64)

_ORTHONORMAL_WITHIN = 1e-3


@dataclass(frozen=True)
class Pinhole:
    """Intrinsics of a rectified camera, from CameraInfo's P (or K where there is no distortion).

    Attributes:
        width, height: image size in pixels.
        fx, fy: focal lengths in pixels.
        cx, cy: principal point in pixels.

    Raises:
        EvidenceError: no image, or a focal length that is none (CameraInfo of an uncalibrated
            camera is all zeros).
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        lengths = (self.fx, self.fy, self.cx, self.cy)
        if not (self.width > 0 and self.height > 0 and self.fx > 0 and self.fy > 0):
            raise EvidenceError(
                f"the camera is {self.width}x{self.height} with focal lengths {self.fx}, {self.fy} "
                "pixels: calibrate it, and publish a CameraInfo whose P is filled in"
            )
        if not all(map(math.isfinite, lengths)):
            raise EvidenceError(f"the camera's fx, fy, cx, cy are {lengths}: calibrate it again")

    def scaled(self, width: int, height: int) -> Pinhole:
        """The same camera when its images are resized to [height, width]."""
        x, y = width / self.width, height / self.height
        return Pinhole(
            width,
            height,
            self.fx * x,
            self.fy * y,
            (self.cx + 0.5) * x - 0.5,
            (self.cy + 0.5) * y - 0.5,
        )

    def ray_slopes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """x/z of every column, float32 [W], and y/z of every row, float32 [H]."""
        columns = (np.arange(self.width) - self.cx) / self.fx
        rows = (np.arange(self.height) - self.cy) / self.fy
        return columns.astype(np.float32), rows.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Pose:
    """A rigid motion into the camera's optical frame: x_camera = rotation @ x_source + translation.

    Attributes:
        rotation: float64 [3, 3], orthonormal.
        translation: float64 [3], metres.

    Raises:
        EvidenceError: the rotation is not one, or something is not finite.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def __post_init__(self) -> None:
        rotation, translation = self.rotation, self.translation
        if rotation.shape != (3, 3) or translation.shape != (3,):
            raise EvidenceError(
                f"a pose of {list(rotation.shape)} and {list(translation.shape)}: give a rotation "
                "[3, 3] and a translation [3]"
            )
        error = np.abs(rotation @ rotation.T - np.eye(3)).max() + abs(np.linalg.det(rotation) - 1)
        if not (error < _ORTHONORMAL_WITHIN and np.isfinite(translation).all()):
            raise EvidenceError(
                f"the rotation {rotation.tolist()} with translation {translation.tolist()} is no "
                "rigid motion: check the extrinsics, or the quaternion's norm"
            )

    @staticmethod
    def of_mounted_camera(
        height_m: float, pitch_rad: float, x_m: float = 0.0, y_m: float = 0.0
    ) -> Pose:
        """From base_link (x forward, y left, z up, on the ground) into a forward camera.

        Args:
            height_m: of the camera above the ground, metres.
            pitch_rad: of the optical axis below the horizontal, radians.
            x_m: how far the camera is before base_link's origin, metres.
            y_m: how far it is to its left, metres.

        Raises:
            EvidenceError: the pitch is beyond a right angle, as degrees would be, or not finite.
        """
        if not abs(pitch_rad) < math.pi / 2:
            raise EvidenceError(f"a camera pitch of {pitch_rad} rad: give radians, below pi/2")
        sin, cos = math.sin(pitch_rad), math.cos(pitch_rad)
        rotation = np.array([[0.0, -1.0, 0.0], [-sin, 0.0, -cos], [cos, 0.0, -sin]])
        return Pose(rotation, -rotation @ np.array([x_m, y_m, height_m]))

    def apply(self, points: NDArray[Floating]) -> NDArray[Floating]:
        """Move points [N, 3] of the source frame into the target's, in their dtype."""
        with np.errstate(invalid="ignore"):  # lidars mark misses by inf
            moved: NDArray[Floating] = points @ self.rotation.T.astype(points.dtype)
        moved += self.translation.astype(points.dtype)
        return moved

    def after(self, first: Pose) -> Pose:
        """The motion that does `first`, then this one."""
        return Pose(
            self.rotation @ first.rotation, self.rotation @ first.translation + self.translation
        )

    def inverse(self) -> Pose:
        """The motion back."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation)


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """The ground in the camera's optical frame: normal . x + offset_m = 0.

    Attributes:
        normal: float64 [3], of unit length, away from the ground.
        offset_m: the camera's height above the ground, metres, > 0.
    """

    normal: NDArray[np.float64]
    offset_m: float

    @staticmethod
    def of_mounted_camera(height_m: float, pitch_rad: float) -> GroundPlane:
        """The plane that a forward camera of this height and pitch stands on."""
        pose = Pose.of_mounted_camera(height_m, pitch_rad)
        return GroundPlane(pose.rotation[:, 2], height_m)

    def heights(self, points: NDArray[Floating]) -> NDArray[Floating]:
        """Metres above the ground of points [N, 3] in the optical frame."""
        above: NDArray[Floating] = points @ self.normal.astype(points.dtype)
        above += points.dtype.type(self.offset_m)
        return above

    def ray_heights(self, camera: Pinhole) -> NDArray[np.float32]:
        """How fast each pixel's ray gains height: float32 [H, W], metres per metre of depth.

        A pixel of depth z is z times this, plus `offset_m`, above the ground; rays that rise
        (> 0) never meet it: they are above the horizon.
        """
        x, y = camera.ray_slopes()
        normal = self.normal.astype(np.float32)
        return np.asarray(np.add.outer(y * normal[1] + normal[2], x * normal[0]))


def project(
    points: NDArray[np.floating], pose: Pose, camera: Pinhole
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project points into the image.

    Args:
        points: [N, 3] metres, in the source frame of `pose`.
        pose: into the camera's optical frame.
        camera: intrinsics.

    Returns:
        pixels: float64 [N, 2] (column, row); meaningless where the depth is not positive.
        depth: float64 [N] metres along the optical axis.
    """
    return project_optical(pose.apply(np.asarray(points, np.float64)), camera)


def project_optical(
    points: NDArray[Floating], camera: Pinhole
) -> tuple[NDArray[Floating], NDArray[Floating]]:
    """Like `project`, of points [N, 3] that are in the optical frame already, in their dtype."""
    right, down, depth = points.T
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = right / depth, down / depth
    pixels = np.stack([x * camera.fx + camera.cx, y * camera.fy + camera.cy], axis=1)
    return pixels, depth
