"""Label maps of one size from those of another: a leaf, because sensors and perceiver share it."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def resize_nearest(values: NDArray[Scalar], height: int, width: int) -> NDArray[Scalar]:
    """Scale a map [h, w] to [height, width] by its nearest pixels, centre to centre.

    Labels, row numbers and depths cannot be averaged. A map that has the size already is returned
    itself.
    """
    found_height, found_width = values.shape
    if (found_height, found_width) == (height, width):
        return values
    rows, columns = _nearest(found_height, height), _nearest(found_width, width)
    # Rows last: taking one copies it whole. Twice as fast as cv2.INTER_NEAREST_EXACT.
    return values.take(columns, axis=1).take(rows, axis=0)


def _nearest(found: int, wanted: int) -> NDArray[np.intp]:
    return ((np.arange(wanted) + 0.5) * (found / wanted)).astype(np.intp)
