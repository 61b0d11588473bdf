"""What every part of the street needs to draw itself into one frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, cos, sin
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

FRONT = (-0.75, 0.0, 0.66)
"""Where a small, round thing looks, as far as light is concerned."""

BEYOND, BORDER, PAVEMENT, ROADWAY = range(4)
"""Layers, from the plots behind the pavement to the road; what is later hides what is earlier."""


@dataclass(frozen=True)
class Body:
    """Where something stands in the vehicle frame, and where it looks (cos, sin)."""

    x: float
    y: float
    cos: float
    sin: float

    def points(self, local: FloatArray) -> FloatArray:
        """Its own points [N, 3] (forward, left, up) in the vehicle frame."""
        return local @ self._rotation + (self.x, self.y, 0.0)

    def directions(self, local: FloatArray) -> FloatArray:
        """Its own directions [N, 3] in the vehicle frame."""
        return np.asarray(local @ self._rotation)

    def eye(self, height: float) -> FloatArray:
        """The camera, `height` metres above the vehicle's origin, as the body sees it: [3]."""
        x = -self.x * self.cos - self.y * self.sin
        y = self.x * self.sin - self.y * self.cos
        return np.array([x, y, height])

    @cached_property
    def _rotation(self) -> FloatArray:
        return np.array([[self.cos, self.sin, 0], [-self.sin, self.cos, 0], [0, 0, 1.0]])


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

    def body(self, s: float, d: float, yaw: float = 0.0) -> Body:
        """What stands at s, d and looks `yaw` to the left of the road's direction."""
        x, y, heading = self.road.at(s)
        east = x - d * sin(heading) - self.ego.x
        north = y + d * cos(heading) - self.ego.y
        c, n = cos(self.ego.heading), sin(self.ego.heading)
        turn = heading + yaw - self.ego.heading
        return Body(east * c + north * n, north * c - east * n, cos(turn), sin(turn))

    def spot(self, s: float, d: float, z: float = 0.0) -> FloatArray:
        """A point [3] of the street in the vehicle frame."""
        body = self.body(s, d)
        return np.array([body.x, body.y, z])

    def lit(self, color: Sequence[float]) -> list[float]:
        """The RGB of a small upright thing, which is seen from the front."""
        return [min(c * part, 255.0) for c, part in zip(color, self._front_light, strict=True)]

    @cached_property
    def _front_light(self) -> list[float]:
        factor: list[float] = self.light.factor(FRONT).tolist()
        return factor

    def pixels_per_metre(self, body: Body) -> float:
        """How large it is seen."""
        return self.canvas.camera.fx / max(body.x, 1.0)

    def shadow(self, points: ArrayLike) -> FloatArray:
        """The outline [N, 3] on the ground of the shadow that points [M, 3] span."""
        points = np.asarray(points, np.float64)
        sun = self.light.to_sun
        ground = points[:, :2] - points[:, 2:] * (sun[:2] / sun[2])
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


def raised(points: FloatArray, height: float) -> FloatArray:
    """Points [N, 3] or [3] that much higher, metres."""
    return np.asarray(points + np.array([0.0, 0.0, height]))
