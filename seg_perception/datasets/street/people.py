"""Pedestrians and cyclists: jointed figures made of rods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.labels import BICYCLIST, PEDESTRIAN
from seg_perception.datasets.street.stage import PAVEMENT, ROADWAY, Stage

FloatArray = NDArray[np.float64]
Color = tuple[int, int, int]

STRIDE = 1.4
WHEEL = 0.34


@dataclass(frozen=True)
class Clothes:
    """Colours of a person."""

    skin: Color
    hair: Color
    top: Color
    legs: Color
    shoes: Color


@dataclass(frozen=True)
class Pedestrian:
    """Someone who walks along the pavement or across the road.

    Attributes:
        s, d: where they are at time 0, road coordinates.
        speed, crossing: along s and along d, metres a second.
        ground: height of what they walk on, metres.
        height: metres.
        clothes: their colours.
    """

    s: float
    d: float
    speed: float
    crossing: float
    ground: float
    height: float
    clothes: Clothes
    layer: int = PAVEMENT

    def place(self, time_s: float) -> tuple[float, float]:
        """s, d then."""
        return self.s + self.speed * time_s, self.d + self.crossing * time_s

    def reach(self, time_s: float) -> tuple[float, float]:
        """Their place along the road."""
        s, _ = self.place(time_s)
        return s, s

    def draw(self, stage: Stage) -> None:
        """Far arm and leg, trunk, near arm and leg, head."""
        s, d = self.place(stage.time_s)
        yaw = float(np.arctan2(self.crossing, self.speed)) if self.speed or self.crossing else 1.2
        pace = np.hypot(self.speed, self.crossing)
        phase = 2 * np.pi * pace * stage.time_s / STRIDE + self.s
        body = _Body(stage, s, d, yaw, self.ground, self.height / 1.75, PEDESTRIAN)
        _walk(body, self.clothes, phase, 0.42 if pace else 0.06)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of an upright board."""
        s, d = self.place(stage.time_s)
        return [_figure_shadow(stage, s, d, self.height)]


@dataclass(frozen=True)
class Cyclist:
    """Someone who rides along the road; fields as of `Pedestrian`."""

    s: float
    d: float
    speed: float
    clothes: Clothes
    layer: ClassVar[int] = ROADWAY

    def middle(self, time_s: float) -> float:
        """S then."""
        return self.s + self.speed * time_s

    def reach(self, time_s: float) -> tuple[float, float]:
        """Their place along the road."""
        s = self.middle(time_s)
        return s, s

    def draw(self, stage: Stage) -> None:
        """Bicycle, then rider."""
        s = self.middle(stage.time_s)
        yaw = 0.0 if self.speed > 0 else float(np.pi)
        body = _Body(stage, s, self.d, yaw, 0.0, 1.0, BICYCLIST)
        _bicycle(body)
        _ride(body, self.clothes, 4.5 * stage.time_s + self.s)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of an upright board."""
        return [_figure_shadow(stage, self.middle(stage.time_s), self.d, 1.75)]


class _Body:
    """Draws rods given in a body's own coordinates (forward, left, up, metres)."""

    def __init__(
        self, stage: Stage, s: float, d: float, yaw: float, ground: float, size: float, label: int
    ) -> None:
        self._stage, self._place, self._label = stage, (s, d, yaw), label
        self._size, self._ground = size, ground

    def rod(self, points: list[tuple[float, float, float]], diameter: float, color: Color) -> None:
        local = np.array(points) * self._size + (0, 0, self._ground)
        side = (0.2, 0.2, 0.7)
        lit = self._stage.light.shade(color, side)
        self._stage.canvas.rod(
            self._stage.turned(local, *self._place), diameter * self._size, lit, self._label
        )

    def ring(self, x: float, z: float, radius: float, thickness: float, color: Color) -> None:
        """An upright circle along the direction of travel."""
        angle = np.linspace(0, 2 * np.pi, 15)
        points = [(x + radius * np.cos(a), 0.0, z + radius * np.sin(a)) for a in angle]
        self.rod(points, thickness, color)


def _walk(body: _Body, clothes: Clothes, phase: float, swing: float) -> None:
    for side in (-1.0, 1.0):
        reach = side * swing * np.sin(phase)
        bend = 0.12 * max(0.0, side * np.cos(phase))
        hip, knee = (0.0, 0.09 * side, 0.9), (0.5 * reach + 0.04, 0.09 * side, 0.48 + bend / 2)
        foot = (reach - 0.04, 0.09 * side, 0.07 + bend)
        body.rod([hip, knee, foot], 0.15, clothes.legs)
        body.rod([foot, (foot[0] + 0.16, foot[1], foot[2] - 0.02)], 0.09, clothes.shoes)
    for side in (-1.0, 1.0):
        reach = -side * swing * 0.7 * np.sin(phase)
        hand = (reach, 0.25 * side, 0.86)
        body.rod(
            [(0, 0.21 * side, 1.4), (reach / 2 - 0.03, 0.25 * side, 1.12), hand], 0.1, clothes.top
        )
        body.rod([hand, (hand[0], hand[1], 0.8)], 0.08, clothes.skin)
    _trunk(body, clothes, (0.0, 0.92), (0.02, 1.4))


def _trunk(
    body: _Body, clothes: Clothes, hip: tuple[float, float], neck: tuple[float, float]
) -> None:
    """Trunk, neck and head; hip and neck as (forward, up)."""
    for side in (-0.1, 0.1):
        body.rod([(hip[0], side, hip[1]), (neck[0], side * 1.2, neck[1] - 0.05)], 0.24, clothes.top)
    body.rod([(neck[0], 0, neck[1]), (neck[0] + 0.02, 0, neck[1] + 0.1)], 0.11, clothes.skin)
    head = neck[1] + 0.22
    body.rod(
        [(neck[0] + 0.03, 0, head - 0.04), (neck[0] + 0.03, 0, head + 0.02)], 0.19, clothes.skin
    )
    body.rod([(neck[0] - 0.01, 0, head + 0.03), (neck[0], 0, head + 0.05)], 0.2, clothes.hair)


def _bicycle(body: _Body) -> None:
    black, steel = (24, 24, 26), (150, 40, 44)
    for x in (-0.52, 0.52):
        body.ring(x, WHEEL, WHEEL, 0.04, black)
    body.rod(
        [(-0.52, 0, WHEEL), (-0.12, 0, 0.32), (0.34, 0, 0.78), (-0.2, 0, 0.78), (-0.12, 0, 0.32)],
        0.035,
        steel,
    )
    body.rod([(-0.2, 0, 0.78), (-0.52, 0, WHEEL)], 0.03, steel)
    body.rod([(0.52, 0, WHEEL), (0.34, 0, 0.98)], 0.035, steel)
    body.rod([(0.36, -0.25, 1.0), (0.36, 0.25, 1.0)], 0.035, black)
    body.rod([(-0.3, 0, 0.92), (-0.1, 0, 0.92)], 0.1, black)


def _ride(body: _Body, clothes: Clothes, phase: float) -> None:
    for side in (-1.0, 1.0):
        pedal = (
            -0.12 + 0.17 * np.cos(phase + side),
            0.1 * side,
            0.32 + 0.17 * np.sin(phase + side),
        )
        knee = (0.2, 0.12 * side, 0.62 + 0.5 * (pedal[2] - 0.32))
        body.rod([(-0.2, 0.09 * side, 0.95), knee, pedal], 0.14, clothes.legs)
        body.rod([pedal, (pedal[0] + 0.14, pedal[1], pedal[2])], 0.08, clothes.shoes)
        body.rod(
            [(0.1, 0.19 * side, 1.38), (0.2, 0.24 * side, 1.16), (0.36, 0.22 * side, 1.02)],
            0.1,
            clothes.top,
        )
    _trunk(body, clothes, (-0.2, 0.95), (0.1, 1.42))


def _figure_shadow(stage: Stage, s: float, d: float, height: float) -> FloatArray:
    board = [(0, -0.2, 0), (0, 0.2, 0), (0, -0.2, height), (0, 0.2, height)]
    return stage.shadow(stage.turned(board, s, d))
