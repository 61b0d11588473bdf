"""Buildings: a textured front along the road, a gable, a roof."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.facade import (
    GROUND_STOREY,
    Color,
    Facade,
    paint_front,
    paint_gable,
    paint_roof,
    paint_sign,
)
from seg_perception.datasets.street.labels import BUILDING, SIGN
from seg_perception.datasets.street.stage import BEYOND, Stage, raised
from seg_perception.datasets.street.texture import Texture

FloatArray = NDArray[np.float64]

FASCIA = 0.75
SIGNS_WITHIN = 120.0


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
        """Chimney, roof, gable and front, and the shop's name."""
        d = self.side * self.front
        near, far = stage.spot(self.start, d), stage.spot(self.end, d)
        back = stage.spot(self.start, self.side * (self.front + self.depth))
        if self.roof is not None:
            self._draw_roof(stage, near, far, back)
        if near[0] > 0:
            self._draw_gable(stage, near, far, back)
        facing = stage.light.factor(_unit(near - back)).tolist()
        down = np.array([0, 0, -self.facade.height])
        start, across = (far, near - far) if self.side < 0 else (near, far - near)
        front = front_texture(self.facade, stage.light.lamps)
        stage.canvas.surface(start - down, across, down, front, BUILDING, facing)
        if self.facade.ground_floor == "shop" and near[0] < SIGNS_WITHIN:
            corner = raised(start + 0.06 * across, GROUND_STOREY - 0.12)
            down = np.array([0, 0, -FASCIA])
            board = sign_texture(self.facade)
            stage.canvas.surface(corner, 0.88 * across, down, board, SIGN, facing)

    def _draw_roof(self, stage: Stage, near: FloatArray, far: FloatArray, back: FloatArray) -> None:
        """The slope above the front, and a chimney behind its ridge."""
        half, height = (back - near) / 2, self.facade.height
        ridge = raised(near + half, height + self.pitch)
        foot = raised(ridge + (0.12 + 0.007 * (self.facade.seed % 100)) * (far - near), -0.4)
        side, up = 0.9 * _unit(far - near), np.array([0, 0, 1.7])
        chimney = stage.canvas.outline([foot, foot + side, foot + side + up, foot + up])
        if chimney is not None:
            shade = stage.light.shade(np.multiply(self.facade.wall, 0.8), _unit(near - back))
            stage.canvas.face(chimney, shade, BUILDING)
        slope = raised(near, height) - ridge
        normal = raised(-self.pitch * half, float(half @ half))
        light = stage.light.factor(_unit(normal)).tolist()
        roof = roof_texture(self.roof or self.facade.wall)
        stage.canvas.surface(ridge, far - near, slope, roof, BUILDING, light)

    def _draw_gable(
        self, stage: Stage, near: FloatArray, far: FloatArray, back: FloatArray
    ) -> None:
        """The wall that looks towards us."""
        height, light = self.facade.height, stage.light.factor(_unit(near - far))
        ridge = raised((near + back) / 2, height + self.pitch)
        triangle = stage.canvas.outline(
            [raised(near, height - 0.1), raised(back, height - 0.1), ridge]
        )
        if self.roof is not None and triangle is not None:
            shade = np.minimum(light * self.facade.wall, 255).tolist()
            stage.canvas.face(triangle, shade, BUILDING)
        start, across = (back, near - back) if self.side > 0 else (near, back - near)
        wall = gable_texture(self.facade, self.depth)
        down = np.array([0, 0, -height])
        stage.canvas.surface(start - down, across, down, wall, BUILDING, light.tolist())

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of its walls, as far as the eaves."""
        near, far = self.side * self.front, self.side * (self.front + self.depth)
        base = np.array([stage.spot(s, d) for s in (self.start, self.end) for d in (near, far)])
        return [stage.shadow(np.vstack([base, raised(base, self.facade.height)]))]


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector))


@lru_cache(maxsize=96)
def front_texture(facade: Facade, lamps: bool) -> Texture:
    """Kept for as many fronts as are in sight at once."""
    color, shine = paint_front(facade, lamps)
    return Texture(color, shine=shine if lamps else None)


@lru_cache(maxsize=96)
def gable_texture(facade: Facade, depth: float) -> Texture:
    """The side of a house with that front."""
    return Texture(paint_gable(facade, depth))


@lru_cache(maxsize=16)
def roof_texture(color: Color) -> Texture:
    """Tiles."""
    return Texture(paint_roof(color))


@lru_cache(maxsize=96)
def sign_texture(facade: Facade) -> Texture:
    """The shop's name."""
    return Texture(paint_sign(0.88 * facade.width, FASCIA, facade.paint, facade.seed))
