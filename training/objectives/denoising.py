"""Paper 003's denoising autoencoder: from noisy probabilities to the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.classes import VOID
from seg_perception.datasets import Sample
from training.datasets import Batch
from training.errors import TrainingError
from training.losses import hardest_cross_entropy, weighted_mean
from training.model import Segmenter
from training.objectives.base import Task, enable_dropout, labels_at, pooled_miou
from training.refiners import Scene
from training.refiners.denoiser import DenoiserRefiner, PreparedDenoiser

SCENARIOS = ("y", "y_true")


class Denoising:
    """Cross-entropy plus squared distance of the autoencoder's answer (paper 003, Eq. 5).

    The unary network, and what stands before the denoiser in the chain, stay as they are.

    Args:
        scenario: what is corrupted: "y", the chain's own probabilities (Figure 1a), or "y_true",
            the truth, one-hot (Figure 1b).
        noise: standard deviation of the Gaussian noise on it; not clipped to probabilities.
        dropout: whether the frozen unary network's dropout is on, so that it errs on the frames it
            was trained on as it does on others; off in the paper.

    Raises:
        TrainingError: the model has no denoiser, or the scenario is neither.
    """

    def __init__(
        self,
        model: Segmenter,
        task: Task,
        scenario: str = "y",
        noise: float = 0.5,
        dropout: bool = False,
    ) -> None:
        refiner = dict(model.refiners.items()).get("denoiser")
        if not isinstance(refiner, DenoiserRefiner):
            raise TrainingError(
                "there is no denoiser to train: give the recipe refiners=(DenoiserConfig(),)"
            )
        if scenario not in SCENARIOS:
            raise TrainingError(f"scenario {scenario!r}: use {' or '.join(map(repr, SCENARIOS))}")
        self.model, self.denoiser, self.weights = model, refiner, task.weights
        self.scenario, self.noise, self.dropout = scenario, noise, dropout
        model.requires_grad_(False)
        refiner.requires_grad_(True)

    def train(self) -> None:
        """The denoiser learns."""
        self.model.eval()
        self.denoiser.train()
        if self.dropout:
            enable_dropout(self.model.unary)

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Mean over the valid pixels at the autoencoder's stride."""
        image = batch.image.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            unary = self.model.unary(image)
        return self.loss_of(Scene(image, unary), batch.labels)

    def loss_of(self, scene: Scene, labels: Tensor) -> Tensor:
        """`loss`, given what the unary network said; labels int64 [B, H, W]."""
        with torch.no_grad():
            prepared = self.denoiser.prepare(self.model.scene_before("denoiser", scene))
        return self.reconstruction(prepared, labels_at(labels, prepared.probs))

    def reconstruction(self, prepared: PreparedDenoiser, labels: Tensor) -> Tensor:
        """The loss of one noisy sample; labels int64 [B, h, w] at the probabilities' size."""
        valid = labels != VOID
        truth = F.one_hot(labels.where(valid, 0), self.model.classes).permute(0, 3, 1, 2)
        truth = truth.to(prepared.probs) * valid[:, None]
        clean = prepared.probs if self.scenario == "y" else truth
        noisy = clean + self.noise * torch.randn_like(clean)
        scores = self.denoiser.autoencoder(noisy, prepared.features, prepared.valid).float()
        distance = (scores.softmax(dim=1) - truth).square().sum(dim=1)
        fit = hardest_cross_entropy(scores, labels, self.weights)
        return fit + weighted_mean(distance, valid.float())

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """Pooled mIoU of the chain with the configured steps, percent."""
        return pooled_miou(self.model, samples, self.model.classes, device)
