"""The road: a gently curved middle line and the cross-section along it.

Road coordinates: s metres along the middle line, d metres to its left, z metres above the asphalt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

STEP = 1.0
BEHIND = 60.0
SIGHT = 260.0


@dataclass(frozen=True)
class Section:
    """The cross-section of the road in metres.

    Attributes:
        lane_width: of every lane.
        lanes_left, lanes_right: lanes on either side of the middle line.
        parking_left, parking_right: width of the parking strip, 0 = none.
        sidewalk_left, sidewalk_right: width of the pavement.
        verge: width of the strip of grass between kerb and pavement, 0 = none.
        kerb: height of the pavement above the asphalt.
        traffic_side: 1 where one drives on the left, -1 on the right.
    """

    lane_width: float
    lanes_left: int
    lanes_right: int
    parking_left: float
    parking_right: float
    sidewalk_left: float
    sidewalk_right: float
    verge: float
    kerb: float
    traffic_side: int

    def edge(self, side: int) -> float:
        """Distance of the kerb from the middle line; side 1 = left, -1 = right."""
        lanes = self.lanes_left if side > 0 else self.lanes_right
        return lanes * self.lane_width + self.parking(side) + 0.25

    def parking(self, side: int) -> float:
        """Width of the parking strip."""
        return self.parking_left if side > 0 else self.parking_right

    def front(self, side: int) -> float:
        """Distance of the pavement's far edge, where plots begin, from the middle line."""
        return self.edge(side) + (self.sidewalk_left if side > 0 else self.sidewalk_right)

    def lane_center(self, side: int, number: int = 0) -> float:
        """D of the middle of a lane, counted from the middle line outwards."""
        return side * (number + 0.5) * self.lane_width

    @property
    def ego_center(self) -> float:
        """D of the middle of the ego lane: the innermost on the side where one drives."""
        return self.lane_center(self.traffic_side)


@dataclass(frozen=True)
class Pose:
    """Where the vehicle is: s and d on the road, and its place and heading in the world."""

    s: float
    d: float
    x: float
    y: float
    heading: float


class MiddleLine:
    """A curve whose curvature is a sum of slow sine waves, tabulated every metre."""

    def __init__(self, length: float, max_curvature: float, rng: np.random.Generator) -> None:
        self._s = np.arange(-BEHIND, length + SIGHT + BEHIND, STEP)
        waves = 2 * np.pi * self._s[:, None] / rng.uniform(150, 500, 3) + rng.uniform(0, 6.28, 3)
        curvature = max_curvature * np.sin(waves).mean(axis=1)
        self._heading = np.cumsum(curvature) * STEP
        self._x = np.cumsum(np.cos(self._heading)) * STEP
        self._y = np.cumsum(np.sin(self._heading)) * STEP

    def heading(self, s: ArrayLike) -> FloatArray:
        """World direction of the road at s, radians."""
        return np.interp(s, self._s, self._heading)

    def world(self, s: ArrayLike, d: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """World x, y of road coordinates."""
        heading = self.heading(s)
        x = np.interp(s, self._s, self._x) - np.asarray(d) * np.sin(heading)
        y = np.interp(s, self._s, self._y) + np.asarray(d) * np.cos(heading)
        return x, y

    def pose(self, s: float, d: float, yaw: float) -> Pose:
        """The pose of a vehicle at s, d that looks `yaw` to the left of the road's direction."""
        x, y = self.world(s, d)
        return Pose(s, d, float(x), float(y), float(self.heading(s)) + yaw)

    def in_vehicle(self, s: ArrayLike, d: ArrayLike, z: ArrayLike, pose: Pose) -> FloatArray:
        """Road coordinates (broadcast against each other) in the vehicle frame: [N, 3] metres."""
        s, d, z = np.broadcast_arrays(*np.atleast_1d(s, d, z))
        x, y = self.world(s, d)
        east, north = x - pose.x, y - pose.y
        cos, sin = np.cos(pose.heading), np.sin(pose.heading)
        return np.stack([east * cos + north * sin, north * cos - east * sin, z], axis=-1)

    def of_ground(
        self, forward: FloatArray, left: FloatArray, pose: Pose
    ) -> tuple[FloatArray, FloatArray]:
        """Road coordinates of ground points that share `forward` along each row.

        The foot of the perpendicular is found from the middle line's point at the same `forward`,
        to second order in the lateral distance, which gentle curves allow.

        Args:
            forward: [H] metres ahead of the vehicle.
            left: [H, W] metres to its left.
            pose: of the vehicle.

        Returns:
            s, d: [H, W] metres.
        """
        s = np.arange(max(pose.s - BEHIND, self._s[0]), pose.s + SIGHT + 40, STEP)
        line = self.in_vehicle(s, 0.0, 0.0, pose)
        row_s = np.interp(forward, line[:, 0], s)
        beside = left - np.interp(forward, line[:, 0], line[:, 1])[:, None]
        turn = (self.heading(row_s) - pose.heading)[:, None]
        curvature = np.gradient(self._heading, STEP)
        along = beside * np.sin(turn)
        bend = np.interp(row_s, self._s, curvature)[:, None] / 2
        return row_s[:, None] + along, beside * np.cos(turn) - bend * along**2
