"""The whole function of a bundle as one module (design.md, section 3).

A uint8 image and evidence go in, uint8 maps come out.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg_perception.runtime.bundle import EVALUATION_OUTPUTS, UNREFINED_OUTPUT
from training.export.chain import Chain
from training.model import Segmenter
from training.refiners import EvidenceBatch, GaussianPrior, Scene
from training.refiners.evidence import extreme_rows
from training.refiners.maps import probabilities

IMPOSSIBLE = 1e4  # taken off the score of a class that the evidence rules out
CONTRADICTED = 0.1
"""Where the corrected map gives a set less than this probability, the image contradicts it."""
CHANCE = 0.4
"""Probability that a wrong piece of evidence's set has by chance."""
PRIOR_CELLS, PRIOR_WRONG = 20.0, 0.02
"""How often evidence is wrong before a frame shows it: as if this share of so many cells were."""
MAPS = ("labels", "confidence", "entropy", "code", UNREFINED_OUTPUT)


class Graph(nn.Module):
    """What both kinds of model have in common.

    Args:
        model: in evaluation mode.
        size: (height, width) of the image in pixels.

    Attributes:
        inputs: names, in order.
        outputs: likewise.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __init__(self, model: Segmenter, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.size = model, size
        self.chain = Chain(model)
        if self.chain.looped:
            self.inputs = (*self.inputs, "refiner_iterations")


class UnaryGraph(Graph):
    """A model without a code."""

    inputs = ("image",)
    outputs = ("labels", "confidence", "entropy", "labels_unrefined")

    def forward(self, image: Tensor, iterations: Tensor | None = None) -> tuple[Tensor, ...]:
        """uint8 [1, H, W, 3] (and int64 [R]) -> the outputs, in the order of `outputs`."""
        guide = image.permute(0, 3, 1, 2).float()
        unary = self.model.unary(guide)
        scores = self.chain(Scene(guide, unary), iterations).scores
        labels, confidence, entropy = describe(scores, self.size)
        unrefined = best(enlarge(unary.scores, self.size)) if self.model.refiners else labels
        return labels, confidence, entropy, unrefined


class CodeGraph(Graph):
    """A model with an optimisable code, solved inside the graph."""

    inputs = (
        "image",
        "evidence",
        "evidence_sets",
        "evidence_weight",
        "prior_code",
        "prior_precision",
    )
    outputs = MAPS + EVALUATION_OUTPUTS

    def forward(
        self,
        image: Tensor,
        evidence: Tensor,
        sets: Tensor,
        weight: Tensor,
        prior_code: Tensor,
        prior_precision: Tensor,
        iterations: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Inputs and outputs as design.md, section 3, in the order of `inputs` and `outputs`."""
        guide = image.permute(0, 3, 1, 2).float()
        unary = self.model.unary(guide)
        known = EvidenceBatch(evidence, sets[None], weight[None])
        prior = GaussianPrior(prior_code, prior_precision[:, None])
        scene = Scene(guide, unary, evidence=known, prior=prior)
        refined = self.chain(scene, iterations)
        scores = refined.scores
        uncorrected = self.chain(Scene(guide, unary), iterations).scores
        labels, confidence, entropy = describe(scores, self.size)
        labels = obey(labels, scores, evidence, sets, weight)
        allowed = sets[evidence[0].long()].permute(2, 0, 1)[None]
        return (
            labels,
            confidence,
            entropy,
            refined.states["code"].code,
            best(enlarge(unary.scores, self.size)),
            best(restrict(enlarge(uncorrected, self.size), allowed)),
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


def obey(labels: Tensor, scores: Tensor, evidence: Tensor, sets: Tensor, weight: Tensor) -> Tensor:
    """Give evidence the last word where it contradicts a label, unless it is likelier wrong.

    With ``P`` the probability that the corrected map gives a set, and ``e`` how often evidence of
    its row is wrong in this frame, evidence is right where ``w (1 - e) P >= e u``, ``w`` its weight
    and ``u`` the probability of a wrong one's set, `CHANCE`. Of sets that the map hardly ever
    contradicts every pixel is believed; of those that lie on a fifth of theirs, what is likely.

    The class that takes over is chosen by cell of the scores, the most probable of its set, for
    the two sets of the highest and lowest row in the cell; each pixel's own set decides whether
    one has to.

    Args:
        labels: uint8 [1, H, W].
        scores: float [1, C, h, w], corrected; H and W are multiples of h and w.
        evidence: uint8 [1, H, W], rows of `sets`.
        sets: float [S, C] multi-hot.
        weight: float [S].

    Returns:
        uint8 [1, H, W].
    """
    size, (rows, classes) = labels.shape[-2:], sets.shape
    extremes = torch.cat(
        extreme_rows(evidence[:, None].to(scores), rows, size[1] // scores.shape[3])
    )
    row = extremes[:, 0].long()
    inside = sets[row].permute(0, 3, 1, 2) * probabilities(scores)
    total = inside.sum(dim=1)
    odds = odds_wrong(row[0], total[0], rows)
    believed = total * weight[row] >= CHANCE * odds[row]
    best_inside = torch.where(believed, inside.argmax(dim=1), classes).to(scores)
    maps = torch.cat([best_inside, extremes[:1, 0]])[None]
    high, low, high_row = F.interpolate(maps, size, mode="nearest")[0].int().split(1)
    other = torch.where(evidence == high_row, high, low)
    allowed = torch.where(weight[:, None] > 0, sets, 1.0)
    allowed = F.pad(allowed, (0, 1)).flatten()  # no set allows the class C, which stands for none
    first = evidence.int() * (classes + 1)
    better = allowed[first + other] > allowed[first + labels.int()]
    return torch.where(better, other.to(torch.uint8), labels)


def odds_wrong(row: Tensor, total: Tensor, rows: int) -> Tensor:
    """Odds that evidence of each row is wrong, by how often the map contradicts it: float [S].

    Args:
        row: int64 [h, w].
        total: float [h, w], the probability of its set.
        rows: S.
    """
    of_row = (row.flatten() == torch.arange(rows)[:, None]).to(total)
    wrong = (total.flatten() < CONTRADICTED).to(total)
    share = (of_row @ wrong + PRIOR_CELLS * PRIOR_WRONG) / (of_row.sum(dim=1) + PRIOR_CELLS)
    return share / (1 - share)


def describe(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, confidence (highest probability) and normalised entropy, each uint8 [B, H, W].

    With ``d = s - max s`` and ``Z = sum exp d`` the highest probability is ``1 / Z`` and the
    entropy ``log Z - sum(d exp d) / Z``: no probability map is ever written.
    """
    fine = enlarge(scores, size)
    below = fine - fine.amax(dim=1, keepdim=True)
    odds = torch.exp(below)
    total = _sum(odds)
    entropy = torch.log(total) - _sum(below * odds) / total
    return best(fine), _as_byte(1 / total), _as_byte(entropy / math.log(scores.shape[1]))


def _sum(maps: Tensor) -> Tensor:
    """Sum over the classes of [B, C, H, W]; a product takes a third of ONNX Runtime's ReduceSum."""
    ones = maps.new_ones(1, maps.shape[1])
    return (ones @ maps.flatten(2)).unflatten(2, maps.shape[-2:])[:, 0]


def _as_byte(fraction: Tensor) -> Tensor:
    return (fraction * 255 + 0.5).clamp(0, 255).to(torch.uint8)
