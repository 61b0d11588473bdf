"""The guided filter with a colour guide (He, Sun and Tang, TPAMI 2013), count-normalised.

In each window the output is an affine function of the guide's colour, ``a . I + b``, fitted to the
input by ridge regression; the coefficients of all windows that hold a pixel are averaged there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.filters.box import TorchBoxFilter
from training.filters.ridge import Ridge

MID_GREY = 128.0
"""Taken off the guide before products are formed. It changes no result (``b`` absorbs it), but
variances of 0-255 images lose fewer digits to cancellation in float32."""


class TorchGuidedFilter:
    """The guided filter in plain torch; differentiable in the guide as well."""

    def __init__(self, guide: Tensor, radius: int, eps: float, valid: Tensor | None = None):
        """Compute what depends on the guide only: window means and factored covariances.

        Args:
            guide: float [B, 3, H, W], 0-255.
            radius: of the windows, pixels.
            eps: ridge on the covariance of the guide's colours, squared grey levels (0-255), > 0.
            valid: bool [B, 1, H, W], False on padding; None = all valid.
        """
        check_guide(guide, eps)
        self._box = TorchBoxFilter(guide, radius, valid)
        self._guide = guide - MID_GREY
        self._mean = self._box.apply(self._guide)
        self._ridge = Ridge(self._covariance(), eps)

    def apply(self, x: Tensor) -> Tensor:
        """See `LinearFilter.apply`."""
        guide, mean = self._guide.unsqueeze(2), self._mean.unsqueeze(2)
        mean_x = self._box.apply(x)
        cov = self._over_channels(guide * x.unsqueeze(1)) - mean * mean_x.unsqueeze(1)
        a = torch.stack(self._ridge.solve(*cov.unbind(1)), 1)
        b = mean_x - (mean * a).sum(1)
        return (guide * self._over_channels(a)).sum(1) + self._box.apply(b)

    def _over_channels(self, x: Tensor) -> Tensor:
        """The box filter of [B, 3, C, H, W]."""
        return self._box.apply(x.flatten(1, 2)).unflatten(1, x.shape[1:3])

    def _covariance(self) -> tuple[Tensor, ...]:
        """The entries rr, rg, rb, gg, gb, bb of each window's covariance: [B, 1, H, W] each."""
        first, second = (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)
        products = self._box.apply(self._guide[:, first] * self._guide[:, second])
        return (products - self._mean[:, first] * self._mean[:, second]).split(1, dim=1)


def check_guide(guide: Tensor, eps: float) -> None:
    """Refuse what is not a colour guide and its ridge.

    Raises:
        ValueError: of another shape, or `eps` is not positive.
    """
    if guide.ndim != 4 or guide.shape[1] != 3:
        raise ValueError(f"the guide is {list(guide.shape)}: give an RGB image [B, 3, H, W], 0-255")
    if not eps > 0:
        raise ValueError(f"eps is {eps}: give a number > 0, e.g. 1.0 for guides of 0-255")
