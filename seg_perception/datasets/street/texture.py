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

    def resized(self, width: float, height: float) -> Texture:
        """Averaged down to about this many texels, never up."""
        h, w = self.color.shape[:2]
        if w >= 2 * width and h >= 2 * height and min(h, w) >= 8:
            return self._half.resized(width, height)
        size = (int(min(max(width, 1), w)), int(min(max(height, 1), h)))
        if size == (w, h):
            return self
        return self._each(lambda m: cv2.resize(m, size, interpolation=cv2.INTER_AREA))

    @cached_property
    def _half(self) -> Texture:
        """Kept, as what is far away needs it in every frame."""
        h, w = self.color.shape[:2]
        size = (w // 2, h // 2)
        return self._each(lambda m: cv2.resize(m, size, interpolation=cv2.INTER_AREA))

    def tinted(self, tint: Sequence[float]) -> Texture:
        """In a light of RGB factors; what shines by itself stays."""
        color = np.asarray(cv2.multiply(self.color, (*tint, 1.0), dtype=cv2.CV_8U))
        if self.shine is not None:
            color = np.maximum(color, self.shine)
        return Texture(color, self.opacity, self.extent)

    def warped(self, to_pixels: NDArray[np.float64], size: tuple[int, int]) -> Texture:
        """Seen through the homography [3, 3] from texels to pixels; `size` (width, height)."""
        border = cv2.BORDER_REPLICATE
        return self._each(lambda m: cv2.warpPerspective(m, to_pixels, size, borderMode=border))

    def _each(self, change: Callable[[Image], Any]) -> Texture:
        changed = (
            None if m is None else change(m)
            for m in (self.color, self.opacity, self.extent, self.shine)
        )
        return Texture(*changed)
