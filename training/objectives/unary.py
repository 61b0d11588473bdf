"""The unary network by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.datasets import Sample
from training.datasets import Batch
from training.losses import uncertain_cross_entropy
from training.model import Segmenter
from training.objectives.base import Task, pooled_miou


class Unary:
    """Cross-entropy under the predicted uncertainty, at half resolution (paper 004, Eq. 3-4).

    Args:
        draws: Monte-Carlo samples of the scores.
    """

    def __init__(self, model: Segmenter, task: Task, draws: int = 2) -> None:
        self.model, self.weights, self.draws = model, task.weights, draws
        model.requires_grad_(False)
        model.unary.requires_grad_(True)

    def train(self) -> None:
        """The unary network learns."""
        self.model.eval()
        self.model.unary.train()

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Mean over the pixels, weighted by class."""
        unary = self.model.unary(batch.image.contiguous(memory_format=torch.channels_last))
        labels = batch.labels[:, ::2, ::2]
        scores, uncertainty = (
            F.interpolate(x, labels.shape[-2:], mode="bilinear", align_corners=False)
            for x in (unary.scores, unary.uncertainty)
        )
        return uncertain_cross_entropy(scores, uncertainty, labels, self.weights, draws=self.draws)

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """Pooled mIoU, percent."""
        network = self.model.unary
        return pooled_miou(lambda x: network(x).scores, samples, self.model.classes, device)
