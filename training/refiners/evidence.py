"""Set-valued evidence as tensors, and its way to the resolution at which the code is solved."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class EvidenceBatch:
    """What is known of each image of a batch (design.md, section 3).

    Attributes:
        index: uint8 [B, H, W], 0 = nothing known, k = row k of `sets`.
        sets: float [B, S, C] multi-hot: the classes that remain possible; row 0 all ones.
        weight: float [B, S], trust in each set; 0 for row 0.
    """

    index: Tensor
    sets: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> EvidenceBatch:
        """The same evidence on another device."""
        return EvidenceBatch(self.index.to(device), self.sets.to(device), self.weight.to(device))


@dataclass(frozen=True)
class PooledEvidence:
    """Evidence by cell, which keeps at most two different sets: at 8x8 pixels nearly always all.

    Attributes:
        allowed: float [2, B, C, h, w] multi-hot, the sets of the highest and the lowest index in
            the cell (the same one twice where there is only one).
        weight: float [2, B, 1, h, w], the trust in each; 0 where nothing is known.
        coverage: float [B, 1, h, w], fraction of the cell's pixels that something is known of.
    """

    allowed: Tensor
    weight: Tensor
    coverage: Tensor

    @staticmethod
    def nothing(probs: Tensor) -> PooledEvidence:
        """Nothing known in the cells of probabilities [B, C, h, w]."""
        none = torch.zeros_like(probs[:, :1])
        allowed = torch.ones_like(probs).expand(2, *probs.shape)
        return PooledEvidence(allowed, none.expand(2, *none.shape), none)


def pool_evidence(evidence: EvidenceBatch, stride: int) -> PooledEvidence:
    """Gather evidence into cells of `stride` x `stride` pixels, complete cells only."""
    rows = evidence.sets.shape[1]
    index = evidence.index[:, None].to(evidence.sets)
    covered = F.avg_pool2d((index > 0).to(index), stride)
    allowed, weight = [], []
    for chosen in extreme_rows(index, rows, stride):
        cells = chosen[:, 0].long()
        allowed.append(_rows(evidence.sets, cells).permute(0, 3, 1, 2))
        weight.append(_rows(evidence.weight[..., None], cells).permute(0, 3, 1, 2))
    return PooledEvidence(torch.stack(allowed), torch.stack(weight), covered)


def extreme_rows(index: Tensor, rows: int, stride: int) -> tuple[Tensor, Tensor]:
    """The highest and the lowest row in each cell that says something; 0 where none does.

    Args:
        index: float [B, 1, H, W], 0 = nothing known.
        rows: number of rows, 0 included.
        stride: height and width of a cell in pixels.

    Returns:
        highest, lowest: float [B, 1, H // stride, W // stride].
    """
    highest = F.max_pool2d(index, stride)
    lowest = rows - F.max_pool2d((index > 0) * (rows - index), stride)
    return highest, lowest * (highest > 0)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Row `index` [B, h, w] of each image's table [B, S, D] -> [B, h, w, D]."""
    batch, height, width = index.shape
    if batch == 1:
        return table[0][index]
    image = torch.arange(batch, device=index.device)[:, None, None]
    return table[image.expand(batch, height, width), index]
