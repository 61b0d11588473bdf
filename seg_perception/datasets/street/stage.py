"""What every part of the street needs to draw itself into one frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_perception.datasets.street.canvas import Canvas
from seg_perception.datasets.street.light import Light
from seg_perception.datasets.street.road import MiddleLine, Pose

FloatArray = NDArray[np.float64]

CHUNK = 4.0
"""Things are drawn in stretches of this many metres, the farthest first, each layer by layer."""

BEYOND, BORDER, PAVEMENT, ROADWAY = range(4)
"""Layers, from the plots behind the pavement to the road; what is later hides what is earlier."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One frame in the making.

    Attributes:
        canvas: painted from far to near.
        road: along which everything stands and moves.
        ego: pose of the vehicle.
        light: in the vehicle frame.
        time_s: since the start of the drive.
    """

    canvas: Canvas
    road: MiddleLine
    ego: Pose
    light: Light
    time_s: float

    def place(self, s: ArrayLike, d: ArrayLike, z: ArrayLike = 0.0) -> FloatArray:
        """Road coordinates in the vehicle frame, [N, 3] metres."""
        return self.road.in_vehicle(s, d, z, self.ego)

    def heading(self, s: float) -> float:
        """Direction of the road at s, radians to the left of the vehicle's."""
        return float(self.road.heading(s)) - self.ego.heading

    def turned(self, local: ArrayLike, s: float, d: float, yaw: float = 0.0) -> FloatArray:
        """Points of a body (forward, left, up) that stands at s, d and looks `yaw` off the road."""
        x, y, z = np.asarray(local, np.float64).T
        angle = self.heading(s) + yaw
        cos, sin = np.cos(angle), np.sin(angle)
        return self.place(s, d)[0] + np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=1)

    def shadow(self, points: ArrayLike) -> FloatArray:
        """The outline [N, 3] on the ground of the shadow that points [M, 3] span."""
        x, y, z = np.asarray(points, np.float64).T
        sun = self.light.to_sun
        ground = np.stack([x - z * sun[0] / sun[2], y - z * sun[1] / sun[2]], axis=1)
        hull = cv2.convexHull(ground.astype(np.float32))[:, 0]
        return np.column_stack([hull, np.zeros(len(hull))])


class Thing(Protocol):
    """A part of the street that stands on the ground."""

    @property
    def layer(self) -> int:
        """`BEYOND`, `BORDER`, `PAVEMENT` or `ROADWAY`."""

    def reach(self, time_s: float) -> tuple[float, float]:
        """From and to which s it extends then; the farther end decides what is drawn first."""

    def draw(self, stage: Stage) -> None:
        """Paint it."""

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Outlines [N, 3] of its shadows on the ground, where the sun shines."""


def far_to_near(things: Iterable[Thing], time_s: float) -> list[Thing]:
    """In the order in which they hide each other."""

    def order(thing: Thing) -> tuple[int, int, float]:
        _, far = thing.reach(time_s)
        return -ceil(far / CHUNK), thing.layer, -far

    return sorted(things, key=order)
