"""The kernels as linear filters: forward and backward as the plain torch filters do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.filters import (
    LinearFilter,
    bilateral_features,
    gpu,
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
def test_gradients_of_gradients_are_those_of_the_torch_filter(name: str) -> None:
    torch.manual_seed(0)
    image, x = 255 * torch.rand(1, 3, 4, 3), torch.randn(1, 2, 4, 3)
    second = []
    for build, dtype in zip(FILTERS[name], (torch.float32, torch.float64), strict=True):
        y, weight = x.to(dtype).requires_grad_(), torch.ones_like(x, dtype=dtype).requires_grad_()
        filtered = build(image.to(dtype)).apply(y)
        (first,) = torch.autograd.grad((weight * filtered**2).sum(), y, create_graph=True)
        second.append(torch.autograd.grad((first**2).sum(), [y, weight]))
    for found, expected in zip(*second, strict=True):
        assert expected.abs().max() > 0.1
        assert torch.allclose(found.double(), expected, atol=1e-3)


def built_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The builders take these tensors for a GPU's, though the interpreter's lie on the CPU."""
    monkeypatch.setattr(gpu, "DEVICE", torch.zeros(1).device.type)


def test_the_builders_choose_the_kernels_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    image = 255 * torch.rand(1, 3, 4, 5)
    features = bilateral_features(image, 4.1, 17.3)
    expected = [guided_filter(image, 1, 1.0), lattice_filter(features)]
    built_on_a_gpu(monkeypatch)
    found = [guided_filter(image, 1, 1.0), lattice_filter(features)]
    assert [type(one) for one in found] == [KernelGuidedFilter, KernelLatticeFilter]
    x = torch.rand(1, 2, 4, 5)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.apply(x), other.apply(x), atol=1e-4, rtol=0)
        assert one.apply(x.bfloat16()).dtype == torch.bfloat16


def test_the_builders_know_what_kernels_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    built_on_a_gpu(monkeypatch)
    image, valid = torch.rand(1, 3, 4, 5), torch.ones(1, 1, 4, 5, dtype=torch.bool)
    others = [
        guided_filter(image, 1, 1.0, valid),
        guided_filter(image.double(), 1, 1.0),
        guided_filter(image.clone().requires_grad_(), 1, 1.0),
        lattice_filter(spatial_features(image, 2.3), valid),
        lattice_filter(torch.full((1, 5, 2, 2), 90.0)),
        lattice_filter(image[:, :1]),
    ]
    kernels = (KernelGuidedFilter, KernelLatticeFilter)
    assert not any(isinstance(one, kernels) for one in others)
    monkeypatch.setattr(gpu, "_has_triton", lambda: False)
    assert not isinstance(guided_filter(image, 1, 1.0), kernels)


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
