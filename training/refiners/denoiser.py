"""Iterative inference by a conditional denoising autoencoder (paper 003).

The autoencoder ``r(y, h)`` was trained to map noisy probabilities ``y`` to the truth, given the
unary network's features ``h``; so ``r(y, h) - y`` points uphill in log p(y | x), and inference
takes small steps that way (Eq. 6): ``y <- y + eps (r(y, h) - y)``.

Padding takes no part: whatever is there, and however much, the rest comes out the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.errors import TrainingError
from training.refiners.maps import probabilities
from training.refiners.protocol import Refiner, Scene, at_stride, valid_at

LEAST_PROBABILITY = 1e-6
"""What probabilities are raised to before their logarithm: step size 1 may leave zeros."""


@dataclass(frozen=True)
class DenoiserConfig:
    """Shape of the autoencoder and of the iteration.

    Attributes:
        widths: channels of each level on the way down; six levels and 55 million parameters in
            the paper.
        stride: of the probabilities that it works on; the paper's are at full size.
        feature_stride: of the unary network's features that enter where the sizes agree: those
            after its fourth pooling.
        skips: add each level's pooled map to its counterpart on the way up, as the authors'
            released configuration does; their paper argues against it, for skips carry the noise
            past the bottleneck.
        residual: ``r(y, h) = softmax(log y + a(y, h))``, where ``a`` begins at zero: an autoencoder
            that gives back what it got, and need not learn first what the network already knows.
            In the paper it begins from nothing.
        step_size: eps; chosen on val, with `iterations`, by `python -m training.denoiser_steps`.
        iterations: steps at most.
        tolerance: a frame stands still once the mean of ``|r(y, h) - y|`` is below.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    stride: int = 1
    feature_stride: int = 16
    skips: bool = False
    residual: bool = False
    step_size: float = 0.1
    iterations: int = 10
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.join < len(self.widths) - 1:
            raise TrainingError(
                f"{len(self.widths)} levels from stride {self.stride} down never meet features of "
                f"stride {self.feature_stride}: give more widths, or another feature_stride"
            )

    @property
    def join(self) -> int:
        """The level after whose pooling the features are concatenated."""
        return int(math.log2(self.feature_stride / self.stride)) - 1


VEHICLE = DenoiserConfig(widths=(32, 64, 96, 128), stride=4)
"""At 1/4 of the image's size and a two hundredth of the parameters: for the vehicle."""


@dataclass(frozen=True)
class PreparedDenoiser:
    """What does not change from step to step.

    Attributes:
        probs: float [B, C, h, w], the probabilities to begin with.
        features: float [B, D, h', w'] of the unary network.
        valid: float [B, 1, h, w], 0 on padding, else 1; None = all valid.
    """

    probs: Tensor
    features: Tensor
    valid: Tensor | None = None


class Autoencoder(nn.Module):
    """``r(y, h)``: convolutions and pooling down, unpooling and linear convolutions up.

    Args:
        classes: number of classes C.
        features: channels of ``h``.
        config: shape.
    """

    def __init__(self, classes: int, features: int, config: DenoiserConfig) -> None:
        super().__init__()
        self.join, self.skips, self.residual = config.join, config.skips, config.residual
        outputs = config.widths
        seen = [classes, *outputs[:-1]]
        seen[self.join + 1] += features
        self.down = nn.ModuleList(
            nn.Conv2d(*shape, 3, padding=1) for shape in zip(seen, outputs, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(width, target, 3, padding=1)
            for width, target in zip(outputs, (classes, *outputs[:-1]), strict=True)
        )
        if config.residual:
            nn.init.zeros_(self.up[0].weight)
            nn.init.zeros_(self.up[0].bias)

    def forward(self, probs: Tensor, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Scores of the clean segmentation, float [B, C, h, w]; r is their softmax.

        Args:
            probs: float [B, C, h, w], perhaps noisy.
            features: float [B, D, h', w'], of the stride at which the levels meet.
            valid: float [B, 1, h, w], 0 on padding, else 1; None = all valid.
        """
        x = _masked(probs, valid)
        fine, pooled = [], []
        valids = [valid]
        for level, convolution in enumerate(self.down):
            fine.append(_masked(F.relu(convolution(x)), valids[level]))
            pooled.append(_pooled(fine[-1]))
            valids.append(None if valid is None else _pooled(valids[level]))
            x = pooled[-1]
            if level == self.join:
                x = torch.cat([x, _masked(features, valids[-1])], dim=1)
        for level in reversed(range(len(self.up))):
            x = self.up[level](_masked(unpool(x, fine[level], pooled[level]), valids[level]))
            if self.skips and level:
                x = x + pooled[level - 1]
        return x + probs.clamp_min(LEAST_PROBABILITY).log() if self.residual else x


def _pooled(maps: Tensor) -> Tensor:
    """Maxima of 2 x 2, sizes rounded up."""
    return F.max_pool2d(maps, 2, ceil_mode=True)


def _masked(maps: Tensor, valid: Tensor | None) -> Tensor:
    """Zero on padding, as beyond the image's borders."""
    return maps if valid is None else maps * valid


def unpool(x: Tensor, fine: Tensor, pooled: Tensor) -> Tensor:
    """Put each value back where pooling had found its maximum, zeros elsewhere.

    The places are found by comparison, in training as in the exported graph, where unpooling by
    index has no operator; equal maxima all get the value.

    Args:
        x: float [B, D, h, w].
        fine: float [B, D, H, W] that had been pooled by 2, sizes rounded up.
        pooled: float [B, D, h, w], its maxima.
    """
    height, width = fine.shape[-2:]
    twice = (F.interpolate(map_, scale_factor=2.0, mode="nearest") for map_ in (x, pooled))
    values, maxima = (map_[..., :height, :width] for map_ in twice)
    return values * (maxima == fine)


class DenoiserRefiner(Refiner[PreparedDenoiser, Tensor]):
    """Moves probabilities towards what segmentations look like; the state is the probabilities.

    Args:
        classes: number of classes C.
        channels: {stride: channels} of the unary network's features.
        config: shape and steps.

    Raises:
        TrainingError: the unary network has no features at `config.feature_stride`.
    """

    name: ClassVar[str] = "denoiser"
    looped: ClassVar[bool] = True

    def __init__(self, classes: int, channels: Mapping[int, int], config: DenoiserConfig) -> None:
        super().__init__()
        if config.feature_stride not in channels:
            raise TrainingError(
                f"no features at stride {config.feature_stride}: the unary network has them at "
                f"{', '.join(map(str, channels))}"
            )
        self.config = config
        self.autoencoder = Autoencoder(classes, channels[config.feature_stride], config)

    @property
    def iterations(self) -> int:
        """Steps at most."""
        return self.config.iterations

    def prepare(self, scene: Scene) -> PreparedDenoiser:
        """Probabilities of the scene's scores at the autoencoder's stride, and the features."""
        scores, _ = at_stride(scene, self.config.stride)
        features = scene.unary.features[self.config.feature_stride].to(scores)
        valid = valid_at(scene, scores)
        return PreparedDenoiser(
            probabilities(scores), features, None if valid is None else valid.to(scores)
        )

    def start(self, prepared: PreparedDenoiser) -> Tensor:
        """The probabilities as they came."""
        return prepared.probs

    def step(self, prepared: PreparedDenoiser, state: Tensor) -> Tensor:
        """``y + eps (r(y, h) - y)``."""
        return state + self.config.step_size * self.change(prepared, state)

    def change(self, prepared: PreparedDenoiser, state: Tensor) -> Tensor:
        """``r(y, h) - y``, or zero for a frame whose mean change is below the tolerance.

        In training every frame moves: one that stood still would teach nothing.
        """
        valid = prepared.valid
        scores = self.autoencoder(state, prepared.features, valid)
        change = _masked(probabilities(scores) - state, valid)
        if self.training:
            return change
        size = change.abs().mean(dim=1, keepdim=True)
        if valid is None:
            size = size.mean(dim=(2, 3), keepdim=True)
        else:
            size = (size * valid).sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True)
        return change * (size >= self.config.tolerance)

    def scores(self, prepared: PreparedDenoiser, state: Tensor) -> Tensor:
        """Log probabilities, float [B, C, H / stride, W / stride]."""
        return state.clamp_min(LEAST_PROBABILITY).log()
