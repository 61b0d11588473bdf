from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tiny_training import random_unary
from torch import Tensor

from training.networks import UnaryOutput
from training.refiners import (
    GuidedCrfConfig,
    GuidedCrfRefiner,
    MeanFieldConfig,
    MeanFieldRefiner,
    Scene,
)
from training.refiners.mean_field import Field, FieldRefiner, Kernel, mean_field_step, potts

CLASSES, HEIGHT, WIDTH = 3, 12, 16
LOCAL = MeanFieldConfig(sxy=6.0, srgb=20.0, sxy_spatial=2.0, iterations=4, iterations_train=2)
GUIDED = GuidedCrfConfig(radius=2, eps=10.0, stride=1)
BUILD: dict[str, Callable[[], FieldRefiner]] = {
    "mean_field": lambda: MeanFieldRefiner(CLASSES, {}, LOCAL),
    "guided_crf": lambda: GuidedCrfRefiner(CLASSES, {}, GUIDED),
}
both = pytest.mark.parametrize("name", BUILD)


def scene_with(scores: Tensor, guide: Tensor, valid: Tensor | None = None) -> Scene:
    return Scene(guide, UnaryOutput(scores, torch.zeros_like(scores), {}), valid)


def halves(noise: float = 2.0, batch: int = 1) -> tuple[Scene, Tensor]:
    """An image of two colours, noisy scores for what they mean, and the truth [B, H, W]."""
    generator = torch.Generator().manual_seed(0)
    truth = (torch.arange(WIDTH) >= WIDTH // 2).long().expand(batch, HEIGHT, WIDTH)
    guide = truth[:, None].double() * torch.tensor([90.0, 60.0, -80.0]).reshape(3, 1, 1) + 100
    guide = guide + torch.randn(guide.shape, generator=generator, dtype=torch.float64)
    scores = 2.0 * F.one_hot(truth, CLASSES).permute(0, 3, 1, 2).double()
    scores = scores + noise * torch.randn(scores.shape, generator=generator, dtype=torch.float64)
    return scene_with(scores, guide), truth


def accuracy(scores: Tensor, truth: Tensor) -> float:
    return float((scores.argmax(dim=1) == truth).double().mean())


@both
def test_a_noisy_map_gets_better_and_the_wrong_sign_makes_it_worse(name: str) -> None:
    refiner = BUILD[name]().double().eval().requires_grad_(False)
    scene, truth = halves()
    before, after = accuracy(scene.unary.scores, truth), accuracy(refiner(scene), truth)
    assert before < 0.8
    assert after > before + 0.1
    refiner.compatibility.neg_()
    field = refiner.prepare(scene)
    assert accuracy(mean_field_step(field, field.unary), truth) < before


def test_a_step_is_the_formula_with_the_kernels_as_matrices() -> None:
    torch.manual_seed(0)
    refiner = MeanFieldRefiner(CLASSES, {}, LOCAL).double()
    with torch.no_grad():
        for parameter in refiner.parameters():
            parameter.add_(torch.randn_like(parameter))
    scene, _ = halves()
    field, pixels = refiner.prepare(scene), HEIGHT * WIDTH
    unary = scene.unary.scores.reshape(CLASSES, pixels)
    probs = F.softmax(unary, dim=0)
    pairs = ((refiner.spatial_weight, 0), (refiner.bilateral_weight, 1))
    message = sum(w @ probs @ as_matrix(field.kernels[i]).T for w, i in pairs)
    expected = unary - refiner.compatibility @ message
    found = mean_field_step(field, field.unary).reshape(CLASSES, pixels)
    torch.testing.assert_close(found, expected)


def as_matrix(kernel: Kernel) -> Tensor:
    """``K / K 1`` as a dense matrix, a column for each pixel."""
    pixels = HEIGHT * WIDTH
    unit = torch.eye(pixels, dtype=torch.float64).reshape(1, pixels, HEIGHT, WIDTH)
    return kernel.filter.apply(unit).reshape(pixels, pixels).T


@pytest.mark.parametrize("weights", ["class", "scalar"])
def test_all_kinds_of_weights_begin_alike(weights: str) -> None:
    scene, _ = halves()
    full, other = (
        MeanFieldRefiner(CLASSES, {}, dataclasses.replace(LOCAL, weights=kind)).double()
        for kind in ("full", weights)
    )
    torch.testing.assert_close(full(scene), other(scene))
    assert full.bilateral_weight.numel() == CLASSES**2
    assert other.bilateral_weight.numel() == {"class": CLASSES, "scalar": 1}[weights]


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="weights 'some': use one of full, class, scalar"):
        MeanFieldConfig(weights="some")


def test_training_takes_fewer_steps() -> None:
    refiner = MeanFieldRefiner(CLASSES, {}, LOCAL)
    assert (refiner.train().iterations, refiner.eval().iterations) == (2, 4)
    assert refiner.attributes()["iterations"] == 4


@both
def test_a_constant_added_to_a_column_of_the_compatibility_changes_no_probability(
    name: str,
) -> None:
    refiner = BUILD[name]().double().requires_grad_(False)
    scene, _ = halves()
    before = F.softmax(refiner(scene), dim=1)
    refiner.compatibility[:, 1] += 3.0
    torch.testing.assert_close(F.softmax(refiner(scene), dim=1), before)


@both
def test_padding_does_not_enter(name: str) -> None:
    refiner = BUILD[name]().double()
    scene, _ = halves()
    valid = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    valid[..., WIDTH - 4 :] = False
    shown = []
    for padding in (0.0, 200.0):
        guide = torch.where(valid, scene.guide, padding)
        scores = torch.where(valid, scene.unary.scores, padding)
        shown.append(refiner(scene_with(scores, guide, valid))[..., : WIDTH - 4])
    cropped = scene_with(
        scene.unary.scores[..., : WIDTH - 4].contiguous(),
        scene.guide[..., : WIDTH - 4].contiguous(),
    )
    torch.testing.assert_close(shown[0], shown[1])
    torch.testing.assert_close(shown[0], refiner(cropped))


@both
def test_gradients_reach_scores_and_everything_that_learns(name: str) -> None:
    torch.manual_seed(0)
    refiner = BUILD[name]().double().train()
    scene, _ = halves()
    crop = (slice(None), slice(None), slice(0, 5), slice(WIDTH // 2 - 3, WIDTH // 2 + 3))
    scores = scene.unary.scores[crop].clone().requires_grad_(True)
    guide = scene.guide[crop].contiguous()

    def refined(scores: Tensor, *_: Tensor) -> Tensor:
        result: Tensor = refiner(scene_with(scores, guide))
        return result

    assert torch.autograd.gradcheck(refined, (scores, *refiner.parameters()), fast_mode=True)
    refined(scores)[:, 0].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in refiner.parameters())


def test_the_field_lives_at_its_stride_whatever_the_scores_have() -> None:
    unary = random_unary(48, 64, classes=CLASSES)
    guide = torch.full((2, 3, 48, 64), 100.0, dtype=torch.float64)
    refiner = MeanFieldRefiner(CLASSES, {}, dataclasses.replace(LOCAL, stride=2)).double()
    assert refiner(Scene(guide, unary)).shape == (2, CLASSES, 24, 32)
    assert refiner.attributes()["sxy"] == LOCAL.sxy / 2
    guided = GuidedCrfRefiner(CLASSES, {}, GuidedCrfConfig(radius=1)).double()
    assert guided(Scene(guide, unary)).shape == unary.scores.shape


def test_the_potts_compatibility_penalises_every_other_class_alike() -> None:
    field = Field(torch.zeros(1, 3, 1, 1), (), potts(3))
    assert field.compatibility.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


def gated_refiner(slope: float) -> GuidedCrfRefiner:
    config = dataclasses.replace(GUIDED, gated=True)
    refiner = GuidedCrfRefiner(CLASSES, {}, config).double().requires_grad_(False)
    refiner.gate.slope.fill_(slope)
    return refiner


def unsure_right() -> Scene:
    """Sure of the left half, unsure of the right one."""
    scene, _ = halves()
    uncertainty = torch.full_like(scene.unary.scores, 0.1)
    uncertainty[..., WIDTH // 2 :] = 2.0
    return Scene(scene.guide, dataclasses.replace(scene.unary, uncertainty=uncertainty))


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_a_gate_that_has_learnt_nothing_or_the_wrong_way_is_open(slope: float) -> None:
    scene = unsure_right()
    torch.testing.assert_close(gated_refiner(slope)(scene), BUILD["guided_crf"]().double()(scene))


def test_messages_count_more_where_the_network_is_unsure() -> None:
    scene, refiner = unsure_right(), gated_refiner(0.7)
    messages = BUILD["guided_crf"]().double()(scene) - scene.unary.scores
    gain = refiner.gate(scene.unary.uncertainty)
    assert (gain[..., 0] < 1).all()
    assert (gain[..., -1] > 1).all()
    torch.testing.assert_close(refiner(scene) - scene.unary.scores, gain * messages)
    field = refiner.prepare(scene)
    torch.testing.assert_close(refiner.scores(field, refiner.start(field)), scene.unary.scores)


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_the_gate_learns_from_the_start_and_from_a_wrong_step(slope: float) -> None:
    refiner = gated_refiner(slope).requires_grad_(True)
    refiner(unsure_right())[..., -1].square().sum().backward()
    assert refiner.gate.slope.grad != 0


def test_a_frame_that_is_unsure_everywhere_and_padding_leave_the_gate_as_it_is() -> None:
    scene, gate = unsure_right(), gated_refiner(0.7).gate
    gain = gate(scene.unary.uncertainty)
    torch.testing.assert_close(gate(3 * scene.unary.uncertainty), gain)
    padded = F.pad(scene.unary.uncertainty, (0, 5, 0, 3), value=9.0)
    valid = F.pad(torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool), (0, 5, 0, 3))
    torch.testing.assert_close(gate(padded, valid)[..., :HEIGHT, :WIDTH], gain)


def test_a_network_without_uncertainty_leaves_the_gate_finite() -> None:
    scene, _ = halves()
    assert torch.isfinite(gated_refiner(2.0)(scene)).all()
