"""Losses: of scores (log domain, higher is better), without void, averaged over what remains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from seg_perception.classes import VOID
from training.workers import mean_over_workers


def class_weights(label_maps: Sequence[NDArray[np.uint8]], classes: int, exponent: float) -> Tensor:
    """Weights that grow as classes get rarer: (median frequency / frequency) ** exponent.

    Args:
        label_maps: uint8 [H, W] each, 255 = void.
        classes: number of classes C.
        exponent: 0 weighs pixels alike, 1 weighs classes alike.

    Returns:
        float32 [C], one in the (pixel-weighted) mean.
    """
    counts = sum(np.bincount(labels.ravel(), minlength=256)[:classes] for labels in label_maps)
    frequency = np.maximum(counts, 1) / max(1, int(np.sum(counts)))
    weights = (np.median(frequency) / frequency) ** exponent
    return torch.from_numpy(weights / (weights * frequency).sum()).float()


def uncertain_cross_entropy(
    scores: Tensor,
    uncertainty: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    draws: int = 2,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Cross-entropy of the mean probability over noisy scores (paper 004, Eq. 3-4).

    ``s = scores + uncertainty * eps``, eps ~ N(0, I); the loss is ``-log mean_t softmax(s_t)``, so
    the network may lower its loss on a pixel it cannot decide by admitting a large deviation. Eq. 4
    is a log-likelihood: it is negated here.

    Args:
        scores: float [B, C, h, w].
        uncertainty: float [B, C, h, w], standard deviation.
        labels: int64 [B, h, w] at the scores' size, 255 = void.
        weights: float [C] or None.
        draws: Monte-Carlo samples T.
        generator: source of eps.
    """
    shape = (draws, *scores.shape)
    noise = torch.randn(shape, generator=generator, device=scores.device, dtype=scores.dtype)
    log_probs = F.log_softmax(scores + uncertainty * noise, dim=2)
    mean = torch.logsumexp(log_probs, dim=0) - float(np.log(draws))
    losses = F.nll_loss(mean, labels, ignore_index=VOID, reduction="none")
    return weighted_mean(losses, _weights(labels, labels != VOID, weights))


def hardest_cross_entropy(
    scores: Tensor, labels: Tensor, weights: Tensor | None = None, hardest: float = 1.0
) -> Tensor:
    """Cross-entropy over the hardest pixels (online hard example mining, paper 001, section 4.1).

    Each of several workers chooses among its own pixels.

    Args:
        scores: float [B, C, H, W].
        labels: int64 [B, H, W], 255 = void.
        weights: float [C] or None.
        hardest: fraction of the labelled pixels that count, those of the highest unweighted loss.
    """
    losses = F.cross_entropy(scores, labels, ignore_index=VOID, reduction="none")
    valid = labels != VOID
    if hardest < 1:
        count = max(1, int(hardest * int(valid.sum())))
        ranked = losses.detach().masked_fill(~valid, -torch.inf).flatten()
        chosen = torch.zeros_like(ranked).index_fill_(0, ranked.topk(count).indices, 1.0)
        valid = valid & (chosen.view_as(losses) > 0)
    return weighted_mean(losses, _weights(labels, valid, weights))


def gaussian_kl(
    mean: Tensor, log_variance: Tensor, prior: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """KL(N(mean, variance) || prior) of diagonal Gaussians, summed over the code: float [B].

    Paper 004's Eq. 2 lacks the factor 1/2 and reads sigma as a variance: it is twice this.

    Args:
        mean: float [B, K].
        log_variance: float [B, K].
        prior: the same two of the prior (paper 000, Eq. 6); None = N(0, I).
    """
    if prior is None:
        prior = torch.zeros_like(mean), torch.zeros_like(log_variance)
    distance = (mean - prior[0]).square() + log_variance.exp()
    return 0.5 * (distance / prior[1].exp() - 1 + prior[1] - log_variance).sum(dim=1)


def weighted_mean(losses: Tensor, weight: Tensor) -> Tensor:
    """Mean by weight; 0, not NaN, where nothing weighs anything, as in a batch of void.

    Of several workers, each divides by the mean weight of all, so that the mean of their gradients
    is that of the whole batch.
    """
    total = mean_over_workers(weight.sum())
    return (losses * weight).sum() / total.clamp_min(torch.finfo(losses.dtype).tiny)


def _weights(labels: Tensor, counts: Tensor, weights: Tensor | None) -> Tensor:
    """Weight of each pixel, float as `labels`: its class's where it counts, else 0."""
    if weights is None:
        return counts.float()
    return weights[labels.where(counts, 0)] * counts
