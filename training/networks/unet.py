"""The unary network of paper 004: a U-Net, dilated at the bottleneck, with uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class UNetConfig:
    """Size of a `UNet`.

    Attributes:
        width: channels at 1/2; every level down doubles them (paper 004, section 3). Below 16,
            PyTorch 2.13 crashes when it trains on a CPU (1x1 convolutions of stride 2).
        blocks: residual blocks at 1/4, 1/8 and 1/16.
        dilations: dilation of each block at 1/16, the bottleneck.
        dropout: probability with which a bottleneck channel is dropped in training.
    """

    width: int = 24
    blocks: tuple[int, int] = (2, 3)
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    dropout: float = 0.1


@dataclass(frozen=True)
class UnaryOutput:
    """What a unary network says of an image.

    Attributes:
        scores: float [B, C, h, w], at any fraction of the image's size; log domain, higher is
            better.
        uncertainty: float [B, C, h, w], standard deviation of the scores (paper 004, Eq. 3); zero
            where a network has none.
        features: {stride: float [B, D, h, w]} that refiners may look at.
    """

    scores: Tensor
    uncertainty: Tensor
    features: Mapping[int, Tensor]


def normalise_image(image: Tensor) -> Tensor:
    """Bring an image to zero mean a channel and unit contrast, whatever the light was.

    A drive at dusk is three times darker than one at noon; statistics of the image itself carry
    over to it where constants of the training set do not.

    Args:
        image: float [B, 3, H, W], 0-255 RGB.

    Returns:
        float [B, 3, H, W].
    """
    mean = image.mean(dim=(2, 3), keepdim=True)
    centred = image - mean
    contrast = centred.square().mean(dim=(1, 2, 3), keepdim=True).add(1.0).rsqrt()
    return centred * contrast


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution that keeps the size (at stride 1), and batch normalisation."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity (or a projection where the shape changes)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, 3, stride, dilation)
        self.second = conv_bn(outputs, outputs, 3, 1, dilation)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_bn(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, inputs, h, w] -> [B, outputs, h / stride, w / stride]."""
        y = F.relu(self.first(x))
        return F.relu(self.second(y) + self.shortcut(x))


class GlobalContext(nn.Module):
    """Adds a projection of the mean feature to every pixel: what kind of scene this is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, channels, h, w] -> the same shape."""
        return x + self.project(F.relu(x).mean(dim=(2, 3), keepdim=True))


class Merge(nn.Module):
    """One level up: coarse map at the finer size, plus the skip, then one residual block."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.reduce = conv_bn(coarse, fine, 1)
        self.skip = conv_bn(fine, fine, 1)
        self.block = ResidualBlock(fine, fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Float [B, coarse, h, w] and [B, fine, h', w'] -> [B, fine, h', w']."""
        up = F.interpolate(
            self.reduce(coarse), size=fine.shape[-2:], mode="bilinear", align_corners=False
        )
        return self.block(F.relu(up + self.skip(fine)))


class UNet(nn.Module):
    """U-Net with channels x2 a level down to 1/16 and a dilated bottleneck; it answers at 1/4.

    Paper 004 concatenates the skips; here both sides are projected and added, which takes about
    half of the decoder's arithmetic (by count of multiplications).

    Args:
        classes: number of classes C.
        config: the size.
    """

    STRIDES = (4, 8, 16)

    def __init__(self, classes: int, config: UNetConfig = UNetConfig()) -> None:
        super().__init__()
        self.config = config
        half, quarter, eighth, sixteenth = (config.width * 2**level for level in range(4))
        self.stem = nn.Sequential(
            conv_bn(3, half, 3, stride=2), nn.ReLU(), conv_bn(half, half, 3), nn.ReLU()
        )
        self.quarter = self._level(half, quarter, (1,) * config.blocks[0])
        self.eighth = self._level(quarter, eighth, (1,) * config.blocks[1])
        self.sixteenth = self._level(eighth, sixteenth, config.dilations)
        self.context = GlobalContext(sixteenth)
        self.dropout = nn.Dropout2d(config.dropout)
        self.up_eighth = Merge(sixteenth, eighth)
        self.up_quarter = Merge(eighth, quarter)
        self.scores = nn.Conv2d(quarter, classes, 1)
        self.uncertainty = nn.Conv2d(quarter, classes, 1)
        self.channels: dict[int, int] = dict(
            zip(self.STRIDES, (quarter, eighth, sixteenth), strict=True)
        )
        nn.init.constant_(self.uncertainty.bias, -2.0)

    @staticmethod
    def _level(inputs: int, outputs: int, dilations: tuple[int, ...]) -> nn.Sequential:
        first = ResidualBlock(inputs, outputs, stride=2)
        rest = (ResidualBlock(outputs, outputs, dilation=dilation) for dilation in dilations[1:])
        return nn.Sequential(first, *rest)

    def forward(self, image: Tensor) -> UnaryOutput:
        """Score an image.

        Args:
            image: float [B, 3, H, W], 0-255 RGB.
        """
        quarter = self.quarter(self.stem(normalise_image(image)))
        eighth = self.eighth(quarter)
        sixteenth = self.dropout(self.context(self.sixteenth(eighth)))
        up_eighth = self.up_eighth(sixteenth, eighth)
        up_quarter = self.up_quarter(up_eighth, quarter)
        return UnaryOutput(
            scores=self.scores(up_quarter).float(),
            uncertainty=F.softplus(self.uncertainty(up_quarter).float()),
            features={4: up_quarter, 8: up_eighth, 16: sixteenth},
        )
