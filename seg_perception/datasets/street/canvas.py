"""A canvas of picture, labels and depth, painted from far to near.

What takes part in the labels is written to all three through one mask, so that they agree in every
pixel. Points are in the vehicle frame of `Camera`, metres; colours are RGB, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_perception.classes import VOID
from seg_perception.datasets.sample import Camera
from seg_perception.datasets.street.texture import Texture

FloatArray = NDArray[np.float64]
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Color = Sequence[float]

NEAR = 0.5
SUBPIXEL_BITS = 4
FARTHEST_PIXEL = 16000.0
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def window(self) -> tuple[slice, slice]:
        """To index an image with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.right - self.left, self.bottom - self.top


@dataclass(frozen=True, eq=False)
class Outline:
    """A polygon or line as the camera sees it, what lies behind the camera cut off.

    Attributes:
        optical: float64 [N, 3] metres, optical frame.
        pixels: int32 [N, 2] (column, row) in sixteenths of pixels.
        box: the pixels that it may touch.
    """

    optical: FloatArray
    pixels: NDArray[np.int32]
    box: Box


class Canvas:
    """The three maps of one frame.

    Attributes:
        camera: through which it is seen.
        image: uint8 [H, W, 3].
        labels: uint8 [H, W].
        depth: float32 [H, W] metres along the optical axis, inf = sky.
        ray_x, ray_y: float32 [W], [H], the slopes of the pixels' rays.
    """

    def __init__(self, camera: Camera) -> None:
        shape = (camera.height, camera.width)
        self.camera = camera
        self.image = np.zeros((*shape, 3), np.uint8)
        self.labels = np.full(shape, VOID, np.uint8)
        self.depth = np.full(shape, np.inf, np.float32)
        self.ray_x = ((np.arange(camera.width) - camera.cx) / camera.fx).astype(np.float32)
        self.ray_y = ((np.arange(camera.height) - camera.cy) / camera.fy).astype(np.float32)
        self._scratch = np.zeros(shape, np.uint8)
        self._scale = np.array([camera.fx, camera.fy])
        self._center = np.array([camera.cx, camera.cy])
        axes = camera.to_optical(np.vstack([np.zeros(3), np.eye(3)]))
        self._rotation, self._origin = axes[1:] - axes[0], axes[0]

    # What is seen --------------------------------------------------------------------------------

    def to_optical(self, points: FloatArray) -> FloatArray:
        """`Camera.to_optical` of points [..., 3], with the rotation worked out once."""
        return np.asarray(points @ self._rotation + self._origin)

    def outlines(self, points: FloatArray, starts: Sequence[int]) -> list[Outline | None]:
        """Project polygons.

        Args:
            points: [N, 3] corners of all polygons, one after the other.
            starts: where in `points` each polygon begins.

        Returns:
            their outlines, None for what is out of the picture.
        """
        optical = self.to_optical(points)
        nearest = np.minimum.reduceat(optical[:, 2], starts).tolist()
        pixels = self._to_pixels(optical)
        low = np.minimum.reduceat(pixels, starts).tolist()
        high = np.maximum.reduceat(pixels, starts).tolist()
        fixed = _fixed_point(pixels)
        seen: list[Outline | None] = []
        for i, (start, stop) in enumerate(pairwise([*starts, len(optical)])):
            if nearest[i] < NEAR:
                seen.append(self._cut(optical[start:stop]))
                continue
            box = self._box(low[i], high[i])
            whole = slice(start, stop)
            seen.append(None if box is None else Outline(optical[whole], fixed[whole], box))
        return seen

    def outline(self, points: FloatArray) -> Outline | None:
        """Project one polygon [N, 3]."""
        return self.outlines(points, [0])[0]

    def _cut(self, optical: FloatArray) -> Outline | None:
        """Outline of a polygon that reaches behind the camera."""
        kept = _clip_near(optical)
        if len(kept) < 3:
            return None
        pixels = self._to_pixels(kept)
        box = self._box(pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist())
        return None if box is None else Outline(kept, _fixed_point(pixels), box)

    def _to_pixels(self, optical: FloatArray) -> FloatArray:
        depth = np.maximum(optical[:, 2:], 1e-3)
        return np.asarray(optical[:, :2] / depth * self._scale + self._center)

    def _box(self, low: Sequence[float], high: Sequence[float], margin: int = 1) -> Box | None:
        left, top = max(0.0, low[0] - margin), max(0.0, low[1] - margin)
        right = min(self.camera.width, high[0] + margin + 2)
        bottom = min(self.camera.height, high[1] + margin + 2)
        if left >= right or top >= bottom:
            return None
        box = Box(int(left), int(top), int(right), int(bottom))
        return box if box.right > box.left and box.bottom > box.top else None

    def _between(self, low: FloatArray, high: FloatArray) -> Box | None:
        """The pixels whose middles lie in a rectangle."""
        left, top = (max(0, ceil(edge)) for edge in low.tolist())
        right = min(self.camera.width, floor(high[0]) + 1)
        bottom = min(self.camera.height, floor(high[1]) + 1)
        return Box(left, top, right, bottom) if left < right and top < bottom else None

    # What is drawn -------------------------------------------------------------------------------

    def paint(self, outline: Outline, color: Color) -> None:
        """Colour a polygon on a surface that is there already."""
        fill(self.image, outline, color)

    def face(self, outline: Outline, color: Color, label: int) -> None:
        """Draw a flat polygon in one colour."""
        fill(self.image, outline, color)
        fill(self._scratch, outline, (255,))
        self._stamp(outline.box, label, self._plane_depth(outline))

    def figure(self, outlines: Sequence[Outline], colors: Sequence[Color], label: int) -> None:
        """Draw polygons of one thing so far away that it is flat, at the depth of the first."""
        for outline, color in zip(outlines, colors, strict=True):
            fill(self.image, outline, color)
            fill(self._scratch, outline, (255,))
        depth = float(outlines[0].optical[:, 2].mean())
        self._stamp(_around(outlines), label, depth)

    def rods(
        self,
        points: ArrayLike,
        starts: Sequence[int],
        diameters: Sequence[float],
        colors: Sequence[Color],
        label: int,
    ) -> None:
        """Draw the round rods of one thing, which is small against its distance.

        Args:
            points: [N, 3] joints of all rods, one rod after the other.
            starts: where in `points` each rod begins.
            diameters: of each rod, metres.
            colors: of each rod.
            label: of the thing.
        """
        optical = self.to_optical(np.asarray(points, np.float64))
        if optical[:, 2].min() < NEAR:
            return
        pixels, depth = self._to_pixels(optical), float(optical[:, 2].mean())
        widths = [max(1, round(self.camera.fx * diameter / depth)) for diameter in diameters]
        low, high = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
        box = self._box(low, high, margin=max(widths))
        if box is None:
            return
        fixed = _fixed_point(pixels)
        ends = pairwise([*starts, len(fixed)])
        for (start, stop), width, color in zip(ends, widths, colors, strict=True):
            line = [fixed[start:stop]]
            cv2.polylines(self.image, line, False, color, width, cv2.LINE_AA, SUBPIXEL_BITS)
            cv2.polylines(self._scratch, line, False, 255, width, cv2.LINE_AA, SUBPIXEL_BITS)
        self._stamp(box, label, depth)

    def rod(self, points: ArrayLike, diameter: float, color: Color, label: int) -> None:
        """Draw one round rod along points [N, 3]."""
        self.rods(points, [0], [diameter], [color], label)

    def surface(
        self,
        corner: FloatArray,
        across: FloatArray,
        down: FloatArray,
        texture: Texture,
        label: int,
        tint: Color = WHITE,
    ) -> None:
        """Draw a textured parallelogram.

        Args:
            corner: [3] where the texture's top left corner lies.
            across: [3] from there to its top right corner.
            down: [3] from there to its bottom left corner.
            texture: its picture.
            label: of what it shows.
            tint: RGB factors on the picture.
        """
        end = corner + across
        corners = np.stack([corner, end, end + down, corner + down])
        outline = self.outline(corners)
        if outline is None:
            return
        extent = np.ptp(outline.pixels, axis=0) / 2**SUBPIXEL_BITS
        texture = texture.reduced(1.1 * extent[0], 1.1 * extent[1]).tinted(tint)
        start, right, _, below = self.to_optical(corners)
        h, w = texture.color.shape[:2]
        right, below = (right - start) / w, (below - start) / h
        texels_to_optical = np.stack([right, below, start + right / 2 + below / 2], axis=1)
        fill(self._scratch, outline, (255,))
        self._overlay(outline.box, self._intrinsics() @ texels_to_optical, texture)
        self._stamp(outline.box, label, self._plane_depth(outline))

    def billboard(
        self,
        foot: FloatArray,
        width: float,
        height: float,
        texture: Texture,
        label: int,
        tint: Color = WHITE,
    ) -> None:
        """Draw an upright picture that faces the camera; `foot` [3] is the middle of its base."""
        x, y, depth = self.to_optical(foot)
        if depth < 2 * NEAR:
            return
        corners = np.array([[x - width / 2, y - height, depth], [x + width / 2, y, depth]])
        start, end = self._to_pixels(corners)
        box = self._between(start, end)
        if box is None:
            return
        texture = texture.reduced(*(end - start)).tinted(tint)
        h, w = texture.color.shape[:2]
        scale_x, scale_y = (end - start) / (w, h)
        to_pixels = np.array(
            [[scale_x, 0, start[0] + scale_x / 2], [0, scale_y, start[1] + scale_y / 2], [0, 0, 1]]
        )
        self._scratch[box.window] = 255
        self._overlay(box, to_pixels, texture)
        self._stamp(box, label, float(depth))

    def glow(self, point: FloatArray, radius: float, color: Color) -> None:
        """Add the halo of a lamp at `point` [3]; `radius` in metres."""
        optical = self.to_optical(point)[None]
        depth = float(optical[0, 2])
        if depth < 2 * NEAR:
            return
        reach = float(np.clip(self.camera.fx * radius / depth, 1.5, self.camera.width / 4))
        center = self._to_pixels(optical)[0].tolist()
        box = self._box(center, center, margin=int(reach) + 1)
        if box is None:
            return
        columns = np.arange(box.left, box.right) - center[0]
        rows = np.arange(box.top, box.bottom) - center[1]
        distance = np.hypot(rows[:, None], columns) / reach
        halo = np.clip(1 - distance, 0, 1)[..., None] ** 2 * np.asarray(color)
        window = self.image[box.window]
        window[:] = np.minimum(window + halo, 255).astype(np.uint8)

    # How it is written ---------------------------------------------------------------------------

    def _intrinsics(self) -> FloatArray:
        camera = self.camera
        return np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])

    def _plane_depth(self, outline: Outline) -> NDArray[np.float32] | float:
        """Depth of a polygon's plane in the pixels of its box, within the polygon's own range."""
        polygon, box = outline.optical, outline.box
        nearest, farthest = float(polygon[:, 2].min()), float(polygon[:, 2].max())
        if farthest - nearest < 0.02:
            return (nearest + farthest) / 2
        a, b, c, offset = _plane(polygon.tolist())
        if abs(offset) < 1e-9:
            return (nearest + farthest) / 2
        row = np.float32(b / offset) * self.ray_y[box.top : box.bottom] + np.float32(c / offset)
        column = np.float32(a / offset) * self.ray_x[box.left : box.right]
        inverse = row[:, None] + column
        np.clip(inverse, 1 / farthest, 1 / nearest, out=inverse)
        return np.reciprocal(inverse, out=inverse)

    def _overlay(self, box: Box, to_pixels: FloatArray, texture: Texture) -> None:
        """Paint a texture within the scratch mask, and reduce the mask to the texture's extent."""
        size = box.size
        matrix = np.array([[1, 0, -box.left], [0, 1, -box.top], [0, 0, 1]]) @ to_pixels
        covered, window = self._scratch[box.window], self.image[box.window]
        seen = texture.warped(matrix, size)
        if seen.opacity is None:
            cv2.copyTo(seen.color, (covered >= 128).view(np.uint8), window)
            return
        weight = cv2.multiply(seen.opacity, covered, scale=1 / 255**2, dtype=cv2.CV_32F)
        window[:] = cv2.blendLinear(seen.color, window.copy(), weight, 1 - weight)
        extent = seen.opacity if seen.extent is None else seen.extent
        np.minimum(covered, extent, out=covered)

    def _stamp(self, box: Box, label: int, depth: NDArray[np.float32] | float) -> None:
        """Write label and depth where the scratch mask covers half a pixel or more; wipe it."""
        covered = self._scratch[box.window]
        mask = covered >= 128
        np.copyto(self.labels[box.window], np.uint8(label), where=mask)
        np.copyto(self.depth[box.window], depth, where=mask, casting="same_kind")
        covered[:] = 0


def starts_of(pieces: Sequence[Sized]) -> list[int]:
    """Where each piece begins once they are all joined."""
    return list(accumulate((len(piece) for piece in pieces[:-1]), initial=0))


def fill(image: Image, outline: Outline, color: Color) -> None:
    """Fill a polygon with soft edges on an image of the canvas's size, uint8 [H, W(, 3)]."""
    cv2.fillPoly(image, [outline.pixels], color, cv2.LINE_AA, SUBPIXEL_BITS)


def _plane(polygon: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """Plane a x + b y + c z = offset through a polygon (Newell's method)."""
    a = b = c = 0.0
    before = polygon[-1]
    for corner in polygon:
        a += before[1] * corner[2] - before[2] * corner[1]
        b += before[2] * corner[0] - before[0] * corner[2]
        c += before[0] * corner[1] - before[1] * corner[0]
        before = corner
    offset = sum(a * x + b * y + c * z for x, y, z in polygon) / len(polygon)
    return a, b, c, offset


def _around(outlines: Sequence[Outline]) -> Box:
    boxes = [outline.box for outline in outlines]
    return Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )


def _clip_near(optical: FloatArray) -> FloatArray:
    """Cut a polygon [N, 3] at the plane `NEAR` in front of the camera (Sutherland and Hodgman)."""
    inside = optical[:, 2] >= NEAR
    kept: list[FloatArray] = []
    for i, point in enumerate(optical):
        before = optical[i - 1]
        if inside[i] != inside[i - 1]:
            part = (NEAR - before[2]) / (point[2] - before[2])
            kept.append(before + part * (point - before))
        if inside[i]:
            kept.append(point)
    return np.array(kept).reshape(-1, 3)


def _fixed_point(pixels: FloatArray) -> NDArray[np.int32]:
    """As OpenCV takes parts of pixels."""
    near = np.minimum(np.maximum(pixels, -FARTHEST_PIXEL), FARTHEST_PIXEL)
    fixed: NDArray[np.int32] = np.rint(near * 2**SUBPIXEL_BITS).astype(np.int32)
    return fixed
