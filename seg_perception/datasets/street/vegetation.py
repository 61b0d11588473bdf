"""Trees, hedges and bushes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.canvas import Texture
from seg_perception.datasets.street.labels import TREE
from seg_perception.datasets.street.noise import noise_patch
from seg_perception.datasets.street.stage import BORDER, Stage

FloatArray = NDArray[np.float64]
Image = NDArray[np.uint8]
Color = tuple[int, int, int]

SIZE = (256, 192)
VARIANTS = 5
SPREAD = {"broad": 0.75, "conifer": 0.45, "bare": 0.7, "bush": 1.2}


@dataclass(frozen=True)
class Tree:
    """A tree, seen as an upright picture from every side.

    Attributes:
        s, d: where it stands, road coordinates.
        height: metres.
        kind: key of `SPREAD`.
        leaves: colour of its leaves.
        variant: which of the pictures of its kind.
        layer: as of `Thing`.
    """

    s: float
    d: float
    height: float
    kind: str
    leaves: Color
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
        light = tuple(np.round(stage.light.factor((0, 0, 0.6)), 2).tolist())
        right = np.sign(-stage.light.to_sun[1]) if stage.light.has_shadows else 0
        texture = tree_texture(self.kind, self.leaves, self.variant, int(right), light)
        stage.canvas.billboard(
            stage.place(self.s, self.d)[0], self.width, self.height, texture, TREE
        )

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of a round crown and of the trunk."""
        foot, radius = stage.place(self.s, self.d)[0], self.width / 2
        angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        ring = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(10)]) * radius * 0.8
        low = 0.0 if self.kind == "bush" else 0.35
        crown = np.vstack([foot + ring + (0, 0, z * self.height) for z in (low, 0.85)])
        trunk = foot + np.array(
            [
                [0, -0.15, 0],
                [0, 0.15, 0],
                [0, -0.15, 0.5 * self.height],
                [0, 0.15, 0.5 * self.height],
            ]
        )
        return [stage.shadow(crown), stage.shadow(trunk)]


@dataclass(frozen=True)
class Hedge:
    """A clipped hedge along the road; fields as of `Building`, `distance` from the middle line."""

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
        """Its front and its near end."""
        near, far = stage.place([self.start, self.end], self.side * self.distance)
        back = stage.place(self.start, self.side * (self.distance + 0.7))[0]
        up = np.array([0, 0, self.height])
        factor = stage.light.factor(_toward_road(near, far, self.side))
        texture = hedge_texture(self.leaves, tuple(np.round(factor, 2).tolist()))
        stage.canvas.face(
            [near, back, back + up, near + up],
            stage.light.shade(np.multiply(self.leaves, 0.7), (-1, 0, 0)),
            TREE,
        )
        stage.canvas.surface(near + up, far - near, -up, texture, TREE)

    def shadows(self, stage: Stage) -> list[FloatArray]:
        """Of its front."""
        base = stage.place([self.start, self.end], self.side * self.distance)
        return [stage.shadow(np.vstack([base, base + (0, 0, self.height)]))]


def _toward_road(near: FloatArray, far: FloatArray, side: int) -> FloatArray:
    x, y, _ = (far - near) / np.linalg.norm(far - near)
    return side * np.array([y, -x, 0])


@lru_cache(maxsize=96)
def tree_texture(
    kind: str, leaves: Color, variant: int, sun_right: int, light: tuple[float, ...]
) -> Texture:
    """A tree's picture in the given light (RGB factors); `sun_right` 1 = lit from the right."""
    rng = np.random.default_rng([sorted(SPREAD).index(kind), variant])
    if kind == "bare":
        return _bare(rng, light)
    picture = np.zeros((*SIZE, 3), np.uint8)
    opacity = np.zeros(SIZE, np.uint8)
    if kind != "bush":
        _trunk(picture, opacity, light)
    centers, radii = _clumps(kind, rng)
    for center, radius in zip(centers, radii, strict=True):
        lit = (
            0.62
            + 0.5 * (1 - center[1])
            + 0.22 * sun_right * (center[0] - 0.5)
            + rng.normal(0, 0.09)
        )
        color = np.clip(np.multiply(leaves, light) * lit, 0, 255).tolist()
        spot = (round(center[0] * SIZE[1]), round(center[1] * SIZE[0]))
        axes = (max(1, round(radius * SIZE[1])), max(1, round(0.7 * radius * SIZE[1])))
        angle = rng.uniform(0, 180)
        for target, value in ((picture, color), (opacity, (255,))):
            cv2.ellipse(target, spot, axes, angle, 0, 360, value, cv2.FILLED)
    return Texture(_without_fringe(picture, opacity), opacity)


def _clumps(kind: str, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Leaves' places (x, y from the top, 0 to 1) and radii, the back ones first."""
    if kind == "conifer":
        y = np.sort(rng.beta(1.4, 1.1, 900))[::-1] * 0.88
        x = 0.5 + rng.uniform(-1, 1, 900) * (0.04 + 0.44 * y * (0.8 + 0.2 * np.sin(y * 60)))
        return np.stack([x, y + 0.02], axis=1), rng.uniform(0.008, 0.022, 900)
    low, high = (0.25, 0.95) if kind == "bush" else (0.05, 0.68)
    boughs = rng.uniform(-1, 1, (26, 2))
    boughs = boughs[np.hypot(*boughs.T) < 1] * (0.34, (high - low) / 2 - 0.07)
    parent = rng.integers(len(boughs), size=1500)
    offset = rng.normal(0, 1, (1500, 2)) * (0.055, 0.038)
    depth = np.sort(rng.uniform(0, 1, 1500))[:, None]
    places = boughs[parent] + offset * (1.25 - 0.35 * depth) + (0.5, (low + high) / 2)
    return np.clip(places, 0.02, 0.98), rng.uniform(0.008, 0.024, 1500)


def _trunk(picture: Image, opacity: Image, light: tuple[float, ...]) -> None:
    height, width = SIZE
    color = np.clip(np.multiply((86, 72, 58), light), 0, 255).tolist()
    for target, value in ((picture, color), (opacity, (255,))):
        for top_x, top_y in ((0.5, 0.4), (0.36, 0.42), (0.63, 0.4)):
            top = (round(top_x * width), round(top_y * height))
            cv2.line(target, (width // 2, round(0.72 * height)), top, value, 4, cv2.LINE_AA)
        cv2.line(
            target, (width // 2, height), (width // 2, round(0.6 * height)), value, 9, cv2.LINE_AA
        )


def _bare(rng: np.random.Generator, light: tuple[float, ...]) -> Texture:
    """A tree in winter: branches that fork six times; its label fills the gaps between twigs."""
    height, width = SIZE
    opacity = np.zeros(SIZE, np.uint8)
    branches = [(width / 2, float(height), -np.pi / 2, height * 0.3, 9.0)]
    for _ in range(7):
        grown = []
        for x, y, angle, length, thickness in branches:
            end = (x + length * np.cos(angle), y + length * np.sin(angle))
            line = np.round([[x, y], end]).astype(int)
            cv2.line(
                opacity,
                line[0].tolist(),
                line[1].tolist(),
                (255,),
                max(1, round(thickness)),
                cv2.LINE_AA,
            )
            for turn in rng.normal((-0.42, 0.42), 0.16):
                grown.append(
                    (*end, angle + turn, length * rng.uniform(0.66, 0.84), thickness * 0.62)
                )
        branches = grown
    color = np.clip(np.multiply((82, 74, 66), light), 0, 255).astype(np.uint8)
    extent = cv2.morphologyEx(opacity, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    return Texture(np.broadcast_to(color, (*SIZE, 3)).copy(), opacity, np.asarray(extent))


@lru_cache(maxsize=32)
def hedge_texture(leaves: Color, light: tuple[float, ...]) -> Texture:
    """Dense leaves, darker towards the ground."""
    rng = np.random.default_rng(7)
    speckle = noise_patch(0.2, 64, 512, rng) * 0.16 + noise_patch(0.9, 64, 512, rng) * 0.12
    shade = (1 + speckle) * np.linspace(1.1, 0.6, 64)[:, None]
    color = shade[..., None] * np.multiply(leaves, light)
    return Texture(np.clip(color, 0, 255).astype(np.uint8))


def _without_fringe(picture: Image, opacity: Image) -> Image:
    """Give the transparent part the crown's mean colour, which is what shrinking mixes in."""
    inside = opacity > 0
    picture[~inside] = picture[inside].mean(axis=0)
    return picture
