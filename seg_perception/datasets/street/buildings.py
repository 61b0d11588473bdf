"""Buildings: a textured front along the road, a gable, a roof."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_perception.datasets.street.facade import (
    GROUND_STOREY,
    Color,
    Facade,
    gable,
    paint_front,
    paint_roof,
    paint_sign,
)
from seg_perception.datasets.street.labels import BUILDING, SIGN
from seg_perception.datasets.street.stage import BEYOND, Stage, raised
from seg_perception.datasets.street.texture import Texture

FloatArray = NDArray[np.float64]

FASCIA = 0.75
SIGNS_WITHIN = 120.0
TEXTURED_WITHIN = 90.0
CHIMNEY = np.array([(0, 0), (0.9, 0), (0.9, 1.7), (0, 1.7)])
"""Corners (along the ridge, up) in metres."""


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
        neighbour: height of the house that its near side leans on, metres; 0 = none.
    """

    start: float
    end: float
    side: int
    front: float
    depth: float
    facade: Facade
    roof: Color | None
    pitch: float
    neighbour: float
    layer: ClassVar[int] = BEYOND

    def reach(self, time_s: float) -> tuple[float, float]:
        """Where it stands along the road."""
        return self.start, self.end

    def draw(self, stage: Stage) -> None:
        """Roof and chimney, gable, front, and the shop's name."""
        d = self.side * self.front
        near, far = stage.spot(self.start, d), stage.spot(self.end, d)
        back = stage.spot(self.start, self.side * (self.front + self.depth))
        if self.roof is not None:
            self._draw_roof(stage, near, far, back)
        if self.neighbour < self.facade.height and near[0] > 0:
            self._draw_gable(stage, near, far, back)
        self._draw_front(stage, near, far, stage.light.factor(_unit(near - back)))

    def _draw_roof(self, stage: Stage, near: FloatArray, far: FloatArray, back: FloatArray) -> None:
        """The slope above the front, and a chimney behind its ridge."""
        half, along, roof = (back - near) / 2, far - near, self.roof or self.facade.wall
        eaves = raised(near, self.facade.height)
        ridge = raised(eaves + half, self.pitch)
        foot = raised(ridge + (0.12 + 0.007 * (self.facade.seed % 100)) * along, -0.4)
        chimney = foot + CHIMNEY @ np.stack([_unit(along), (0, 0, 1)])
        shade = np.multiply(self.facade.wall, 0.8)
        _draw_flat(stage, chimney, shade, stage.light.factor(_unit(-along)))
        light = stage.light.factor(_unit(raised(-self.pitch * half, float(half @ half))))
        if near[0] < TEXTURED_WITHIN:
            tiles = roof_texture(roof)
            stage.canvas.surface(ridge, along, eaves - ridge, tiles, BUILDING, light.tolist())
        else:
            slope = np.array([eaves, ridge, ridge + along, eaves + along])
            _draw_flat(stage, slope, roof, light)

    def _draw_gable(
        self, stage: Stage, near: FloatArray, far: FloatArray, back: FloatArray
    ) -> None:
        """The wall that looks towards us."""
        light = stage.light.factor(_unit(near - far)) * self.facade.shade
        eaves, top = raised(near, self.facade.height), raised(back, self.facade.height)
        ridge = raised((eaves + top) / 2, self.pitch)
        _draw_flat(stage, np.array([near, back, top, ridge, eaves]), self.facade.wall, light)
        if near[0] < TEXTURED_WITHIN:
            start, across = (top, near - back) if self.side > 0 else (eaves, back - near)
            wall = front_texture(gable(self.facade, self.depth), lamps=False)
            stage.canvas.surface(start, across, near - eaves, wall, BUILDING, light.tolist())

    def _draw_front(
        self, stage: Stage, near: FloatArray, far: FloatArray, light: FloatArray
    ) -> None:
        tint = (light * self.facade.shade).tolist()
        start, across = (far, near - far) if self.side < 0 else (near, far - near)
        down = np.array([0, 0, -self.facade.height])
        front = front_texture(self.facade, stage.light.lamps)
        stage.canvas.surface(start - down, across, down, front, BUILDING, tint)
        if self.facade.ground_floor == "shop" and near[0] < SIGNS_WITHIN:
            corner = raised(start + 0.06 * across, GROUND_STOREY - 0.12)
            down, board = np.array([0, 0, -FASCIA]), sign_texture(self.facade)
            stage.canvas.surface(corner, 0.88 * across, down, board, SIGN, tint)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of its walls, as far as the eaves."""
        near, far = self.side * self.front, self.side * (self.front + self.depth)
        base = np.array([stage.spot(s, d) for s in (self.start, self.end) for d in (near, far)])
        return [stage.shadow(np.vstack([base, raised(base, self.facade.height)]))]


def _draw_flat(stage: Stage, corners: FloatArray, color: ArrayLike, light: FloatArray) -> None:
    """A plain part of the building; `light` RGB factors."""
    outline = stage.canvas.outline(corners)
    if outline is not None:
        lit = np.minimum(np.multiply(color, light), 255).tolist()
        stage.canvas.face(outline, lit, BUILDING)


def _unit(vector: FloatArray) -> FloatArray:
    return np.asarray(vector / np.linalg.norm(vector))


@lru_cache(maxsize=128)
def front_texture(facade: Facade, lamps: bool) -> Texture:
    """Kept for as many fronts as are in sight at once."""
    color, shine = paint_front(facade, lamps)
    return Texture(color, shine=shine if lamps else None)


@lru_cache(maxsize=16)
def roof_texture(color: Color) -> Texture:
    """Tiles."""
    return Texture(paint_roof(color))


@lru_cache(maxsize=96)
def sign_texture(facade: Facade) -> Texture:
    """The shop's name."""
    return Texture(paint_sign(0.88 * facade.width, FASCIA, facade.paint, facade.seed))
