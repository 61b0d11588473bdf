"""A canvas of picture, labels and depth, painted from far to near.

What takes part in the labels is written to all three through one mask, so that they agree in every
pixel. Points are in the vehicle frame of `Camera`, metres; colours are RGB, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_perception.classes import VOID
from seg_perception.datasets.sample import Camera

FloatArray = NDArray[np.float64]
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Color = Sequence[float]

NEAR = 0.5
SUBPIXEL_BITS = 4
FARTHEST_PIXEL = 16000.0


@dataclass(frozen=True, eq=False)
class Texture:
    """A picture on a surface.

    Attributes:
        color: uint8 [h, w, 3].
        opacity: uint8 [h, w], how much of it covers what is behind; None = all.
        extent: uint8 [h, w], what of it is labelled (the gaps of a fence too); None = `opacity`.
    """

    color: Image
    opacity: Image | None = None
    extent: Image | None = None

    def resized(self, width: float, height: float) -> Texture:
        """Averaged down to about this many texels, never up."""
        h, w = self.color.shape[:2]
        size = (int(np.clip(width, 1, w)), int(np.clip(height, 1, h)))
        if size == (w, h):
            return self
        return self._each(lambda m: cv2.resize(m, size, interpolation=cv2.INTER_AREA))

    def warped(self, to_pixels: FloatArray, box: Box) -> Texture:
        """Seen through the homography [3, 3] from texels to the canvas's pixels, within the box."""
        matrix = np.array([[1, 0, -box.left], [0, 1, -box.top], [0, 0, 1]]) @ to_pixels
        size = (box.width, box.height)
        border = cv2.BORDER_REPLICATE
        return self._each(lambda m: cv2.warpPerspective(m, matrix, size, borderMode=border))

    def _each(self, change: Callable[[Image], Any]) -> Texture:
        opacity = None if self.opacity is None else change(self.opacity)
        extent = None if self.extent is None else change(self.extent)
        return Texture(change(self.color), opacity, extent)


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    @property
    def window(self) -> tuple[slice, slice]:
        """To index an image with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


class Canvas:
    """The three maps of one frame.

    Attributes:
        camera: through which it is seen.
        image: uint8 [H, W, 3].
        labels: uint8 [H, W].
        depth: float32 [H, W] metres along the optical axis, inf = sky.
    """

    def __init__(self, camera: Camera) -> None:
        shape = (camera.height, camera.width)
        self.camera = camera
        self.image = np.zeros((*shape, 3), np.uint8)
        self.labels = np.full(shape, VOID, np.uint8)
        self.depth = np.full(shape, np.inf, np.float32)
        self.ray_x = ((np.arange(camera.width) - camera.cx) / camera.fx).astype(np.float32)
        self.ray_y = ((np.arange(camera.height) - camera.cy) / camera.fy).astype(np.float32)

    def outline(self, points: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Pixels [M, 2] and optical points [M, 3] of a polygon, what lies behind us cut off."""
        optical = _clip_near(self.camera.to_optical(np.asarray(points, np.float64)))
        return self._to_pixels(optical), optical

    def paint(self, points: ArrayLike, color: Color) -> None:
        """Colour a polygon on a surface that is there already."""
        pixels, _ = self.outline(points)
        if self._box(pixels) is not None:
            fill(self.image, pixels, color)

    def face(self, points: ArrayLike, color: Color, label: int) -> None:
        """Draw a flat polygon in one colour."""
        pixels, optical = self.outline(points)
        box = self._box(pixels)
        if box is not None:
            fill(self.image, pixels, color)
            self._stamp(box, _mask(pixels, box), label, self._plane_depth(optical, box))

    def rod(self, points: ArrayLike, diameter: float, color: Color, label: int) -> None:
        """Draw a round rod along points [N, 3] that are all about equally far away."""
        optical = self.camera.to_optical(np.asarray(points, np.float64))
        if optical[:, 2].min() < NEAR:
            return
        pixels, depth = self._to_pixels(optical), float(optical[:, 2].mean())
        thickness = max(1, round(self.camera.fx * diameter / depth))
        box = self._box(pixels, margin=thickness)
        if box is None:
            return
        mask = np.zeros((box.height, box.width), np.uint8)
        for target, origin, value in (
            (self.image, (0, 0), color),
            (mask, (box.left, box.top), 255),
        ):
            line = [_fixed_point(pixels - origin)]
            cv2.polylines(target, line, False, value, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        self._stamp(box, mask >= 128, label, depth)

    def surface(
        self, corner: ArrayLike, across: ArrayLike, down: ArrayLike, texture: Texture, label: int
    ) -> None:
        """Draw a textured parallelogram.

        Args:
            corner: [3] where the texture's top left corner lies.
            across: [3] from there to its top right corner.
            down: [3] from there to its bottom left corner.
            texture: its picture.
            label: of what it shows.
        """
        a, b, c = (np.asarray(vector, np.float64) for vector in (corner, across, down))
        pixels, optical = self.outline([a, a + b, a + b + c, a + c])
        box = self._box(pixels)
        if box is None:
            return
        texture = texture.resized(*(1.6 * np.ptp(pixels, axis=0)))
        start, right, below = self.camera.to_optical(np.stack([a, a + b, a + c]))
        h, w = texture.color.shape[:2]
        right, below = (right - start) / w, (below - start) / h
        texels_to_optical = np.stack([right, below, start + right / 2 + below / 2], axis=1)
        warped = texture.warped(self._intrinsics() @ texels_to_optical, box)
        self._overlay(box, _mask(pixels, box), warped, label, self._plane_depth(optical, box))

    def billboard(
        self, foot: ArrayLike, width: float, height: float, texture: Texture, label: int
    ) -> None:
        """Draw an upright picture that faces the camera; `foot` [3] is the middle of its base."""
        x, y, depth = self.camera.to_optical(np.asarray(foot, np.float64)[None])[0]
        if depth < 2 * NEAR:
            return
        corners = np.array([[x - width / 2, y - height, depth], [x + width / 2, y, depth]])
        pixels = self._to_pixels(corners)
        box = self._box(pixels)
        if box is None:
            return
        (left, top), size = pixels[0], pixels[1] - pixels[0]
        texture = texture.resized(*np.ceil(size))
        scale = size / texture.color.shape[1::-1]
        to_pixels = np.array(
            [[scale[0], 0, left + scale[0] / 2], [0, scale[1], top + scale[1] / 2], [0, 0, 1]]
        )
        everywhere = np.ones((box.height, box.width), bool)
        self._overlay(box, everywhere, texture.warped(to_pixels, box), label, float(depth))

    def glow(self, point: ArrayLike, radius: float, color: Color) -> None:
        """Add the halo of a lamp at `point` [3]; `radius` in metres."""
        x, y, depth = self.camera.to_optical(np.asarray(point, np.float64)[None])[0]
        if depth < 2 * NEAR:
            return
        reach = float(np.clip(self.camera.fx * radius / depth, 1.5, self.camera.width / 4))
        center = self._to_pixels(np.array([[x, y, depth]]))
        box = self._box(center, margin=int(reach) + 1)
        if box is None or depth > 1.05 * self._depth_at(center[0]):
            return
        columns = np.arange(box.left, box.right) - center[0, 0]
        rows = np.arange(box.top, box.bottom) - center[0, 1]
        distance = np.hypot(rows[:, None], columns) / reach
        halo = np.clip(1 - distance, 0, 1)[..., None] ** 2 * np.asarray(color)
        window = self.image[box.window]
        window[:] = np.minimum(window + halo, 255).astype(np.uint8)

    def _to_pixels(self, optical: FloatArray) -> FloatArray:
        camera = self.camera
        scaled = optical[:, :2] / optical[:, 2:] * (camera.fx, camera.fy)
        return np.asarray(scaled + (camera.cx, camera.cy))

    def _intrinsics(self) -> FloatArray:
        camera = self.camera
        return np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])

    def _depth_at(self, pixel: FloatArray) -> float:
        column = int(np.clip(pixel[0], 0, self.camera.width - 1))
        row = int(np.clip(pixel[1], 0, self.camera.height - 1))
        return float(self.depth[row, column])

    def _box(self, pixels: FloatArray, margin: int = 1) -> Box | None:
        """The canvas's pixels that a polygon may touch."""
        if len(pixels) == 0:
            return None
        left, top = np.maximum(np.floor(pixels.min(axis=0)) - margin, 0)
        right, bottom = np.ceil(pixels.max(axis=0)) + margin + 1
        right, bottom = min(right, self.camera.width), min(bottom, self.camera.height)
        if left >= right or top >= bottom:
            return None
        return Box(int(left), int(top), int(right), int(bottom))

    def _plane_depth(self, polygon: FloatArray, box: Box) -> NDArray[np.float32] | float:
        """Depth of the polygon's plane in the pixels of the box, within the polygon's own range."""
        nearest, farthest = polygon[:, 2].min(), polygon[:, 2].max()
        normal = np.cross(polygon, np.roll(polygon, -1, axis=0)).sum(axis=0)  # Newell
        offset = normal @ polygon.mean(axis=0)
        if abs(offset) < 1e-9 or farthest - nearest < 0.02:
            return float((nearest + farthest) / 2)
        a, b, c = (normal / offset).astype(np.float32)
        inverse = (b * self.ray_y[box.top : box.bottom] + c)[:, None] + (
            a * self.ray_x[box.left : box.right]
        )
        return np.asarray(1 / np.clip(inverse, 1 / farthest, 1 / nearest), np.float32)

    def _stamp(self, box: Box, mask: Mask, label: int, depth: NDArray[np.float32] | float) -> None:
        np.copyto(self.labels[box.window], np.uint8(label), where=mask)
        np.copyto(self.depth[box.window], depth, where=mask, casting="same_kind")

    def _overlay(
        self,
        box: Box,
        mask: Mask,
        texture: Texture,
        label: int,
        depth: NDArray[np.float32] | float,
    ) -> None:
        window = self.image[box.window]
        if texture.opacity is None:
            np.copyto(window, texture.color, where=mask[..., None])
        else:
            weight = texture.opacity.astype(np.float32) * (mask / np.float32(255))
            window[:] = cv2.blendLinear(texture.color, window.copy(), weight, 1 - weight)
        extent = texture.opacity if texture.extent is None else texture.extent
        labelled = mask if extent is None else mask & (extent >= 128)
        self._stamp(box, labelled, label, depth)


def _clip_near(optical: FloatArray) -> FloatArray:
    """Cut a polygon [N, 3] at the plane `NEAR` in front of the camera (Sutherland and Hodgman)."""
    inside = optical[:, 2] >= NEAR
    if inside.all():
        return optical
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
    near = np.clip(pixels, -FARTHEST_PIXEL, FARTHEST_PIXEL)
    return np.round(near * 2**SUBPIXEL_BITS).astype(np.int32)


def fill(image: Image, pixels: FloatArray, color: Color) -> None:
    """Fill a polygon, float64 [N, 2] (column, row), with soft edges."""
    cv2.fillPoly(image, [_fixed_point(pixels)], color, cv2.LINE_AA, SUBPIXEL_BITS)


def _mask(pixels: FloatArray, box: Box) -> Mask:
    """Which pixels of the box the polygon covers by half or more."""
    covered = np.zeros((box.height, box.width), np.uint8)
    fill(covered, pixels - (box.left, box.top), (255,))
    return np.asarray(covered >= 128)
