"""The mean of p(c | I): paper 000's image encoder for paper 004's code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CodeGuess(nn.Module):
    """The code that the image itself suggests, from the unary network's features at 1/16.

    It begins as zero, the mean of the prior N(0, I) that it replaces.

    Args:
        features: channels at 1/16.
        channels: that the features are reduced to.
        coarse: (height, width) that the global code is read from.
        global_size: numbers in the global code.
        grid_size: numbers in each local code.
    """

    def __init__(
        self,
        features: int,
        channels: int,
        coarse: tuple[int, int],
        global_size: int,
        grid_size: int,
    ) -> None:
        super().__init__()
        self.coarse = coarse
        self.reduce = nn.Conv2d(features, channels, 1)
        flat = channels * coarse[0] * coarse[1]
        self.of_global = nn.Linear(flat, global_size) if global_size else None
        self.of_grid = nn.Conv2d(channels, grid_size, 1) if grid_size else None
        for layer in (self.of_global, self.of_grid):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Float [B, K] of float [B, features, H/16, W/16]."""
        x = F.relu(self.reduce(features))
        parts = []
        if self.of_global is not None:
            small = F.interpolate(x, self.coarse, mode="bilinear", align_corners=False)
            parts.append(self.of_global(small.flatten(1)))
        if self.of_grid is not None:
            parts.append(self.of_grid(x).flatten(1))
        return torch.cat(parts, dim=1)
