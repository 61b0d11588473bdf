"""What a refiner is: scores in, better scores out, one step at a time.

`prepare` runs once a frame, `step` some number of times, and every state can be read as scores, so
that inference can stop at a deadline. docs/refiners.md shows how to add one.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from training.networks import UnaryOutput
from training.refiners.evidence import EvidenceBatch

PreparedT = TypeVar("PreparedT")
StateT = TypeVar("StateT")


@dataclass(frozen=True)
class GaussianPrior:
    """A Gaussian on the code beside N(0, I): the previous frame's code.

    Attributes:
        mean: float [B, K].
        precision: float [B, 1]; 0 = no such prior.
    """

    mean: Tensor
    precision: Tensor


@dataclass(frozen=True)
class Scene:
    """All that a refiner may look at.

    Attributes:
        guide: float [B, 3, H, W], 0-255 RGB, not mean-subtracted.
        unary: scores (of the refiner before, if any), uncertainty and features.
        valid: bool [B, 1, H, W], False on padding; None = all valid.
        evidence: what is known of the frame; None = nothing.
        prior: the previous frame's code; None = none.
    """

    guide: Tensor
    unary: UnaryOutput
    valid: Tensor | None = None
    evidence: EvidenceBatch | None = None
    prior: GaussianPrior | None = None

    def refined(self, scores: Tensor) -> Scene:
        """The same scene with a refiner's scores in the place of those before."""
        return dataclasses.replace(self, unary=dataclasses.replace(self.unary, scores=scores))


class Refiner(nn.Module, ABC, Generic[PreparedT, StateT]):
    """Maps scores to better scores.

    A subclass is built as ``XRefiner(classes, channels, config)``, `channels` being {stride:
    channels} of the unary network's features, and registered in `training.refiners.REFINERS`.

    Attributes:
        name: by which recipes, checkpoints, the command line and the bundle know it.
        looped: whether the bundle holds its steps as a loop, whose number the vehicle can change;
            otherwise they are unrolled, which runs faster.
    """

    name: ClassVar[str]
    looped: ClassVar[bool] = False

    @property
    @abstractmethod
    def iterations(self) -> int:
        """Steps a frame; may depend on `training`."""

    @abstractmethod
    def prepare(self, scene: Scene) -> PreparedT:
        """Compute, once a frame, all that does not change from step to step."""

    @abstractmethod
    def start(self, prepared: PreparedT) -> StateT:
        """The state before the first step."""

    @abstractmethod
    def step(self, prepared: PreparedT, state: StateT) -> StateT:
        """One step; states are not changed in place."""

    @abstractmethod
    def scores(self, prepared: PreparedT, state: StateT) -> Tensor:
        """Read a state as scores, float [B, C, h, w], log domain, higher is better."""

    def solve(self, prepared: PreparedT) -> StateT:
        """The state after all `iterations`."""
        state = self.start(prepared)
        for _ in range(self.iterations):
            state = self.step(prepared, state)
        return state

    def forward(self, scene: Scene) -> Tensor:
        """Refined scores, float [B, C, h, w]."""
        prepared = self.prepare(scene)
        return self.scores(prepared, self.solve(prepared))


class OperatorRefiner(Refiner[PreparedT, StateT]):
    """A refiner that the bundle executes as one custom operator (domain ``seg_perception``).

    ONNX Runtime runs the operator's body (`training.export.onnx_functions`), TensorRT our plugin.

    Attributes:
        operator: its name.
    """

    operator: ClassVar[str]

    @abstractmethod
    def operands(self, scene: Scene) -> tuple[Tensor, ...]:
        """The operator's inputs, in order; the first are the scores [B, C, h, w] it refines."""

    @abstractmethod
    def attributes(self) -> dict[str, int | float]:
        """The operator's attributes, by name."""

    @abstractmethod
    def prepare_operands(self, *operands: Tensor, valid: Tensor | None = None) -> PreparedT:
        """`prepare`, of the operands; valid: bool [B, 1, h, w] at the scores' resolution."""

    def finish(self, scene: Scene, before: Tensor, after: Tensor) -> Tensor:
        """What is left to do outside the operator, which made `after` of the scores `before`."""
        return after

    def prepare(self, scene: Scene) -> PreparedT:
        """See `Refiner.prepare`."""
        operands = self.operands(scene)
        return self.prepare_operands(*operands, valid=valid_at(scene, operands[0]))


def at_stride(scene: Scene, stride: int) -> tuple[Tensor, Tensor]:
    """Scores and guide at 1/stride of the image: bilinear, and averaged over areas.

    Returns:
        float [B, C, h, w] and [B, 3, h, w], 0-255, with h = ceil(H / stride).
    """
    height, width = scene.guide.shape[-2:]
    size = (-(-int(height) // stride), -(-int(width) // stride))
    scores, guide = scene.unary.scores, scene.guide
    if scores.shape[-2:] != size:
        scores = F.interpolate(scores, size, mode="bilinear", align_corners=False)
    if stride > 1:
        guide = F.interpolate(guide, size, mode="area")
    return scores, guide


def valid_at(scene: Scene, scores: Tensor) -> Tensor | None:
    """Which cells of the scores hold no padding at all: bool [B, 1, h, w], or None = all."""
    if scene.valid is None:
        return None
    return F.interpolate(scene.valid.to(scores), scores.shape[-2:], mode="area") == 1


def without_padding(scene: Scene, maps: Tensor) -> Tensor:
    """Maps float [B, D, h, w] with zeros in all cells that hold any padding."""
    valid = valid_at(scene, maps)
    return maps if valid is None else maps * valid
