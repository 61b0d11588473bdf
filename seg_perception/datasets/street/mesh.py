"""Solid bodies of flat, coloured faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.canvas import Color
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
        self._points = np.concatenate([face.corners for face in faces])
        self._starts = np.cumsum([0, *(len(face.corners) for face in faces[:-1])])
        outward = np.array([face.outward for face in faces], np.float64)
        self._normals = outward / np.linalg.norm(outward, axis=1, keepdims=True)
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
        toward_eye = eye - self._points[self._starts]
        facing = np.einsum("fc,fc->f", toward_eye, self._normals) > 0
        shown = np.flatnonzero(facing & (self._from_pixels <= size))
        outlines = stage.canvas.outlines(body.points(self._points), self._starts.tolist())
        light = stage.light.factor(body.directions(self._normals))
        lit = {
            i: _lit(colors[self._faces[i].part], light[i], self._faces[i].part in shining)
            for i in shown
        }
        if size < FLAT_BELOW:
            seen = [(outline, lit[i]) for i in shown if (outline := outlines[i]) is not None]
            if seen:
                stage.canvas.figure([o for o, _ in seen], [c for _, c in seen], label)
            return
        for i in shown:
            outline = outlines[i]
            if outline is None:
                continue
            if self._faces[i].solid:
                stage.canvas.face(outline, lit[i], label)
            else:
                stage.canvas.paint(outline, lit[i])


def _lit(color: Color, factor: FloatArray, shines: bool) -> Color:
    if shines:
        return color
    r, g, b = color
    return min(r * factor[0], 255.0), min(g * factor[1], 255.0), min(b * factor[2], 255.0)
