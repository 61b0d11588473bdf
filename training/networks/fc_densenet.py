"""FC-DenseNet, "The One Hundred Layers Tiramisu" (Jegou et al. 2017): of paper 003."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.networks.unet import UnaryOutput, normalise_image


@dataclass(frozen=True)
class Depth:
    """Published shape of one FC-DenseNet: layers of each dense block, and its growth rate."""

    blocks: tuple[int, ...]
    bottleneck: int
    growth: int


DEPTHS = {
    56: Depth((4, 4, 4, 4, 4), 4, 12),
    67: Depth((5, 5, 5, 5, 5), 5, 16),
    103: Depth((4, 5, 7, 10, 12), 15, 16),
}


@dataclass(frozen=True)
class FCDenseNetConfig:
    """Size of an `FCDenseNet`.

    Attributes:
        depth: 56, 67 or 103.
        growth: channels that every layer adds; 0 = as published (12, 16, 16).
        width: channels of the first convolution (48).
        dropout: after every convolution of a dense block.
    """

    depth: int = 103
    growth: int = 0
    width: int = 48
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.depth not in DEPTHS:
            raise TrainingError(f"there is no FC-DenseNet{self.depth}: use 56, 67 or 103")


class DenseBlock(nn.Module):
    """Layers that each see what all before them found, and add `growth` channels of their own."""

    def __init__(self, inputs: int, layers: int, growth: int, dropout: float) -> None:
        super().__init__()
        self.added = layers * growth
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(inputs + index * growth),
                nn.ReLU(),
                nn.Conv2d(inputs + index * growth, growth, 3, padding=1),
                nn.Dropout2d(dropout),
            )
            for index in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, inputs, h, w] -> [B, added, h, w]: what is new, without the input."""
        seen = [x]
        for layer in self.layers:
            seen.append(layer(torch.cat(seen, dim=1)))
        return torch.cat(seen[1:], dim=1)


def transition_down(channels: int, dropout: float) -> nn.Sequential:
    """Batch normalisation, 1x1 convolution and pooling to half the size, rounded up."""
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1),
        nn.Dropout2d(dropout),
        nn.MaxPool2d(2, ceil_mode=True),
    )


class FCDenseNet(nn.Module):
    """Dense blocks on the way down and, with skips, on the way up; it answers at full size.

    Batch normalisation uses its running statistics at test. The authors' code uses the batch's,
    which for one image at a time normalises each by itself; `normalise_image` does that for the
    input, where it helps a drive at dusk.

    Args:
        classes: number of classes C.
        config: the size.
    """

    def __init__(self, classes: int, config: FCDenseNetConfig = FCDenseNetConfig()) -> None:
        super().__init__()
        self.config = config
        depth = DEPTHS[config.depth]
        growth, dropout = config.growth or depth.growth, config.dropout
        self.stem = nn.Conv2d(3, config.width, 3, padding=1)
        self.down, self.transitions = nn.ModuleList(), nn.ModuleList()
        self.channels: dict[int, int] = {}
        skips = []
        channels = config.width
        for level, layers in enumerate(depth.blocks):
            block = DenseBlock(channels, layers, growth, dropout)
            channels += block.added
            skips.append(channels)
            self.down.append(block)
            self.transitions.append(transition_down(channels, dropout))
            self.channels[2 ** (level + 1)] = channels
        self.bottleneck = DenseBlock(channels, depth.bottleneck, growth, dropout)
        self.up, self.raises = nn.ModuleList(), nn.ModuleList()
        added = self.bottleneck.added
        for skip, layers in zip(reversed(skips), reversed(depth.blocks), strict=True):
            self.raises.append(
                nn.ConvTranspose2d(added, added, 3, stride=2, padding=1, output_padding=1)
            )
            block = DenseBlock(added + skip, layers, growth, dropout)
            channels, added = added + skip + block.added, block.added
            self.up.append(block)
        self.scores = nn.Conv2d(channels, classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # the paper's HeUniform
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> UnaryOutput:
        """Score an image.

        Args:
            image: float [B, 3, H, W], 0-255 RGB.
        """
        x = self.stem(normalise_image(image))
        skips, features = [], {}
        for stride, block, transition in zip(
            self.channels, self.down, self.transitions, strict=True
        ):
            skips.append(torch.cat([x, block(x)], dim=1))
            features[stride] = x = transition(skips[-1])
        new = self.bottleneck(x)
        for raise_, block, skip in zip(self.raises, self.up, reversed(skips), strict=True):
            height, width = skip.shape[-2:]
            x = torch.cat([raise_(new)[..., :height, :width], skip], dim=1)
            new = block(x)
        scores = self.scores(torch.cat([x, new], dim=1)).float()
        return UnaryOutput(scores, torch.zeros_like(scores), features)
