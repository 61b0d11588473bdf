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
        """Roof, chimney and gable, front, and the shop's name."""
        d = self.side * self.front
        near, far = stage.spot(self.start, d), stage.spot(self.end, d)
        back = stage.spot(self.start, self.side * (self.front + self.depth))
        self._draw_shell(stage, near, far, back)
        light = (stage.light.factor(_unit(near - back)) * self.facade.shade).tolist()
        down = np.array([0, 0, -self.facade.height])
        start, across = (far, near - far) if self.side < 0 else (near, far - near)
        front = front_texture(self.facade, stage.light.lamps)
        stage.canvas.surface(start - down, across, down, front, BUILDING, light)
        if self.facade.ground_floor == "shop" and near[0] < SIGNS_WITHIN:
            corner = raised(start + 0.06 * across, GROUND_STOREY - 0.12)
            down = np.array([0, 0, -FASCIA])
            board = sign_texture(self.facade)
            stage.canvas.surface(corner, 0.88 * across, down, board, SIGN, light)

    def _draw_shell(
        self, stage: Stage, near: FloatArray, far: FloatArray, back: FloatArray
    ) -> None:
        """What is behind the front, flat where it is far away."""
        canvas, close = stage.canvas, near[0] < TEXTURED_WITHIN
        half, height = (back - near) / 2, self.facade.height
        ridge = raised(near + half, height + self.pitch)
        eaves, top = raised(near, height), raised(back, height)
        gable_light = stage.light.factor(_unit(near - far)) * self.facade.shade
        slope_light = stage.light.factor(_unit(raised(-self.pitch * half, float(half @ half))))
        shapes = []
        if self.roof is not None:
            along = far - near
            foot = raised(ridge + (0.12 + 0.007 * (self.facade.seed % 100)) * along, -0.4)
            chimney = foot + CHIMNEY @ np.stack([_unit(along), (0, 0, 1)])
            shapes = [
                (chimney, 0.8 * gable_light * self.facade.wall),
                (np.array([eaves, ridge, ridge + along, eaves + along]), slope_light * self.roof),
            ]
        if self.neighbour < height and near[0] > 0:
            wall = np.array([near, back, top, ridge, eaves])
            shapes.append((wall, gable_light * self.facade.wall))
        if not shapes:
            return
        starts = np.cumsum([0, *(len(corners) for corners, _ in shapes[:-1])]).tolist()
        outlines = canvas.outlines(np.concatenate([corners for corners, _ in shapes]), starts)
        for outline, (_, color) in zip(outlines, shapes, strict=True):
            if outline is not None:
                canvas.face(outline, np.minimum(color, 255).tolist(), BUILDING)
        if close and self.roof is not None:
            tiles = roof_texture(self.roof)
            canvas.surface(ridge, far - near, eaves - ridge, tiles, BUILDING, slope_light.tolist())
        if close and self.neighbour < height and near[0] > 0:
            start, across = (back, near - back) if self.side > 0 else (near, back - near)
            side_wall = front_texture(gable(self.facade, self.depth), lamps=False)
            down = np.array([0, 0, -height])
            canvas.surface(start - down, across, down, side_wall, BUILDING, gable_light.tolist())

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of its walls, as far as the eaves."""
        near, far = self.side * self.front, self.side * (self.front + self.depth)
        base = np.array([stage.spot(s, d) for s in (self.start, self.end) for d in (near, far)])
        return [stage.shadow(np.vstack([base, raised(base, self.facade.height)]))]


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
