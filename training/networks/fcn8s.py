"""FCN-8s on VGG-16 (Long et al. 2015): the unary network of papers 000, 002 and 003."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.networks.pretrained import Naming, imagenet_normalise, load_pretrained
from training.networks.unet import UnaryOutput

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Convolutions before each pooling of VGG-16 (configuration D of Simonyan and Zisserman 2015)."""

TIMM_LAYERS = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2"}


@dataclass(frozen=True)
class FCN8sConfig:
    """Size of an `FCN8s`.

    Attributes:
        width: channels of VGG's first block (64); the next ones have 2, 4, 8 and 8 times as many.
        hidden: channels of fc6 and fc7 (4096).
        dropout: after each of the two.
        weights: file with torchvision's or timm's vgg16, or None: from scratch.
    """

    width: int = 64
    hidden: int = 4096
    dropout: float = 0.5
    weights: str | None = None


class VGG16(nn.Module):
    """VGG-16 with its fully connected layers as convolutions; laid out as torchvision's.

    Pooling rounds sizes up, as Caffe's does, so that a stride of s answers at ceil(size / s).
    """

    def __init__(self, config: FCN8sConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for block, convolutions in enumerate(CONVOLUTIONS):
            outputs = config.width * 2 ** min(block, 3)
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Conv2d(inputs, config.hidden, 7, padding=3),
            nn.ReLU(),
            nn.Dropout2d(config.dropout),
            nn.Conv2d(config.hidden, config.hidden, 1),
            nn.ReLU(),
            nn.Dropout2d(config.dropout),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # without normalisation, thirteen layers need He's
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """{stride: what each pooling gives} and fc7's answer, of float [B, 3, H, W]."""
        pooled: dict[int, Tensor] = {}
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled[2 ** (len(pooled) + 1)] = x
        return pooled, self.classifier(x)


class FCN8s(nn.Module):
    """Fully convolutional network that joins the scores of strides 32, 16 and 8; it answers at 1/8.

    The original pads by 100 pixels and crops; here fc6 pads by 3, which keeps maps aligned. Its
    last step, a fixed bilinear x8, is left to whoever reads the scores.

    Args:
        classes: number of classes C.
        config: the size, and where the weights come from.

    Raises:
        TrainingError: the file of weights does not fit.
    """

    def __init__(self, classes: int, config: FCN8sConfig = FCN8sConfig()) -> None:
        super().__init__()
        self.config = config
        self.trunk = VGG16(config)
        width = config.width
        self.score_fc7 = nn.Conv2d(config.hidden, classes, 1)
        self.score_pool4 = nn.Conv2d(8 * width, classes, 1)
        self.score_pool3 = nn.Conv2d(4 * width, classes, 1)
        self.up_sixteenth = bilinear_deconvolution(classes)
        self.up_eighth = bilinear_deconvolution(classes)
        self.channels: dict[int, int] = {
            stride: width * factor for stride, factor in {2: 1, 4: 2, 8: 4, 16: 8}.items()
        }
        if config.weights is not None:
            load_pretrained(self.trunk, config.weights, NAMINGS, HINT)

    def forward(self, image: Tensor) -> UnaryOutput:
        """Score an image.

        Args:
            image: float [B, 3, H, W], 0-255 RGB.
        """
        pooled, fc7 = self.trunk(imagenet_normalise(image))
        sixteenth = add_cropped(
            self.up_sixteenth(self.score_fc7(fc7)), self.score_pool4(pooled[16])
        )
        eighth = add_cropped(self.up_eighth(sixteenth), self.score_pool3(pooled[8]))
        scores = eighth.float()
        features = {stride: pooled[stride] for stride in self.channels}
        return UnaryOutput(scores, torch.zeros_like(scores), features)


def bilinear_deconvolution(channels: int) -> nn.ConvTranspose2d:
    """Learned upsampling x2 of each channel that begins as the bilinear one."""
    up = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)
    tent = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        up.weight.copy_(torch.eye(channels)[:, :, None, None] * torch.outer(tent, tent))
    return up


def add_cropped(coarse: Tensor, fine: Tensor) -> Tensor:
    """Sum of two maps, the first cut to the second's size: pooling had rounded it up."""
    return coarse[..., : fine.shape[-2], : fine.shape[-1]] + fine


def _timm_name(key: str) -> str:
    module, _, kind = key.rpartition(".")
    return f"{TIMM_LAYERS.get(module, module)}.{kind}"


NAMINGS = (
    Naming("torchvision vgg16", str, ("classifier.6.",)),
    Naming("timm vgg16", _timm_name, ("head.fc.",)),
)
HINT = (
    "Give torchvision.models.vgg16's or timm's vgg16 (the one without batch normalisation), and "
    "width 64, hidden 4096."
)
