"""A whole chain, end to end: unary network and refiners, or any of them while the rest stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_perception.datasets import Sample
from training.datasets import Batch
from training.errors import TrainingError
from training.losses import hardest_cross_entropy
from training.model import Segmenter
from training.objectives.base import Task, enable_dropout, labels_at, pooled_miou
from training.refiners import Scene


class Refined:
    """Cross-entropy of the scores that leave the chain.

    Args:
        learn: what learns: "unary", names of refiners and of parts of them ("code.guess"); () = all
            refiners.
        hardest: fraction of the pixels that count, those of the highest loss (paper 001 takes 0.5).
        until: name of the refiner at which the chain ends for the loss, so that what follows costs
            nothing yet; "" = all of it.
        stride: of the pixels at which the loss is taken; 1 = all of them.
        dropout: whether a unary network that stands still has its dropout on, so that it errs on
            the frames it was trained on as it does on others.

    Raises:
        TrainingError: the chain has no refiner, not these, or `hardest` is not in (0, 1].
    """

    def __init__(
        self,
        model: Segmenter,
        task: Task,
        learn: Sequence[str] = (),
        hardest: float = 1.0,
        until: str = "",
        stride: int = 1,
        dropout: bool = False,
    ) -> None:
        names = tuple(learn) or tuple(model.refiners)
        if not names:
            raise TrainingError("nothing to learn: the chain has no refiner, name unary")
        if not 0 < hardest <= 1:
            raise TrainingError(f"hardest={hardest}: give a fraction above 0 and up to 1")
        if until and until not in model.refiners:
            raise TrainingError(f"no refiner {until!r} to stop at: use {', '.join(model.refiners)}")
        self.model, self.weights = model, task.weights
        self.hardest, self.until, self.stride = hardest, until, stride
        self.learning = [_part(model, name) for name in names]
        self.unary_learns, self.dropout = "unary" in names, dropout
        model.requires_grad_(False)
        for part in self.learning:
            part.requires_grad_(True)

    def train(self) -> None:
        """What is named in `learn` learns; what is not stands still."""
        self.model.eval()
        for part in self.learning:
            part.train()
        if self.dropout:
            enable_dropout(self.model.unary)

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Mean over the pixels that count, weighted by class."""
        with torch.set_grad_enabled(self.unary_learns):
            unary = self.model.unary(batch.image.contiguous(memory_format=torch.channels_last))
        with torch.autocast(batch.image.device.type, enabled=False):
            return self.loss_of(Scene(batch.image, unary), batch.labels)

    def loss_of(self, scene: Scene, labels: Tensor) -> Tensor:
        """`loss`, given what the unary network said; labels int64 [B, H, W]."""
        scores = self.model.refine(scene, self.until).scores
        size = [-(-side // self.stride) for side in labels.shape[-2:]]
        fine = F.interpolate(scores, size, mode="bilinear", align_corners=False)
        return hardest_cross_entropy(fine, labels_at(labels, fine), self.weights, self.hardest)

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """Pooled mIoU of the whole chain, percent."""
        return pooled_miou(self.model, samples, self.model.classes, device)


def _part(model: Segmenter, name: str) -> nn.Module:
    try:
        return model.unary if name == "unary" else model.refiners.get_submodule(name)
    except AttributeError:
        parts = ", ".join(["unary", *model.refiners])
        raise TrainingError(f"nothing to learn in {name}: use {parts}, or parts of these") from None
