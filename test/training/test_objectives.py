from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_training import TINY_CODE, TINY_DENOISER, TINY_PRIOR, TINY_UNARY, tiny_samples

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, VOID, ClassInfo
from seg_perception.evaluation.scores import ConfusionMatrix
from training.datasets import Batch
from training.model import Segmenter
from training.objectives import OBJECTIVES, CodeSolver, Denoising, Refined, Task, Unary
from training.objectives.code import CORRECTION_KINDS
from training.objectives.denoising import SCENARIOS
from training.objectives.prior import PriorJoint
from training.refiners import GuidedCrfConfig, MeanFieldConfig
from training.refiners.denoiser import PreparedDenoiser

CPU = torch.device("cpu")
OPTIONS = {"refined": {"learn": ("unary",)}}
LEARNS = {"unary": {"unary"}, "refined": {"unary"}}
LEARNS |= {"denoising": {"refiners"}, "prior_joint": {"unary", "refiners"}}
LEARNS |= {name: {"refiners"} for name in ("prior_vae", "prior_image", "prior_high")}
LEARNS |= {"code_solver": {"refiners"}, "code_vae": {"refiners", "code_encoder"}}
TASK = Task(CAMVID_CLASSES, CAMVID_GROUPS, torch.ones(11))


CHAINS = {"denoising": (TINY_DENOISER,)}
CHAINS |= {name: (TINY_PRIOR,) for name in OBJECTIVES if name.startswith("prior")}
PRIOR_PARTS = {
    "prior_vae": {"segmentation_encoder", "global_decoder", "global_scores"},
    "prior_image": {"image_encoder"},
    "prior_joint": {
        "image_encoder",
        "segmentation_encoder",
        "global_decoder",
        "hybrid",
        "low_scores",
    },
    "prior_high": {"high"},
}


def model_of(objective: str = "", seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(11, TINY_UNARY, CHAINS.get(objective, (TINY_CODE,)))


def batch_of(count: int = 2) -> Batch:
    samples = tiny_samples(count)
    image = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2).float()
    labels = torch.from_numpy(np.stack([s.labels for s in samples])).long()
    return Batch(image, labels)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_moves_its_own_parameters_only(name: str) -> None:
    model = model_of(name)
    objective = OBJECTIVES[name](model, TASK, **OPTIONS.get(name, {}))
    objective.train()
    loss = objective.loss(batch_of(), np.random.default_rng(0))
    assert torch.isfinite(loss)
    loss.backward()
    reached = {key.split(".")[0] for key, p in model.named_parameters() if p.grad is not None}
    learning = {key.split(".")[0] for key, p in model.named_parameters() if p.requires_grad}
    assert reached == learning == LEARNS[name]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_frozen_batch_statistics_stay_as_they_are(name: str) -> None:
    model = model_of(name)
    before = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
    objective = OBJECTIVES[name](model, TASK, **OPTIONS.get(name, {}))
    objective.train()
    objective.loss(batch_of(), np.random.default_rng(0))
    after = model.state_dict()
    changed = {k.split(".")[0] for k, v in before.items() if not torch.equal(v, after[k])}
    # Of the refiners, only the prior has batch normalisation.
    assert changed == LEARNS[name] - (
        {"refiners"} if TINY_PRIOR not in CHAINS.get(name, ()) else set()
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_few_steps_lower_the_loss(name: str) -> None:
    model, batch = model_of(name), batch_of()
    objective = OBJECTIVES[name](model, TASK, **OPTIONS.get(name, {}))
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
        assert Unary(model, TASK).score(samples, CPU) == pytest.approx(confusion.miou())


def test_a_decoder_that_does_nothing_corrects_nothing() -> None:
    model = model_of().eval()
    with torch.no_grad():
        model.code.to_scores.zero_()
    found = CodeSolver(model, TASK).corrections(tiny_samples(2), CPU)
    assert len(found) == len(CORRECTION_KINDS)
    assert all(gain == {"removed": 0.0, "miou_gained": 0.0} for gain in found.values())


def test_harm_and_known_pixels_enter_the_loss() -> None:
    model, batch = model_of(), batch_of()

    def loss(**options: float) -> float:
        objective = CodeSolver(model, TASK, **options)
        objective.train()
        torch.manual_seed(0)
        return float(objective.loss(batch, np.random.default_rng(0)).detach())

    assert loss(harm=5.0) > loss(harm=0.0)
    assert loss(inside=1.0) != loss(inside=0.0)


@pytest.mark.parametrize("name", ["code_solver", "code_vae"])
def test_a_recipe_without_a_code_says_what_is_missing(name: str) -> None:
    with pytest.raises(ValueError, match="give the recipe refiners="):
        OBJECTIVES[name](Segmenter(11, TINY_UNARY), TASK)


@pytest.mark.parametrize("learn", [("mean_field",), ("unary", "guided_crf", "mean_field")])
def test_a_chain_learns_end_to_end_or_in_parts(learn: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    chain = (GuidedCrfConfig(radius=1), MeanFieldConfig(sxy=10.0, srgb=20.0, stride=4))
    model = Segmenter(11, TINY_UNARY, chain)
    objective = Refined(model, TASK, learn=learn, hardest=0.5)
    objective.train()
    objective.loss(batch_of(), np.random.default_rng(0)).backward()
    parts = {"unary": model.unary, **model.refiners}
    for name, part in parts.items():
        assert any(p.grad is not None for p in part.parameters()) == (name in learn), name
    assert {name for name, part in parts.items() if part.training} == set(learn)
    assert 0 <= objective.score(tiny_samples(2), CPU) <= 100


def test_a_part_of_a_refiner_learns_alone_and_nothing_behind_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    chain = (dataclasses.replace(TINY_CODE, guessed=True), GuidedCrfConfig(radius=1))
    model = Segmenter(11, TINY_UNARY, chain)
    objective = Refined(model, TASK, learn=("code.guess",), until="code", stride=4)
    objective.train()
    monkeypatch.setattr(model.refiners["guided_crf"], "prepare", None)
    objective.loss(batch_of(), np.random.default_rng(0)).backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached
    assert all(name.startswith("refiners.code.guess.") for name in reached)


def test_the_loss_is_taken_at_every_stride_th_pixel() -> None:
    model, batch = model_of(), batch_of()
    every, some = (Refined(model, TASK, stride=stride) for stride in (1, 4))
    every.train()
    changed = batch.labels.clone()
    changed[:, 0::4] = VOID  # rows that a stride of 4 does not look at
    rng = np.random.default_rng(0)
    with torch.no_grad():
        assert some.loss(batch, rng) == some.loss(Batch(batch.image, changed), rng)
        assert every.loss(batch, rng) != every.loss(Batch(batch.image, changed), rng)


def test_a_frozen_network_errs_in_training_where_dropout_is_asked_for() -> None:
    model, batch = model_of(), batch_of()
    model.unary.dropout.p = 0.5
    for dropout in (True, False):
        objective = Refined(model, TASK, dropout=dropout)
        objective.train()
        with torch.no_grad():
            first, second = (objective.loss(batch, np.random.default_rng(0)) for _ in range(2))
        assert (first != second) == dropout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learn": ("nope",)}, "nothing to learn in nope: use unary, code"),
        ({"learn": ("code.nope",)}, "nothing to learn in code.nope: use unary, code"),
        ({"until": "nope"}, "no refiner 'nope' to stop at: use code"),
        ({"hardest": 0.0}, "hardest=0.0: give a fraction"),
    ],
)
def test_a_chain_that_cannot_learn_so_says_what_can(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Refined(model_of(), TASK, **options)


def test_classes_without_road_have_no_lanes_to_be_scored_by() -> None:
    indoor = tuple(ClassInfo(i, f"thing {i}", (i, i, i)) for i in range(11))
    objective = CodeSolver(model_of(), Task(indoor, {}, torch.ones(11)))
    assert list(objective.corrections(tiny_samples(1), CPU)) == ["points:0.01"]
    objective.train()
    assert torch.isfinite(objective.loss(batch_of(), np.random.default_rng(0)))


def test_the_denoiser_learns_from_either_scenario() -> None:
    model, batch = model_of("denoising"), batch_of()
    losses = {}
    for scenario in SCENARIOS:
        objective = Denoising(model, TASK, scenario=scenario, noise=0.0)
        objective.train()
        losses[scenario] = float(objective.loss(batch, np.random.default_rng(0)).detach())
    assert losses["y"] != losses["y_true"]
    assert not any(layer.training for layer in model.unary.modules())


def test_a_frozen_network_can_be_made_to_err_for_the_denoiser() -> None:
    model = model_of("denoising")
    Denoising(model, TASK, dropout=True).train()
    assert [layer for layer in model.unary.modules() if layer.training] == [model.unary.dropout]


def test_the_denoisers_loss_is_cross_entropy_plus_squared_distance() -> None:
    model = model_of("denoising")
    objective = Denoising(model, TASK, noise=0.0)
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(1, 11, 8, 12, generator=generator).softmax(dim=1)
    prepared = PreparedDenoiser(probs, torch.rand(1, 32, 2, 3, generator=generator))
    labels = torch.randint(0, 11, (1, 8, 12), generator=generator)
    labels[:, :4] = VOID
    with torch.no_grad():
        found = objective.reconstruction(prepared, labels)
        clean = model.refiners["denoiser"].autoencoder(probs, prepared.features)
        clean = clean.softmax(dim=1)[..., 4:, :].permute(0, 2, 3, 1).reshape(-1, 11)
    truth = torch.nn.functional.one_hot(labels[:, 4:].flatten(), 11).float()
    cross = -(truth * clean.log()).sum(dim=1)
    assert float(found) == pytest.approx(float((cross + (clean - truth).square().sum(1)).mean()))


@pytest.mark.parametrize("name", ["denoising", *PRIOR_PARTS])
def test_a_batch_of_void_alone_teaches_nothing(name: str) -> None:
    objective = OBJECTIVES[name](model_of(name), TASK)
    objective.train()
    batch = batch_of()
    void = dataclasses.replace(batch, labels=torch.full_like(batch.labels, VOID))
    loss = objective.loss(void, np.random.default_rng(0))
    assert loss.isfinite()
    if name in ("denoising", "prior_high"):
        assert loss == 0


def test_a_scenario_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="scenario 'noise': use 'y' or 'y_true'"):
        Denoising(model_of("denoising"), TASK, scenario="noise")
    with pytest.raises(ValueError, match="no denoiser to train"):
        Denoising(model_of(), TASK)


@pytest.mark.parametrize("name", PRIOR_PARTS)
def test_each_stage_of_the_prior_moves_its_own_parts(name: str) -> None:
    model = model_of(name)
    prior = model.refiners["prior"]
    before = {k: v.clone() for k, v in prior.state_dict().items() if "running" in k}
    objective = OBJECTIVES[name](model, TASK)
    objective.train()
    objective.loss(batch_of(), np.random.default_rng(0)).backward()
    reached = {k.split(".")[0] for k, p in prior.named_parameters() if p.grad is not None}
    assert reached == PRIOR_PARTS[name]
    after = prior.state_dict()
    changed = {k.split(".")[0] for k, v in before.items() if not torch.equal(v, after[k])}
    assert changed == PRIOR_PARTS[name] - {"global_scores", "low_scores"}


@pytest.mark.parametrize("name", PRIOR_PARTS)
def test_each_stage_of_the_prior_has_a_score(name: str) -> None:
    objective = OBJECTIVES[name](model_of(name).eval(), TASK)
    with torch.no_grad():
        assert 0 <= objective.score(tiny_samples(2), CPU) <= 100


def test_codes_guessed_from_the_image_enter_the_joint_loss() -> None:
    model, batch = model_of("prior_joint"), batch_of()

    def loss(**options: float) -> float:
        objective = PriorJoint(model, TASK, **options)
        model.eval()
        torch.manual_seed(0)
        return float(objective.loss(batch, np.random.default_rng(0)).detach())

    assert len({loss(guessed=share) for share in (0.0, 0.5, 1.0)}) == 3
    assert loss(beta=2.0) > loss(beta=1.0)


def test_the_unary_network_can_stay_as_it_is_in_the_joint_stage() -> None:
    model = model_of("prior_joint")
    objective = PriorJoint(model, TASK, unary=False)
    objective.train()
    assert not any(p.requires_grad for p in model.unary.parameters())
    assert not model.unary.training


def test_segmentations_are_encoded_at_cell_centres_without_void() -> None:
    labels = torch.full((1, 16, 24), VOID)
    labels[:, :, 12:] = 3
    coarse, one_hot = OBJECTIVES["prior_vae"](model_of("prior_vae"), TASK).truth(labels)
    assert coarse.shape == (1, 8, 12)
    assert one_hot.shape == (1, 11, 8, 12)
    assert not one_hot[..., :6].any()
    assert (one_hot[:, 3, :, 6:] == 1).all()
    assert one_hot.sum() == 8 * 6


def test_a_prior_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="no prior to train"):
        OBJECTIVES["prior_vae"](model_of(), TASK)
