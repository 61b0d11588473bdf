from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from seg_perception.classes import VOID
from training.losses import (
    class_weights,
    gaussian_kl,
    hardest_cross_entropy,
    uncertain_cross_entropy,
)


@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0])
def test_class_weights_by_the_formula(exponent: float) -> None:
    maps = [
        np.array([[0, 0, 0, 255], [1, 1, 2, 255]], np.uint8),
        np.full((2, 4), 0, np.uint8),
    ]
    counts = np.array([11, 2, 1])
    frequency = counts / counts.sum()
    expected = (np.median(frequency) / frequency) ** exponent
    expected /= np.sum(expected * frequency)
    weights = class_weights(maps, 3, exponent)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert float((weights * torch.from_numpy(frequency)).sum()) == pytest.approx(1)


def test_a_class_that_is_never_seen_has_a_finite_weight() -> None:
    weights = class_weights([np.zeros((4, 4), np.uint8)], 2, 1.0)
    assert torch.isfinite(weights).all()
    assert weights[1] > weights[0]


def _scores(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(2, 3, 4, 5, generator=generator)
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[0, 0] = 255
    return scores, torch.rand(2, 3, 4, 5, generator=generator), labels


def test_uncertain_cross_entropy_is_minus_log_of_the_mean_probability() -> None:
    scores, uncertainty, labels = _scores()
    weights = torch.tensor([1.0, 2.0, 0.5])
    noise = torch.randn(3, *scores.shape, generator=torch.Generator().manual_seed(5)).numpy()
    odds = np.exp(scores.numpy() + uncertainty.numpy() * noise)
    probs = (odds / odds.sum(axis=2, keepdims=True)).mean(axis=0)
    total, norm = 0.0, 0.0
    for image, row, column in np.argwhere(labels.numpy() != 255):
        label = int(labels[image, row, column])
        total -= float(weights[label]) * np.log(probs[image, label, row, column])
        norm += float(weights[label])
    found = uncertain_cross_entropy(
        scores, uncertainty, labels, weights, draws=3, generator=torch.Generator().manual_seed(5)
    )
    assert float(found) == pytest.approx(total / norm, rel=1e-5)


def test_void_is_ignored() -> None:
    scores, uncertainty, labels = _scores()
    scores.requires_grad_(True)
    uncertain_cross_entropy(scores, uncertainty, labels).backward()
    assert scores.grad is not None
    assert not scores.grad[0, :, 0].any()
    assert scores.grad[0, :, 1:].any()


def test_a_batch_of_void_teaches_nothing() -> None:
    scores, uncertainty, labels = _scores()
    scores.requires_grad_(True)
    loss = uncertain_cross_entropy(scores, uncertainty, torch.full_like(labels, VOID))
    loss.backward()
    assert float(loss) == 0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_admitting_uncertainty_lowers_the_loss_of_a_confident_mistake() -> None:
    scores = torch.tensor([8.0, 0.0]).reshape(1, 2, 1, 1)
    labels = torch.ones(1, 1, 1, dtype=torch.long)
    losses = [
        float(
            uncertain_cross_entropy(
                scores,
                torch.full_like(scores, deviation),
                labels,
                draws=500,
                generator=torch.Generator().manual_seed(0),
            )
        )
        for deviation in (0.01, 5.0)
    ]
    assert losses[1] < 0.5 * losses[0]


def test_gaussian_kl_as_torch_computes_it() -> None:
    mean, log_variance = torch.randn(3, 7), torch.randn(3, 7)
    posterior = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    prior = Independent(Normal(torch.zeros(3, 7), torch.ones(3, 7)), 1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), kl_divergence(posterior, prior))
    given = torch.randn(3, 7), torch.randn(3, 7)
    prior = Independent(Normal(given[0], (0.5 * given[1]).exp()), 1)
    found = gaussian_kl(mean, log_variance, given)
    torch.testing.assert_close(found, kl_divergence(posterior, prior))


def test_all_pixels_at_full_hardness_are_plain_cross_entropy() -> None:
    scores, labels, weights = _noisy()
    found = hardest_cross_entropy(scores, labels, weights, 1.0)
    torch.testing.assert_close(found, F.cross_entropy(scores, labels, weights, ignore_index=VOID))


def test_only_the_hardest_labelled_pixels_count() -> None:
    scores, labels, _ = _noisy()
    losses = F.cross_entropy(scores, labels, ignore_index=VOID, reduction="none")[labels != VOID]
    hardest = losses.sort(descending=True).values[: len(losses) // 4]
    found = hardest_cross_entropy(scores, labels, hardest=0.25)
    torch.testing.assert_close(found, hardest.mean())


def test_an_image_without_labels_costs_nothing() -> None:
    scores, labels, _ = _noisy()
    assert hardest_cross_entropy(scores, torch.full_like(labels, VOID), hardest=0.5) == 0


def _noisy() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (2, 8, 8), generator=generator)
    labels[:, :2] = VOID
    return scores, labels, torch.tensor([0.5, 1.0, 2.0])
