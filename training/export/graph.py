"""The whole function of a bundle as one module (design.md, section 3).

A uint8 image and evidence go in, uint8 maps come out.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.model import Segmenter
from training.refiners import EvidenceBatch, GaussianPrior, Scene

IMPOSSIBLE = 1e4  # taken off the score of a class that the evidence rules out
MAPS = ("labels", "confidence", "entropy", "code", "labels_unrefined")
EVALUATION_MAPS = ("labels_replaced", "labels_optimised_replaced")


class UnaryGraph(nn.Module):
    """A model without a code.

    Args:
        model: in evaluation mode.
        size: (height, width) of the image in pixels.
    """

    inputs = ("image",)
    outputs = ("labels", "confidence", "entropy", "labels_unrefined")

    def __init__(self, model: Segmenter, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 [1, H, W, 3] -> the outputs, in the order of `outputs`."""
        guide = image.permute(0, 3, 1, 2).float()
        unary = self.model.unary(guide)
        labels, confidence, entropy = describe(
            self.model.refine(Scene(guide, unary)).scores, self.size
        )
        unrefined = best(enlarge(unary.scores, self.size)) if self.model.refiners else labels
        return labels, confidence, entropy, unrefined


class CodeGraph(nn.Module):
    """A model with an optimisable code, solved inside the graph.

    Args:
        model: in evaluation mode.
        size: (height, width) of the image in pixels.
    """

    inputs = (
        "image",
        "evidence",
        "evidence_sets",
        "evidence_weight",
        "prior_code",
        "prior_precision",
    )
    outputs = MAPS + EVALUATION_MAPS

    def __init__(self, model: Segmenter, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(
        self,
        image: Tensor,
        evidence: Tensor,
        sets: Tensor,
        weight: Tensor,
        prior_code: Tensor,
        prior_precision: Tensor,
    ) -> tuple[Tensor, ...]:
        """Inputs and outputs as design.md, section 3, in the order of `inputs` and `outputs`."""
        guide = image.permute(0, 3, 1, 2).float()
        unary = self.model.unary(guide)
        known = EvidenceBatch(evidence, sets[None], weight[None])
        prior = GaussianPrior(prior_code, prior_precision[:, None])
        refined = self.model.refine(Scene(guide, unary, evidence=known, prior=prior))
        scores = refined.scores
        labels, confidence, entropy = describe(scores, self.size)
        allowed = sets[evidence[0].long()].permute(2, 0, 1)[None]
        return (
            labels,
            confidence,
            entropy,
            refined.states["code"].code,
            best(enlarge(unary.scores, self.size)),
            best(restrict(enlarge(unary.scores, self.size), allowed)),
            best(restrict(enlarge(scores, self.size), allowed)),
        )


def enlarge(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Scores [B, C, h, w] at the image's size, bilinearly."""
    return F.interpolate(scores, size, mode="bilinear", align_corners=False)


def best(scores: Tensor) -> Tensor:
    """Class of the highest score, uint8 [B, H, W]."""
    return scores.argmax(dim=1).to(torch.uint8)


def restrict(scores: Tensor, allowed: Tensor) -> Tensor:
    """Scores in which the classes that evidence rules out (multi-hot [B, C, H, W]) cannot win."""
    return scores - (1 - allowed) * IMPOSSIBLE


def describe(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, confidence (highest probability) and normalised entropy, each uint8 [B, H, W].

    With ``d = s - max s`` and ``Z = sum exp d`` the highest probability is ``1 / Z`` and the
    entropy ``log Z - sum(d exp d) / Z``: no probability map is ever written.
    """
    fine = enlarge(scores, size)
    below = fine - fine.amax(dim=1, keepdim=True)
    odds = torch.exp(below)
    total = odds.sum(dim=1)
    entropy = torch.log(total) - (below * odds).sum(dim=1) / total
    return best(fine), _as_byte(1 / total), _as_byte(entropy / math.log(scores.shape[1]))


def _as_byte(fraction: Tensor) -> Tensor:
    return (fraction * 255 + 0.5).clamp(0, 255).to(torch.uint8)
