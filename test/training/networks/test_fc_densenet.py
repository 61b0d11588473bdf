from __future__ import annotations

import pytest
import torch

from training.networks.fc_densenet import FCDenseNet, FCDenseNetConfig

TINY = FCDenseNetConfig(depth=56, growth=2, width=4)
SIZES = [(64, 96), (50, 70), (33, 31)]
PUBLISHED = {56: 1.5e6, 67: 3.5e6, 103: 9.4e6}
"""Table 1 of Jegou et al., which counts the batch statistics too."""


@pytest.fixture(scope="module")
def network() -> FCDenseNet:
    torch.manual_seed(0)
    return FCDenseNet(11, TINY).eval()


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_answers_at_full_size(network: FCDenseNet, height: int, width: int) -> None:
    answer = network(torch.rand(2, 3, height, width) * 255)
    assert answer.scores.shape == (2, 11, height, width)
    assert not answer.uncertainty.any()
    for stride, features in answer.features.items():
        size = (-(-height // stride), -(-width // stride))
        assert features.shape == (2, network.channels[stride], *size)


@pytest.mark.parametrize("depth", PUBLISHED)
def test_has_the_published_number_of_parameters(depth: int) -> None:
    with torch.device("meta"):
        network = FCDenseNet(11, FCDenseNetConfig(depth))
    # Within the rounding of the paper's figure, but for FC-DenseNet56: 1.38 M where 1.5 M is given.
    tolerance = 0.09 if depth == 56 else 0.01
    count = sum(p.numel() for p in network.parameters()) + sum(
        b.numel() for b in network.buffers() if b.ndim
    )
    assert count == pytest.approx(PUBLISHED[depth], rel=tolerance)


def test_gives_the_denoiser_464_channels_at_a_sixteenth() -> None:
    with torch.device("meta"):
        assert FCDenseNet(11).channels[16] == 464  # paper 003's figure


def test_every_parameter_learns() -> None:
    network = FCDenseNet(3, TINY).train()
    network(torch.rand(2, 3, 64, 64) * 255).scores.square().mean().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # A batch normalisation cancels what a convolution's bias adds before it.
    assert [name for name in without if not name.endswith("bias")] == []


def test_an_unknown_depth_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no FC-DenseNet121: use 56, 67 or 103"):
        FCDenseNetConfig(121)
