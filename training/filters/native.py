"""The compiled filters of `seg_perception.filters` with autograd, for training on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from seg_perception import filters as vehicle
from seg_perception.errors import FilterError
from seg_perception.filters.linear import MAX_FEATURES
from seg_perception.filters.native import library
from training.filters.protocol import check_fits, is_fixed, mask_like


class NativeFilter:
    """One compiled filter for each image of a batch; differentiable in `x`, twice and more."""

    def __init__(self, filters: Iterable[vehicle.LinearFilter]):
        """Take filters of one size.

        Args:
            filters: one for each image.
        """
        self.filters = tuple(filters)

    def apply(self, x: Tensor) -> Tensor:
        """See `LinearFilter.apply`; computed in float32."""
        check_fits(x, len(self.filters), self.filters[0].height, self.filters[0].width)
        filtered: Tensor = _Apply.apply(x.float(), self, False)
        return filtered.to(x.dtype)

    def run(self, x: Tensor, transposed: bool) -> Tensor:
        """The filters or their adjoints on float32 [B, C, H, W], without autograd."""
        planes = x.detach().contiguous().numpy()
        pairs = zip(self.filters, planes, strict=True)
        return torch.from_numpy(np.stack([one.kernel.apply(x, transposed) for one, x in pairs]))


class _Apply(torch.autograd.Function):
    """``y = F x``, whose gradient is ``F^T g``, whose gradient is ``F h`` again."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, native: NativeFilter, transposed: bool) -> Tensor:
        ctx.native, ctx.transposed = native, transposed
        return native.run(x, transposed)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Apply.apply(gradient, ctx.native, not ctx.transposed), None, None


def runs_natively(like: Tensor) -> bool:
    """Whether there are compiled kernels for what is built from this tensor: on a CPU."""
    return like.device.type == "cpu" and is_fixed(like) and library() is not None


def native_box(like: Tensor, radius: int, valid: Tensor | None) -> NativeFilter:
    """As `TorchBoxFilter`."""
    height, width = like.shape[-2:]
    return _each(like, valid, lambda _, mask: vehicle.BoxFilter(height, width, radius, mask))


def native_guided(guide: Tensor, radius: int, eps: float, valid: Tensor | None) -> NativeFilter:
    """As `TorchGuidedFilter`."""
    return _each(
        guide,
        valid,
        lambda image, mask: vehicle.GuidedFilter(image.transpose(1, 2, 0), radius, eps, mask),
    )


def native_lattice(features: Tensor, valid: Tensor | None) -> NativeFilter:
    """As `TorchLatticeFilter`; up to `MAX_FEATURES` features."""
    return _each(features, valid, vehicle.PermutohedralLattice.of_features)


def fits_lattice(features: Tensor) -> bool:
    """Whether the compiled lattice takes so many features."""
    return features.shape[1] <= MAX_FEATURES


Build = Callable[[np.ndarray, np.ndarray | None], vehicle.LinearFilter]


def _each(like: Tensor, valid: Tensor | None, build: Build) -> NativeFilter:
    """Build a filter from each image [*, H, W] and its mask."""
    mask_like(like, valid)  # for its check: the same words as the reference's
    masks = [None] * len(like) if valid is None else list(valid[:, 0].numpy())
    try:
        return NativeFilter(map(build, like.detach().contiguous().numpy(), masks))
    except FilterError as error:
        raise ValueError(str(error)) from error
