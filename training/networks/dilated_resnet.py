"""Dilated ResNet-50 and -101 at output stride 16: paper 001's unary network."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.errors import TrainingError
from training.networks.pretrained import Naming, imagenet_normalise, load_pretrained
from training.networks.unet import UnaryOutput, conv_bn

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
EXPANSION = 4


@dataclass(frozen=True)
class DilatedResNetConfig:
    """Size of a `DilatedResNet`.

    Attributes:
        depth: 50 or 101.
        width: channels of the first convolution (64).
        preactivation: normalise and activate before each convolution (He et al. 2016b), as paper
            001 does; published weights are mostly of networks that do so after it.
        weights: file with torchvision's or timm's resnet50 / resnet101 (`preactivation` false) or
            timm's resnetv2_50 / resnetv2_101 (true), or None: from scratch.
    """

    depth: int = 101
    width: int = 64
    preactivation: bool = True
    weights: str | None = None

    def __post_init__(self) -> None:
        if self.depth not in BLOCKS:
            raise TrainingError(f"there is no ResNet-{self.depth} here: use 50 or 101")


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, normalised and activated after each; names as torchvision's."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1, self.bn1 = conv_bn(inputs, width, 1)
        self.conv2, self.bn2 = conv_bn(width, width, 3, stride, dilation)
        self.conv3, self.bn3 = conv_bn(width, outputs, 1)
        same = stride == 1 and inputs == outputs
        self.downsample = nn.Identity() if same else conv_bn(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, inputs, h, w] -> [B, 4 width, h / stride, w / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class PreActivationBottleneck(nn.Module):
    """The same with normalisation and activation before each convolution; names as timm's."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), _conv(inputs, width, 1)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride, dilation)
        self.norm3, self.conv3 = nn.BatchNorm2d(width), _conv(width, outputs, 1)
        same = stride == 1 and inputs == outputs
        self.downsample = None if same else nn.Sequential(_conv(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, inputs, h, w] -> [B, 4 width, h / stride, w / stride]."""
        active = F.relu(self.norm1(x))
        y = self.conv2(F.relu(self.norm2(self.conv1(active))))
        y = self.conv3(F.relu(self.norm3(y)))
        return y + (x if self.downsample is None else self.downsample(active))


class ResNet(nn.Module):
    """ResNet whose last stage keeps stride 16 and dilates by 2 instead."""

    def __init__(self, config: DilatedResNetConfig) -> None:
        super().__init__()
        width = config.width
        self.conv1 = _conv(3, width, 7, stride=2)
        self.bn1 = nn.Identity() if config.preactivation else nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        block = PreActivationBottleneck if config.preactivation else Bottleneck
        inputs = width
        strides, dilations = (1, 2, 2, 1), (1, 1, 1, 2)
        for stage, count in enumerate(BLOCKS[config.depth]):
            inner = width * 2**stage
            blocks = [block(inputs, inner, strides[stage], dilations[stage])]
            inputs = EXPANSION * inner
            blocks += [block(inputs, inner, 1, dilations[stage]) for _ in range(count - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.norm = nn.BatchNorm2d(inputs) if config.preactivation else nn.Identity()

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """{stride: float [B, D, h, w]} of float [B, 3, H, W]."""
        quarter = self.layer1(self.pool(F.relu(self.bn1(self.conv1(x)))))
        eighth = self.layer2(quarter)
        sixteenth = self.norm(self.layer4(self.layer3(eighth)))
        return {4: quarter, 8: eighth, 16: F.relu(sixteenth)}


class DilatedResNet(nn.Module):
    """ResNet and a 1x1 convolution to scores at 1/16, the base of paper 001's table.

    What that paper adds on top (context, structured patch prediction, guidance) are refiners.

    Args:
        classes: number of classes C.
        config: the size, and where the weights come from.

    Raises:
        TrainingError: the file of weights does not fit.
    """

    def __init__(self, classes: int, config: DilatedResNetConfig = DilatedResNetConfig()) -> None:
        super().__init__()
        self.config = config
        self.trunk = ResNet(config)
        width = EXPANSION * config.width
        self.channels: dict[int, int] = {4: width, 8: 2 * width, 16: 8 * width}
        self.scores = nn.Conv2d(8 * width, classes, 1)
        if config.weights is not None:
            namings = PREACTIVATION_NAMINGS if config.preactivation else NAMINGS
            load_pretrained(self.trunk, config.weights, namings, HINT)

    def forward(self, image: Tensor) -> UnaryOutput:
        """Score an image.

        Args:
            image: float [B, 3, H, W], 0-255 RGB.
        """
        features = self.trunk(imagenet_normalise(image))
        scores = self.scores(features[16]).float()
        return UnaryOutput(scores, torch.zeros_like(scores), features)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


def _timm_v2_name(key: str) -> str:
    key = re.sub(r"^conv1\.", "stem.conv.", key)
    key = key.replace("downsample.0.", "downsample.conv.")
    return re.sub(r"^layer(\d)\.(\d+)\.", lambda m: f"stages.{int(m[1]) - 1}.blocks.{m[2]}.", key)


NAMINGS = (Naming("torchvision or timm resnet", str, ("fc.",)),)
PREACTIVATION_NAMINGS = (Naming("timm resnetv2", _timm_v2_name, ("head.fc.",)),)
HINT = (
    "torchvision's and timm's resnet50 and resnet101 need preactivation=false, timm's resnetv2_50 "
    "and resnetv2_101 preactivation=true; depth must agree, and width be 64."
)
