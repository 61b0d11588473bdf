"""What stands along a street: lamp posts, signs, traffic lights, bollards, fences, walls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.canvas import starts_of
from seg_perception.datasets.street.labels import BUILDING, FENCE, POLE, SIGN
from seg_perception.datasets.street.noise import noise_patch
from seg_perception.datasets.street.stage import BORDER, PAVEMENT, Body, Stage, raised
from seg_perception.datasets.street.texture import Texture, to_image
from seg_perception.datasets.street.vegetation import toward_road

FloatArray = NDArray[np.float64]
Color = tuple[int, int, int]

STEEL: Color = (104, 108, 110)
SMALLEST = 4.0  # pixels a metre


@dataclass(frozen=True)
class LampPost:
    """A street lamp.

    Attributes:
        s, d: of its foot, road coordinates.
        side: 1 = left of the road, -1 = right; its arm reaches over the road.
        height: metres.
        color: of the post.
    """

    s: float
    d: float
    side: int
    height: float
    color: Color
    layer: ClassVar[int] = PAVEMENT

    def reach(self, time_s: float) -> tuple[float, float]:
        """Its foot."""
        return self.s, self.s

    def draw(self, stage: Stage) -> None:
        """Post, arm and lamp."""
        color = stage.lit(self.color)
        body, arm, top = stage.body(self.s, self.d), -1.5 * self.side, self.height
        post = body.points(
            np.array([(0, 0, 0), (0, 0, 1.1), (0, 0, 1.1), (0, 0, top), (0, arm, top + 0.3)])
        )
        lamp = body.points(np.array([(0, 0.8 * arm, top + 0.28), (0, 1.2 * arm, top + 0.36)]))
        stage.canvas.rods(post, [0, 2], [0.22, 0.13], [color, color], POLE)
        glass = stage.lit((200, 200, 196))
        stage.canvas.rod(lamp, 0.16, (255, 226, 170) if stage.light.lamps else glass, POLE)
        if stage.light.lamps:
            stage.canvas.glow(lamp[0], 1.4, (150, 116, 62))

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of the post."""
        return [_post_shadow(stage, self.s, self.d, self.height, 0.07)]


@dataclass(frozen=True)
class Bollard:
    """A short post at the kerb.

    Attributes:
        s, d: of its foot, road coordinates.
        color: of the post.
    """

    s: float
    d: float
    color: Color
    layer: ClassVar[int] = PAVEMENT

    def reach(self, time_s: float) -> tuple[float, float]:
        """Its foot."""
        return self.s, self.s

    def draw(self, stage: Stage) -> None:
        """A thick rod with a light band."""
        body = stage.body(self.s, self.d)
        if stage.pixels_per_metre(body) < SMALLEST:
            return
        joints = body.points(np.array([(0, 0, 0.1), (0, 0, 1.0), (0, 0, 0.84), (0, 0, 0.88)]))
        colors = [stage.lit(c) for c in (self.color, (220, 220, 214))]
        stage.canvas.rods(joints, [0, 2], [0.16, 0.16], colors, POLE)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of the post."""
        return [_post_shadow(stage, self.s, self.d, 1.0, 0.08)]


@dataclass(frozen=True)
class TrafficSign:
    """A sign on a post.

    Attributes:
        s, d: of its foot, road coordinates.
        kind: key of `PLATES`.
        height: of the plate's middle, metres.
    """

    s: float
    d: float
    kind: str
    height: float
    layer: ClassVar[int] = PAVEMENT

    def reach(self, time_s: float) -> tuple[float, float]:
        """Its foot."""
        return self.s, self.s

    def draw(self, stage: Stage) -> None:
        """Post and plate."""
        body = stage.body(self.s, self.d)
        top = np.array([0, 0, self.height])
        post = body.points(np.array([(0, 0, 0), top]))
        stage.canvas.rod(post, 0.08, stage.lit(STEEL), POLE)
        layers = PLATES[self.kind]
        corners = [top + size * SHAPES[shape] for shape, _, size in layers]
        colors = [stage.lit(color) for _, color, _ in layers]
        _draw_plate(stage, body, corners, colors)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of the post."""
        return [_post_shadow(stage, self.s, self.d, self.height, 0.05)]


@dataclass(frozen=True)
class TrafficLight:
    """Three lamps on a post, in turns of 20 seconds.

    Attributes:
        s, d: of its foot, road coordinates.
        green: for how many seconds of each turn it is green.
        offset: how many seconds into a turn it is at time 0.
    """

    s: float
    d: float
    green: float
    offset: float
    layer: ClassVar[int] = PAVEMENT

    def reach(self, time_s: float) -> tuple[float, float]:
        """Its foot."""
        return self.s, self.s

    def draw(self, stage: Stage) -> None:
        """Post, box, lamps."""
        body = stage.body(self.s, self.d)
        post = body.points(np.array([(0, 0, 0), (0, 0, 2.3)]))
        stage.canvas.rod(post, 0.12, stage.lit((60, 62, 64)), POLE)
        lit = self._lit(stage.time_s)
        corners = [np.array([(0, 0.2, 2.3), (0, -0.2, 2.3), (0, -0.2, 3.4), (0, 0.2, 3.4)])]
        colors = [stage.lit((26, 28, 28))]
        for name, color, z in BULBS:
            corners.append(0.13 * SHAPES["disc"] + np.array([0, 0, z]))
            colors.append([channel * (1.0 if name == lit else 0.16) for channel in color])
            if name == lit:
                lamp, halo = np.array([body.x, body.y, z]), [channel * 0.35 for channel in color]
        _draw_plate(stage, body, corners, colors)
        stage.canvas.glow(lamp, 0.45, halo)

    def _lit(self, time_s: float) -> str:
        moment = (time_s + self.offset) % 20.0
        return "green" if moment < self.green else "amber" if moment < self.green + 2 else "red"

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of post and box."""
        return [_post_shadow(stage, self.s, self.d, 3.4, 0.1)]


@dataclass(frozen=True)
class Fence:
    """A fence along the road.

    Attributes:
        start, end: s in metres.
        side: 1 = left of the road, -1 = right.
        distance: from the middle line, metres.
        height: metres.
        kind: railing, boards, or wall (which counts as building, as in CamVid).
        color: of it.
        layer: as of `Thing`.
    """

    start: float
    end: float
    side: int
    distance: float
    height: float
    kind: str
    color: Color
    layer: int = BORDER

    def reach(self, time_s: float) -> tuple[float, float]:
        """Where it stands along the road."""
        return self.start, self.end

    def draw(self, stage: Stage) -> None:
        """One surface; railings let through what is behind them."""
        d = self.side * self.distance
        near, far = stage.spot(self.start, d), stage.spot(self.end, d)
        light = stage.light.factor(toward_road(near, far, self.side)).tolist()
        texture = fence_texture(self.kind, self.color, round(self.end - self.start))
        label = BUILDING if self.kind == "wall" else FENCE
        down = np.array([0, 0, -self.height])
        stage.canvas.surface(near - down, far - near, down, texture, label, light)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of what is not railings."""
        if self.kind == "railing":
            return []
        d = self.side * self.distance
        base = np.array([stage.spot(self.start, d), stage.spot(self.end, d)])
        return [stage.shadow(np.vstack([base, raised(base, self.height)]))]


@lru_cache(maxsize=64)
def fence_texture(kind: str, color: Color, length: int) -> Texture:
    """A fence of a length in metres."""
    height, width = 48, max(48, min(30 * length, 900))
    rng = np.random.default_rng(length)
    shade = 1 + 0.05 * noise_patch(0.8, height, width, rng)
    if kind == "boards":
        shade += np.repeat(rng.normal(0, 0.09, width // 6 + 1), 6)[:width]
        shade[:, ::6] *= 0.55
    if kind == "wall":
        shade += 0.06 * cv2.blur(noise_patch(0.2, height, width, rng), (9, 1))
        shade[4::4] *= 0.85
        shade[:4] *= 1.25
    picture = to_image(shade[..., None] * np.asarray(color, np.float32))
    if kind != "railing":
        return Texture(picture)
    opacity = np.zeros((height, width), np.uint8)
    opacity[:, 1::5] = opacity[:, 2::5] = 255
    opacity[2:5] = opacity[-8:-5] = 255
    return Texture(picture, opacity, np.full_like(opacity, 255))


def _upright(right_up: FloatArray) -> FloatArray:
    """A flat shape [N, 2] (right, up) that faces us, as points [N, 3] (forward, left, up)."""
    return np.column_stack([np.zeros(len(right_up)), -right_up[:, 0], right_up[:, 1]])


def _polygon(corners: int, turn: float) -> FloatArray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False) + turn
    return _upright(np.stack([np.cos(angle), np.sin(angle)], axis=1))


def _rectangle(width: float, height: float) -> FloatArray:
    return _upright(np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, height / 2))


SHAPES = {
    "disc": _polygon(16, 0.0),
    "triangle": _polygon(3, np.pi / 2),
    "diamond": _polygon(4, 0.0),
    "square": _rectangle(1.7, 1.7),
    "board": _rectangle(3.2, 1.4),
    "bar": _rectangle(1.4, 0.36),
}
"""Outlines [N, 3] (forward, left, up) of about unit radius."""

RED, WHITE, BLUE, YELLOW, GREEN, BLACK = (
    (186, 24, 30), (236, 236, 232), (24, 74, 160), (240, 190, 30), (18, 100, 70), (24, 24, 24),
)  # fmt: skip
PLATES: dict[str, tuple[tuple[str, Color, float], ...]] = {
    "limit": (("disc", RED, 0.38), ("disc", WHITE, 0.28), ("bar", BLACK, 0.2)),
    "no_entry": (("disc", RED, 0.38), ("bar", WHITE, 0.36)),
    "warning": (("triangle", RED, 0.48), ("triangle", WHITE, 0.3), ("diamond", BLACK, 0.1)),
    "turn": (("disc", BLUE, 0.36), ("bar", WHITE, 0.24)),
    "crossing": (("square", BLUE, 0.4), ("triangle", WHITE, 0.28)),
    "priority": (("diamond", WHITE, 0.48), ("diamond", YELLOW, 0.36)),
    "direction": (("board", GREEN, 0.5), ("bar", WHITE, 0.55)),
    "yellow_board": (("board", YELLOW, 0.42), ("bar", BLACK, 0.4)),
}
"""Each plate's layers: shape, colour, radius in metres."""


BULBS = (
    ("red", (255, 46, 30), 3.2),
    ("amber", (255, 180, 40), 2.85),
    ("green", (50, 255, 150), 2.5),
)
"""Of a traffic light: name, colour, height in metres."""


def _draw_plate(
    stage: Stage, body: Body, layers: Sequence[FloatArray], colors: Sequence[Sequence[float]]
) -> None:
    """Draw flat shapes one upon the other; the first is the largest."""
    points = body.points(np.concatenate(layers))
    outlines = stage.canvas.outlines(points, starts_of(layers))
    if outlines[0] is not None:
        stage.canvas.face(outlines[0], colors[0], SIGN)
        for outline, color in zip(outlines[1:], colors[1:], strict=True):
            if outline is not None:
                stage.canvas.paint(outline, color)


def _post_shadow(stage: Stage, s: float, d: float, height: float, radius: float) -> FloatArray:
    ring = radius * np.array([(1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0.0)])
    body = stage.body(s, d)
    return stage.shadow(body.points(np.vstack([ring, raised(ring, height)])))
