"""Cars, vans and buses: a side profile drawn out to the vehicle's width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.canvas import Color
from seg_perception.datasets.street.labels import CAR
from seg_perception.datasets.street.stage import ROADWAY, Stage

FloatArray = NDArray[np.float64]

GLASS = (38, 46, 54)
RUBBER = (26, 26, 28)
DETAIL_WITHIN = 45.0


@dataclass(frozen=True, eq=False)
class Model:
    """The shape of a vehicle; x forward from its middle, z up, metres.

    Attributes:
        width: metres.
        profile: [N, 2] (x, z) from the rear bumper's lower edge over the roof to the front's.
        belt: height at which the windows begin; the body narrows above it.
        glass: which edges of the profile, counted from 0, are rear window and windscreen.
        pillars: x of the side windows' borders, from rear to front.
        wheels: x of the axles.
        radius: of the wheels, metres.
    """

    width: float
    profile: FloatArray
    belt: float
    glass: tuple[int, int]
    pillars: tuple[float, ...]
    wheels: tuple[float, float]
    radius: float

    @property
    def length(self) -> float:
        """Metres."""
        return float(np.ptp(self.profile[:, 0]))

    @property
    def height(self) -> float:
        """Metres."""
        return float(self.profile[:, 1].max())

    def half_width(self, z: NDArray[np.float64] | float) -> FloatArray:
        """Half the body's width at a height."""
        above = np.clip((np.asarray(z) - self.belt) / (self.height - self.belt), 0, 1)
        return self.width / 2 - 0.16 * above


def _model(
    width: float,
    belt: float,
    glass: tuple[int, int],
    pillars: tuple[float, ...],
    wheels: tuple[float, float],
    radius: float,
    *profile: tuple[float, float],
) -> Model:
    return Model(width, np.array(profile), belt, glass, pillars, wheels, radius)


MODELS = {
    "hatchback": _model(
        1.74, 0.93, (2, 4), (-1.55, -0.25, 0.85), (-1.22, 1.22), 0.31,
        (-1.95, 0.24), (-1.98, 0.62), (-1.88, 0.93), (-1.42, 1.42), (0.25, 1.46), (1.02, 0.94),
        (1.82, 0.78), (1.98, 0.58), (1.96, 0.24),
    ),
    "saloon": _model(
        1.8, 0.92, (3, 5), (-1.25, -0.1, 0.95), (-1.35, 1.4), 0.32,
        (-2.25, 0.25), (-2.3, 0.68), (-2.18, 0.94), (-1.6, 0.96), (-0.9, 1.4), (0.3, 1.43),
        (1.15, 0.93), (2.12, 0.76), (2.28, 0.56), (2.26, 0.24),
    ),
    "estate": _model(
        1.86, 1.05, (2, 4), (-2.05, -0.9, 0.1, 0.95), (-1.4, 1.42), 0.36,
        (-2.28, 0.32), (-2.32, 0.75), (-2.26, 1.05), (-2.05, 1.64), (0.35, 1.68), (1.1, 1.06),
        (2.1, 0.95), (2.28, 0.7), (2.26, 0.32),
    ),
    "van": _model(
        1.98, 1.2, (2, 4), (1.0, 1.85), (-1.6, 1.65), 0.34,
        (-2.5, 0.3), (-2.52, 0.8), (-2.5, 1.25), (-2.45, 2.15), (1.35, 2.18), (2.0, 1.24),
        (2.5, 0.98), (2.56, 0.6), (2.54, 0.3),
    ),
    "bus": _model(
        2.5, 1.25, (2, 4), (-5.1, -3.6, -2.1, -0.6, 0.9, 2.4, 3.9, 5.0), (-3.2, 3.4), 0.48,
        (-5.4, 0.35), (-5.42, 0.9), (-5.4, 1.5), (-5.35, 3.0), (5.15, 3.05), (5.35, 1.2),
        (5.4, 0.9), (5.42, 0.6), (5.4, 0.35),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Vehicle:
    """A vehicle, parked or moving along the road.

    Attributes:
        s, d: where it is at time 0, road coordinates of its middle.
        yaw: direction it looks in, 0 = along s, pi = towards us.
        model: key of `MODELS`.
        color: of its paint.
        speed: along s, metres a second, negative = towards us.
        sway: it is this much (metres) ahead and behind its mean place by turns.
        lamps: whether its lamps are lit.
    """

    s: float
    d: float
    yaw: float
    model: str
    color: tuple[int, int, int]
    speed: float = 0.0
    sway: float = 0.0
    lamps: bool = False
    layer: ClassVar[int] = ROADWAY

    def middle(self, time_s: float) -> float:
        """S of its middle."""
        return self.s + self.speed * time_s + self.sway * float(np.sin(0.35 * time_s + self.s))

    def reach(self, time_s: float) -> tuple[float, float]:
        """From bumper to bumper."""
        half = MODELS[self.model].length / 2
        return self.middle(time_s) - half, self.middle(time_s) + 0.3 * half

    def draw(self, stage: Stage) -> None:
        """The shell's visible faces, then what lies on them."""
        _Drawing(self, stage).draw()

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of its bounding box."""
        model = MODELS[self.model]
        x, y = model.length / 2 * 0.97, model.width / 2
        low = [(x, y, 0.1), (x, -y, 0.1), (-x, -y, 0.1), (-x, y, 0.1)]
        high = [(0.2 * x, y, 1), (0.2 * x, -y, 1), (-0.8 * x, -y, 1), (-0.8 * x, y, 1)]
        box = np.array(low + high) * (1, 1, 1)
        box[4:, 2] = model.height
        return [stage.shadow(stage.turned(box, self.middle(stage.time_s), self.d, self.yaw))]


class _Drawing:
    """One vehicle on one stage."""

    def __init__(self, vehicle: Vehicle, stage: Stage) -> None:
        self._vehicle, self._stage = vehicle, stage
        self._model = MODELS[vehicle.model]
        self._s = vehicle.middle(stage.time_s)
        self._eye = self._local_eye()
        self._near = abs(self._s - stage.ego.s) < DETAIL_WITHIN

    def _local_eye(self) -> FloatArray:
        """The camera in the vehicle's own coordinates."""
        stage, vehicle = self._stage, self._vehicle
        place = stage.place(self._s, vehicle.d)[0]
        angle = stage.heading(self._s) + vehicle.yaw
        cos, sin = np.cos(angle), np.sin(angle)
        x, y = -place[:2]
        return np.array([x * cos + y * sin, y * cos - x * sin, stage.canvas.camera.height_m])

    def _points(self, local: FloatArray) -> FloatArray:
        return self._stage.turned(local, self._s, self._vehicle.d, self._vehicle.yaw)

    def _visible(self, corners: FloatArray, outward: FloatArray) -> bool:
        return float(outward @ (self._eye - corners[0])) > 0

    def _shade(self, color: Color, outward: FloatArray) -> list[float]:
        tip = self._points(np.array([[0, 0, 0], outward]))
        return self._stage.light.shade(color, (tip[1] - tip[0]) / np.linalg.norm(outward))

    def draw(self) -> None:
        self._underside()
        for corners, outward, color in self._shell():
            if self._visible(corners, outward):
                self._stage.canvas.face(self._points(corners), self._shade(color, outward), CAR)
        side = 1.0 if self._eye[1] > 0 else -1.0
        self._wheels(side)
        if self._near:
            if abs(self._eye[1]) > self._model.width / 2:
                self._side_windows(side)
            self._ends()

    def _underside(self) -> None:
        """The dark gap below the body, and the shadow in it."""
        x, y = self._model.length / 2 * 0.96, self._model.width / 2 * 0.96
        ground = np.array([(x, y, 0), (x, -y, 0), (-x, -y, 0), (-x, y, 0)])
        self._stage.canvas.paint(self._points(ground * (1.03, 1.06, 1)), self._dark(34))
        for end in (x, -x):
            wall = np.array([(end, y, 0.05), (end, -y, 0.05), (end, -y, 0.4), (end, y, 0.4)])
            if self._visible(wall, np.array([end, 0, 0])):
                self._stage.canvas.face(self._points(wall), self._dark(24), CAR)
        side = y if self._eye[1] > 0 else -y
        wall = np.array([(x, side, 0.16), (-x, side, 0.16), (-x, side, 0.4), (x, side, 0.4)])
        self._stage.canvas.face(self._points(wall), self._dark(24), CAR)

    def _dark(self, value: float) -> list[float]:
        return [float(c) for c in value * self._stage.light.ambient]

    def _shell(self) -> list[tuple[FloatArray, FloatArray, Color]]:
        """Faces (corners [N, 3], outward normal [3], colour), hidden ones among them."""
        model, color = self._model, self._vehicle.color
        profile, faces = model.profile, []
        half = model.half_width(profile[:, 1])
        for side in (1.0, -1.0):
            outline = np.column_stack([profile[:, 0], side * half, profile[:, 1]])
            faces.append((outline, np.array([0, side, 0.12]), color))
        for i in range(len(profile) - 1):
            (x0, z0), (x1, z1) = profile[i], profile[i + 1]
            corners = np.array(
                [
                    (x0, half[i], z0),
                    (x0, -half[i], z0),
                    (x1, -half[i + 1], z1),
                    (x1, half[i + 1], z1),
                ]
            )
            faces.append((corners, np.array([z0 - z1, 0, x1 - x0]), color))
            if i in model.glass:
                faces.append((_inset(corners, 0.1), np.array([z0 - z1, 0, x1 - x0]), GLASS))
        return faces

    def _side_windows(self, side: float) -> None:
        model = self._model
        top, low = model.height - 0.12, model.belt + 0.02
        borders = model.pillars
        for rear, front in zip(borders[:-1], borders[1:], strict=True):
            at_top = [np.clip(x, *self._roof_ends(top)) for x in (rear + 0.05, front - 0.05)]
            corners = np.array(
                [
                    (rear + 0.05, side * model.half_width(low), low),
                    (front - 0.05, side * model.half_width(low), low),
                    (at_top[1], side * model.half_width(top), top),
                    (at_top[0], side * model.half_width(top), top),
                ]
            )
            self._stage.canvas.paint(
                self._points(corners), self._shade(GLASS, np.array([0, side, 0.4]))
            )

    def _roof_ends(self, z: float) -> tuple[float, float]:
        """Where the profile crosses a height, with room for the pillars."""
        x, height = self._model.profile.T
        top = int(height.argmax())
        rear = np.interp(z, height[:top], x[:top])
        front = np.interp(z, height[top:][::-1], x[top:][::-1])
        return float(rear) + 0.12, float(front) - 0.12

    def _wheels(self, side: float) -> None:
        model = self._model
        angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        for x in model.wheels:
            for radius, color in ((1.16, (14, 14, 15)), (1.0, RUBBER), (0.6, (122, 124, 128))):
                r = radius * model.radius
                ring = np.column_stack(
                    [
                        x + r * np.cos(angle),
                        np.full(14, side * (model.width / 2 + 0.01)),
                        model.radius + r * np.sin(angle),
                    ]
                )
                ring[:, 2] = np.maximum(ring[:, 2], 0)
                points = self._points(ring)
                if radius == 1.0:
                    self._stage.canvas.face(points, self._stage.light.shade(color, (0, 0, 1)), CAR)
                else:
                    self._stage.canvas.paint(points, self._stage.light.shade(color, (0, 0, 1)))

    def _ends(self) -> None:
        """Lamps, number plate and bumper of the end that is seen."""
        model, lit = self._model, self._vehicle.lamps
        rear = self._eye[0] < 0
        x = model.profile[1 if rear else -2, 0] + (-0.02 if rear else 0.02)
        lamp_z = float(model.profile[1 if rear else -2, 1])
        half = model.width / 2
        lamp: Color = (168, 26, 22) if rear else (226, 226, 216)
        for y in (half - 0.3, -half + 0.06):
            quad = _upright(x, y, 0.24, lamp_z - 0.04, 0.16)
            color = (
                (255, 60, 40)
                if lit and rear
                else (255, 250, 224)
                if lit
                else self._shade(lamp, np.array([x, 0, 0]))
            )
            self._stage.canvas.paint(self._points(quad), color)
        plate: Color = (214, 190, 70) if rear else (224, 224, 220)
        self._stage.canvas.paint(
            self._points(_upright(x, -0.26, 0.52, 0.44, 0.12)),
            self._shade(plate, np.array([x, 0, 0])),
        )
        self._stage.canvas.paint(
            self._points(_upright(x, -half + 0.05, model.width - 0.1, 0.26, 0.14)), self._dark(52)
        )

    def glow(self) -> None:
        """Halos of the lamps that are seen."""


def _inset(corners: FloatArray, part: float) -> FloatArray:
    """A polygon shrunk towards its middle."""
    return np.asarray(corners + part * (corners.mean(axis=0) - corners))


def _upright(x: float, y: float, width: float, z: float, height: float) -> FloatArray:
    """A rectangle across the vehicle, from its lower right corner."""
    return np.array([(x, y, z), (x, y + width, z), (x, y + width, z + height), (x, y, z + height)])
