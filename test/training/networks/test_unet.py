from __future__ import annotations

import pytest
import torch
from tiny_training import TINY_UNARY

from training.networks import UNet
from training.networks.unet import normalise_image

SIZES = [(360, 480, 90, 120), (72, 104, 18, 26), (50, 70, 13, 18), (33, 31, 9, 8)]


@pytest.fixture(scope="module")
def network() -> UNet:
    torch.manual_seed(0)
    return UNet(11, TINY_UNARY).eval()


@torch.no_grad()
@pytest.mark.parametrize(("height", "width", "rows", "columns"), SIZES)
def test_answers_at_a_quarter_of_any_size(
    network: UNet, height: int, width: int, rows: int, columns: int
) -> None:
    answer = network(torch.rand(2, 3, height, width) * 255)
    assert answer.scores.shape == answer.uncertainty.shape == (2, 11, rows, columns)
    for stride, features in answer.features.items():
        size = (-(-height // stride), -(-width // stride))
        assert features.shape == (2, network.channels[stride], *size)


@torch.no_grad()
def test_uncertainty_is_a_standard_deviation(network: UNet) -> None:
    answer = network(torch.rand(1, 3, 64, 64) * 255)
    assert (answer.uncertainty > 0).all()


@torch.no_grad()
def test_light_does_not_change_the_answer(network: UNet) -> None:
    image = torch.rand(1, 3, 64, 96) * 120 + 10
    offset = torch.tensor([20.0, 0.0, -5.0])[:, None, None]
    dark = normalise_image(image / 3 + offset)
    torch.testing.assert_close(dark, normalise_image(image), atol=0.01, rtol=0.01)
    scores = (network(x).scores for x in (image, image / 3 + offset))
    torch.testing.assert_close(*scores, atol=0.05, rtol=0.05)


def test_normalised_image_has_no_mean_and_unit_contrast() -> None:
    normal = normalise_image(torch.rand(2, 3, 40, 40) * 255)
    torch.testing.assert_close(normal.mean(dim=(2, 3)), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        normal.square().mean(dim=(1, 2, 3)), torch.ones(2), atol=1e-3, rtol=0
    )


def test_a_black_image_is_no_division_by_zero() -> None:
    assert not normalise_image(torch.zeros(1, 3, 8, 8)).any()


def test_every_parameter_learns() -> None:
    network = UNet(3, TINY_UNARY).train()
    answer = network(torch.rand(2, 3, 64, 64) * 255)
    (answer.scores.square().mean() + answer.uncertainty.mean()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
