"""The count-normalised box filter: the mean of the valid pixels in a square window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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

    Runs of 1, 2, 4, ... pixels make up a window's width: nothing is summed that a window does not
    hold, so that nothing cancels, as it does between cumulative sums over a whole line.

    Args:
        x: [..., H, W].
        radius: of the window.
    """
    for axis in (-1, -2):
        x = _line_sum(x, axis, radius)
    return x


def _line_sum(x: Tensor, axis: int, radius: int) -> Tensor:
    length = x.shape[axis]
    radius = min(radius, length - 1)
    run = F.pad(x, (radius, radius) if axis == -1 else (0, 0, radius, radius))
    width, covered, total = 2 * radius + 1, 0, torch.zeros_like(x)
    for span in (1 << bit for bit in range(width.bit_length())):
        if width & span:
            total = total + run.narrow(axis, covered, length)
            covered += span
        if 2 * span <= width:
            doubled = run.shape[axis] - span
            run = run.narrow(axis, 0, doubled) + run.narrow(axis, span, doubled)
    return total
