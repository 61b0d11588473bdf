"""What stands along a street: lamp posts, signs, traffic lights, bollards, fences, walls."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.canvas import Texture
from seg_perception.datasets.street.labels import BUILDING, FENCE, POLE, SIGN
from seg_perception.datasets.street.noise import noise_patch
from seg_perception.datasets.street.stage import BORDER, PAVEMENT, Stage

FloatArray = NDArray[np.float64]
Color = tuple[int, int, int]

FACING_US = (-1.0, 0.0, 0.0)
STEEL: Color = (104, 108, 110)


@dataclass(frozen=True)
class LampPost:
    """A street lamp; `side` 1 = on the left, its arm reaches over the road."""

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
        color, over = stage.light.shade(self.color, FACING_US), self.d - 1.5 * self.side
        foot, low, top, tip = stage.place(
            self.s, [self.d, self.d, self.d, over], [0, 1.1, self.height, self.height + 0.35]
        )
        stage.canvas.rod([foot, low], 0.22, color, POLE)
        stage.canvas.rod([low, top], 0.14, color, POLE)
        stage.canvas.rod([top, tip], 0.09, color, POLE)
        lamp = stage.place(
            self.s, [over + 0.3 * self.side, over - 0.3 * self.side], self.height + 0.33
        )
        glass = (
            (255, 226, 170) if stage.light.lamps else stage.light.shade((200, 200, 196), FACING_US)
        )
        stage.canvas.rod(lamp, 0.16, glass, POLE)
        if stage.light.lamps:
            stage.canvas.glow(lamp.mean(axis=0), 1.4, (150, 116, 62))

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of the post."""
        return [_post_shadow(stage, self.s, self.d, self.height, 0.07)]


@dataclass(frozen=True)
class Bollard:
    """A short post at the kerb."""

    s: float
    d: float
    color: Color
    layer: ClassVar[int] = PAVEMENT

    def reach(self, time_s: float) -> tuple[float, float]:
        """Its foot."""
        return self.s, self.s

    def draw(self, stage: Stage) -> None:
        """A thick rod with a light band."""
        at = stage.place(self.s, self.d, [0.1, 1.0])
        stage.canvas.rod(at, 0.16, stage.light.shade(self.color, FACING_US), POLE)
        band = stage.place(self.s, self.d, [0.84, 0.88])
        stage.canvas.rod(band, 0.16, stage.light.shade((220, 220, 214), FACING_US), POLE)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of the post."""
        return [_post_shadow(stage, self.s, self.d, 1.0, 0.08)]


@dataclass(frozen=True)
class TrafficSign:
    """A sign on a post; `kind` is a key of `PLATES`."""

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
        foot, top = stage.place(self.s, self.d, [0, self.height])
        stage.canvas.rod([foot, top], 0.08, stage.light.shade(STEEL, FACING_US), POLE)
        across = stage.turned([(0, 0.5, 0), (0, -0.5, 0)], self.s, self.d)
        across = across[1] - across[0]
        for shape, color, size in PLATES[self.kind]:
            corners = top + SHAPES[shape][:, :1] * size * across + _up(SHAPES[shape][:, 1] * size)
            stage.canvas.face(corners, stage.light.shade(color, FACING_US), SIGN)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of the post."""
        return [_post_shadow(stage, self.s, self.d, self.height, 0.05)]


@dataclass(frozen=True)
class TrafficLight:
    """Three lamps on a post, green for `green` of every 20 seconds, from `offset` on."""

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
        foot, low, top = stage.place(self.s, self.d, [0, 2.3, 3.4])
        stage.canvas.rod([foot, low], 0.12, stage.light.shade((60, 62, 64), FACING_US), POLE)
        across = stage.turned([(0, 0.5, 0), (0, -0.5, 0)], self.s, self.d)
        right = across[1] - across[0]
        box = [low - 0.2 * right, low + 0.2 * right, top + 0.2 * right, top - 0.2 * right]
        stage.canvas.face(box, stage.light.shade((26, 28, 28), FACING_US), SIGN)
        lit = self._lit(stage.time_s)
        for name, color, z in (
            ("red", (255, 46, 30), 0.9),
            ("amber", (255, 180, 40), 0.55),
            ("green", (50, 255, 150), 0.2),
        ):
            bulb = low + SHAPES["disc"][:, :1] * 0.13 * right + _up(SHAPES["disc"][:, 1] * 0.13 + z)
            shown = color if name == lit else [channel * 0.16 for channel in color]
            stage.canvas.paint(bulb, shown)
            if name == lit:
                stage.canvas.glow(low + (0, 0, z), 0.45, [channel * 0.35 for channel in color])

    def _lit(self, time_s: float) -> str:
        moment = (time_s + self.offset) % 20.0
        return "green" if moment < self.green else "amber" if moment < self.green + 2 else "red"

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of post and box."""
        return [_post_shadow(stage, self.s, self.d, 3.4, 0.1)]


@dataclass(frozen=True)
class Fence:
    """A fence along the road; `kind` is railing, boards or wall (a wall counts as building)."""

    start: float
    end: float
    side: int
    distance: float
    height: float
    kind: str
    color: Color
    layer: ClassVar[int] = BORDER

    def reach(self, time_s: float) -> tuple[float, float]:
        """Where it stands along the road."""
        return self.start, self.end

    def draw(self, stage: Stage) -> None:
        """One surface; railings let through what is behind them."""
        near, far = stage.place([self.start, self.end], self.side * self.distance)
        x, y, _ = (far - near) / np.linalg.norm(far - near)
        factor = stage.light.factor(self.side * np.array([y, -x, 0]))
        length = round(self.end - self.start)
        texture = fence_texture(self.kind, self.color, length, tuple(np.round(factor, 2).tolist()))
        up = _up(np.array([self.height]))[0]
        label = BUILDING if self.kind == "wall" else FENCE
        stage.canvas.surface(near + up, far - near, -up, texture, label)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of what is not railings."""
        if self.kind == "railing":
            return []
        base = stage.place([self.start, self.end], self.side * self.distance)
        return [stage.shadow(np.vstack([base, base + (0, 0, self.height)]))]


@lru_cache(maxsize=64)
def fence_texture(kind: str, color: Color, length: int, light: tuple[float, ...]) -> Texture:
    """A fence of a length in metres, in the given light (RGB factors)."""
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
    picture = np.clip(shade[..., None] * np.multiply(color, light), 0, 255).astype(np.uint8)
    if kind != "railing":
        return Texture(picture)
    opacity = np.zeros((height, width), np.uint8)
    opacity[:, 1::5] = opacity[:, 2::5] = 255
    opacity[2:5] = opacity[-8:-5] = 255
    return Texture(picture, opacity, np.full_like(opacity, 255))


def _polygon(corners: int, turn: float) -> FloatArray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False) + turn
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


SHAPES = {
    "disc": _polygon(16, 0.0),
    "triangle": _polygon(3, np.pi / 2),
    "diamond": _polygon(4, 0.0),
    "square": np.array([(-1, -1), (1, -1), (1, 1), (-1, 1.0)]) * 0.85,
    "board": np.array([(-1.6, -0.7), (1.6, -0.7), (1.6, 0.7), (-1.6, 0.7)]),
    "bar": np.array([(-0.7, -0.18), (0.7, -0.18), (0.7, 0.18), (-0.7, 0.18)]),
}
"""Outlines [N, 2] (right, up) of about unit radius."""

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


def _up(z: FloatArray) -> FloatArray:
    """Vectors [N, 3] straight up."""
    return np.stack([np.zeros_like(z), np.zeros_like(z), z], axis=1)


def _post_shadow(stage: Stage, s: float, d: float, height: float, radius: float) -> FloatArray:
    post = [(0, -radius, 0), (0, radius, 0), (0, -radius, height), (0, radius, height)]
    post += [(x, y + 0.0, z) for y, _, z in ((0, 0, 0), (0, 0, height)) for x in (-radius, radius)]
    return stage.shadow(stage.turned(post, s, d))
