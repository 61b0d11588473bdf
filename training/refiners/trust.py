"""How far each piece of evidence, and the image itself, is to be trusted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.refiners.evidence import PooledEvidence

LEAST = 1e-6


class EvidenceTrust(nn.Module):
    """Learned weight of each cell's evidence, and of the image's own word where there is none.

    Neighbouring pixels repeat each other, and evidence can be wrong: a small network over what a
    cell's evidence says, beside the image and its surroundings, decides how much it weighs.

    Cells without evidence are *anchored*: the solve pays for moving their probabilities away from
    what the image alone says. That is what keeps a correction from spilling over onto things that
    were right. How firmly depends on the image, on what is known around, and above all on how much
    of its class the evidence names: all of it (a complete road mask) says nothing about the rest of
    the image, whereas the same pixels as a part of the class (a lane) do. For the same reason
    evidence of a single class that is complete does not pull at all: it is obeyed where it is.

    Args:
        classes: number of classes C.
        hidden: channels of the hidden layers.
    """

    NEIGHBOURHOOD = 9  # cells
    TELLING, MUTE = 0.6, 0.8
    """Completeness up to which evidence of one class is fully trusted, and from which it is not."""
    SHARED = 5
    OWN = 3

    def __init__(self, classes: int, hidden: int = 16) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(1.0))
        self.density = nn.Parameter(torch.tensor(0.5))
        self.grip = nn.Parameter(torch.tensor(1.0))
        self.weigh = _decision(self.SHARED + self.OWN + classes, hidden)
        self.hold = _decision(self.SHARED, hidden)

    def forward(
        self, probs: Tensor, anchor: Tensor, evidence: PooledEvidence
    ) -> tuple[Tensor, Tensor]:
        """Decide, once a frame.

        Args:
            probs: float [B, C, h, w], what the image alone says.
            anchor: float [B, 1, h, w], how firmly the image would have cells held, before softplus.
            evidence: by cell.

        Returns:
            trust: float [2, B, 1, h, w] in each of a cell's two sets; 0 where nothing is known.
            anchor: float [B, 1, h, w]; 0 where something is known.
        """
        agreement = (evidence.allowed * probs).sum(dim=2, keepdim=True).clamp_min(LEAST)
        named = _named(probs, evidence, agreement)
        completeness = _completeness(probs, evidence, named)
        most = (completeness * (evidence.weight > 0)).amax(dim=(0, 3, 4))[..., None, None]
        shared = self._shared(probs, evidence, agreement, named, most)
        held = F.softplus(anchor + self.hold(shared)) * torch.exp(self.grip * most)

        coverage = evidence.coverage.expand_as(agreement)
        spread = shared.expand(2, *shared.shape)
        seen = torch.cat([spread, agreement, coverage, completeness, evidence.allowed], dim=2)
        learned = self.weigh(seen.flatten(0, 1)).unflatten(0, (2, len(probs)))
        crowding = self.density * torch.log(coverage.clamp_min(LEAST))
        trust = torch.exp((self.strength + crowding + learned).clamp_max(4.0))
        trust = trust * self._tells(evidence, completeness)
        return 0.5 * evidence.weight * trust, held * (evidence.coverage == 0)

    def _tells(self, evidence: PooledEvidence, completeness: Tensor) -> Tensor:
        """How far a set can say anything about other pixels, float [2, B, 1, h, w], 0-1."""
        one_class = evidence.allowed.sum(dim=2, keepdim=True) == 1
        left = (self.MUTE - completeness) / (self.MUTE - self.TELLING)
        return torch.where(one_class, left.clamp(0, 1), 1.0)

    def _shared(
        self,
        probs: Tensor,
        evidence: PooledEvidence,
        agreement: Tensor,
        named: Tensor,
        most: Tensor,
    ) -> Tensor:
        """What is the same for both sets of a cell, float [B, 5, h, w]."""
        around = _blur(evidence.coverage, self.NEIGHBOURHOOD)
        agreed = (agreement * evidence.coverage).mean(dim=0)
        agreed_around = _blur(agreed, self.NEIGHBOURHOOD) / around.clamp_min(LEAST)
        variety = _entropy(named / named.sum(dim=1, keepdim=True).clamp_min(LEAST))
        whole = [x.expand_as(around) for x in (variety, most)]
        return torch.cat([around, agreed_around, _entropy(probs), *whole], dim=1)


def _decision(inputs: int, hidden: int) -> nn.Sequential:
    """A small network on single cells that says 0 to begin with."""
    last = nn.Conv2d(hidden, 1, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.ReLU(), last)


def _named(probs: Tensor, evidence: PooledEvidence, agreement: Tensor) -> Tensor:
    """Pixels (in cells) of each class that evidence names, float [B, C, 1, 1]."""
    restricted = evidence.allowed * probs / agreement
    share = 0.5 * (evidence.weight > 0) * evidence.coverage
    return (share * restricted).sum(dim=0).sum(dim=(2, 3), keepdim=True)


def _completeness(probs: Tensor, evidence: PooledEvidence, named: Tensor) -> Tensor:
    """How nearly evidence names all of its set: float [2, B, 1, h, w], 0-1.

    It is 1 where it names as many pixels as the image expects of the set; naming far more shows
    that the image has missed some, and is not complete either.
    """
    expected = probs.sum(dim=(2, 3), keepdim=True)
    whole = (evidence.allowed * expected).sum(dim=2, keepdim=True).clamp_min(LEAST)
    found = (evidence.allowed * named).sum(dim=2, keepdim=True).clamp_min(LEAST)
    return torch.minimum(found / whole, whole / found)


def _entropy(probs: Tensor) -> Tensor:
    """Entropy [B, 1, h, w] of probabilities [B, C, h, w], in nats."""
    return -(probs * torch.log(probs.clamp_min(LEAST))).sum(dim=1, keepdim=True)


def _blur(cells: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(cells, size, stride=1, padding=size // 2, count_include_pad=False)
