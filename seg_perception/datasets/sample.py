"""What every dataset yields: one image, its true labels, and whatever else is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo
from seg_perception.evidence.geometry import Pinhole, Pose, project


@dataclass(frozen=True)
class Camera:
    """A pinhole camera looking forward from the vehicle, without distortion or roll.

    Vehicle frame: x forward, y left, z up, in metres, the origin on the ground below the camera.
    Pixel coordinates count from the centre of the top left pixel, columns first.

    Attributes:
        width, height: image size in pixels.
        fx, fy: focal lengths in pixels.
        cx, cy: principal point in pixels.
        height_m: height of the camera above the ground in metres.
        pitch_rad: angle of the optical axis below the horizontal in radians.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    height_m: float
    pitch_rad: float

    @property
    def pinhole(self) -> Pinhole:
        """Its intrinsics."""
        return Pinhole(self.width, self.height, self.fx, self.fy, self.cx, self.cy)

    @property
    def pose(self) -> Pose:
        """From the vehicle frame into the optical frame."""
        return Pose.of_mounted_camera(self.height_m, self.pitch_rad)

    def to_optical(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Turn points of the vehicle frame into the camera's optical frame (REP 103).

        Args:
            points: [N, 3] metres, vehicle frame.

        Returns:
            float64 [N, 3] metres: right, down, and forward along the optical axis.
        """
        return np.asarray(self.pose.apply(np.asarray(points, np.float64)))

    def project(
        self, points: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project points of the vehicle frame into the image.

        Args:
            points: [N, 3] metres, vehicle frame.

        Returns:
            pixels: float64 [N, 2] (column, row); meaningless where the depth is not positive.
            depth: float64 [N] metres along the optical axis.
        """
        return project(points, self.pose, self.pinhole)


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled frame of a drive.

    Attributes:
        name: unique within its dataset, fit for a file name.
        drive: the recording it belongs to; frames of one drive follow each other in time.
        stamp_ns: time since the start of the recording's clock in nanoseconds.
        image: uint8 [H, W, 3] RGB.
        labels: uint8 [H, W] class ids, 255 = void.
        depth: float32 [H, W] metres along the optical axis (REP 118), inf where
            nothing is hit, nan where it is not known; or None.
        camera: the camera that took the image, or None where it is not known.
        lane_left, lane_right: float32 [N, 3] borders of the ego lane in metres, near to far, in the
            vehicle frame of `Camera`; or None.
        points: float32 [N, 3] metres, what a lidar saw, in the vehicle frame of `Camera`; or None.
        superpixels: int32 [H, W] number of the superpixel that a pixel belongs to; or None.
        pose: x and y in metres and yaw in radians of the vehicle frame in a fixed one, whose z
            points up too; or None.
    """

    name: str
    drive: str
    stamp_ns: int
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None
    camera: Camera | None = None
    lane_left: NDArray[np.float32] | None = None
    lane_right: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    superpixels: NDArray[np.int32] | None = None
    pose: tuple[float, float, float] | None = None


class Dataset(Protocol):
    """A sequence of samples, each decoded (or rendered) only when it is asked for."""

    @property
    def name(self) -> str:
        """As `open_dataset` knows it."""

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes of the labels, by id."""

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Classes that some sensors cannot tell apart, by group: ground, obstacle, sky."""

    @property
    def drives(self) -> tuple[str, ...]:
        """The recordings, in the order of their samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
