"""The Triton kernels (`training.kernels`) as the filters of a GPU, where triton is installed."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from torch import Tensor

from training.filters.protocol import LinearFilter, is_fixed

DEVICE = "cuda"
"""Kind of device whose tensors the kernels take; the interpreter's tests put "cpu" here."""


def runs_as_kernels(like: Tensor, valid: Tensor | None) -> bool:
    """Whether there are kernels for what is built from this tensor: they know no mask."""
    return like.device.type == DEVICE and valid is None and is_fixed(like) and _has_triton()


def fits_kernels(features: Tensor) -> bool:
    """Whether the kernels' lattice takes these features; asks the GPU how far they reach."""
    # Only where it is used, as below: Triton is a large package.
    from training.kernels.filters import fits_a_key

    return fits_a_key(features)


def kernel_guided(guide: Tensor, radius: int, eps: float) -> LinearFilter:
    """As `TorchGuidedFilter`."""
    from training.kernels.filters import KernelGuidedFilter

    return KernelGuidedFilter(guide, radius, eps)


def kernel_lattice(features: Tensor) -> LinearFilter:
    """As `TorchLatticeFilter`."""
    from training.kernels.filters import KernelLatticeFilter

    return KernelLatticeFilter(features)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
