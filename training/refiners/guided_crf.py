"""The guidance CRF of paper 001 (SegModel): mean field whose messages a guided filter carries.

Its Algorithm 1 mixes energies and scores and, taken literally, works against smoothness; the signs
here are those that the model implies, ``s <- u - M W q`` with ``M = lambda (1 - I)`` to begin with.
The filter is normalised by count (the authors' code divides by a fixed area also at the borders),
and gradients reach ``M``, which in their code they do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from training.filters import guided_filter
from training.refiners.mean_field import Field, FieldRefiner, Kernel, potts
from training.refiners.protocol import Scene, at_stride


@dataclass(frozen=True)
class GuidedCrfConfig:
    """A guidance CRF; defaults as the authors' code.

    Attributes:
        radius: of the filter's boxes, in cells of the field.
        eps: regularisation of the local linear models, for a guide of 0-255.
        weight: lambda, what the messages count to begin with.
        iterations: mean-field steps.
        stride: fraction of the image's resolution at which the field lives.
    """

    radius: int = 3
    eps: float = 1.0
    weight: float = 2.0
    iterations: int = 3
    stride: int = 4


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
