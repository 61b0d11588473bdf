from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.networks.fcn8s import FCN8s, FCN8sConfig, bilinear_deconvolution
from training.networks.pretrained import IMAGENET_MEAN, IMAGENET_STD

TINY = FCN8sConfig(width=4, hidden=16)
SIZES = [(64, 96), (50, 70), (33, 31)]
WIDTHS = {1: (0, 2), 2: (5, 7), 4: (10, 12, 14), 8: (17, 19, 21, 24, 26, 28)}
"""Places of torchvision's convolutions, by their channels in units of the first ones'."""


def vgg16_state(source: str, width: int = 4, hidden: int = 16) -> dict[str, Tensor]:
    """A random state dict in torchvision's or timm's layout of vgg16, `width` for its 64."""
    state, inputs = {}, 3
    for index, factor in ((i, factor) for factor, places in WIDTHS.items() for i in places):
        outputs = factor * width
        state[f"features.{index}.weight"] = torch.randn(outputs, inputs, 3, 3)
        state[f"features.{index}.bias"] = torch.randn(outputs)
        inputs = outputs
    torchvision = ("classifier.0", "classifier.3", "classifier.6"), (hidden, inputs * 49)
    timm = ("pre_logits.fc1", "pre_logits.fc2", "head.fc"), (hidden, inputs, 7, 7)
    names, first = torchvision if source == "torchvision" else timm
    second = (hidden, hidden) if source == "torchvision" else (hidden, hidden, 1, 1)
    for name, shape in zip(names, (first, second, (1000, hidden)), strict=True):
        state[f"{name}.weight"] = torch.randn(shape)
        state[f"{name}.bias"] = torch.randn(shape[0])
    return state


@pytest.fixture(scope="module")
def network() -> FCN8s:
    torch.manual_seed(0)
    return FCN8s(11, TINY).eval()


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_answers_at_an_eighth_of_any_size(network: FCN8s, height: int, width: int) -> None:
    answer = network(torch.rand(2, 3, height, width) * 255)
    assert answer.scores.shape == (2, 11, -(-height // 8), -(-width // 8))
    assert not answer.uncertainty.any()
    for stride, features in answer.features.items():
        size = (-(-height // stride), -(-width // stride))
        assert features.shape == (2, network.channels[stride], *size)


def test_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = FCN8s(21)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(134.4e6, rel=1e-3)
    assert network.channels[16] == 512  # what paper 003's denoiser is given


@torch.no_grad()
def test_deconvolution_begins_bilinear() -> None:
    x = torch.rand(1, 3, 6, 5)
    fine = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    inside = (..., slice(1, -1), slice(1, -1))  # borders differ: zeros lie outside here
    torch.testing.assert_close(bilinear_deconvolution(3)(x)[inside], fine[inside])


def test_every_parameter_learns(network: FCN8s) -> None:
    network.zero_grad()
    network(torch.rand(2, 3, 64, 64) * 255).scores.square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.no_grad()
@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_weights_load_from_the_published_layouts(source: str, tmp_path: Path) -> None:
    state = vgg16_state(source)
    torch.save(state, tmp_path / "vgg16.pth")
    network = FCN8s(11, FCN8sConfig(4, 16, weights=str(tmp_path / "vgg16.pth"))).eval()
    image = torch.rand(1, 3, 32, 32) * 255
    x = (image - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[
        :, None, None
    ]
    for index in (0, 2):
        x = F.relu(
            F.conv2d(
                x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1
            )
        )
    answer = network(image)
    torch.testing.assert_close(answer.features[2], F.max_pool2d(x, 2))
    fc6 = "classifier.0" if source == "torchvision" else "pre_logits.fc1"
    stored = state[f"{fc6}.weight"].reshape(16, 32, 7, 7)
    torch.testing.assert_close(network.trunk.classifier[0].weight, stored, rtol=0, atol=0)


def test_full_size_weights_have_torchvisions_keys_and_shapes() -> None:
    with torch.device("meta"):
        own = FCN8s(21).trunk.state_dict()
        published = vgg16_state("torchvision", width=64, hidden=4096)
    body = {key: value for key, value in published.items() if not key.startswith("classifier.6")}
    assert own.keys() == body.keys()
    assert published["classifier.0.weight"].shape == (4096, 25088)
    assert all(own[key].numel() == value.numel() for key, value in body.items())
