"""The encoder of paper 004's image-conditioned VAE: only training needs it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks import UnaryOutput
from training.networks.unet import conv_bn
from training.refiners.code import CodeConfig


class CodeEncoder(nn.Module):
    """q(c | truth, image): stride-2 convolutions of one-hot truth beside the U-Net's features.

    The global code's mean and variance come from two fully connected layers (paper 004, section 3),
    those of the local codes from a convolution at 1/16.

    Args:
        classes: number of classes C.
        channels: {stride: channels} of the unary network's features.
        config: sizes of the code.
        width: channels after the first convolution.
    """

    def __init__(
        self, classes: int, channels: dict[int, int], config: CodeConfig, width: int = 32
    ) -> None:
        super().__init__()
        self.config = config
        self.quarter = nn.Sequential(conv_bn(classes + channels[4], width, 3), nn.ReLU())
        self.eighth = nn.Sequential(conv_bn(width, 2 * width, 3, stride=2), nn.ReLU())
        joined = 2 * width + channels[8]
        self.sixteenth = nn.Sequential(conv_bn(joined, 4 * width, 3, stride=2), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(config.coarse)
        flat = 4 * width * config.coarse[0] * config.coarse[1]
        self.of_global = nn.Linear(flat, 2 * config.global_size) if config.global_size else None
        self.of_grid = nn.Conv2d(4 * width, 2 * config.grid_size, 1) if config.grid_size else None

    def forward(self, truth: Tensor, unary: UnaryOutput) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the code.

        Args:
            truth: float [B, C, H/4, W/4], one-hot; zero where void.
            unary: the unary network's answer for the same images.

        Returns:
            float [B, K] each.
        """
        hidden = self.quarter(torch.cat([truth, unary.features[4].to(truth)], dim=1))
        hidden = self.eighth(hidden)
        hidden = self.sixteenth(torch.cat([hidden, unary.features[8].to(hidden)], dim=1))
        means, variances = [], []
        if self.of_global is not None:
            mean, variance = self.of_global(self.pool(hidden).flatten(1)).float().chunk(2, dim=1)
            means.append(mean)
            variances.append(variance)
        if self.of_grid is not None:
            mean, variance = self.of_grid(hidden).float().chunk(2, dim=1)
            means.append(mean.flatten(1))
            variances.append(variance.flatten(1))
        return torch.cat(means, dim=1), torch.cat(variances, dim=1)
