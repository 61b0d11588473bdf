from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny_training import TINY_PRIOR, random_unary
from torch import Tensor

from training.refiners import Scene
from training.refiners.prior import PriorConfig, PriorRefiner

CHANNELS = {4: 2, 8: 2, 16: 2}


def refiner_of(**changes: object) -> PriorRefiner:
    torch.manual_seed(0)
    config = dataclasses.replace(TINY_PRIOR, **changes)
    return PriorRefiner(4, CHANNELS, config).double().eval()


def scene_of(height: int, width: int) -> Scene:
    guide = 255 * torch.rand(2, 3, height, width, dtype=torch.float64)
    return Scene(guide, random_unary(height, width))


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 70), (33, 31)])
def test_answers_for_images_of_any_size(height: int, width: int) -> None:
    scene = scene_of(height, width)
    assert refiner_of()(scene).shape == (2, 4, height, width)
    assert refiner_of(answer="low")(scene).shape == (2, 4, -(-height // 8), -(-width // 8))
    assert refiner_of(answer="code")(scene).shape == (2, 4, 8, 12)


@torch.no_grad()
def test_finer_features_are_taken_where_the_network_has_them() -> None:
    scene = scene_of(64, 96)
    half = torch.rand(2, 5, 32, 48, dtype=torch.float64)
    scene.unary.features[2] = half  # type: ignore[index]
    refiner = PriorRefiner(4, {**CHANNELS, 2: 5}, TINY_PRIOR).double().eval()
    before = refiner(scene)
    scene.unary.features[2] = half + 1  # type: ignore[index]
    assert before.shape == (2, 4, 64, 96)
    assert not torch.allclose(before, refiner(scene))


@torch.no_grad()
def test_the_papers_sizes_for_its_images() -> None:
    refiner = PriorRefiner(3, {4: 128, 8: 256}, PriorConfig())
    assert refiner.config.coarse == (32, 32)
    assert refiner.image_encoder.resized == (64, 64)  # an image of 256 x 256 at 1/4: not resized
    assert refiner.segmentation_encoder.resized == (32, 32)


@torch.no_grad()
def test_the_code_is_the_mean_of_what_the_image_suggests() -> None:
    refiner = refiner_of()
    scene = scene_of(64, 96)
    prepared = refiner.prepare(scene)
    encoded = refiner.image_encoder(scene.unary.features[4])
    assert torch.equal(refiner.start(prepared), encoded.mean)
    assert torch.equal(refiner(scene), refiner.scores(prepared, encoded.mean))
    assert torch.equal(refiner.step(prepared, encoded.mean), encoded.mean)
    assert refiner.iterations == 0


@torch.no_grad()
def test_code_and_image_both_have_a_say() -> None:
    refiner = refiner_of()
    prepared = refiner.prepare(scene_of(64, 96))
    code = refiner.start(prepared)
    moved = dataclasses.replace(prepared, local=prepared.local + 1)
    assert not torch.allclose(refiner.low(prepared, code), refiner.low(prepared, code + 1))
    assert not torch.allclose(refiner.low(prepared, code), refiner.low(moved, code))
    assert not torch.allclose(refiner.of_code_alone(code), refiner.of_code_alone(code + 1))


@torch.no_grad()
def test_what_padding_holds_does_not_matter() -> None:
    refiner = refiner_of()
    scene, other = scene_of(64, 96), Scene(torch.zeros(2, 3, 64, 96), random_unary(64, 96, seed=1))
    valid = torch.ones(2, 1, 64, 96, dtype=torch.bool)
    valid[..., 48:, :] = False
    outside = ~valid
    unary = dataclasses.replace(
        scene.unary,
        scores=replaced(scene.unary.scores, other.unary.scores, outside),
        features={
            stride: replaced(maps, other.unary.features[stride], outside)
            for stride, maps in scene.unary.features.items()
        },
    )
    changed = Scene(replaced(scene.guide, other.guide.double(), outside), unary)
    masked = [refiner(dataclasses.replace(x, valid=valid)) for x in (scene, changed)]
    torch.testing.assert_close(*masked)
    assert not torch.allclose(refiner(scene)[..., :48, :], refiner(changed)[..., :48, :])


def replaced(maps: Tensor, others: Tensor, where: Tensor) -> Tensor:
    """Maps with others' values at `where`, bool [B, 1, H, W]."""
    cells = torch.nn.functional.interpolate(where.double(), maps.shape[-2:]) > 0
    return torch.where(cells, others, maps)


def test_samples_have_the_distributions_mean_and_variance() -> None:
    refiner = refiner_of()
    code = refiner.prepare(scene_of(64, 96)).code
    many = dataclasses.replace(
        code,
        mean=code.mean.detach().repeat(4000, 1),
        log_variance=code.log_variance.detach().repeat(4000, 1),
    )
    torch.manual_seed(0)
    drawn = many.sample().unflatten(0, (4000, -1))
    deviation = torch.exp(0.5 * code.log_variance.detach())
    assert ((drawn.mean(dim=0) - code.mean.detach()).abs() < 0.08 * deviation).all()
    torch.testing.assert_close(drawn.std(dim=0), deviation, rtol=0.05, atol=0)


def test_every_parameter_of_inference_learns() -> None:
    refiner = refiner_of().train()
    refiner(scene_of(64, 96)).square().mean().backward()
    without = {n for n, p in refiner.named_parameters() if p.grad is None or not p.grad.any()}
    parts = {name.split(".")[0] for name in without if "log_variance" not in name}
    assert parts == {"segmentation_encoder", "global_scores", "low_scores"}


def test_gradients_are_exact() -> None:
    refiner = refiner_of(answer="low")
    scene = scene_of(16, 32)

    def scores(given: Tensor, shared: Tensor, local: Tensor) -> Tensor:
        features = {4: shared, 8: local}
        unary = dataclasses.replace(scene.unary, scores=given, features=features)
        return refiner(dataclasses.replace(scene, unary=unary))

    unary = scene.unary
    inputs = (unary.scores, unary.features[4], unary.features[8])
    assert torch.autograd.gradcheck(scores, [x.requires_grad_() for x in inputs], fast_mode=True)


def test_features_that_are_not_there_are_named() -> None:
    with pytest.raises(ValueError, match="no features at stride 8: the unary network has them at"):
        PriorRefiner(4, {4: 2, 16: 2}, TINY_PRIOR)


def test_an_answer_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="answer 'high': use 'code', 'low', 'full'"):
        refiner_of(answer="high")
