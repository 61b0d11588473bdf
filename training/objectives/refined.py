"""A whole chain, end to end: unary network and refiners, or any of them while the rest stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.datasets import Sample
from training.datasets import Batch
from training.losses import hardest_cross_entropy
from training.model import Segmenter
from training.objectives.base import Task, pooled_miou
from training.refiners import Scene


class Refined:
    """Cross-entropy of the scores that leave the chain, at the labels' resolution.

    Args:
        learn: what learns: "unary" and names of refiners; () = all refiners.
        hardest: fraction of the pixels that count, those of the highest loss (paper 001 takes 0.5).

    Raises:
        ValueError: the chain has no refiner, not these, or `hardest` is not in (0, 1].
    """

    def __init__(
        self, model: Segmenter, task: Task, learn: Sequence[str] = (), hardest: float = 1.0
    ) -> None:
        parts = {"unary": model.unary, **model.refiners}
        names = tuple(learn) or tuple(model.refiners)
        if not names or set(names) - set(parts):
            raise ValueError(f"nothing to learn in {', '.join(names)}: use {', '.join(parts)}")
        if not 0 < hardest <= 1:
            raise ValueError(f"hardest={hardest}: give a fraction above 0 and up to 1")
        self.model, self.weights, self.hardest = model, task.weights, hardest
        self.learning = [parts[name] for name in names]
        self.unary_learns = "unary" in names
        model.requires_grad_(False)
        for part in self.learning:
            part.requires_grad_(True)

    def train(self) -> None:
        """What is named in `learn` learns; what is not stands still."""
        self.model.eval()
        for part in self.learning:
            part.train()

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Mean over the pixels that count, weighted by class."""
        with torch.set_grad_enabled(self.unary_learns):
            unary = self.model.unary(batch.image.contiguous(memory_format=torch.channels_last))
        with torch.autocast(batch.image.device.type, enabled=False):
            scores = self.model.refine(Scene(batch.image, unary)).scores
            fine = F.interpolate(
                scores, batch.labels.shape[-2:], mode="bilinear", align_corners=False
            )
            return hardest_cross_entropy(fine, batch.labels, self.weights, self.hardest)

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """Pooled mIoU of the whole chain, percent."""
        return pooled_miou(self.model, samples, self.model.classes, device)
