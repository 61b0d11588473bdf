"""The filters against brute force, against finite differences, and on padding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.filters import (
    LinearFilter,
    TorchGuidedFilter,
    bilateral_features,
    box_filter,
    guided_filter,
    lattice_filter,
    spatial_features,
)

BATCH, CLASSES, HEIGHT, WIDTH = 2, 3, 5, 6
Builder = Callable[[Tensor, Tensor | None], LinearFilter]
BUILDERS: dict[str, Builder] = {
    "box": lambda image, valid: box_filter(image, 2, valid),
    "guided": lambda image, valid: guided_filter(image, 2, 10.0, valid),
    "spatial": lambda image, valid: lattice_filter(spatial_features(image, 2.0), valid),
    "bilateral": lambda image, valid: lattice_filter(bilateral_features(image, 4.0, 40.0), valid),
}

builders = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


def picture(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 255 * torch.rand(BATCH, 3, height, width, generator=generator, dtype=torch.float64)


def numbers(height: int = HEIGHT, width: int = WIDTH, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = (BATCH, CLASSES, height, width)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def mask(height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """Padding right and below, of another extent in each image, and one hole."""
    valid = torch.ones(BATCH, 1, height, width, dtype=torch.bool)
    valid[:, :, -1] = False
    valid[0, :, :, -2:] = False
    valid[1, :, 1, 1] = False
    return valid


def gaussian(features: Tensor, x: Tensor) -> Tensor:
    """The filter that the lattice approximates, by brute force."""
    points = features.flatten(2).transpose(1, 2)
    kernel = torch.exp(-0.5 * torch.cdist(points, points).square())
    kernel = kernel / kernel.sum(2, keepdim=True)
    return (kernel @ x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])


def smooth_picture() -> Tensor:
    """Two flat regions and a ramp with some noise, 40x48."""
    image = picture(40, 48) * 0.1
    image[..., 24:] += 150
    image[:, 0] += torch.linspace(0, 60, 40, dtype=torch.float64)[:, None]
    return image


def test_box_is_the_mean_of_the_clipped_window() -> None:
    x = numbers()
    y = box_filter(x, 1).apply(x)
    torch.testing.assert_close(y[:, :, 0, 0], x[:, :, :2, :2].mean((2, 3)))
    torch.testing.assert_close(y[:, :, 2, 3], x[:, :, 1:4, 2:5].mean((2, 3)))


def test_box_wider_than_the_image_is_the_mean_of_all() -> None:
    x = numbers()
    y = box_filter(x, 50).apply(x)
    torch.testing.assert_close(y, x.mean((2, 3), keepdim=True).expand_as(x))


def test_guided_filter_fits_an_affine_function_of_the_guide_exactly() -> None:
    guide = picture()
    x = (0.3 * guide[:, :1] - 0.1 * guide[:, 1:2] + 0.2 * guide[:, 2:] + 7).expand(-1, 3, -1, -1)
    torch.testing.assert_close(guided_filter(guide, 2, 1e-9).apply(x), x)


def test_guided_filter_with_much_ridge_is_the_box_applied_twice() -> None:
    guide, x = picture(), numbers()
    box = box_filter(guide, 2)
    torch.testing.assert_close(guided_filter(guide, 2, 1e12).apply(x), box.apply(box.apply(x)))


@pytest.mark.parametrize("build", [guided_filter, TorchGuidedFilter], ids=["default", "torch"])
def test_guided_filter_keeps_its_digits_where_colours_lie_on_a_line(
    build: Callable[[Tensor, int, float], LinearFilter],
) -> None:
    shade = 255 * torch.sin(torch.arange(48) / 3.0).square()
    grey, x = shade.round().repeat(BATCH, 3, 40, 1), numbers(40, 48)
    exact = TorchGuidedFilter(grey.double(), 3, 1.0).apply(x)
    found = build(grey, 3, 1.0).apply(x.float())
    torch.testing.assert_close(found, exact.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "features",
    [spatial_features(smooth_picture(), 3.0), bilateral_features(smooth_picture(), 10.0, 13.0)],
    ids=["spatial", "bilateral"],
)
def test_lattice_approximates_the_gaussian(features: Tensor) -> None:
    probs = numbers(40, 48).mul(3).softmax(1)
    error = (lattice_filter(features).apply(probs) - gaussian(features, probs)).abs()
    assert error.mean() < 0.01


@builders
def test_keeps_constants(build: Builder) -> None:
    ones = torch.ones_like(numbers())
    torch.testing.assert_close(build(picture(), None).apply(ones), ones)


@builders
def test_images_of_a_batch_do_not_meet(build: Builder) -> None:
    image, x, valid = picture(), numbers(), mask()
    together = build(image, valid).apply(x)
    apart = [build(image[[i]], valid[[i]]).apply(x[[i]]) for i in range(BATCH)]
    torch.testing.assert_close(together, torch.cat(apart))


@builders
def test_padding_never_enters(build: Builder) -> None:
    image, x, valid = picture(), numbers(), mask()
    y = build(image, valid).apply(x)
    other = build(torch.where(valid, image, 9.0), valid).apply(torch.where(valid, x, 1e3))
    torch.testing.assert_close(y, other)
    assert not torch.where(valid, 0.0, y).any()


@builders
def test_padded_image_is_filtered_as_the_image_without(build: Builder) -> None:
    image, x = picture(), numbers()
    valid = torch.zeros(BATCH, 1, HEIGHT, WIDTH, dtype=torch.bool)
    valid[..., :4, :5] = True
    y = build(image, valid).apply(x)[..., :4, :5]
    torch.testing.assert_close(y, build(image[..., :4, :5], None).apply(x[..., :4, :5]))


@builders
@pytest.mark.parametrize("valid", [None, mask()], ids=["whole", "padded"])
def test_gradient_is_exact(build: Builder, valid: Tensor | None) -> None:
    filter_ = build(picture(), valid)
    assert torch.autograd.gradcheck(filter_.apply, numbers().requires_grad_())


def test_guided_filter_has_a_gradient_in_the_guide() -> None:
    x = numbers()
    guide = picture().requires_grad_()
    assert torch.autograd.gradcheck(lambda guide: guided_filter(guide, 2, 10.0).apply(x), guide)


@builders
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 1)])
def test_works_on_tiny_images(build: Builder, size: tuple[int, int]) -> None:
    y = build(picture(*size), None).apply(numbers(*size))
    assert y.shape == (BATCH, CLASSES, *size)
    assert torch.isfinite(y).all()


@builders
def test_an_image_without_a_valid_pixel_gives_zeros(build: Builder) -> None:
    nothing = torch.zeros(BATCH, 1, HEIGHT, WIDTH, dtype=torch.bool)
    assert not build(picture(), nothing).apply(numbers()).any()


@builders
def test_refuses_another_size(build: Builder) -> None:
    with pytest.raises(ValueError, match="build one for each"):
        build(picture(), None).apply(numbers(7, 7))


@pytest.mark.parametrize("valid", [torch.ones(2, 1, 5, 6), torch.ones(2, 5, 6, dtype=torch.bool)])
def test_refuses_what_is_not_a_mask(valid: Tensor) -> None:
    with pytest.raises(ValueError, match="give bool"):
        box_filter(picture(), 1, valid)


def test_refuses_wrong_parameters() -> None:
    with pytest.raises(ValueError, match="radius"):
        box_filter(picture(), -1)
    with pytest.raises(ValueError, match="eps"):
        guided_filter(picture(), 1, 0.0)
    with pytest.raises(ValueError, match="RGB"):
        guided_filter(numbers()[:, :1], 1, 1.0)
    with pytest.raises(ValueError, match="raise the standard deviations"):
        lattice_filter(bilateral_features(picture(), 1e-4, 1e-4))
