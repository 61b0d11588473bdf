from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from tiny_training import random_unary
from torch import Tensor

from training.refiners import ContextCrfConfig, ContextCrfRefiner, Scene
from training.refiners.context_crf import PatchConv

CLASSES, CHANNELS = 3, {4: 2, 8: 2, 16: 2}
TINY = ContextCrfConfig(radii=(1,), dilations=(2,), label_pool=5, label_kernel=3, hidden=4)


def refiner_of(config: ContextCrfConfig = TINY, learnt: bool = True) -> ContextCrfRefiner:
    torch.manual_seed(0)
    refiner = ContextCrfRefiner(CLASSES, CHANNELS, config).double()
    if learnt:
        with torch.no_grad():
            for parameter in refiner.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return refiner


def scene_of(height: int = 48, width: int = 64) -> Scene:
    guide = torch.zeros(1, 3, height, width, dtype=torch.float64)
    return Scene(guide, random_unary(height, width, classes=CLASSES, batch=1))


def test_a_patch_holds_positions_slow_and_classes_fast() -> None:
    """Channel (2 row + column) C + class of a cell is that class at that position of its patch."""
    convolution = PatchConv(1, CLASSES, 2)
    with torch.no_grad():
        convolution.conv.weight.zero_()
        convolution.conv.bias.copy_(torch.arange(4.0 * CLASSES))
        found = convolution(torch.zeros(1, 1, 2, 3))
    assert found.shape == (1, CLASSES, 4, 6)
    for row in range(4):
        for column in range(6):
            slot = 2 * (row % 2) + column % 2
            expected = [float(slot * CLASSES + label) for label in range(CLASSES)]
            assert found[0, :, row, column].tolist() == expected


@pytest.mark.parametrize(("height", "width"), [(48, 64), (40, 56), (360, 480)])
def test_before_it_learns_it_changes_nothing(height: int, width: int) -> None:
    scene = scene_of(height, width)
    found = refiner_of(learnt=False)(scene)
    assert torch.equal(found, scene.unary.scores)


def test_messages_reach_as_far_as_the_labels_window() -> None:
    """Scores two windows away are not looked at, those inside are."""
    refiner, scene = refiner_of(), scene_of(48, 160)
    changed = scene.unary.scores.clone()
    changed[..., 0] += 5.0
    difference = (refiner(scene.refined(changed)) - refiner(scene)).abs().amax(dim=(0, 1, 2))
    reach = 2 * (TINY.label_pool // 2 + TINY.label_kernel // 2 + 1) + 2
    assert difference[1:4].min() > 0
    assert not difference[reach:].any()


def test_upsampling_begins_bilinear() -> None:
    refiner = refiner_of(learnt=False)
    maps = torch.randn(1, CLASSES, 6, 8, dtype=torch.float64)
    expected = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    found = refiner.up(maps)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


def test_without_patches_one_feature_says_the_same_of_its_whole_cell() -> None:
    refiner = refiner_of(dataclasses.replace(TINY, patch=1))
    assert refiner(scene_of()).shape == (1, CLASSES, 6, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"radii": (1, 2)}, "give one for one"), ({"patch": 3}, "use 1, 2 or 4")],
)
def test_an_impossible_config_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


def test_missing_features_are_named() -> None:
    with pytest.raises(ValueError, match=r"no features at stride 32: .* at 4, 8, 16"):
        ContextCrfRefiner(CLASSES, CHANNELS, dataclasses.replace(TINY, stride=32))


def test_gradients_reach_everything_that_learns() -> None:
    refiner, scene = refiner_of(), scene_of(32, 32)
    scores = scene.unary.scores.clone().requires_grad_(True)

    def refined(scores: Tensor, *_: Tensor) -> Tensor:
        result: Tensor = refiner(scene.refined(scores))
        return result

    assert torch.autograd.gradcheck(refined, (scores, *refiner.parameters()), fast_mode=True)
