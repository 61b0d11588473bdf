"""Linear filters that refiners are made of, with autograd: built once a frame, applied often."""

from __future__ import annotations

from torch import Tensor

from training.filters.box import TorchBoxFilter
from training.filters.guided import TorchGuidedFilter
from training.filters.lattice import TorchLatticeFilter, bilateral_features, spatial_features
from training.filters.protocol import LinearFilter

__all__ = [
    "LinearFilter",
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
    return TorchBoxFilter(like, radius, valid)


def guided_filter(
    guide: Tensor, radius: int, eps: float, valid: Tensor | None = None
) -> LinearFilter:
    """The guided filter with a colour guide; `TorchGuidedFilter` has the arguments."""
    return TorchGuidedFilter(guide, radius, eps, valid)


def lattice_filter(features: Tensor, valid: Tensor | None = None) -> LinearFilter:
    """The Gaussian filter over `spatial_features` or `bilateral_features`: `TorchLatticeFilter`."""
    return TorchLatticeFilter(features, valid)
