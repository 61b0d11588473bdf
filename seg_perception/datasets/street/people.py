"""Pedestrians and cyclists: jointed figures made of rods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.canvas import starts_of
from seg_perception.datasets.street.labels import BICYCLIST, PEDESTRIAN
from seg_perception.datasets.street.stage import PAVEMENT, ROADWAY, Body, Stage, raised

FloatArray = NDArray[np.float64]
Color = tuple[int, int, int]
Joint = tuple[float, float, float]

STRIDE = 1.4
WHEEL = 0.34
TURN = np.linspace(0, 2 * pi, 15).tolist()
TALL = 1.75  # metres, of the figure as it is described below
PLAIN_BELOW = 22.0  # pixels of height
UNSEEN_BELOW = 4.0


@dataclass(frozen=True)
class Clothes:
    """Colours of a person."""

    skin: Color
    hair: Color
    top: Color
    legs: Color
    shoes: Color


class Rod(NamedTuple):
    """A part of a figure: joints (forward, left, up) in metres, diameter, colour."""

    joints: Sequence[Joint]
    diameter: float
    color: Color


@dataclass(frozen=True)
class Pedestrian:
    """Someone who walks along the pavement or across the road.

    Attributes:
        s, d: where they are at time 0, road coordinates.
        speed, crossing: along s and along d, metres a second.
        ground: height of what they walk on, metres.
        height: metres.
        clothes: their colours.
        layer: as of `Thing`.
    """

    s: float
    d: float
    speed: float
    crossing: float
    ground: float
    height: float
    clothes: Clothes
    layer: int = PAVEMENT

    def reach(self, time_s: float) -> tuple[float, float]:
        """Their place along the road."""
        s = self.s + self.speed * time_s
        return s, s

    def draw(self, stage: Stage) -> None:
        """Legs, arms, trunk, head."""
        body, pace = self._body(stage), hypot(self.speed, self.crossing)
        phase = 2 * pi * pace * stage.time_s / STRIDE + self.s
        size = self.height / TALL
        if stage.pixels_per_metre(body) * self.height < PLAIN_BELOW:
            rods = _plain(self.clothes)
        else:
            rods = _walking(self.clothes, phase, 0.42 if pace else 0.06)
        _draw(stage, body, rods, size, self.ground, PEDESTRIAN)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of an upright board."""
        return [_shadow(stage, self._body(stage), self.height)]

    def _body(self, stage: Stage) -> Body:
        moves = self.speed or self.crossing
        yaw = atan2(self.crossing, self.speed) if moves else 1.2
        time_s = stage.time_s
        return stage.body(self.s + self.speed * time_s, self.d + self.crossing * time_s, yaw)


@dataclass(frozen=True)
class Cyclist:
    """Someone who rides along the road; fields as of `Pedestrian`."""

    s: float
    d: float
    speed: float
    clothes: Clothes
    layer: ClassVar[int] = ROADWAY

    def reach(self, time_s: float) -> tuple[float, float]:
        """Their place along the road."""
        s = self.s + self.speed * time_s
        return s, s

    def draw(self, stage: Stage) -> None:
        """Bicycle, then rider."""
        phase = 4.5 * stage.time_s + self.s
        body = self._body(stage)
        rods = [*_bicycle(), *_riding(self.clothes, phase)]
        _draw(stage, body, rods, 1.0, 0.0, BICYCLIST)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of an upright board."""
        return [_shadow(stage, self._body(stage), TALL)]

    def _body(self, stage: Stage) -> Body:
        return stage.body(self.reach(stage.time_s)[0], self.d, 0.0 if self.speed > 0 else pi)


def _draw(
    stage: Stage, body: Body, rods: Sequence[Rod], size: float, ground: float, label: int
) -> None:
    if stage.pixels_per_metre(body) * TALL < UNSEEN_BELOW:
        return
    joints = np.array([joint for rod in rods for joint in rod.joints]) * size
    starts = starts_of([rod.joints for rod in rods])
    colors = [stage.lit(rod.color) for rod in rods]
    points = raised(body.points(joints), ground)
    stage.canvas.rods(points, starts, [rod.diameter * size for rod in rods], colors, label)


def _plain(clothes: Clothes) -> list[Rod]:
    """Somebody far away."""
    return [
        Rod([(0, 0, 0.05), (0, 0, 0.9)], 0.26, clothes.legs),
        Rod([(0, 0, 0.95), (0, 0, 1.4)], 0.44, clothes.top),
        Rod([(0, 0, 1.58), (0, 0, 1.66)], 0.2, clothes.skin),
    ]


def _walking(clothes: Clothes, phase: float, swing: float) -> list[Rod]:
    rods = []
    for side in (-1.0, 1.0):
        reach, bend = side * swing * sin(phase), 0.12 * max(0.0, side * cos(phase))
        y, foot = 0.09 * side, (reach - 0.04, 0.09 * side, 0.07 + bend)
        knee = (0.5 * reach + 0.04, y, 0.48 + bend / 2)
        rods.append(Rod([(0.0, y, 0.9), knee, foot], 0.15, clothes.legs))
        rods.append(Rod([foot, (foot[0] + 0.16, y, foot[2] - 0.02)], 0.09, clothes.shoes))
    for side in (-1.0, 1.0):
        reach, y = -0.7 * side * swing * sin(phase), 0.25 * side
        arm = [(0, 0.21 * side, 1.4), (reach / 2 - 0.03, y, 1.12), (reach, y, 0.86)]
        rods.append(Rod(arm, 0.1, clothes.top))
        rods.append(Rod([(reach, y, 0.86), (reach, y, 0.8)], 0.08, clothes.skin))
    return rods + _trunk(clothes, (0.0, 0.92), (0.02, 1.4))


def _trunk(clothes: Clothes, hip: tuple[float, float], neck: tuple[float, float]) -> list[Rod]:
    """Trunk, neck and head; hip and neck as (forward, up)."""
    (x, z), head = neck, neck[1] + 0.22
    return [
        Rod([(hip[0], -0.1, hip[1]), (x, -0.12, z - 0.05)], 0.24, clothes.top),
        Rod([(hip[0], 0.1, hip[1]), (x, 0.12, z - 0.05)], 0.24, clothes.top),
        Rod([(x, 0, z), (x + 0.02, 0, z + 0.1)], 0.11, clothes.skin),
        Rod([(x + 0.03, 0, head - 0.04), (x + 0.03, 0, head + 0.02)], 0.19, clothes.skin),
        Rod([(x - 0.01, 0, head + 0.03), (x, 0, head + 0.05)], 0.2, clothes.hair),
    ]


def _bicycle() -> list[Rod]:
    black, paint = (24, 24, 26), (150, 40, 44)
    axles = rear, front = (-0.52, 0.0, WHEEL), (0.52, 0.0, WHEEL)
    pedals, bar, seat = (-0.12, 0.0, 0.32), (0.34, 0.0, 0.78), (-0.2, 0.0, 0.78)
    rims = [[(x + WHEEL * cos(a), 0.0, z + WHEEL * sin(a)) for a in TURN] for x, _, z in axles]
    return [
        *(Rod(rim, 0.04, black) for rim in rims),
        Rod([rear, pedals, bar, seat, pedals], 0.035, paint),
        Rod([seat, rear], 0.03, paint),
        Rod([front, (0.34, 0.0, 0.98)], 0.035, paint),
        Rod([(0.36, -0.25, 1.0), (0.36, 0.25, 1.0)], 0.035, black),
        Rod([(-0.3, 0, 0.92), (-0.1, 0, 0.92)], 0.1, black),
    ]


def _riding(clothes: Clothes, phase: float) -> list[Rod]:
    rods = []
    for side in (-1.0, 1.0):
        x, z = -0.12 + 0.17 * cos(phase + side), 0.32 + 0.17 * sin(phase + side)
        pedal, knee = (x, 0.1 * side, z), (0.2, 0.12 * side, 0.62 + 0.5 * (z - 0.32))
        rods.append(Rod([(-0.2, 0.09 * side, 0.95), knee, pedal], 0.14, clothes.legs))
        rods.append(Rod([pedal, (x + 0.14, 0.1 * side, z)], 0.08, clothes.shoes))
        arm = [(0.1, 0.19 * side, 1.38), (0.2, 0.24 * side, 1.16), (0.36, 0.22 * side, 1.02)]
        rods.append(Rod(arm, 0.1, clothes.top))
    return rods + _trunk(clothes, (-0.2, 0.95), (0.1, 1.42))


def _shadow(stage: Stage, body: Body, height: float) -> FloatArray:
    board = np.array([(0, -0.2), (0, 0.2), (-0.1, 0), (0.1, 0)])
    corners = [np.insert(board, 2, z, axis=1) for z in (0.0, height)]
    return stage.shadow(body.points(np.vstack(corners)))
