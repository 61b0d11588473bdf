from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_training import evidence_batch, random_unary, scene_of
from torch import Tensor

from training.errors import TrainingError
from training.refiners import (
    CodeConfig,
    CodeRefiner,
    CodeState,
    EvidenceBatch,
    GaussianPrior,
    Prepared,
    Scene,
    pool_evidence,
)
from training.refiners.code import conjugate_gradients

CLASSES, CHANNELS, BATCH = 4, {4: 2, 8: 2, 16: 2}, 2
HEIGHT, WIDTH = 32, 48
TINY = CodeConfig(global_size=3, grid_size=2, channels=2, coarse=(2, 3))
EXACT = 40  # conjugate-gradient steps, more than a tiny code has numbers
PARTS = {"both": TINY, "global": dataclasses.replace(TINY, grid_size=0)}
PARTS["grid"] = dataclasses.replace(TINY, global_size=0)
SETS = ((1, 1, 1, 1), (1, 0, 0, 0), (0, 1, 1, 0), (0, 0, 0, 1))
WEIGHT = (0.0, 1.0, 0.7, 0.4)

parts = pytest.mark.parametrize("part", PARTS)
conditionings = pytest.mark.parametrize("conditioning", ["concat", "concat_mul"])
likelihoods = pytest.mark.parametrize("likelihood", ["cross_entropy", "squared"])


def refiner_of(config: CodeConfig = TINY, seed: int = 0, **changes: object) -> CodeRefiner:
    torch.manual_seed(seed)
    return CodeRefiner(CLASSES, CHANNELS, dataclasses.replace(config, **changes)).double()


def frame(
    seed: int = 0,
    height: int = HEIGHT,
    width: int = WIDTH,
    evidence: EvidenceBatch | None = None,
    prior: GaussianPrior | None = None,
) -> Scene:
    unary = random_unary(height, width, classes=CLASSES, channels=2, batch=BATCH, seed=seed)
    return scene_of(unary, evidence, prior)


def random_code(prepared: Prepared, refiner: CodeRefiner, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = refiner.start(prepared).code.shape
    return torch.randn(size, generator=generator, dtype=torch.float64)


def scattered(share: float = 0.02) -> EvidenceBatch:
    """Evidence of every set, on pixels here and there; some cells have none."""
    rng = np.random.default_rng(0)
    index = rng.integers(1, len(SETS), (BATCH, HEIGHT, WIDTH)) * (
        rng.random((BATCH, HEIGHT, WIDTH)) < share
    )
    return evidence_batch(index.astype(np.uint8), SETS, WEIGHT)


def single(row: int, cell: tuple[int, int] = (1, 1)) -> EvidenceBatch:
    """One cell of 8x8 pixels says `SETS[row]`."""
    index = np.zeros((BATCH, HEIGHT, WIDTH), np.uint8)
    index[:, 8 * cell[0] : 8 * cell[0] + 8, 8 * cell[1] : 8 * cell[1] + 8] = row
    return evidence_batch(index, SETS, (0, 1, 1, 1))


def jacobian(refiner: CodeRefiner, prepared: Prepared) -> Tensor:
    """Dense ``B`` [B, C h w, K], a column for each number of the code."""
    unit = torch.eye(refiner.start(prepared).code.shape[1], dtype=torch.float64)
    columns = [refiner.decode(prepared, row.expand(BATCH, -1)).flatten(1) for row in unit]
    return torch.stack(columns, dim=2).detach()


# --- the decoder -----------------------------------------------------------------------------


@parts
@conditionings
def test_decode_is_linear_in_the_code(part: str, conditioning: str) -> None:
    refiner = refiner_of(PARTS[part], conditioning=conditioning)
    prepared = refiner.prepare(frame())
    a, b = random_code(prepared, refiner, 1), random_code(prepared, refiner, 2)
    together = refiner.decode(prepared, 2.5 * a - 0.3 * b)
    apart = 2.5 * refiner.decode(prepared, a) - 0.3 * refiner.decode(prepared, b)
    torch.testing.assert_close(together, apart)
    assert together.abs().max() > 0.1


@parts
@conditionings
@pytest.mark.parametrize(("height", "width"), [(32, 48), (72, 104), (40, 24)])
def test_adjoint_is_the_exact_transpose(
    part: str, conditioning: str, height: int, width: int
) -> None:
    refiner = refiner_of(PARTS[part], conditioning=conditioning)
    prepared = refiner.prepare(frame(height=height, width=width))
    code, scores = random_code(prepared, refiner), torch.randn_like(prepared.pooled)
    forward = (refiner.decode(prepared, code) * scores).sum(dim=(1, 2, 3))
    backward = (code * refiner.adjoint(prepared, scores)).sum(dim=1)
    torch.testing.assert_close(forward, backward, rtol=1e-10, atol=1e-10)


@conditionings
def test_only_multiplicative_conditioning_has_an_image_dependent_basis(conditioning: str) -> None:
    refiner = refiner_of(conditioning=conditioning)
    first, second = (jacobian(refiner, refiner.prepare(frame(seed))) for seed in (0, 1))
    assert torch.equal(first, second) == (conditioning == "concat")


@parts
@pytest.mark.parametrize(("height", "width"), [(360, 480), (72, 104), (32, 48)])
def test_the_code_has_the_size_that_the_bundle_promises(part: str, height: int, width: int) -> None:
    refiner = refiner_of(PARTS[part])
    prepared = refiner.prepare(frame(height=height, width=width))
    assert refiner.start(prepared).code.shape == (BATCH, refiner.size(height, width))


def test_the_zero_code_leaves_the_scores_alone() -> None:
    refiner, scene = refiner_of(), frame()
    prepared = refiner.prepare(scene)
    assert torch.equal(refiner.scores(prepared, refiner.start(prepared)), scene.unary.scores)


def test_evidence_on_an_image_of_incomplete_cells_names_the_fix() -> None:
    known = evidence_batch(np.ones((BATCH, 36, WIDTH), np.uint8), SETS, WEIGHT)
    with pytest.raises(TrainingError, match=r"36x48: .* multiples of 8; change data\.shrink"):
        refiner_of().prepare(frame(height=36, evidence=known))


def test_scores_add_the_upsampled_change() -> None:
    refiner, scene = refiner_of(), frame()
    prepared = refiner.prepare(scene)
    code = random_code(prepared, refiner)
    change = refiner.decode(prepared, code)
    before = scene.unary.scores
    added = refiner.scores(prepared, CodeState(code, change)) - before
    rows = F.interpolate(change, before.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(added, rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conditioning": "mul"}, "use 'concat' or 'concat_mul'"),
        ({"likelihood": "hinge"}, "use 'cross_entropy' or 'squared'"),
        ({"global_size": 0, "grid_size": 0}, "needs a global_size or a grid_size"),
    ],
)
def test_an_impossible_config_says_what_is_possible(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(TINY, **changes)


# --- the solve -------------------------------------------------------------------------------


def test_conjugate_gradients_at_full_steps_solve_the_system() -> None:
    root = torch.randn(3, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = root @ root.mT + 0.1 * torch.eye(7)
    target = torch.randn(3, 7, dtype=torch.float64)
    found = conjugate_gradients(lambda x: (matrix @ x[..., None])[..., 0], target, 7)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, target), rtol=1e-6, atol=1e-6)


def test_conjugate_gradients_of_nothing_are_nothing() -> None:
    found = conjugate_gradients(lambda x: 2 * x, torch.zeros(1, 3), 4)
    assert torch.equal(found, torch.zeros(1, 3))


def loss(refiner: CodeRefiner, prepared: Prepared, code: Tensor) -> Tensor:
    """The objective written out: evidence, anchors elsewhere, two Gaussians; float [B]."""
    evidence, prior = prepared.evidence, prepared.prior
    log_probs = F.log_softmax(prepared.pooled + refiner.decode(prepared, code), dim=1)
    probs, before = log_probs.exp(), F.softmax(prepared.pooled, dim=1)
    if refiner.config.likelihood == "squared":  # of single classes, and never doubted
        misfit = 0.5 * (evidence.allowed - probs).square().sum(dim=2, keepdim=True)
        moved = 0.5 * (before - probs).square().sum(dim=1, keepdim=True)
    else:
        inside = (evidence.allowed * probs).sum(dim=2, keepdim=True)
        misfit = -torch.log(inside + refiner.outlier.exp())
        moved = -(before * log_probs).sum(dim=1, keepdim=True)
    data = (evidence.trust * misfit).sum(dim=0) + evidence.anchor * moved
    away = prior.precision * (code - prior.mean).square() + code.square()
    return data.sum(dim=(1, 2, 3)) + 0.5 * away.sum(dim=1)


def gauss_newton(refiner: CodeRefiner, prepared: Prepared, code: Tensor) -> Tensor:
    """``H^-1 g``, gradient by autograd, Hessian ``B^T T D B + (1 + l) I`` dense; float [B, K]."""
    evidence, prior = prepared.evidence, prepared.prior
    code = code.detach().requires_grad_(True)
    value = loss(refiner, prepared, code).sum()
    (gradient,) = torch.autograd.grad(value, code)
    probs = F.softmax(prepared.pooled + refiner.decode(prepared, code), dim=1).detach()
    inside = (evidence.allowed * probs).sum(dim=2, keepdim=True)
    right = inside / (inside + refiner.outlier.exp())
    trust = ((evidence.trust * right).sum(dim=0) + evidence.anchor).flatten(1)
    p = probs.flatten(2).transpose(1, 2)  # [B, cells, C]
    curvature = torch.diag_embed(p) - p[..., :, None] * p[..., None, :]
    if refiner.config.likelihood == "squared":
        curvature = curvature @ curvature
    basis = jacobian(refiner, prepared).unflatten(1, (CLASSES, -1))  # [B, C, cells, K]
    hessian = torch.einsum("bcnk,bn,bncd,bdnl->bkl", basis, trust, curvature, basis)
    identity = torch.eye(code.shape[1], dtype=torch.float64)
    hessian = hessian + (1 + prior.precision[..., None]) * identity
    return torch.linalg.solve(hessian, gradient).detach()


def assert_step_is_gauss_newton(refiner: CodeRefiner, evidence: EvidenceBatch) -> None:
    prepared = refiner.requires_grad_(False).prepare(frame(evidence=evidence))
    assert prepared.evidence.anchor.any()
    prior = GaussianPrior(random_code(prepared, refiner, 2), torch.tensor([[0.5], [2.0]]).double())
    prepared = dataclasses.replace(prepared, prior=prior)
    code = 0.3 * random_code(prepared, refiner)
    state = CodeState(code, refiner.decode(prepared, code))
    found = refiner.step(prepared, state).code
    expected = code - gauss_newton(refiner, prepared, code)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert (found - code).abs().max() > 0.01


@parts
@conditionings
def test_a_step_is_gauss_newton_on_the_robust_loss(part: str, conditioning: str) -> None:
    refiner = refiner_of(PARTS[part], conditioning=conditioning, inner=EXACT)
    assert_step_is_gauss_newton(refiner, scattered())


def test_the_squared_likelihood_is_gauss_newton_on_the_papers_distance() -> None:
    refiner = refiner_of(likelihood="squared", inner=EXACT).requires_grad_(False)
    refiner.outlier.fill_(-60.0)  # the paper never doubts its evidence
    assert_step_is_gauss_newton(refiner, single(1))


@parts
@likelihoods
def test_without_evidence_the_code_is_exactly_zero(part: str, likelihood: str) -> None:
    refiner = refiner_of(PARTS[part], likelihood=likelihood)
    index = np.zeros((BATCH, HEIGHT, WIDTH), np.uint8)
    for nothing in (evidence_batch(index, SETS, WEIGHT), None):
        state = refiner.solve(refiner.prepare(frame(evidence=nothing)))
        assert not state.code.any()
        assert not state.change.any()


@parts
@likelihoods
def test_the_solve_moves_known_pixels_towards_their_set(part: str, likelihood: str) -> None:
    refiner = refiner_of(PARTS[part], likelihood=likelihood)
    prepared = refiner.prepare(frame(evidence=single(2)))
    state = refiner.solve(prepared)
    before, after = (
        F.softmax(prepared.pooled + change, dim=1)[:, 1:3, 1, 1].sum(dim=1)
        for change in (0, state.change)
    )
    assert (after > before).all()


@parts
def test_the_solve_lowers_the_objective(part: str) -> None:
    refiner = refiner_of(PARTS[part])
    prepared = refiner.prepare(frame(evidence=scattered()))
    zero, solved = refiner.start(prepared).code, refiner.solve(prepared).code
    before, after = (loss(refiner, prepared, code) for code in (zero, solved))
    assert (after < before).all()


def _lie(outlier: float) -> float:
    """How far one cell that is sure of class 0 lets itself be moved by a claim of class 3."""
    refiner = refiner_of().requires_grad_(False)
    refiner.outlier.fill_(outlier)
    scene = frame(evidence=single(3))
    scores = torch.zeros_like(scene.unary.scores)
    scores[:, 0] = 8.0
    prepared = refiner.prepare(scene.refined(scores))
    trust = 0.5 * pool_evidence(single(3), TINY.stride).weight
    weighed = dataclasses.replace(prepared.evidence, trust=trust)
    state = refiner.solve(dataclasses.replace(prepared, evidence=weighed))
    return float(state.change[:, 3, 1, 1].mean() - state.change[:, 0, 1, 1].mean())


def test_contradicted_evidence_lets_go() -> None:
    believed, doubted = _lie(outlier=-60.0), _lie(outlier=-4.0)
    assert believed > 0.1
    assert 0 < doubted < 0.1 * believed


def test_a_local_code_reaches_its_neighbours_and_a_global_one_everything() -> None:
    for part, reaches_far in (("grid", False), ("global", True)):
        refiner = refiner_of(PARTS[part], coarse=(1, 1))
        prepared = refiner.prepare(frame(width=160))
        code = torch.zeros_like(refiner.start(prepared).code)
        code[:, 0] = 1  # of the grid: the corner's
        change = refiner.decode(prepared, code)
        assert change[..., :2, :2].abs().min() > 0
        assert bool(change[..., 4:].any()) == reaches_far


def test_a_precise_prior_pins_the_code_and_an_imprecise_one_does_nothing() -> None:
    refiner = refiner_of(inner=EXACT)
    prepared = refiner.prepare(frame(evidence=scattered()))
    mean = random_code(prepared, refiner)
    free = refiner.solve(prepared).code
    for precision, expected in ((0.0, free), (1e8, mean)):
        prior = GaussianPrior(mean, torch.full((BATCH, 1), precision, dtype=torch.float64))
        found = refiner.solve(refiner.prepare(frame(evidence=scattered(), prior=prior))).code
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_an_anchor_holds_what_is_not_known() -> None:
    """The firmer cells without evidence are held, the less a neighbour's evidence moves them."""
    refiner = refiner_of(inner=EXACT).requires_grad_(False)
    prepared = refiner.prepare(frame(evidence=single(3)))
    weighed = prepared.evidence
    assert not weighed.anchor[..., 1, 1].any()
    unknown = (pool_evidence(single(3), TINY.stride).coverage == 0).double()
    moved = []
    for firmness in (0.0, 1.0, 100.0):
        held = dataclasses.replace(weighed, anchor=firmness * unknown)
        state = refiner.step(dataclasses.replace(prepared, evidence=held), refiner.start(prepared))
        probs = F.softmax(prepared.pooled + state.change, dim=1)
        moved.append(float((probs - F.softmax(prepared.pooled, dim=1))[..., 2:, :].abs().sum()))
    assert moved[0] > moved[1] > moved[2]


def test_nothing_that_could_learn_is_left_out() -> None:
    refiner = refiner_of()
    scene = frame(evidence=scattered())
    optimiser = torch.optim.SGD(refiner.parameters(), lr=0.01)
    for _ in range(2):  # what is behind a layer that begins at zero learns from the second step on
        optimiser.zero_grad()
        F.softmax(refiner(scene), dim=1)[:, 0].sum().backward()
        optimiser.step()
    assert [n for n, p in refiner.named_parameters() if p.grad is None or not p.grad.any()] == []


@likelihoods
def test_gradients_flow_through_the_whole_solve(likelihood: str) -> None:
    config = CodeConfig(2, 1, channels=1, coarse=(1, 2), likelihood=likelihood, inner=2)
    torch.manual_seed(0)
    refiner = CodeRefiner(3, CHANNELS, config).double()
    unary = random_unary(16, 16, classes=3, channels=2, batch=1)
    index = np.zeros((1, 16, 16), np.uint8)
    index[0, :8, :8], index[0, 12:, 3:9] = 1, 2
    sets = ((1, 1, 1), (1, 0, 0), (0, 1, 1))
    scene = scene_of(unary, evidence_batch(index, sets, (0, 1, 0.6)))

    def corrected(scores: Tensor, *_: Tensor) -> Tensor:
        refined: Tensor = refiner(scene.refined(scores))
        return refined

    scores = unary.scores.clone().requires_grad_(True)
    learnt = [p for name, p in refiner.named_parameters() if not name.startswith("basis")]
    assert torch.autograd.gradcheck(corrected, (scores, *learnt), fast_mode=True)
