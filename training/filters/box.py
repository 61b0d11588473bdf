"""The count-normalised box filter: the mean of the valid pixels in a square window."""

from __future__ import annotations

import torch
from torch import Tensor

from training.filters.protocol import check_fits, mask_like


class TorchBoxFilter:
    """Mean over the valid pixels of the window that lie inside the image, in plain torch.

    At borders the window is clipped and the mean is over what remains, so that a constant image
    stays constant.
    """

    def __init__(self, like: Tensor, radius: int, valid: Tensor | None = None):
        """Count the valid pixels of every window.

        Args:
            like: float [B, *, H, W], gives batch, size, dtype and device.
            radius: of the window of (2 radius + 1)^2 pixels, >= 0.
            valid: bool [B, 1, H, W], False on padding; None = all valid.
        """
        if radius < 0:
            raise ValueError(f"the box has radius {radius}: give a number of pixels >= 0")
        self._radius = radius
        self._valid = mask_like(like, valid)
        self._after = self._valid / window_sum(self._valid, radius).clamp(min=1.0)

    def apply(self, x: Tensor) -> Tensor:
        """See `LinearFilter.apply`."""
        check_fits(x, len(self._valid), *self._valid.shape[-2:])
        return window_sum(self._valid * x, self._radius) * self._after


def window_sum(x: Tensor, radius: int) -> Tensor:
    """Sum over the square window around every pixel, clipped at the borders.

    One cumulative sum an axis: as fast for any radius, where a pooling layer is not.

    Args:
        x: [..., H, W].
        radius: of the window.
    """
    for axis in (-1, -2):
        x = _line_sum(x, axis, radius)
    return x


def _line_sum(x: Tensor, axis: int, radius: int) -> Tensor:
    length = x.shape[axis]
    zero = torch.zeros_like(x.narrow(axis, 0, 1))
    sums = torch.cat([zero, x.cumsum(axis)], axis)
    centre = torch.arange(length, device=x.device)
    upper = (centre + radius + 1).clamp(max=length)
    lower = (centre - radius).clamp(min=0)
    return sums.index_select(axis, upper) - sums.index_select(axis, lower)
