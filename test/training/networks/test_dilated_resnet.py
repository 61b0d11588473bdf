from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.networks.dilated_resnet import BLOCKS, DilatedResNet, DilatedResNetConfig

POST = DilatedResNetConfig(depth=50, width=4, preactivation=False)
PRE = DilatedResNetConfig(depth=50, width=4)
SIZES = [(64, 96), (50, 70), (33, 31)]


def norm_state(name: str, channels: int) -> dict[str, Tensor]:
    return {
        f"{name}.weight": torch.rand(channels) + 0.5,
        f"{name}.bias": torch.randn(channels),
        f"{name}.running_mean": torch.randn(channels),
        f"{name}.running_var": torch.rand(channels) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(7),
    }


def resnet_state(depth: int, width: int = 4) -> dict[str, Tensor]:
    """A random state dict in torchvision's (and timm's) layout of a ResNet."""
    state = {"conv1.weight": torch.randn(width, 3, 7, 7), **norm_state("bn1", width)}
    inputs = width
    for stage, count in enumerate(BLOCKS[depth]):
        inner = width * 2**stage
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            shapes = ((inner, inputs, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1))
            for index, shape in enumerate(shapes, 1):
                state[f"{name}.conv{index}.weight"] = torch.randn(shape)
                state |= norm_state(f"{name}.bn{index}", shape[0])
            if block == 0:
                state[f"{name}.downsample.0.weight"] = torch.randn(4 * inner, inputs, 1, 1)
                state |= norm_state(f"{name}.downsample.1", 4 * inner)
            inputs = 4 * inner
    return {**state, "fc.weight": torch.randn(1000, inputs), "fc.bias": torch.randn(1000)}


def resnetv2_state(depth: int, width: int = 4) -> dict[str, Tensor]:
    """A random state dict in timm's layout of a pre-activation ResNet."""
    state = {"stem.conv.weight": torch.randn(width, 3, 7, 7)}
    inputs = width
    for stage, count in enumerate(BLOCKS[depth]):
        inner = width * 2**stage
        for block in range(count):
            name = f"stages.{stage}.blocks.{block}"
            shapes = ((inner, inputs, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1))
            for index, shape in enumerate(shapes, 1):
                state |= norm_state(f"{name}.norm{index}", shape[1])
                state[f"{name}.conv{index}.weight"] = torch.randn(shape)
            if block == 0:
                state[f"{name}.downsample.conv.weight"] = torch.randn(4 * inner, inputs, 1, 1)
            inputs = 4 * inner
    state |= norm_state("norm", inputs)
    return {
        **state,
        "head.fc.weight": torch.randn(1000, inputs, 1, 1),
        "head.fc.bias": torch.randn(1000),
    }


@torch.no_grad()
@pytest.mark.parametrize("config", [POST, PRE], ids=["post", "pre"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_answers_at_a_sixteenth_of_any_size(
    config: DilatedResNetConfig, height: int, width: int
) -> None:
    network = DilatedResNet(11, config).eval()
    answer = network(torch.rand(2, 3, height, width) * 255)
    assert answer.scores.shape == (2, 11, -(-height // 16), -(-width // 16))
    for stride, features in answer.features.items():
        size = (-(-height // stride), -(-width // stride))
        assert features.shape == (2, network.channels[stride], *size)


@pytest.mark.parametrize(("depth", "count"), [(50, 23_508_032), (101, 42_500_160)])
def test_trunk_has_the_published_number_of_parameters(depth: int, count: int) -> None:
    """torchvision's models, less their classifier of 2,049,000."""
    with torch.device("meta"):
        post = DilatedResNet(21, DilatedResNetConfig(depth, preactivation=False))
        pre = DilatedResNet(21, DilatedResNetConfig(depth))
    assert sum(p.numel() for p in post.trunk.parameters()) == count
    assert sum(p.numel() for p in pre.trunk.parameters()) == pytest.approx(count, rel=1e-3)


@pytest.mark.parametrize("config", [POST, PRE], ids=["post", "pre"])
def test_every_parameter_learns(config: DilatedResNetConfig) -> None:
    network = DilatedResNet(3, config).train()
    network(torch.rand(2, 3, 64, 64) * 255).scores.square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.no_grad()
def test_last_stage_sees_farther_instead_of_shrinking() -> None:
    network = DilatedResNet(3, POST)
    stage = network.trunk.layer4
    assert [block.conv2.dilation for block in stage] == [(2, 2)] * 3
    assert stage(torch.rand(1, 64, 9, 7)).shape[-2:] == (9, 7)


@torch.no_grad()
def test_torchvisions_weights_load(tmp_path: Path) -> None:
    state = resnet_state(50)
    torch.save(state, tmp_path / "resnet50.pth")
    weights = str(tmp_path / "resnet50.pth")
    network = DilatedResNet(11, DilatedResNetConfig(50, 4, False, weights)).eval()
    x = torch.randn(1, 3, 32, 32)
    expected = F.batch_norm(
        F.conv2d(x, state["conv1.weight"], stride=2, padding=3),
        *(state[f"bn1.{k}"] for k in ("running_mean", "running_var", "weight", "bias")),
    )
    torch.testing.assert_close(network.trunk.bn1(network.trunk.conv1(x)), expected)
    own = network.trunk.state_dict()
    for key in ("layer3.5.conv2.weight", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias"):
        torch.testing.assert_close(own[key], state[key], rtol=0, atol=0)


@torch.no_grad()
def test_timms_preactivation_weights_load(tmp_path: Path) -> None:
    state = resnetv2_state(50)
    torch.save(state, tmp_path / "resnetv2_50.pth")
    weights = str(tmp_path / "resnetv2_50.pth")
    own = DilatedResNet(11, DilatedResNetConfig(50, 4, True, weights)).trunk.state_dict()
    pairs = {
        "conv1.weight": "stem.conv.weight",
        "layer1.0.downsample.0.weight": "stages.0.blocks.0.downsample.conv.weight",
        "layer3.5.norm3.running_var": "stages.2.blocks.5.norm3.running_var",
        "norm.weight": "norm.weight",
    }
    for ours, theirs in pairs.items():
        torch.testing.assert_close(own[ours], state[theirs], rtol=0, atol=0)


@pytest.mark.parametrize("depth", BLOCKS)
def test_full_size_weights_have_the_published_keys_and_shapes(depth: int) -> None:
    with torch.device("meta"):
        own = DilatedResNet(21, DilatedResNetConfig(depth, preactivation=False)).trunk.state_dict()
        published = resnet_state(depth, width=64)
    body = {key: value.shape for key, value in published.items() if not key.startswith("fc.")}
    assert {key: value.shape for key, value in own.items()} == body


def test_weights_of_the_other_kind_are_refused_with_the_fix(tmp_path: Path) -> None:
    torch.save(resnet_state(50), tmp_path / "resnet50.pth")
    weights = str(tmp_path / "resnet50.pth")
    with pytest.raises(ValueError, match=r"missing: stem.conv.weight.*preactivation=false"):
        DilatedResNet(11, DilatedResNetConfig(50, 4, True, weights))
    with pytest.raises(ValueError, match=r"missing: layer3.6.conv1.weight.*depth must agree"):
        DilatedResNet(11, DilatedResNetConfig(101, 4, False, weights))


def test_an_unknown_depth_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no ResNet-18 here: use 50 or 101"):
        DilatedResNetConfig(18)
