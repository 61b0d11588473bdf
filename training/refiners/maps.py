"""Small operations on maps of scores and probabilities."""

from __future__ import annotations

import torch
from torch import Tensor


def probabilities(scores: Tensor) -> Tensor:
    """Softmax over the classes (dim 1), spelt out: ONNX Runtime transposes for a softmax there."""
    odds = torch.exp(scores - scores.amax(dim=1, keepdim=True))
    return odds / odds.sum(dim=1, keepdim=True)


def mix(matrix: Tensor, maps: Tensor) -> Tensor:
    """Apply a matrix [out, in] to the channels of [B, in, h, w]."""
    return (matrix @ maps.flatten(2)).unflatten(2, maps.shape[-2:])
