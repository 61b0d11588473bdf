"""How far a piece of evidence is to be trusted, seen beside the image and the rest of the evidence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.refiners.evidence import PooledEvidence

LEAST = 1e-6


class EvidenceTrust(nn.Module):
    """Learned weight of each cell's evidence.

    Neighbouring pixels repeat each other, and what is known already teaches nothing new. Above all,
    evidence that covers *all* of its class (a complete road mask) says nothing about the rest of the
    image, whereas the same pixels as a part of the class (a lane) do. A small network over what
    tells these cases apart decides, cell by cell; the solve stays linear in the code.

    Args:
        classes: number of classes C.
        hidden: channels of the hidden layer.
    """

    NEIGHBOURHOOD = 9  # cells
    FEATURES = 6

    def __init__(self, classes: int, hidden: int = 16) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(1.0))
        self.density = nn.Parameter(torch.tensor(0.5))
        self.novelty = nn.Parameter(torch.tensor(1.0))
        self.network = nn.Sequential(
            nn.Conv2d(self.FEATURES + classes, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, 1, 1)
        )
        nn.init.zeros_(self.network[2].weight)
        nn.init.zeros_(self.network[2].bias)

    def forward(self, probs: Tensor, evidence: PooledEvidence) -> Tensor:
        """Trust in each of a cell's two sets, float [2, B, 1, h, w]; 0 where nothing is known.

        Args:
            probs: float [B, C, h, w], what the image alone says.
            evidence: by cell.
        """
        batch, _, height, width = probs.shape
        agreement = (evidence.allowed * probs).sum(dim=2, keepdim=True).clamp_min(LEAST)
        completeness = _completeness(probs, evidence, agreement)
        seen = self._features(probs, evidence, agreement, completeness)
        learned = self.network(seen.flatten(0, 1)).unflatten(0, (2, batch))
        log_trust = (
            self.strength
            + self.density * torch.log(evidence.coverage.clamp_min(LEAST))
            + self.novelty * torch.log((1.05 - completeness).clamp_min(0.05))
            + learned
        )
        return 0.5 * evidence.weight * torch.exp(log_trust.clamp_max(4.0))

    def _features(
        self, probs: Tensor, evidence: PooledEvidence, agreement: Tensor, completeness: Tensor
    ) -> Tensor:
        """float [2, B, 6 + C, h, w]."""
        coverage = evidence.coverage.expand_as(agreement)
        around = _blur(evidence.coverage, self.NEIGHBOURHOOD)
        agreed = (agreement * coverage).mean(dim=0)
        agreed_around = _blur(agreed, self.NEIGHBOURHOOD) / around.clamp_min(LEAST)
        entropy = -(probs * torch.log(probs.clamp_min(LEAST))).sum(dim=1, keepdim=True)
        return torch.cat(
            [
                agreement,
                coverage,
                around.expand_as(agreement),
                agreed_around.expand_as(agreement),
                entropy.expand_as(agreement),
                completeness,
                evidence.allowed,
            ],
            dim=2,
        )


def _completeness(probs: Tensor, evidence: PooledEvidence, agreement: Tensor) -> Tensor:
    """Share of a set's expected pixels that evidence already names: float [2, B, 1, h, w]."""
    restricted = evidence.allowed * probs / agreement
    named = (0.5 * (evidence.weight > 0) * evidence.coverage * restricted).sum(dim=(0, 3, 4))
    expected = probs.sum(dim=(2, 3))
    named, expected = (x[None, :, :, None, None] for x in (named, expected))
    whole = (evidence.allowed * expected).sum(dim=2, keepdim=True)
    return (evidence.allowed * named).sum(dim=2, keepdim=True) / whole.clamp_min(1.0)


def _blur(cells: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(cells, size, stride=1, padding=size // 2, count_include_pad=False)
