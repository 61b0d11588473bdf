"""Pictures on surfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Texture:
    """A picture on a surface.

    Attributes:
        color: uint8 [h, w, 3] as it is in white light.
        opacity: uint8 [h, w], how much of it covers what is behind; None = all.
        extent: uint8 [h, w], what of it is labelled (the gaps of a fence too); None = `opacity`.
        shine: uint8 [h, w, 3] the light it gives off itself; None = none.
    """

    color: Image
    opacity: Image | None = None
    extent: Image | None = None
    shine: Image | None = None

    def reduced(self, width: float, height: float) -> Texture:
        """Averaged down, by halves in each direction, to at least this many texels."""
        h, w = self.color.shape[:2]
        if w >= 2 * width and w >= 8:
            return self._narrower.reduced(width, height)
        if h >= 2 * height and h >= 8:
            return self._lower.reduced(width, height)
        return self

    @cached_property
    def _narrower(self) -> Texture:
        h, w = self.color.shape[:2]
        return self._each(lambda m: cv2.resize(m, (w // 2, h), interpolation=cv2.INTER_AREA))

    @cached_property
    def _lower(self) -> Texture:
        h, w = self.color.shape[:2]
        return self._each(lambda m: cv2.resize(m, (w, h // 2), interpolation=cv2.INTER_AREA))

    def tinted(self, tint: Sequence[float]) -> Texture:
        """In a light of RGB factors; what shines by itself stays."""
        color = _image(cv2.multiply(self.color, np.array([*tint, 1.0]), dtype=cv2.CV_8U))
        if self.shine is not None:
            color = np.maximum(color, self.shine)
        return Texture(color, self.opacity, self.extent)

    def warped(self, to_pixels: NDArray[np.float64], size: tuple[int, int]) -> Texture:
        """Seen through the homography [3, 3] from texels to pixels; `size` (width, height)."""
        border = cv2.BORDER_REPLICATE
        return self._each(lambda m: cv2.warpPerspective(m, to_pixels, size, borderMode=border))

    def _each(self, change: Callable[[Image], Any]) -> Texture:
        opacity, extent, shine = (
            None if m is None else _image(change(m))
            for m in (self.opacity, self.extent, self.shine)
        )
        return Texture(_image(change(self.color)), opacity, extent, shine)


def to_image(levels: NDArray[np.floating]) -> Image:
    """Round levels of any size to 0 ... 255."""
    image: Image = np.clip(levels, 0, 255).astype(np.uint8)
    return image


def _image(array: Any) -> Image:
    """What OpenCV returns, whose type it does not tell."""
    return np.asarray(array, np.uint8)
