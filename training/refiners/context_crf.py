"""Context and structured patch prediction, paper 001 (SegModel).

A message from the surroundings is learned as a classifier, on features (near and far, the far ones
averaged over larger areas) and on what the labels around seem to be. Each is predicted for a patch
of `patch` x `patch` positions at once, so that a coarse feature can say where in its cell an edge
runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.errors import TrainingError
from training.refiners.protocol import Refiner, Scene, at_stride


@dataclass(frozen=True)
class ContextCrfConfig:
    """Reach of the context; defaults as the authors' code.

    Attributes:
        stride: of the features that are looked at.
        patch: positions a side that each feature predicts; 1 = no patch prediction.
        radii: of the boxes that features are averaged over, in cells of the features.
        dilations: of the 3 x 3 convolution behind each box.
        label_pool: side of the window in which the highest score of a class counts, in patch cells.
        label_kernel: side of the convolution on these.
        hidden: its channels.
        iterations: passes over the labels' context.
    """

    stride: int = 16
    patch: int = 2
    radii: tuple[int, ...] = (2, 4)
    dilations: tuple[int, ...] = (6, 12)
    label_pool: int = 25
    label_kernel: int = 7
    hidden: int = 128
    iterations: int = 1

    def __post_init__(self) -> None:
        if len(self.radii) != len(self.dilations):
            raise TrainingError(
                f"radii {self.radii} and dilations {self.dilations}: give one for one"
            )
        if self.patch not in (1, 2, 4) or self.stride < 2 * self.patch:
            raise TrainingError(
                f"patch {self.patch} of stride {self.stride}: use 1, 2 or 4 below it"
            )


@dataclass(frozen=True)
class PreparedContext:
    """What does not change from pass to pass.

    Attributes:
        coarse: float [B, C, h, w], the scene's scores at the patches' positions.
        fine: float [B, C, 2h, 2w], the same at twice that size, less what is cut off.
        features: float [B, C, h, w], the message of the features' context.
    """

    coarse: Tensor
    fine: Tensor
    features: Tensor


class PatchConv(nn.Module):
    """A convolution that predicts patches.

    Its channels are the positions of the patch (slow) times the classes (fast), as in the authors'
    code; `torch.nn.PixelShuffle` has it the other way round.
    """

    def __init__(
        self, inputs: int, classes: int, patch: int, kernel: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.patch, self.classes = patch, classes
        padding = dilation * (kernel // 2)
        outputs = patch * patch * classes
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, inputs, h, w] -> [B, C, patch h, patch w]."""
        batch, _, height, width = x.shape
        slots = self.conv(x).reshape(batch, self.patch, self.patch, self.classes, height, width)
        rows = slots.permute(0, 3, 4, 1, 5, 2)
        return rows.reshape(batch, self.classes, self.patch * height, self.patch * width)


class ContextCrfRefiner(Refiner[PreparedContext, Tensor]):
    """Adds messages from features and labels around; the state is their sum.

    All messages begin at zero: before it has learnt, the refiner changes nothing but the size.

    Args:
        classes: number of classes C.
        channels: {stride: channels} of the unary network's features.
        config: reach.

    Raises:
        TrainingError: the unary network has no features at `config.stride`.
    """

    name: ClassVar[str] = "context_crf"

    def __init__(self, classes: int, channels: Mapping[int, int], config: ContextCrfConfig) -> None:
        super().__init__()
        if config.stride not in channels:
            raise TrainingError(
                f"no features at stride {config.stride}: the unary network has them at "
                f"{', '.join(map(str, channels))}"
            )
        self.config = config
        seen, patch = channels[config.stride], config.patch
        self.local = PatchConv(seen, classes, patch)
        self.around = nn.ModuleList(
            PatchConv(seen, classes, patch, 3, dilation) for dilation in config.dilations
        )
        padding = config.label_kernel // 2
        self.labels = nn.Sequential(
            nn.Conv2d(classes, config.hidden, config.label_kernel, padding=padding),
            nn.ReLU(),
            nn.Conv2d(config.hidden, classes, 1),
        )
        self.up = nn.ConvTranspose2d(classes, classes, 4, 2, 1, groups=classes, bias=False)
        with torch.no_grad():
            self.up.weight.copy_(_bilinear())
        for last in (self.local.conv, *(x.conv for x in self.around), self.labels[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @property
    def iterations(self) -> int:
        """Passes over the labels' context."""
        return self.config.iterations

    def prepare(self, scene: Scene) -> PreparedContext:
        """Gather the features' context."""
        stride = self.config.stride // self.config.patch
        coarse, _ = at_stride(scene, stride)
        fine, _ = at_stride(scene, stride // 2)
        features = scene.unary.features[self.config.stride].to(coarse)
        message = self.local(features)
        for radius, predict in zip(self.config.radii, self.around, strict=True):
            message = message + predict(_box(features, radius))
        return PreparedContext(coarse, fine, _cut(message, coarse))

    def start(self, prepared: PreparedContext) -> Tensor:
        """The features' message alone."""
        return prepared.features

    def step(self, prepared: PreparedContext, state: Tensor) -> Tensor:
        """Add the message of the labels as they are now, float [B, C, h, w]."""
        size = self.config.label_pool
        around = F.max_pool2d(prepared.coarse + state, size, stride=1, padding=size // 2)
        message: Tensor = self.labels(F.normalize(around, dim=1))
        return prepared.features + message

    def scores(self, prepared: PreparedContext, state: Tensor) -> Tensor:
        """The scene's scores plus the messages upsampled by two, learned from bilinear."""
        message: Tensor = self.up(state)
        return prepared.fine + _cut(message, prepared.fine)


def _box(features: Tensor, radius: int) -> Tensor:
    """Mean over the window's cells that exist."""
    side = 2 * radius + 1
    return F.avg_pool2d(features, side, stride=1, padding=radius, count_include_pad=False)


def _cut(maps: Tensor, like: Tensor) -> Tensor:
    """Without the rows and columns that sizes rounded up have too many."""
    return maps[..., : like.shape[-2], : like.shape[-1]]


def _bilinear() -> Tensor:
    """Kernel [1, 1, 4, 4] of a transposed convolution that upsamples by two bilinearly."""
    weights = torch.tensor([0.25, 0.75, 0.75, 0.25])
    return (weights[:, None] * weights).expand(1, 1, 4, 4)
