from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_training import evidence_batch, random_unary, scene_of

from training.refiners import CodeConfig, CodeRefiner, Scene

TINY = CodeConfig(global_size=3, grid_size=2, channels=2, coarse=(2, 3), guessed=True)
PARTS = {
    "both": TINY,
    "global": dataclasses.replace(TINY, grid_size=0),
    "grid": dataclasses.replace(TINY, global_size=0),
}


def refiner_of(config: CodeConfig = TINY, guess: float = 0.5) -> CodeRefiner:
    """Behind it, a guess whose last layers are filled with `guess`."""
    torch.manual_seed(0)
    refiner = CodeRefiner(4, {4: 2, 8: 2, 16: 2}, config).double()
    with torch.no_grad():
        for layer in (refiner.guess.of_global, refiner.guess.of_grid):
            if layer is not None:
                layer.weight.fill_(guess)
    return refiner


def frame(known: bool = False) -> Scene:
    index = np.zeros((2, 32, 48), np.uint8)
    index[:, 8:16, 8:16] = 1
    evidence = evidence_batch(index, ((1, 1, 1, 1), (1, 0, 0, 0)), (0, 1)) if known else None
    return scene_of(random_unary(32, 48), evidence)


@torch.no_grad()
def test_before_training_the_guess_is_the_mean_of_the_standard_prior() -> None:
    guessing = refiner_of(guess=0.0)
    plain = CodeRefiner(4, {4: 2, 8: 2, 16: 2}, dataclasses.replace(TINY, guessed=False)).double()
    plain.load_state_dict(guessing.state_dict(), strict=False)
    for known in (False, True):
        torch.testing.assert_close(guessing(frame(known)), plain(frame(known)))


@torch.no_grad()
@pytest.mark.parametrize("part", PARTS)
def test_without_evidence_the_scores_are_those_of_the_guess(part: str) -> None:
    refiner, scene = refiner_of(PARTS[part]), frame()
    code = refiner.guess(scene.unary.features[16])
    assert code.shape == (2, refiner.size(32, 48))
    plain = CodeRefiner(4, {4: 2, 8: 2, 16: 2}, dataclasses.replace(PARTS[part], guessed=False))
    plain = plain.double()
    plain.load_state_dict(refiner.state_dict(), strict=False)
    change = plain.decode(plain.prepare(scene), code)
    fine = torch.nn.functional.interpolate(
        change, scene.unary.scores.shape[-2:], mode="bilinear", align_corners=False
    )
    prepared = refiner.prepare(scene)
    solved = refiner.solve(prepared)
    assert not solved.code.any()
    torch.testing.assert_close(refiner.scores(prepared, solved), scene.unary.scores + fine)


@torch.no_grad()
def test_evidence_moves_the_code_away_from_the_guess() -> None:
    refiner = refiner_of()
    solved = refiner.solve(refiner.prepare(frame(known=True)))
    assert solved.code.abs().max() > 1e-3
    before, after = (refiner(frame(known)).softmax(dim=1) for known in (False, True))
    inside = (slice(None), 0, slice(2, 4), slice(2, 4))
    assert after[inside].mean() > before[inside].mean()


def test_the_guess_learns_through_the_solve() -> None:
    refiner = refiner_of()
    refiner(frame(known=True)).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in refiner.guess.parameters())
