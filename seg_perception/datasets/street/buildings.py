"""Buildings: a textured front along the road, a gable, a roof."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.canvas import Texture
from seg_perception.datasets.street.facade import (
    GROUND_STOREY,
    Color,
    Facade,
    paint_front,
    paint_roof,
    paint_sign,
)
from seg_perception.datasets.street.labels import BUILDING, SIGN
from seg_perception.datasets.street.stage import BEYOND, Stage

FloatArray = NDArray[np.float64]
Factor = tuple[float, float, float]

FASCIA = 0.75


@dataclass(frozen=True)
class Building:
    """A building beside the road.

    Attributes:
        start, end: of its front along the road, s in metres.
        side: 1 = left of the road, -1 = right.
        front: distance of its front from the middle line, metres.
        depth: how far it reaches away from the road, metres.
        facade: its front.
        roof: colour of a pitched roof, None = flat.
        pitch: height of the ridge above the eaves, metres.
    """

    start: float
    end: float
    side: int
    front: float
    depth: float
    facade: Facade
    roof: Color | None
    pitch: float
    layer: ClassVar[int] = BEYOND

    def reach(self, time_s: float) -> tuple[float, float]:
        """Where it stands along the road."""
        return self.start, self.end

    def draw(self, stage: Stage) -> None:
        """Roof, gable and front, and the shop's name."""
        height, front = self.facade.height, self.side * self.front
        near, far = stage.place([self.start, self.end], front)
        back = stage.place(self.start, self.side * (self.front + self.depth))[0]
        up = np.array([0, 0, height])
        inward = (back - near) / 2
        ridge = up + inward + (0, 0, self.pitch)
        if self.roof is not None:
            slope = _unit(
                np.array([-inward[0] * self.pitch, -inward[1] * self.pitch, (self.depth / 2) ** 2])
            )
            roof = Texture(
                _lit(_roof(self.roof, self.facade.seed), _rounded(stage.light.factor(slope)))
            )
            stage.canvas.surface(near + ridge, far - near, up - ridge, roof, BUILDING)
            self._chimney(stage, near + ridge, far - near)
        if near[0] > 0:
            gable = [near, back, back + up, near + ridge, near + up]
            color = stage.light.shade(np.multiply(self.facade.wall, 0.92), _unit(near - far))
            stage.canvas.face(gable, color, BUILDING)
        facing = _rounded(stage.light.factor(_unit(near - back)))
        picture = Texture(_front(self.facade, stage.light.lamps, facing))
        start, across = (far, near - far) if self.side < 0 else (near, far - near)
        stage.canvas.surface(start + up, across, -up, picture, BUILDING)
        if self.facade.ground_floor == "shop":
            self._fascia(stage, start, across, facing)

    def _fascia(self, stage: Stage, start: FloatArray, across: FloatArray, facing: Factor) -> None:
        board = _lit(_sign(self.facade), facing)
        corner = start + 0.06 * across + (0, 0, GROUND_STOREY - 0.12)
        stage.canvas.surface(corner, 0.88 * across, (0, 0, -FASCIA), Texture(board), SIGN)

    def _chimney(self, stage: Stage, ridge: FloatArray, across: FloatArray) -> None:
        foot = ridge + (0.12 + 0.7 * (self.facade.seed % 100) / 100) * across - (0, 0, 0.4)
        along, up = _unit(across) * 0.9, np.array([0, 0, 1.7])
        color = stage.light.shade(np.multiply(self.facade.wall, 0.8), -_unit(across))
        stage.canvas.face([foot, foot + along, foot + along + up, foot + up], color, BUILDING)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of its walls, as far as the eaves."""
        near, far = self.side * self.front, self.side * (self.front + self.depth)
        s = [self.start, self.end, self.end, self.start]
        base = stage.place(s, [near, near, far, far])
        return [stage.shadow(np.vstack([base, base + (0, 0, self.facade.height)]))]


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector))


def _rounded(factor: FloatArray) -> Factor:
    """So that the cache below knows a light again that was turned there and back."""
    r, g, b = (round(float(channel), 2) for channel in factor)
    return r, g, b


def _lit(picture: NDArray[np.uint8], factor: Factor) -> NDArray[np.uint8]:
    return np.asarray(cv2.multiply(picture, (*factor, 1.0), dtype=cv2.CV_8U))


@lru_cache(maxsize=96)
def _front(facade: Facade, lamps: bool, factor: Factor) -> NDArray[np.uint8]:
    color, shine = paint_front(facade, lamps)
    return np.maximum(_lit(color, factor), shine)


@lru_cache(maxsize=96)
def _roof(color: Color, seed: int) -> NDArray[np.uint8]:
    return paint_roof(color, seed)


@lru_cache(maxsize=96)
def _sign(facade: Facade) -> NDArray[np.uint8]:
    return paint_sign(0.88 * facade.width, FASCIA, facade.paint, facade.seed)
