"""Flat shapes on the ground, in road coordinates: markings, repairs, manholes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.canvas import Image, fill, starts_of
from seg_perception.datasets.street.road import Section
from seg_perception.datasets.street.stage import Stage

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mark:
    """A polygon on the ground.

    Attributes:
        s, d: [N] its corners in road coordinates, metres.
        value: of paint its strength, of a stain its brightness (128 = as the ground), 0 to 255.
    """

    s: FloatArray
    d: FloatArray
    value: int = 255

    @property
    def span(self) -> tuple[float, float]:
        """From and to which s it extends."""
        return float(self.s.min()), float(self.s.max())


def stripe(s: float, d: float, length: float, width: float, value: int = 255) -> Mark:
    """A rectangle along the road; s, d its middle. Long ones bend with the road."""
    steps = np.linspace(-length / 2, length / 2, max(2, int(length / 4)))
    along = s + np.concatenate([steps, steps[::-1]])
    side = np.repeat([width / 2, -width / 2], len(steps))
    return Mark(along, d + side, value)


def disc(s: float, d: float, radius: float, value: int) -> Mark:
    """A circle, such as a manhole cover."""
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    return Mark(s + radius * np.cos(angle), d + radius * np.sin(angle), value)


def arrow(s: float, d: float, direction: int) -> Mark:
    """A straight-ahead arrow 4 m long; `direction` 1 points along s."""
    along = np.array([-2, 0.4, 0.4, 2, 0.4, 0.4, -2])
    aside = np.array([0.08, 0.08, 0.35, 0, -0.35, -0.08, -0.08])
    return Mark(s + direction * along, d + aside)


def dashes(start: float, end: float, d: float, dash: float, gap: float, width: float) -> list[Mark]:
    """A broken line."""
    return [stripe(s, d, dash, width) for s in np.arange(start, end, dash + gap).tolist()]


def solid(start: float, end: float, d: float, width: float) -> list[Mark]:
    """An unbroken line, in pieces so that what is out of sight costs nothing."""
    piece = 20.0
    starts = np.arange(start, end, piece).tolist()
    return [stripe(s + piece / 2, d, piece, width) for s in starts]


def zebra(s: float, section: Section, length: float) -> list[Mark]:
    """A zebra crossing over the whole road."""
    right, left = -section.edge(-1), section.edge(1)
    return [stripe(s, d, length, 0.5) for d in np.arange(right + 0.5, left - 0.3, 1.0).tolist()]


def crack(s: float, d: float, length: float, rng: np.random.Generator) -> Mark:
    """A tar-filled crack that wanders along the road."""
    steps = np.linspace(0, length, 12)
    wander = d + np.cumsum(rng.normal(0, 0.12, 12))
    return Mark(
        s + np.concatenate([steps, steps[::-1]]),
        np.concatenate([wander + 0.03, wander[::-1] - 0.03]),
        int(rng.integers(84, 104)),
    )


def draw_marks(mask: Image, marks: Sequence[Mark], stage: Stage) -> None:
    """Fill marks with their values, in order, on a mask uint8 [H, W]."""
    if not marks:
        return
    s, d = (np.concatenate([getattr(mark, axis) for mark in marks]) for axis in "sd")
    starts = starts_of([mark.s for mark in marks])
    points = stage.road.in_vehicle(s, d, stage.ego)
    for mark, outline in zip(marks, stage.canvas.outlines(points, starts), strict=True):
        if outline is not None:
            fill(mask, outline, (mark.value,))
