"""Cars, vans and buses: a side profile drawn out to the vehicle's width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from math import sin
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.labels import CAR
from seg_perception.datasets.street.mesh import Face, Mesh
from seg_perception.datasets.street.stage import ROADWAY, Body, Stage

FloatArray = NDArray[np.float64]
Color = tuple[int, int, int]

PARTS: dict[str, Color] = {
    "glass": (38, 46, 54),
    "tyre": (26, 26, 28),
    "arch": (15, 15, 16),
    "hub": (122, 124, 128),
    "gap": (22, 22, 24),
    "bumper": (48, 48, 50),
    "tail lamp": (168, 26, 22),
    "head lamp": (226, 226, 216),
    "rear plate": (214, 190, 70),
    "front plate": (224, 224, 220),
}
LIT_PARTS: dict[str, Color] = {"tail lamp": (255, 70, 50), "head lamp": (255, 250, 224)}
WITH_DETAILS, WITH_TRIFLES = 22.0, 60.0  # pixels of length
PLAIN_BELOW = 8.0  # pixels a metre
HALO_WITHIN = 120.0


@dataclass(frozen=True, eq=False)
class Shape:
    """The shape of a vehicle; x forward from its middle, z up, metres.

    Attributes:
        width: metres.
        belt: height at which the windows begin; the body narrows above it.
        glass: which edges of the profile, counted from 0, are rear window and windscreen.
        pillars: x of the side windows' borders, from rear to front.
        wheels: x of the axles.
        radius: of the wheels, metres.
        profile: [N, 2] (x, z) from the rear bumper's lower edge over the roof to the front's.
    """

    width: float
    belt: float
    glass: tuple[int, int]
    pillars: tuple[float, ...]
    wheels: tuple[float, float]
    radius: float
    profile: FloatArray

    @property
    def length(self) -> float:
        """Metres."""
        return float(np.ptp(self.profile[:, 0]))

    @property
    def height(self) -> float:
        """Metres."""
        return float(self.profile[:, 1].max())

    def half_width(self, z: FloatArray | float) -> FloatArray:
        """Half the body's width at a height."""
        above = np.clip((np.asarray(z) - self.belt) / (self.height - self.belt), 0, 1)
        return np.asarray(self.width / 2 - 0.16 * above)

    def roof_ends(self, z: float) -> tuple[float, float]:
        """Where the profile crosses a height above the belt, with room for the pillars."""
        x, height = self.profile.T
        top = int(height.argmax())
        rear = np.interp(z, height[:top], x[:top])
        front = np.interp(z, height[top:][::-1], x[top:][::-1])
        return float(rear) + 0.12, float(front) - 0.12


SHAPES = {
    "hatchback": Shape(
        1.74, 0.93, (2, 4), (-1.55, -0.25, 0.85), (-1.22, 1.22), 0.31,
        np.array([
            (-1.95, 0.24), (-1.98, 0.62), (-1.88, 0.93), (-1.42, 1.42), (0.25, 1.46),
            (1.02, 0.94), (1.82, 0.78), (1.98, 0.58), (1.96, 0.24),
        ]),
    ),
    "saloon": Shape(
        1.8, 0.92, (3, 5), (-1.25, -0.1, 0.95), (-1.35, 1.4), 0.32,
        np.array([
            (-2.25, 0.25), (-2.3, 0.68), (-2.18, 0.94), (-1.6, 0.96), (-0.9, 1.4), (0.3, 1.43),
            (1.15, 0.93), (2.12, 0.76), (2.28, 0.56), (2.26, 0.24),
        ]),
    ),
    "estate": Shape(
        1.86, 1.05, (2, 4), (-2.05, -0.9, 0.1, 0.95), (-1.4, 1.42), 0.36,
        np.array([
            (-2.28, 0.32), (-2.32, 0.75), (-2.26, 1.05), (-2.05, 1.64), (0.35, 1.68),
            (1.1, 1.06), (2.1, 0.95), (2.28, 0.7), (2.26, 0.32),
        ]),
    ),
    "van": Shape(
        1.98, 1.2, (2, 4), (1.0, 1.85), (-1.6, 1.65), 0.34,
        np.array([
            (-2.5, 0.3), (-2.52, 0.8), (-2.5, 1.25), (-2.45, 2.15), (1.35, 2.18), (2.0, 1.24),
            (2.5, 0.98), (2.56, 0.6), (2.54, 0.3),
        ]),
    ),
    "bus": Shape(
        2.5, 1.25, (2, 4), (-5.1, -3.6, -2.1, -0.6, 0.9, 2.4, 3.9, 5.0), (-3.2, 3.4), 0.48,
        np.array([
            (-5.4, 0.35), (-5.42, 0.9), (-5.4, 1.5), (-5.35, 3.0), (5.15, 3.05), (5.35, 1.2),
            (5.4, 0.9), (5.42, 0.6), (5.4, 0.35),
        ]),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Vehicle:
    """A vehicle, parked or moving along the road.

    Attributes:
        s, d: where it is at time 0, road coordinates of its middle.
        yaw: direction it looks in, 0 = along s, pi = towards us.
        shape: key of `SHAPES`.
        color: of its paint.
        speed: along s, metres a second, negative = towards us.
        sway: it is this much (metres) ahead and behind its mean place by turns.
        lamps: whether its lamps are lit.
    """

    s: float
    d: float
    yaw: float
    shape: str
    color: Color
    speed: float = 0.0
    sway: float = 0.0
    lamps: bool = False
    layer: ClassVar[int] = ROADWAY

    def middle(self, time_s: float) -> float:
        """Its place along the road."""
        return self.s + self.speed * time_s + self.sway * sin(0.35 * time_s + self.s)

    def reach(self, time_s: float) -> tuple[float, float]:
        """From bumper to bumper, but what is beside its front half hides it."""
        half, middle = SHAPES[self.shape].length / 2, self.middle(time_s)
        return middle - half, middle + 0.3 * half

    def draw(self, stage: Stage) -> None:
        """The body, and the halos of its lamps."""
        body = stage.body(self.middle(stage.time_s), self.d, self.yaw)
        colors = {**PARTS, "paint": self.color, **(LIT_PARTS if self.lamps else {})}
        shining = frozenset(LIT_PARTS if self.lamps else ())
        far = stage.pixels_per_metre(body) < PLAIN_BELOW
        _mesh(self.shape, far).draw(stage, body, colors, shining, CAR)
        if self.lamps and body.x < HALO_WITHIN:
            self._draw_halos(stage, body)

    def _draw_halos(self, stage: Stage, body: Body) -> None:
        """Of the tail lamps, or of the head lamps of what comes towards us."""
        shape, rear = SHAPES[self.shape], body.eye(0.0)[0] < 0
        x = (-0.5 if rear else 0.5) * shape.length
        radius, color = (0.6, (130, 20, 12)) if rear else (1.3, (150, 140, 110))
        for side in (-1, 1):
            lamp = np.array([[x, side * (shape.width / 2 - 0.2), 0.66]])
            stage.canvas.glow(body.points(lamp)[0], radius, color)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of the body up to the belt and of the roof."""
        shape = SHAPES[self.shape]
        x, y, top = shape.length / 2 * 0.97, shape.width / 2, shape.height
        corners = [(a * x, b * y, 0.1) for a in (-1, 1) for b in (-1, 1)]
        corners += [(a * x, b * y * 0.9, top) for a in (-0.85, 0.3) for b in (-1, 1)]
        body = stage.body(self.middle(stage.time_s), self.d, self.yaw)
        return [stage.shadow(body.points(np.array(corners)))]


@lru_cache
def _mesh(name: str, far: bool) -> Mesh:
    shape = SHAPES[name]
    if far:
        return Mesh([*_shell(shape), *_ends(shape)], shape.length)
    faces = [*_underside(shape), *_shell(shape), *_wheels(shape), *_side_windows(shape)]
    return Mesh([*faces, *_ends(shape)], shape.length)


def _underside(shape: Shape) -> Iterator[Face]:
    """The dark gap below the body, and what is always in its shadow."""
    x, y = shape.length / 2 * 0.96, shape.width / 2 * 0.96
    up = np.array([0.0, 0.0, 1.0])
    ground = np.array([(x, y, 0), (x, -y, 0), (-x, -y, 0), (-x, y, 0)]) * 1.04
    yield Face(ground, up, "gap", solid=False)
    for end in (x, -x):
        wall = np.array([(end, y, 0.05), (end, -y, 0.05), (end, -y, 0.4), (end, y, 0.4)])
        yield Face(wall, np.array([end, 0, 0]), "gap")
    for side in (y, -y):
        wall = np.array([(x, side, 0.16), (-x, side, 0.16), (-x, side, 0.4), (x, side, 0.4)])
        yield Face(wall, np.array([0, side, 0]), "gap")


def _shell(shape: Shape) -> Iterator[Face]:
    """Both sides, and the strip around the vehicle with its windows."""
    half = shape.half_width(shape.profile[:, 1])
    for side in (1.0, -1.0):
        outline = np.column_stack([shape.profile[:, 0], side * half, shape.profile[:, 1]])
        yield Face(outline, np.array([0, side, 0.12]), "paint")
    for i, ((x0, z0), (x1, z1)) in enumerate(pairwise(shape.profile)):
        low, high = half[i], half[i + 1]
        corners = np.array([(x0, low, z0), (x0, -low, z0), (x1, -high, z1), (x1, high, z1)])
        outward = np.array([z0 - z1, 0, x1 - x0])
        yield Face(corners, outward, "paint")
        if i in shape.glass:
            pane = corners + 0.1 * (corners.mean(axis=0) - corners)
            yield Face(pane, outward, "glass", solid=False)


def _wheels(shape: Shape) -> Iterator[Face]:
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    circle = np.stack([np.cos(angle), np.zeros(14), np.sin(angle)], axis=1)
    for side, x in product((1.0, -1.0), shape.wheels):
        hub = np.array([x, side * (shape.width / 2 + 0.01), shape.radius])
        outward = np.array([0, side, 0])
        arch, tyre, rim = (
            np.maximum(hub + size * shape.radius * circle, (-np.inf, -np.inf, 0))
            for size in (1.16, 1.0, 0.6)
        )
        yield Face(arch, outward, "arch", False, WITH_TRIFLES)
        yield Face(tyre, outward, "tyre")
        yield Face(rim, outward, "hub", False, WITH_TRIFLES)


def _side_windows(shape: Shape) -> Iterator[Face]:
    top, low = shape.height - 0.12, shape.belt + 0.02
    ends = shape.roof_ends(top)
    for side in (1.0, -1.0):
        y_low, y_top = side * shape.half_width(low), side * shape.half_width(top)
        for rear, front in pairwise(shape.pillars):
            a, b = rear + 0.05, front - 0.05
            top_a, top_b = np.clip((a, b), *ends)
            corners = [(a, y_low, low), (b, y_low, low), (top_b, y_top, top), (top_a, y_top, top)]
            yield Face(np.array(corners), np.array([0, side, 0.3]), "glass", False, WITH_DETAILS)


def _ends(shape: Shape) -> Iterator[Face]:
    """Lamps, number plates and bumpers."""
    half = shape.width / 2
    for end, corner, name in ((-1.0, 1, "tail"), (1.0, -2, "head")):
        x, z = shape.profile[corner]
        outward = np.array([end, 0, 0])
        x += 0.02 * end
        plate = "rear plate" if end < 0 else "front plate"
        bumper = _upright(x, -half + 0.05, shape.width - 0.1, 0.26, 0.14)
        yield Face(bumper, outward, "bumper", False, WITH_DETAILS)
        yield Face(_upright(x, -0.26, 0.52, 0.44, 0.12), outward, plate, False, WITH_TRIFLES)
        for y in (half - 0.3, -half + 0.06):
            lamp = _upright(x, y, 0.24, z - 0.04, 0.16)
            yield Face(lamp, outward, f"{name} lamp", False, WITH_DETAILS)


def _upright(x: float, y: float, width: float, z: float, height: float) -> FloatArray:
    """A rectangle across the vehicle, from its lower right corner."""
    return np.array([(x, y, z), (x, y + width, z), (x, y + width, z + height), (x, y, z + height)])
