"""Linear filters that refiners are made of, with autograd: built once a frame, applied often.

The builders choose: the vehicle's compiled kernels on a CPU, Triton's on a GPU where triton is
installed and no mask is given, plain torch for everything else (other devices and types, a guide
that wants a gradient, a graph that is exported).
"""

from __future__ import annotations

from torch import Tensor

from training.filters.box import TorchBoxFilter
from training.filters.gpu import fits_kernels, kernel_guided, kernel_lattice, runs_as_kernels
from training.filters.guided import TorchGuidedFilter
from training.filters.lattice import TorchLatticeFilter, bilateral_features, spatial_features
from training.filters.native import (
    NativeFilter,
    fits_lattice,
    native_box,
    native_guided,
    native_lattice,
    runs_natively,
)
from training.filters.protocol import LinearFilter

__all__ = [
    "LinearFilter",
    "NativeFilter",
    "TorchBoxFilter",
    "TorchGuidedFilter",
    "TorchLatticeFilter",
    "bilateral_features",
    "box_filter",
    "guided_filter",
    "lattice_filter",
    "spatial_features",
]


def box_filter(like: Tensor, radius: int, valid: Tensor | None = None) -> LinearFilter:
    """The mean over a square window; `TorchBoxFilter` has the arguments."""
    if runs_natively(like):
        return native_box(like, radius, valid)
    return TorchBoxFilter(like, radius, valid)


def guided_filter(
    guide: Tensor, radius: int, eps: float, valid: Tensor | None = None
) -> LinearFilter:
    """The guided filter with a colour guide; `TorchGuidedFilter` has the arguments."""
    if runs_as_kernels(guide, valid):
        return kernel_guided(guide, radius, eps)
    if runs_natively(guide):
        return native_guided(guide, radius, eps, valid)
    return TorchGuidedFilter(guide, radius, eps, valid)


def lattice_filter(features: Tensor, valid: Tensor | None = None) -> LinearFilter:
    """The Gaussian filter over `spatial_features` or `bilateral_features`: `TorchLatticeFilter`."""
    if runs_as_kernels(features, valid) and fits_kernels(features):
        return kernel_lattice(features)
    if runs_natively(features) and fits_lattice(features):
        return native_lattice(features, valid)
    return TorchLatticeFilter(features, valid)
