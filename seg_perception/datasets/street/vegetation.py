"""Trees, hedges and bushes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.labels import TREE
from seg_perception.datasets.street.noise import noise_patch
from seg_perception.datasets.street.stage import BORDER, Stage, raised
from seg_perception.datasets.street.texture import Texture, to_image

FloatArray = NDArray[np.float64]
Image = NDArray[np.uint8]
Color = tuple[int, int, int]

HEIGHT, WIDTH = 288, 224  # texels of a tree's picture
VARIANTS = 4
SPREAD = {"broad": 0.78, "conifer": 0.45, "bare": 0.75, "bush": 1.2}
"""Kinds of trees, and their width against their height."""

BARK: Color = (84, 72, 60)
UPWARD = (0.0, 0.0, 0.6)


@dataclass(frozen=True)
class Tree:
    """A tree, seen as an upright picture from every side.

    Attributes:
        s, d: where it stands, road coordinates.
        height: metres.
        kind: key of `SPREAD`.
        leaves: colour of its leaves.
        shade: brightness of this tree against others, about 1.
        variant: which of the pictures of its kind, 0 to `VARIANTS` - 1.
        layer: as of `Thing`.
    """

    s: float
    d: float
    height: float
    kind: str
    leaves: Color
    shade: float
    variant: int
    layer: int

    @property
    def width(self) -> float:
        """Of its crown, metres."""
        return self.height * SPREAD[self.kind]

    def reach(self, time_s: float) -> tuple[float, float]:
        """Its trunk's place."""
        return self.s, self.s

    def draw(self, stage: Stage) -> None:
        """A billboard."""
        from_right = stage.light.has_shadows and stage.light.to_sun[1] < 0
        texture = tree_texture(self.kind, self.leaves, self.variant, bool(from_right))
        light = (stage.light.factor(UPWARD) * self.shade).tolist()
        foot = stage.spot(self.s, self.d)
        stage.canvas.billboard(foot, self.width, self.height, texture, TREE, light)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of a round crown and of the trunk."""
        foot, top = stage.spot(self.s, self.d), 0.5 * self.height
        low = 0.0 if self.kind == "bush" else 0.4
        ring = CIRCLE * (0.4 * self.width) + foot
        crown = np.vstack([raised(ring, z * self.height) for z in (low, 0.85)])
        trunk = foot + np.array([(0, -0.15, 0), (0, 0.15, 0), (0, -0.15, top), (0, 0.15, top)])
        return [stage.shadow(crown), stage.shadow(trunk)]


@dataclass(frozen=True)
class Hedge:
    """A clipped hedge along the road.

    Attributes:
        start, end: s in metres.
        side: 1 = left of the road, -1 = right.
        distance: of its front from the middle line, metres.
        height: metres.
        leaves: colour.
    """

    start: float
    end: float
    side: int
    distance: float
    height: float
    leaves: Color
    layer: ClassVar[int] = BORDER

    def reach(self, time_s: float) -> tuple[float, float]:
        """Where it stands along the road."""
        return self.start, self.end

    def draw(self, stage: Stage) -> None:
        """Its near end, then its front."""
        d = self.side * self.distance
        near, far = stage.spot(self.start, d), stage.spot(self.end, d)
        back = stage.spot(self.start, d + 0.7 * self.side)
        top = raised(np.array([back, near]), self.height)
        end = stage.canvas.outline(np.vstack([near, back, top]))
        if end is not None:
            shade = stage.light.shade(np.multiply(self.leaves, 0.7), (-1, 0, 0))
            stage.canvas.face(end, shade, TREE)
        light = stage.light.factor(toward_road(near, far, self.side)).tolist()
        down = np.array([0, 0, -self.height])
        texture = hedge_texture(self.leaves)
        stage.canvas.surface(near - down, far - near, down, texture, TREE, light)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of its front."""
        d = self.side * self.distance
        base = np.array([stage.spot(self.start, d), stage.spot(self.end, d)])
        return [stage.shadow(np.vstack([base, raised(base, self.height)]))]


def toward_road(near: FloatArray, far: FloatArray, side: int) -> FloatArray:
    """Unit vector [3] from an upright surface between two points to the road."""
    x, y, _ = (far - near) / np.linalg.norm(far - near)
    return side * np.array([y, -x, 0.0])


@lru_cache(maxsize=48)
def tree_texture(kind: str, leaves: Color, variant: int, from_right: bool) -> Texture:
    """A tree's picture in white light that comes more from one side."""
    if kind == "bare":
        return _bare(variant)
    shade, opacity = _foliage(kind, variant)
    tilt = np.linspace(-0.15, 0.15, WIDTH) * (1 if from_right else -1)
    lit = shade * (1 + tilt)
    color = to_image(lit[..., None] * np.asarray(leaves, np.float32))
    trunk = (shade == 0) & (opacity > 0)
    color[trunk] = BARK
    color[opacity == 0] = np.multiply(leaves, 0.8)  # what shrinking mixes into the crown's edge
    return Texture(color, opacity)


@lru_cache(maxsize=24)
def _foliage(kind: str, variant: int) -> tuple[NDArray[np.float32], Image]:
    """Brightness of the leaves (0 = trunk or nothing) and opacity of a tree."""
    rng = np.random.default_rng([sorted(SPREAD).index(kind), variant])
    canvas = np.zeros((HEIGHT, WIDTH, 2), np.uint8)  # brightness * 128, opacity
    if kind != "bush":
        _draw_trunk(canvas)
    places, sizes = (
        _conifer_leaves(rng) if kind == "conifer" else _crown_leaves(kind == "bush", rng)
    )
    bright = 1.12 - 0.55 * places[:, 1] + rng.normal(0, 0.16, len(places))
    bright *= np.linspace(0.62, 1.08, len(places))  # the leaves behind lie in the others' shadow
    values = np.clip(bright * 128, 20, 255).astype(int).tolist()
    spots = np.round(places * (WIDTH, HEIGHT)).astype(int).tolist()
    axes = np.maximum(np.round(np.outer(sizes, (WIDTH, 0.55 * WIDTH))), 1).astype(int).tolist()
    angles = rng.uniform(0, 180, len(places)).tolist()
    for spot, axis, angle, value in zip(spots, axes, angles, values, strict=True):
        cv2.ellipse(canvas, spot, axis, angle, 0, 360, (value, 255), cv2.FILLED)
    return np.asarray(canvas[..., 0] / np.float32(128)), canvas[..., 1].copy()


def _crown_leaves(bush: bool, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Places (x, y from the top, 0 to 1) and sizes of leaves in clumps, the back ones first."""
    low, high = (0.25, 0.96) if bush else (0.04, 0.7)
    boughs = rng.uniform(-1, 1, (40, 2))
    boughs = boughs[np.hypot(*boughs.T) < 1] * (0.36, (high - low) / 2 - 0.06)
    count = 2200
    parent = rng.integers(len(boughs), size=count)
    spread = np.linspace(1.2, 0.8, count)[:, None] * (0.055, 0.036)
    places = boughs[parent] + rng.normal(0, 1, (count, 2)) * spread + (0.5, (low + high) / 2)
    return np.clip(places, 0.02, 0.98), rng.uniform(0.007, 0.017, count)


def _conifer_leaves(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Like `_crown_leaves`, in drooping tiers."""
    y = np.sort(rng.beta(1.4, 1.1, 1600))[::-1] * 0.9
    reach = 0.03 + 0.45 * y * (0.78 + 0.22 * np.abs(np.sin(y * 28)))
    x = 0.5 + rng.uniform(-1, 1, len(y)) * reach
    return np.stack([x, y + 0.02], axis=1), rng.uniform(0.006, 0.016, len(y))


def _draw_trunk(canvas: Image) -> None:
    fork = (WIDTH // 2, round(0.72 * HEIGHT))
    for x, y in ((0.5, 0.35), (0.34, 0.42), (0.65, 0.4)):
        cv2.line(canvas, fork, (round(x * WIDTH), round(y * HEIGHT)), (0, 255), 4)
    cv2.line(canvas, (WIDTH // 2, HEIGHT), (WIDTH // 2, round(0.6 * HEIGHT)), (0, 255), 9)


def _bare(variant: int) -> Texture:
    """A tree in winter; its label fills the gaps between the twigs, as annotators do."""
    rng = np.random.default_rng(variant)
    opacity = np.zeros((HEIGHT, WIDTH), np.uint8)
    branches = [(WIDTH / 2, float(HEIGHT), -np.pi / 2, HEIGHT * 0.27, 9.0)]
    for _ in range(8):
        grown = []
        for x, y, angle, length, width in branches:
            end_x, end_y = x + length * np.cos(angle), y + length * np.sin(angle)
            line = [np.array([[x, y], [end_x, end_y]], np.int32)]
            cv2.polylines(opacity, line, False, 255, max(1, round(width)), cv2.LINE_AA)
            for turn in rng.normal((-0.42, 0.42), 0.16).tolist():
                longer = length * rng.uniform(0.66, 0.84)
                grown.append((end_x, end_y, angle + turn, longer, width * 0.62))
        branches = grown
    closed = cv2.morphologyEx(opacity, cv2.MORPH_CLOSE, np.ones((11, 11), np.uint8))
    color = np.broadcast_to(np.array(BARK, np.uint8), (HEIGHT, WIDTH, 3)).copy()
    return Texture(color, opacity, np.asarray(closed, np.uint8))


@lru_cache(maxsize=16)
def hedge_texture(leaves: Color) -> Texture:
    """Dense leaves, darker towards the ground."""
    rng = np.random.default_rng(7)
    speckle = noise_patch(0.2, 64, 256, rng) * 0.16 + noise_patch(0.9, 64, 256, rng) * 0.12
    shade = (1 + speckle) * np.linspace(1.1, 0.6, 64)[:, None]
    return Texture(to_image(shade[..., None] * np.asarray(leaves, np.float32)))


CIRCLE = np.array([(np.cos(a), np.sin(a), 0) for a in np.linspace(0, 2 * np.pi, 10)[:-1]])
"""[9, 3] around the origin, unit radius."""
