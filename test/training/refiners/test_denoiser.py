from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from tiny_training import random_unary
from torch import Tensor

from training.refiners import Scene
from training.refiners.denoiser import (
    VEHICLE,
    DenoiserConfig,
    DenoiserRefiner,
    PreparedDenoiser,
    unpool,
)

FULL = DenoiserConfig(widths=(3, 4, 5, 6, 7), feature_stride=16, iterations=3)
COARSE = DenoiserConfig(widths=(4, 5, 6), stride=4, iterations=3)


def refiner_of(config: DenoiserConfig, **changes: object) -> DenoiserRefiner:
    torch.manual_seed(0)
    changed = dataclasses.replace(config, **changes)
    return DenoiserRefiner(4, {4: 2, 8: 2, 16: 2}, changed).double().eval()


def scene_of(height: int, width: int) -> Scene:
    return Scene(torch.zeros(2, 3, height, width), random_unary(height, width))


def prepared_of(refiner: DenoiserRefiner, height: int = 64, width: int = 48) -> PreparedDenoiser:
    return refiner.prepare(scene_of(height, width))


@torch.no_grad()
@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("config", [FULL, COARSE], ids=["full", "coarse"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 70), (33, 31)])
def test_answers_at_its_stride_of_any_size(
    config: DenoiserConfig, skips: bool, height: int, width: int
) -> None:
    scores = refiner_of(config, skips=skips)(scene_of(height, width))
    assert scores.shape == (2, 4, -(-height // config.stride), -(-width // config.stride))
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones_like(scores[:, 0]))


@pytest.mark.parametrize(("channels", "count"), [(512, 55.0e6), (464, 54.6e6)])
def test_has_the_papers_size_behind_fcn8_and_fc_densenet(channels: int, count: float) -> None:
    with torch.device("meta"):
        refiner = DenoiserRefiner(11, {16: channels}, DenoiserConfig())
        vehicle = DenoiserRefiner(11, {16: 192}, VEHICLE)
    assert sum(p.numel() for p in refiner.parameters()) == pytest.approx(count, rel=1e-3)
    assert sum(p.numel() for p in vehicle.parameters()) < 0.6e6


@pytest.mark.parametrize(("height", "width"), [(6, 8), (5, 7)])
def test_unpooling_puts_values_where_the_maxima_were(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    fine = torch.rand(2, 3, height, width, generator=generator)
    pooled, places = F.max_pool2d(fine, 2, ceil_mode=True, return_indices=True)
    values = torch.rand(pooled.shape, generator=generator)
    expected = torch.zeros_like(fine).flatten(2)
    expected.scatter_(2, places.flatten(2), values.flatten(2))
    torch.testing.assert_close(unpool(values, fine, pooled), expected.view_as(fine))


@torch.no_grad()
def test_a_step_goes_its_size_towards_the_reconstruction() -> None:
    refiner = refiner_of(COARSE, step_size=0.25)
    prepared = prepared_of(refiner)
    clean = refiner.autoencoder(prepared.probs, prepared.features).softmax(dim=1)
    moved = refiner.step(prepared, refiner.start(prepared))
    torch.testing.assert_close(moved, 0.75 * prepared.probs + 0.25 * clean)


@torch.no_grad()
def test_all_steps_are_taken_one_after_the_other() -> None:
    refiner = refiner_of(COARSE, step_size=0.3, iterations=2)
    scene = scene_of(64, 48)
    prepared = refiner.prepare(scene)
    once = refiner.step(prepared, refiner.start(prepared))
    twice = refiner.step(prepared, once)
    assert not torch.equal(once, twice)
    torch.testing.assert_close(refiner(scene), twice.log())


@torch.no_grad()
def test_a_frame_that_has_converged_stands_still_alone() -> None:
    refiner = refiner_of(COARSE)
    prepared = prepared_of(refiner)
    change = refiner.change(prepared, prepared.probs).abs().mean(dim=(1, 2, 3))
    slow, fast = sorted(range(2), key=lambda index: float(change[index]))
    assert change[slow] < change[fast]
    between = float(change.mean())
    moved = refiner_of(COARSE, tolerance=between).step(prepared, prepared.probs)
    assert torch.equal(moved[slow], prepared.probs[slow])
    assert not torch.equal(moved[fast], prepared.probs[fast])


@torch.no_grad()
def test_the_image_has_a_say() -> None:
    refiner = refiner_of(COARSE)
    prepared = prepared_of(refiner)
    other = dataclasses.replace(prepared, features=prepared.features + 1)
    assert not torch.allclose(
        refiner.change(prepared, prepared.probs), refiner.change(other, prepared.probs)
    )


@torch.no_grad()
@pytest.mark.parametrize("config", [FULL, COARSE], ids=["full", "coarse"])
def test_a_residual_autoencoder_begins_by_giving_back_what_it_got(config: DenoiserConfig) -> None:
    refiner = refiner_of(config, residual=True, step_size=1.0)
    prepared = prepared_of(refiner)
    torch.testing.assert_close(refiner.step(prepared, prepared.probs), prepared.probs)
    refiner.autoencoder.up[0].bias[0] += 1.0
    assert (refiner.step(prepared, prepared.probs)[:, 0] > prepared.probs[:, 0]).all()


def test_a_residual_autoencoder_learns_though_nothing_moves_yet() -> None:
    refiner = refiner_of(COARSE, residual=True).train()
    refiner(scene_of(64, 48))[:, 0].sum().backward()
    assert refiner.autoencoder.up[0].weight.grad.any()


@torch.no_grad()
@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (40, 56)])
def test_padding_changes_nothing(skips: bool, height: int, width: int) -> None:
    refiner = refiner_of(COARSE, skips=skips, step_size=0.3)
    scene = scene_of(height, width)
    alone = refiner(scene)
    within = padded(scene, 80, 96)
    rows, columns = alone.shape[-2:]
    torch.testing.assert_close(refiner(within)[..., :rows, :columns], alone)
    unmasked = refiner(dataclasses.replace(within, valid=None))[..., :rows, :columns]
    assert not torch.allclose(unmasked, alone)


@torch.no_grad()
def test_padding_does_not_count_as_converged() -> None:
    refiner = refiner_of(COARSE)
    scene = scene_of(48, 64)
    prepared = refiner.prepare(scene)
    moved = refiner.change(prepared, prepared.probs).abs().mean(dim=(1, 2, 3))
    just_moving = refiner_of(COARSE, tolerance=0.9 * float(moved.min()))
    within = just_moving.prepare(padded(scene, 80, 96))
    assert just_moving.change(within, within.probs).abs().amax(dim=(1, 2, 3)).all()


def padded(scene: Scene, height: int, width: int) -> Scene:
    """The scene in the corner of a larger one that holds other things."""
    other = scene_of(height, width)
    unary, around = scene.unary, random_unary(height, width, seed=1)
    valid = torch.zeros(2, 1, height, width, dtype=torch.bool)
    valid[..., : scene.guide.shape[-2], : scene.guide.shape[-1]] = True
    within = dataclasses.replace(
        around,
        scores=put(unary.scores, around.scores),
        features={k: put(v, around.features[k]) for k, v in unary.features.items()},
    )
    return dataclasses.replace(other, unary=within, valid=valid)


def put(small: Tensor, large: Tensor) -> Tensor:
    """The small maps in the corner of the large ones."""
    whole = large.clone()
    whole[..., : small.shape[-2], : small.shape[-1]] = small
    return whole


@torch.no_grad()
def test_skips_add_no_parameters_but_change_the_answer() -> None:
    plain, skipping = refiner_of(COARSE), refiner_of(COARSE, skips=True)
    skipping.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(scene_of(64, 48)), skipping(scene_of(64, 48)))


@pytest.mark.parametrize("config", [FULL, COARSE], ids=["full", "coarse"])
def test_every_parameter_learns(config: DenoiserConfig) -> None:
    refiner = refiner_of(config)
    refiner(scene_of(64, 64))[:, 0].sum().backward()
    assert [n for n, p in refiner.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_gradients_are_exact() -> None:
    refiner = refiner_of(COARSE, widths=(2, 3, 2), iterations=2)
    unary = random_unary(16, 32)

    def scores(given: Tensor, features: Tensor) -> Tensor:
        changed = dataclasses.replace(unary, scores=given, features={16: features})
        return refiner(Scene(torch.zeros(2, 3, 16, 32), changed))

    inputs = unary.scores.requires_grad_(), unary.features[16].requires_grad_()
    assert torch.autograd.gradcheck(scores, inputs, fast_mode=True)


def test_features_that_are_not_there_are_named() -> None:
    with pytest.raises(ValueError, match="no features at stride 16: the unary network has them"):
        DenoiserRefiner(4, {4: 2, 8: 2}, COARSE)
    with pytest.raises(ValueError, match=r"2 levels from stride 4 down never meet .* stride 16"):
        DenoiserConfig(widths=(4, 4), stride=4)
