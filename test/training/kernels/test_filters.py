"""The kernels as linear filters: forward and backward as the plain torch filters do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.filters import (
    LinearFilter,
    bilateral_features,
    guided_filter,
    lattice_filter,
    spatial_features,
)

pytest.importorskip("triton")

from training.kernels.filters import KernelGuidedFilter, KernelLatticeFilter

Build = Callable[[Tensor], LinearFilter]

FILTERS: dict[str, tuple[Build, Build]] = {
    "guided": (
        lambda image: KernelGuidedFilter(image, 1, 1.0),
        lambda image: guided_filter(image, 1, 1.0),
    ),
    "spatial": (
        lambda image: KernelLatticeFilter(spatial_features(image, 2.3)),
        lambda image: lattice_filter(spatial_features(image, 2.3)),
    ),
    "bilateral": (
        lambda image: KernelLatticeFilter(bilateral_features(image, 4.1, 17.3)),
        lambda image: lattice_filter(bilateral_features(image, 4.1, 17.3)),
    ),
}


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 3), (1, 2, 2, 33)], ids=str)
@pytest.mark.parametrize("name", FILTERS)
def test_is_the_torch_filter(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    image = 255 * torch.rand(shape[0], 3, *shape[2:])
    values, gradient = torch.randn(2, *shape)
    of_kernels, of_torch = FILTERS[name]
    x = values.clone().requires_grad_()
    found = of_kernels(image).apply(x)
    found.backward(gradient)
    y = values.double().requires_grad_()
    expected = of_torch(image.double()).apply(y)
    expected.backward(gradient.double())
    assert x.grad is not None
    assert y.grad is not None
    assert torch.allclose(found.double(), expected, atol=1e-4)
    assert torch.allclose(x.grad.double(), y.grad, atol=1e-4)


@pytest.mark.parametrize("name", FILTERS)
def test_refuses_another_size(name: str) -> None:
    built = FILTERS[name][0](torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="built for"):
        built.apply(torch.zeros(1, 2, 4, 5))


@pytest.mark.parametrize(("d", "reach"), [(1, 1.0), (6, 1.0), (5, 90.0)])
def test_refuses_features_that_do_not_fit_into_a_key(d: int, reach: float) -> None:
    with pytest.raises(ValueError, match="raise the standard deviations"):
        KernelLatticeFilter(torch.full((1, d, 2, 2), reach))


def test_two_features_may_reach_far() -> None:
    x = torch.rand(1, 1, 1, 3)
    far = torch.tensor([0.0, 5000.0, 9000.0]).expand(1, 2, 1, 3)
    assert torch.allclose(KernelLatticeFilter(far).apply(x), x)
