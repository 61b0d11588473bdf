"""Mean field in a conditional random field: its step, and the dense CRF of paper 002 (CRF-RNN).

``s <- u - mu sum_m W_m (K_m q / K_m 1)`` with ``q = softmax(s)``: neighbours that look alike send
their probabilities, and the compatibility ``mu`` turns those into a penalty. Papers 001 and 002
differ in their kernels ``K`` only. The message of a pixel to itself stays in, as in the authors'
code; with a mask, padding neither sends nor is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.filters import (
    LinearFilter,
    bilateral_features,
    lattice_filter,
    spatial_features,
)
from training.refiners.maps import mix, probabilities
from training.refiners.protocol import OperatorRefiner, Scene, at_stride

WEIGHTS = ("full", "class", "scalar")


@dataclass(frozen=True)
class Kernel:
    """One kind of message.

    Attributes:
        filter: ``q -> K q / K 1``.
        weight: float [C, C], how much the messages count; None = the identity.
    """

    filter: LinearFilter
    weight: Tensor | None = None


@dataclass(frozen=True)
class Field:
    """What mean field needs once a frame.

    Attributes:
        unary: float [B, C, h, w].
        kernels: of the messages.
        compatibility: float [C, C], mu: the penalty for class i next to class j.
    """

    unary: Tensor
    kernels: tuple[Kernel, ...]
    compatibility: Tensor


def mean_field_step(field: Field, scores: Tensor) -> Tensor:
    """One parallel update of scores [B, C, h, w]."""
    probs = probabilities(scores)
    messages = [_message(kernel, probs) for kernel in field.kernels]
    return field.unary - mix(field.compatibility, torch.stack(messages).sum(dim=0))


def _message(kernel: Kernel, probs: Tensor) -> Tensor:
    filtered = kernel.filter.apply(probs)
    return filtered if kernel.weight is None else mix(kernel.weight, filtered)


class FieldRefiner(OperatorRefiner[Field, Tensor]):
    """A refiner whose steps are those of mean field; its state is the scores."""

    def start(self, prepared: Field) -> Tensor:
        """The unary scores."""
        return prepared.unary

    def step(self, prepared: Field, state: Tensor) -> Tensor:
        """One parallel update."""
        return mean_field_step(prepared, state)

    def scores(self, prepared: Field, state: Tensor) -> Tensor:
        """The state itself."""
        return state


def potts(classes: int) -> Tensor:
    """Compatibility ``1 - I``: every other class is penalised alike, float [C, C]."""
    return 1 - torch.eye(classes)


@dataclass(frozen=True)
class MeanFieldConfig:
    """A dense CRF; defaults as the authors' code of paper 002, at full resolution.

    Attributes:
        sxy: standard deviation of the bilateral kernel in position, pixels of the image.
        srgb: likewise in colour, 0-255.
        sxy_spatial: standard deviation of the spatial kernel, pixels of the image.
        bilateral_weight: what the bilateral messages' weights begin with.
        spatial_weight: likewise the spatial messages'.
        weights: "full" learns a matrix a kernel, "class" a number a class (the paper's text),
            "scalar" one.
        iterations: at test.
        iterations_train: in training: more would let gradients vanish (paper 002, section 6).
        stride: fraction of the image's resolution at which the field lives.

    Raises:
        TrainingError: unknown `weights`.
    """

    sxy: float = 160.0
    srgb: float = 3.0
    sxy_spatial: float = 3.0
    bilateral_weight: float = 5.0
    spatial_weight: float = 3.0
    weights: str = "full"
    iterations: int = 10
    iterations_train: int = 5
    stride: int = 1

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise TrainingError(f"weights {self.weights!r}: use one of {', '.join(WEIGHTS)}")


class MeanFieldRefiner(FieldRefiner):
    """A dense CRF with learned weights and compatibility (paper 002, CRF-RNN).

    Args:
        classes: number of classes C.
        channels: not looked at.
        config: kernels and what is learned of them.
    """

    name: ClassVar[str] = "mean_field"
    operator: ClassVar[str] = "MeanField"

    def __init__(self, classes: int, channels: Mapping[int, int], config: MeanFieldConfig) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        self.spatial_weight = nn.Parameter(self._initial(config.spatial_weight))
        self.bilateral_weight = nn.Parameter(self._initial(config.bilateral_weight))
        self.compatibility = nn.Parameter(potts(classes))

    def _initial(self, value: float) -> Tensor:
        if self.config.weights == "full":
            return value * torch.eye(self.classes)
        return torch.full((self.classes if self.config.weights == "class" else 1,), value)

    def _matrix(self, weight: Tensor) -> Tensor:
        """Weights as a matrix [C, C]."""
        return weight if weight.ndim == 2 else torch.diag(weight.expand(self.classes))

    @property
    def iterations(self) -> int:
        """Fewer in training."""
        return self.config.iterations_train if self.training else self.config.iterations

    def operands(self, scene: Scene) -> tuple[Tensor, ...]:
        """Scores, image, spatial and bilateral weight, compatibility."""
        scores, guide = at_stride(scene, self.config.stride)
        weights = (self._matrix(self.spatial_weight), self._matrix(self.bilateral_weight))
        return scores, guide, *weights, self.compatibility

    def attributes(self) -> dict[str, int | float]:
        """Standard deviations in pixels of the field, not of the image."""
        config = self.config
        return {
            "sxy_spatial": config.sxy_spatial / config.stride,
            "sxy": config.sxy / config.stride,
            "srgb": config.srgb,
            "iterations": self.iterations,
        }

    def prepare_operands(self, *operands: Tensor, valid: Tensor | None = None) -> Field:
        """Build the two lattices."""
        scores, guide, spatial_weight, bilateral_weight, compatibility = operands
        attributes = self.attributes()
        spatial = lattice_filter(spatial_features(guide, attributes["sxy_spatial"]), valid)
        features = bilateral_features(guide, attributes["sxy"], attributes["srgb"])
        bilateral = lattice_filter(features, valid)
        kernels = (Kernel(spatial, spatial_weight), Kernel(bilateral, bilateral_weight))
        return Field(scores, kernels, compatibility)
