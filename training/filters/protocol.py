"""What every linear filter looks like, and what all of them check."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class LinearFilter(Protocol):
    """A linear map of images, built once a frame and applied in every iteration.

    Rows sum to one over the valid pixels: each filter is ``D K``, with a kernel ``K`` that sees
    valid pixels only and ``D = 1 / (K 1)``. Its adjoint, which autograd applies, is ``K^T D``.
    """

    def apply(self, x: Tensor) -> Tensor:
        """Filter each channel; differentiable in `x`.

        Args:
            x: float [B, C, H, W], of the batch and size that the filter was built for.

        Returns:
            float [B, C, H, W], 0 at pixels that are not valid.

        Raises:
            ValueError: another batch or size.
        """
        ...


def is_fixed(like: Tensor) -> bool:
    """Whether what is built from this tensor may be a constant of float32, made by fast code.

    No other type, no guide that wants a gradient, and no graph being exported, which is to hold
    standard operators instead.
    """
    return (
        like.dtype == torch.float32
        and not (like.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
    )


def mask_like(like: Tensor, valid: Tensor | None) -> Tensor:
    """`valid` as numbers: [B, 1, H, W] of the dtype of `like`, 1 where a pixel counts.

    Args:
        like: float [B, *, H, W].
        valid: bool [B, 1, H, W], False on padding; None = all valid.

    Raises:
        ValueError: `valid` is not such a mask.
    """
    size = (len(like), 1, *like.shape[-2:])
    if valid is None:
        return like.new_ones(size)
    if valid.dtype != torch.bool or valid.shape != size:
        raise ValueError(
            f"valid is {valid.dtype} {list(valid.shape)}: give bool {list(size)}, "
            "False on padding, or None"
        )
    return valid.to(like.dtype)


def check_fits(x: Tensor, batch: int, height: int, width: int) -> None:
    """Refuse what the filter was not built for.

    Raises:
        ValueError: `x` is not [B, C, H, W] of that batch and size.
    """
    if x.ndim != 4 or (len(x), *x.shape[-2:]) != (batch, height, width):
        raise ValueError(
            f"this filter was built for [{batch}, C, {height}, {width}] and was given "
            f"{list(x.shape)}: build one for each batch and size"
        )
