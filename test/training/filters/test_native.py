"""The compiled filters give torch's numbers, and its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seg_perception.filters import native as compiled
from training.filters import (
    LinearFilter,
    NativeFilter,
    TorchBoxFilter,
    TorchGuidedFilter,
    TorchLatticeFilter,
    bilateral_features,
    box_filter,
    guided_filter,
    lattice_filter,
    spatial_features,
)

BATCH, CLASSES, HEIGHT, WIDTH = 2, 3, 21, 34
KINDS = ("box", "guided", "spatial", "bilateral")

pytestmark = pytest.mark.skipif(compiled.library() is None, reason=compiled.NO_LIBRARY)
kinds = pytest.mark.parametrize("kind", KINDS)
valids = pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])


def guide_and_numbers() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    guide = 255 * torch.rand(BATCH, 3, HEIGHT, WIDTH, generator=generator)
    return guide, torch.randn(BATCH, CLASSES, HEIGHT, WIDTH, generator=generator)


def mask(padded: bool) -> Tensor | None:
    valid = torch.ones(BATCH, 1, HEIGHT, WIDTH, dtype=torch.bool)
    valid[0, :, -3:], valid[1, :, :, -7:] = False, False
    return valid if padded else None


def both(kind: str, guide: Tensor, valid: Tensor | None) -> tuple[LinearFilter, LinearFilter]:
    """As the builders choose, and the reference in float64."""
    double = guide.double()
    if kind == "box":
        return box_filter(guide, 3, valid), TorchBoxFilter(double, 3, valid)
    if kind == "guided":
        return guided_filter(guide, 3, 1.0, valid), TorchGuidedFilter(double, 3, 1.0, valid)
    features = spatial_features(guide, 3.1)
    if kind == "bilateral":
        features = bilateral_features(guide, 8.3, 50.0)
    # Off the simplices' boundaries, where rounding would decide which vertices there are.
    features = features + 0.0123
    return lattice_filter(features, valid), TorchLatticeFilter(features.double(), valid)


@kinds
@valids
def test_equals_the_reference_forth_and_back(kind: str, padded: bool) -> None:
    guide, numbers = guide_and_numbers()
    fast, exact = both(kind, guide, mask(padded))
    assert isinstance(fast, NativeFilter)
    gradients, outputs = [], []
    for filter_, x in ((fast, numbers.clone()), (exact, numbers.double())):
        y = filter_.apply(x.requires_grad_())
        (y * y.detach().cos()).sum().backward()
        outputs.append(y.detach().float())
        gradients.append(x.grad.float())
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)


@kinds
def test_gradient_of_the_gradient_is_the_filter_again(kind: str) -> None:
    guide, numbers = guide_and_numbers()
    filter_, _ = both(kind, guide, None)
    direction = torch.ones_like(numbers).requires_grad_()
    y = filter_.apply(numbers.requires_grad_())
    (back,) = torch.autograd.grad(y, numbers, direction, create_graph=True)
    (forth,) = torch.autograd.grad(back, direction, numbers)
    torch.testing.assert_close(forth, y)


def test_torch_takes_what_the_kernels_do_not() -> None:
    guide, _ = guide_and_numbers()
    assert isinstance(guided_filter(guide.double(), 3, 1.0), TorchGuidedFilter)
    assert isinstance(guided_filter(guide.requires_grad_(), 3, 1.0), TorchGuidedFilter)
    many = torch.zeros(1, 7, 4, 4)
    assert isinstance(lattice_filter(many), TorchLatticeFilter)


def test_other_float_types_pass_through() -> None:
    guide, numbers = guide_and_numbers()
    filter_ = guided_filter(guide, 3, 1.0)
    y = filter_.apply(numbers.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), filter_.apply(numbers), atol=0.1, rtol=0.1)


def test_wrong_parameters_are_value_errors() -> None:
    guide, numbers = guide_and_numbers()
    with pytest.raises(ValueError, match="eps is 0"):
        guided_filter(guide, 3, 0.0)
    with pytest.raises(ValueError, match="raise the standard deviations"):
        lattice_filter(bilateral_features(guide, 1e-4, 1e-4))
    with pytest.raises(ValueError, match="give bool"):
        box_filter(guide, 3, torch.ones(BATCH, 1, HEIGHT, WIDTH))
    with pytest.raises(ValueError, match="build one for each"):
        box_filter(guide, 3).apply(numbers[..., 1:])
