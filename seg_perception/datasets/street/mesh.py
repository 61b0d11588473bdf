"""Solid bodies of flat, coloured faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.canvas import Color, Outline, starts_of
from seg_perception.datasets.street.stage import Body, Stage

FloatArray = NDArray[np.float64]

FLAT_BELOW = 40.0
"""Seen smaller than this many pixels, a body is flat."""


class Face(NamedTuple):
    """One side of a body.

    Attributes:
        corners: [N, 3] (forward, left, up) metres.
        outward: [3] direction it faces.
        part: what gives it its colour.
        solid: whether it is part of the shell; else it is paint on the shell.
        from_pixels: how large the body must be seen for this face to be drawn.
    """

    corners: FloatArray
    outward: FloatArray
    part: str
    solid: bool = True
    from_pixels: float = 0.0


class Mesh:
    """Faces in the order in which they are drawn; the shell must be about convex.

    Attributes:
        length: of the body in metres.
    """

    def __init__(self, faces: Sequence[Face], length: float) -> None:
        self._faces = tuple(faces)
        self.length = length
        first_corners = np.array([face.corners[0] for face in faces])
        outward = np.array([face.outward for face in faces], np.float64)
        self._normals = outward / np.linalg.norm(outward, axis=1, keepdims=True)
        self._offsets = np.einsum("fc,fc->f", self._normals, first_corners)
        self._from_pixels = np.array([face.from_pixels for face in faces])

    def draw(
        self,
        stage: Stage,
        body: Body,
        colors: Mapping[str, Color],
        shining: frozenset[str],
        label: int,
    ) -> None:
        """Draw the faces that look at the camera.

        Args:
            stage: to draw on.
            body: where it stands.
            colors: RGB, 0 to 255, by part.
            shining: parts that give light and so need none.
            label: of the body.
        """
        size = self.length * stage.pixels_per_metre(body)
        eye = body.eye(stage.canvas.camera.height_m)
        facing = self._normals @ eye > self._offsets
        shown = np.flatnonzero(facing & (self._from_pixels <= size)).tolist()
        faces = [self._faces[i] for i in shown]
        corners = [face.corners for face in faces]
        points = body.points(np.concatenate(corners))
        outlines = stage.canvas.outlines(points, starts_of(corners))
        light = stage.light.factor(body.directions(self._normals[shown])).tolist()
        seen = []
        for face, factor, outline in zip(faces, light, outlines, strict=True):
            if outline is not None:
                color = colors[face.part]
                lit = color if face.part in shining else _lit(color, factor)
                seen.append((outline, lit, face.solid))
        _draw(stage, seen, size < FLAT_BELOW, label)


def _draw(
    stage: Stage, seen: Sequence[tuple[Outline, Color, bool]], flat: bool, label: int
) -> None:
    if flat and seen:
        stage.canvas.figure([outline for outline, _, _ in seen], [c for _, c, _ in seen], label)
        return
    for outline, color, solid in seen:
        if solid:
            stage.canvas.face(outline, color, label)
        else:
            stage.canvas.paint(outline, color)


def _lit(color: Color, factor: Sequence[float]) -> Color:
    return [min(channel * part, 255.0) for channel, part in zip(color, factor, strict=True)]
