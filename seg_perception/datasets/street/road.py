"""The road: a gently curved middle line and the cross-section along it.

Road coordinates: s metres along the middle line, d metres to its left, z metres above the asphalt.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

STEP = 1.0
BEHIND = 60.0
SIGHT = 210.0


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
        self._s = np.arange(-BEHIND, length + SIGHT + BEHIND, STEP, dtype=np.float64)
        waves = 2 * np.pi * self._s[:, None] / rng.uniform(150, 500, 3) + rng.uniform(0, 6.28, 3)
        self._curvature = max_curvature * np.sin(waves).mean(axis=1)
        self._heading = np.cumsum(self._curvature) * STEP
        self._x = np.cumsum(np.cos(self._heading)) * STEP
        self._y = np.cumsum(np.sin(self._heading)) * STEP
        table = np.stack([self._x, self._y, self._heading], axis=1)
        self._table: list[list[float]] = table.tolist()

    def at(self, s: float) -> tuple[float, float, float]:
        """World x, y and heading of the middle line at s."""
        position = min(max((s + BEHIND) / STEP, 0.0), len(self._table) - 1.001)
        i = int(position)
        part = position - i
        x, y, heading = (
            before + part * (after - before)
            for before, after in zip(self._table[i], self._table[i + 1], strict=True)
        )
        return x, y, heading

    def pose(self, s: float, d: float, yaw: float) -> Pose:
        """The pose of a vehicle at s, d that looks `yaw` to the left of the road's direction."""
        x, y, heading = self.at(s)
        return Pose(s, d, x - d * sin(heading), y + d * cos(heading), heading + yaw)

    def in_vehicle(self, s: FloatArray, d: FloatArray | float, pose: Pose) -> FloatArray:
        """Road coordinates on the ground in the vehicle frame: [N] -> [N, 3] metres."""
        heading = np.interp(s, self._s, self._heading)
        east = np.interp(s, self._s, self._x) - d * np.sin(heading) - pose.x
        north = np.interp(s, self._s, self._y) + d * np.cos(heading) - pose.y
        c, n = cos(pose.heading), sin(pose.heading)
        return np.stack([east * c + north * n, north * c - east * n, np.zeros_like(east)], axis=1)

    def of_ground(
        self, forward: FloatArray, left: NDArray[np.float32], pose: Pose
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Road coordinates of ground points that share `forward` along each row.

        The foot of the perpendicular is found from the middle line's point at the same `forward`,
        to second order in the lateral distance, which gentle curves allow.

        Args:
            forward: [H] metres ahead of the vehicle.
            left: [H, W] metres to its left.
            pose: of the vehicle.

        Returns:
            s, d: float32 [H, W] metres.
        """
        near = (self._s > pose.s - BEHIND) & (self._s < pose.s + SIGHT + 40)
        line = self.in_vehicle(self._s[near], 0.0, pose)
        row_s = np.interp(forward, line[:, 0], self._s[near])
        turn = np.interp(row_s, self._s, self._heading) - pose.heading
        bend = np.interp(row_s, self._s, self._curvature) / 2
        beside = left - _column(np.interp(forward, line[:, 0], line[:, 1]))
        along = beside * _column(np.sin(turn))
        s, across = _column(row_s) + along, beside * _column(np.cos(turn))
        return s, across - _column(bend) * along * along


def _column(rows: FloatArray) -> NDArray[np.float32]:
    """One value a row: [H] -> float32 [H, 1]."""
    return rows.astype(np.float32)[:, None]
