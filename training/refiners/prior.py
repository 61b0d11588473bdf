"""High-level prior (paper 000): a code of the whole segmentation, guessed from the image.

A conditional variational autoencoder in three layers: the image encoder p(z | x) guesses the code,
the segmentation encoder q(z | s), of training only, finds it, and the hybrid decoder turns it,
beside the local features of the image, into scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.errors import TrainingError
from training.networks.unet import conv_bn, normalise_image
from training.refiners.maps import probabilities
from training.refiners.protocol import Refiner, Scene, without_padding

SHARED_STRIDE = 4
"""Features that image encoder and decoder share: those after the unary network's second pooling."""

LOCAL_STRIDE = 8
"""Of the local map, and so of the low-resolution scores: 32 x 32 for an image of 256 x 256."""

ANSWERS = ("code", "low", "full")


@dataclass(frozen=True)
class PriorConfig:
    """Size of the prior; the paper gives no widths.

    Attributes:
        size: numbers in the code z.
        grid: (height, width) of the map that the code is spread over before it is upsampled.
        image_widths: channels of the image encoder's levels, each of which halves the size.
        segmentation_widths: likewise of the segmentation encoder.
        decoder_widths: channels of the global decoder's levels, each of which doubles the size:
            with three of them and a grid of 4 x 4 the global map is 32 x 32.
        hidden: channels of the hybrid decoder.
        high: channels of the head that brings the scores to full size, at 1/4, 1/2 and 1.
        answer: what is read as scores: "code", the code alone at the size of the global map (the
            paper's image encoder), "low", code and image at 1/8 (its LR), or "full", brought to
            full size (its HR).
    """

    size: int = 64
    grid: tuple[int, int] = (4, 4)
    image_widths: tuple[int, ...] = (64, 96, 128, 128)
    segmentation_widths: tuple[int, ...] = (32, 64, 64)
    decoder_widths: tuple[int, ...] = (64, 48, 32)
    hidden: int = 96
    high: tuple[int, int, int] = (48, 24, 16)
    answer: str = "full"

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise TrainingError(f"answer {self.answer!r}: use {', '.join(map(repr, ANSWERS))}")

    @property
    def coarse(self) -> tuple[int, int]:
        """(height, width) of the global map, at which segmentations are encoded and decoded."""
        factor = 2 ** len(self.decoder_widths)
        return self.grid[0] * factor, self.grid[1] * factor


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian on the code: float [B, K] each."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """One draw, differentiable (Kingma and Welling 2014), float [B, K]."""
        return self.mean + torch.exp(0.5 * self.log_variance) * torch.randn_like(self.mean)


@dataclass(frozen=True)
class PreparedPrior:
    """What is computed once a frame.

    Attributes:
        code: p(z | x).
        local: float [B, D, H/8, W/8], what the image itself says.
        fine: float [B, D, h, w] at 1/4, 1/2 and 1 (as far as there are such maps), for the head
            that brings the scores to full size.
        sizes: (height, width) of each of the three.
    """

    code: Gaussian
    local: Tensor
    fine: tuple[Tensor | None, ...]
    sizes: tuple[tuple[int, int], ...]


class GaussianEncoder(nn.Module):
    """Convolutions and poolings, then two parallel fully connected layers: mean and log variance.

    Args:
        inputs: channels of the map that is encoded.
        widths: channels of each level.
        grid: (height, width) that the levels come down to; maps are resized to what leads there.
        size: of the code.
    """

    def __init__(
        self, inputs: int, widths: Sequence[int], grid: tuple[int, int], size: int
    ) -> None:
        super().__init__()
        self.resized = grid[0] * 2 ** len(widths), grid[1] * 2 ** len(widths)
        self.levels = nn.ModuleList(
            conv_bn(before, after, 3)
            for before, after in zip((inputs, *widths), widths, strict=False)
        )
        flat = widths[-1] * grid[0] * grid[1]
        self.mean, self.log_variance = nn.Linear(flat, size), nn.Linear(flat, size)

    def forward(self, x: Tensor) -> Gaussian:
        """The code's distribution, given float [B, inputs, h, w]."""
        x = resized(x, self.resized)
        for level in self.levels:
            x = F.max_pool2d(F.relu(level(x)), 2)
        flat = x.flatten(1)
        return Gaussian(self.mean(flat), self.log_variance(flat))


class GlobalDecoder(nn.Module):
    """A code as a map: fully connected, then nearest upsampling and convolution, level by level."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.grid, widths = config.grid, config.decoder_widths
        self.spread = nn.Linear(config.size, widths[0] * config.grid[0] * config.grid[1])
        self.levels = nn.ModuleList(
            conv_bn(before, after, 3)
            for before, after in zip((widths[0], *widths), widths, strict=False)
        )

    def forward(self, code: Tensor) -> Tensor:
        """Float [B, K] -> [B, decoder_widths[-1], coarse]."""
        x = F.relu(self.spread(code)).unflatten(1, (-1, *self.grid))
        for level in self.levels:
            x = F.relu(level(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        return x


class HighHead(nn.Module):
    """Upsamples step by step, beside the finer features at each size; answers at full size.

    Args:
        inputs: channels of the hybrid decoder.
        beside: channels of the finer maps at 1/4, 1/2 and 1.
        widths: channels at each.
        classes: number of classes C.
    """

    def __init__(
        self, inputs: int, beside: Sequence[int], widths: Sequence[int], classes: int
    ) -> None:
        super().__init__()
        coarser = (inputs, *widths[:-1])
        self.levels = nn.ModuleList(
            conv_bn(before + other, after, 3)
            for before, other, after in zip(coarser, beside, widths, strict=True)
        )
        self.scores = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, x: Tensor, prepared: PreparedPrior) -> Tensor:
        """Float [B, inputs, H/8, W/8] -> scores [B, C, H, W]."""
        for level, fine, size in zip(self.levels, prepared.fine, prepared.sizes, strict=True):
            up = resized(x, size)
            x = F.relu(level(up if fine is None else torch.cat([up, fine], dim=1)))
        scores: Tensor = self.scores(x)
        return scores


class PriorRefiner(Refiner[PreparedPrior, Tensor]):
    """Scores from the image's local features and a code of the whole; the state is the code.

    There is nothing to iterate: the code is the mean of p(z | x), decoded once.

    Args:
        classes: number of classes C.
        channels: {stride: channels} of the unary network's features.
        config: size.

    Raises:
        TrainingError: the unary network has no features at 1/4 or 1/8.
    """

    name: ClassVar[str] = "prior"

    def __init__(self, classes: int, channels: Mapping[int, int], config: PriorConfig) -> None:
        super().__init__()
        if missing := {SHARED_STRIDE, LOCAL_STRIDE} - set(channels):
            raise TrainingError(
                f"no features at stride {', '.join(map(str, sorted(missing)))}: the unary network "
                f"has them at {', '.join(map(str, channels))}"
            )
        self.config = config
        size, grid = config.size, config.grid
        self.image_encoder = GaussianEncoder(
            channels[SHARED_STRIDE], config.image_widths, grid, size
        )
        self.segmentation_encoder = GaussianEncoder(classes, config.segmentation_widths, grid, size)
        self.global_decoder = GlobalDecoder(config)
        self.global_scores = nn.Conv2d(config.decoder_widths[-1], classes, 1)
        joined = config.decoder_widths[-1] + channels[LOCAL_STRIDE] + classes
        self.hybrid = nn.ModuleList(
            [conv_bn(joined, config.hidden, 3), conv_bn(config.hidden, config.hidden, 1)]
        )
        self.low_scores = nn.Conv2d(config.hidden, classes, 1)
        beside = (channels[4], channels.get(2, 0), 3)
        self.high = HighHead(config.hidden, beside, config.high, classes)

    @property
    def iterations(self) -> int:
        """None: one decoding answers."""
        return 0

    def prepare(self, scene: Scene) -> PreparedPrior:
        """The code's distribution, and what the decoder sees of the image."""
        scores = scene.unary.scores
        features = {
            stride: without_padding(scene, maps.to(scores))
            for stride, maps in scene.unary.features.items()
        }
        local = features[LOCAL_STRIDE]
        probs = without_padding(scene, probabilities(resized(scores, local.shape[-2:])))
        height, width = scene.guide.shape[-2:]
        image = normalise_image(without_padding(scene, scene.guide))
        return PreparedPrior(
            code=self.image_encoder(features[SHARED_STRIDE]),
            local=torch.cat([local, probs], dim=1),
            fine=(features[SHARED_STRIDE], features.get(2), image),
            sizes=tuple((-(-height // stride), -(-width // stride)) for stride in (4, 2, 1)),
        )

    def start(self, prepared: PreparedPrior) -> Tensor:
        """The most likely code, float [B, K]."""
        return prepared.code.mean

    def step(self, prepared: PreparedPrior, state: Tensor) -> Tensor:
        """The same code: it is not improved."""
        return state

    def scores(self, prepared: PreparedPrior, state: Tensor) -> Tensor:
        """Scores as `config.answer` has them."""
        if self.config.answer == "code":
            return self.of_code_alone(state)
        if self.config.answer == "low":
            return self.low(prepared, state)
        return self.full(prepared, state)

    def decode(self, prepared: PreparedPrior, code: Tensor) -> Tensor:
        """The hybrid decoder's last features, float [B, hidden, H/8, W/8], of a code [B, K]."""
        whole = resized(self.global_decoder(code), prepared.local.shape[-2:])
        x = torch.cat([whole, prepared.local], dim=1)
        for layer in self.hybrid:
            x = F.relu(layer(x))
        return x

    def low(self, prepared: PreparedPrior, code: Tensor) -> Tensor:
        """Low-resolution scores, float [B, C, H/8, W/8], of a code [B, K]."""
        scores: Tensor = self.low_scores(self.decode(prepared, code))
        return scores

    def full(self, prepared: PreparedPrior, code: Tensor) -> Tensor:
        """Scores at full size, float [B, C, H, W], of a code [B, K]."""
        scores: Tensor = self.high(self.decode(prepared, code), prepared)
        return scores

    def of_code_alone(self, code: Tensor) -> Tensor:
        """Scores [B, C, coarse] of a code [B, K] without a look at the image."""
        scores: Tensor = self.global_scores(self.global_decoder(code))
        return scores

    def encode(self, truth: Tensor) -> Gaussian:
        """q(z | s) of one-hot truth, float [B, C, coarse]."""
        code: Gaussian = self.segmentation_encoder(truth)
        return code


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """A map at another size, bilinearly."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)
