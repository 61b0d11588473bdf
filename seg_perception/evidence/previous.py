"""The previous frame's code as knowledge about this frame, and how much it still says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

TEMPORAL_DECAY_S = 0.5
"""Time in which the trust in the previous frame's code falls to 1/e."""

IMAGE_DECAY = 14.0
"""Mean difference of two thumbnails, of 255, at which the trust falls to 1/e. Rendered and
recorded drives at 10 Hz differ by about 6, from one street to another by 25 to 90."""

THUMBNAIL = (32, 24)


@dataclass(frozen=True, eq=False)
class PreviousCode:
    """What a frame leaves to the next.

    Attributes:
        code: float32 [1, K], finite.
        stamp_ns: of its frame, nanoseconds.
        size: (h, w) of its frame.
        thumbnail: of its image, see `thumbnail`.
    """

    code: NDArray[np.float32]
    stamp_ns: int
    size: tuple[int, int]
    thumbnail: NDArray[np.float32]

    def precision(self, stamp_ns: int, image: NDArray[np.float32], fresh: float) -> float:
        """How far to trust the code now.

        The code is taken for a random walk with mean reversion: what it was once says
        exponentially less about what it is now. When the picture changed, as in a cut or behind a
        corner, it says nothing, however short the time; small changes count little (a Gaussian of
        the thumbnails' mean difference), for every moving camera sees them.

        Args:
            stamp_ns: of the frame now, nanoseconds.
            image: its thumbnail.
            fresh: the precision just after the code was found.
        """
        gap_s = max(stamp_ns - self.stamp_ns, 0) / 1e9
        change = float(np.abs(image - self.thumbnail).mean())
        return fresh * math.exp(-gap_s / TEMPORAL_DECAY_S - (change / IMAGE_DECAY) ** 2)


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The mean colours of an image uint8 [H, W, 3] on a coarse grid: float32 [24, 32, 3], 0-255."""
    return cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
