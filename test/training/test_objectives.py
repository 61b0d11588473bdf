from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_training import TINY_CODE, TINY_UNARY, tiny_samples

from seg_perception.evaluation.scores import ConfusionMatrix
from training.datasets import Batch
from training.model import Segmenter
from training.objectives import CORRECTION_KINDS, OBJECTIVES, CodeSolver, Unary

CPU = torch.device("cpu")
LEARNS = {"unary": {"unary"}, "code_solver": {"code"}, "code_vae": {"code", "code_encoder"}}


def model_of(seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(11, TINY_UNARY, TINY_CODE)


def batch_of(count: int = 2) -> Batch:
    samples = tiny_samples(count)
    image = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2).float()
    labels = torch.from_numpy(np.stack([s.labels for s in samples])).long()
    return Batch(image, labels)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_moves_its_own_parameters_only(name: str) -> None:
    model = model_of()
    objective = OBJECTIVES[name](model, torch.ones(11))
    objective.train()
    loss = objective.loss(batch_of(), np.random.default_rng(0))
    assert torch.isfinite(loss)
    loss.backward()
    reached = {key.split(".")[0] for key, p in model.named_parameters() if p.grad is not None}
    learning = {key.split(".")[0] for key, p in model.named_parameters() if p.requires_grad}
    assert reached == learning == LEARNS[name]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_frozen_batch_statistics_stay_as_they_are(name: str) -> None:
    model = model_of()
    before = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
    objective = OBJECTIVES[name](model, torch.ones(11))
    objective.train()
    objective.loss(batch_of(), np.random.default_rng(0))
    after = model.state_dict()
    changed = {k.split(".")[0] for k, v in before.items() if not torch.equal(v, after[k])}
    assert changed == LEARNS[name] - {"code"}  # the code has no batch normalisation


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_few_steps_lower_the_loss(name: str) -> None:
    model, batch = model_of(), batch_of()
    objective = OBJECTIVES[name](model, torch.ones(11))
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(12):
        objective.train()
        torch.manual_seed(0)
        loss = objective.loss(batch, np.random.default_rng(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_the_unary_score_is_miou() -> None:
    model, samples = model_of().eval(), tiny_samples(3)
    confusion = ConfusionMatrix.empty(11)
    for sample in samples:
        image = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float()
        scores = torch.nn.functional.interpolate(
            model.unary(image).scores, (32, 48), mode="bilinear", align_corners=False
        )
        labels = scores.argmax(dim=1)[0].numpy().astype(np.uint8)
        confusion += ConfusionMatrix.of(labels, sample.labels, 11)
    with torch.no_grad():
        assert Unary(model, torch.ones(11)).score(samples, CPU) == pytest.approx(confusion.miou())


def test_a_decoder_that_does_nothing_corrects_nothing() -> None:
    model = model_of().eval()
    with torch.no_grad():
        model.code.to_scores.zero_()
    found = CodeSolver(model, torch.ones(11)).corrections(tiny_samples(2), CPU)
    assert len(found) == len(CORRECTION_KINDS)
    assert all(gain == {"removed": 0.0, "miou_gained": 0.0} for gain in found.values())


def test_harm_and_known_pixels_enter_the_loss() -> None:
    model, batch = model_of(), batch_of()

    def loss(**options: float) -> float:
        objective = CodeSolver(model, torch.ones(11), **options)
        objective.train()
        torch.manual_seed(0)
        return float(objective.loss(batch, np.random.default_rng(0)).detach())

    assert loss(harm=5.0) > loss(harm=0.0)
    assert loss(inside=1.0) != loss(inside=0.0)


@pytest.mark.parametrize("name", ["code_solver", "code_vae"])
def test_a_recipe_without_a_code_says_what_is_missing(name: str) -> None:
    with pytest.raises(ValueError, match="give the recipe code=CodeConfig"):
        OBJECTIVES[name](Segmenter(11, TINY_UNARY), torch.ones(11))
