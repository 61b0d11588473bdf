"""The guidance CRF of paper 001 (SegModel): mean field whose messages a guided filter carries.

Its Algorithm 1 mixes energies and scores and, taken literally, works against smoothness; the signs
here are those that the model implies, ``s <- u - M W q`` with ``M = lambda (1 - I)`` to begin with.
The filter is normalised by count (the authors' code divides by a fixed area also at the borders),
and gradients reach ``M``, which in their code they do not.

No paper has the gate: where the unary network is unsure of itself (paper 004's uncertainty), the
last messages may count for more than where it is sure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from training.filters import guided_filter
from training.refiners.mean_field import Field, FieldRefiner, Kernel, potts
from training.refiners.protocol import Scene, at_stride, valid_at

LEAST_DEVIATION = 1e-3
"""What deviations are raised to before their logarithm; networks without uncertainty have zeros."""


@dataclass(frozen=True)
class GuidedCrfConfig:
    """A guidance CRF; defaults as the authors' code.

    Attributes:
        radius: of the filter's boxes, in cells of the field.
        eps: regularisation of the local linear models, for a guide of 0-255.
        weight: lambda, what the messages count to begin with.
        iterations: mean-field steps.
        stride: fraction of the image's resolution at which the field lives.
        gated: whether the unary network's uncertainty weighs the messages, pixel by pixel.
    """

    radius: int = 3
    eps: float = 1.0
    weight: float = 2.0
    iterations: int = 3
    stride: int = 4
    gated: bool = False


@dataclass(frozen=True)
class GatedField(Field):
    """A field whose last messages are weighed.

    Attributes:
        gain: float [B, 1, h, w], by how much.
    """

    gain: Tensor


class UncertaintyGate(nn.Module):
    """What messages count at each pixel, rising with the unary network's uncertainty there.

    With the deviation ``b`` of the scores, the mean over the classes, it is ``(b / m) ** slope``,
    ``m`` the geometric mean of ``b`` over the frame, for at dusk a network is unsure everywhere.
    The slope is not below zero and begins there: 1 everywhere before it has learnt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))

    def forward(self, uncertainty: Tensor, valid: Tensor | None = None) -> Tensor:
        """Float [B, 1, h, w] of deviations [B, C, h, w]; valid: bool [B, 1, h, w]."""
        level = uncertainty.mean(dim=1, keepdim=True).clamp_min(LEAST_DEVIATION).log()
        if valid is None:
            mean = level.mean(dim=(2, 3), keepdim=True)
        else:
            mean = (level * valid).sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True)
        # The gradient passes the bound: one first step below it would close the gate for good.
        slope = self.slope + (self.slope.clamp_min(0) - self.slope).detach()
        return torch.exp(slope * (level - mean))


class GuidedCrfRefiner(FieldRefiner):
    """Mean field with a colour guided filter (paper 001, section 5).

    Args:
        classes: number of classes C.
        channels: not looked at.
        config: filter and steps.
    """

    name: ClassVar[str] = "guided_crf"
    operator: ClassVar[str] = "GuidedCrf"

    def __init__(self, classes: int, channels: Mapping[int, int], config: GuidedCrfConfig) -> None:
        super().__init__()
        self.config = config
        self.compatibility = nn.Parameter(config.weight * potts(classes))
        self.gate = UncertaintyGate() if config.gated else None

    @property
    def iterations(self) -> int:
        """Mean-field steps."""
        return self.config.iterations

    def operands(self, scene: Scene) -> tuple[Tensor, ...]:
        """Scores, guide, and the weights M of the messages."""
        return *at_stride(scene, self.config.stride), self.compatibility

    def attributes(self) -> dict[str, int | float]:
        """Of the filter, and the number of steps."""
        config = self.config
        return {"radius": config.radius, "eps": config.eps, "iterations": self.iterations}

    def prepare_operands(self, *operands: Tensor, valid: Tensor | None = None) -> Field:
        """Compute the guide's local statistics."""
        scores, guide, compatibility = operands
        carrier = guided_filter(guide, self.config.radius, self.config.eps, valid)
        return Field(scores, (Kernel(carrier),), compatibility)

    def prepare(self, scene: Scene) -> Field:
        """See `Refiner.prepare`; with what the gate says of this scene."""
        field = super().prepare(scene)
        if self.gate is None:
            return field
        return GatedField(field.unary, field.kernels, field.compatibility, self._gain(scene))

    def scores(self, prepared: Field, state: Tensor) -> Tensor:
        """The state, its distance from the unary scores weighed by the gate."""
        if not isinstance(prepared, GatedField):
            return state
        return prepared.unary + prepared.gain * (state - prepared.unary)

    def finish(self, scene: Scene, before: Tensor, after: Tensor) -> Tensor:
        """The gate, behind the operator: ``s - u = -M W q`` is what the last messages say."""
        if self.gate is None:
            return after
        return before + self._gain(scene) * (after - before)

    def _gain(self, scene: Scene) -> Tensor:
        assert self.gate is not None
        stride = self.config.stride
        uncertainty, _ = at_stride(scene.refined(scene.unary.uncertainty), stride)
        gain: Tensor = self.gate(uncertainty, valid_at(scene, uncertainty))
        return gain
