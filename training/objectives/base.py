"""What an objective is, and what several of them do alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seg_perception.classes import ClassInfo
from seg_perception.datasets import Sample
from seg_perception.evaluation.scores import ConfusionMatrix
from training.datasets import Batch


@dataclass(frozen=True)
class Task:
    """What is to be told apart.

    Attributes:
        classes: of the dataset, by id.
        groups: class names by group.
        weights: float [C], how much a pixel of each class counts in losses.
    """

    classes: Sequence[ClassInfo]
    groups: Mapping[str, tuple[str, ...]]
    weights: Tensor


class Objective(Protocol):
    """What a stage needs to know; built as ``XObjective(model, task, **options)``."""

    def train(self) -> None:
        """Put the modules that learn into training mode, the frozen ones into evaluation mode."""

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Scalar to minimise; `rng` and torch's own generator decide all that is random."""

    def score(self, samples: Sequence[Sample], device: torch.device) -> float:
        """What the best weights are chosen by, higher is better."""


def pooled_miou(
    scores_of: Callable[[Tensor], Tensor],
    samples: Sequence[Sample],
    classes: int,
    device: torch.device,
) -> float:
    """Pooled mIoU of scores [1, C, h, w] for images float [1, 3, H, W], percent."""
    confusion = ConfusionMatrix.empty(classes)
    for sample in samples:
        scores = scores_of(image_of(sample, device))
        labels = labels_of(scores, sample.labels.shape)
        confusion = confusion + ConfusionMatrix.of(labels, sample.labels, classes)
    return confusion.miou()


def image_of(sample: Sample, device: torch.device) -> Tensor:
    """Float [1, 3, H, W], 0-255."""
    return image_array(sample.image, device)


def image_array(image: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Float [1, 3, H, W] of uint8 [H, W, 3]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float().to(device)


def labels_of(scores: Tensor, size: tuple[int, ...]) -> NDArray[np.uint8]:
    """uint8 [H, W] of scores [1, C, h, w]."""
    fine = F.interpolate(scores, size, mode="bilinear", align_corners=False)
    return fine.argmax(dim=1)[0].cpu().numpy().astype(np.uint8)


def labels_at(labels: Tensor, scores: Tensor) -> Tensor:
    """Labels [B, H, W] at the centres of the cells of scores [B, C, h, w]: [B, h, w]."""
    stride = round(labels.shape[-1] / scores.shape[-1])
    first = (stride - 1) // 2
    return labels[:, first::stride, first::stride]


def enable_dropout(network: nn.Module) -> None:
    """Let a frozen network err on the frames it was trained on as it does on others."""
    for layer in network.modules():
        if isinstance(layer, (nn.Dropout, nn.Dropout2d)):
            layer.train()
