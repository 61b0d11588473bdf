"""A model: a unary network and the chain of refiners behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from training.errors import TrainingError
from training.networks import NetworkConfig, build_network
from training.refiners import (
    CodeRefiner,
    EvidenceBatch,
    RefinerConfig,
    Scene,
    build_refiner,
    refiner_name,
)
from training.refiners.code_encoder import CodeEncoder


@dataclass(frozen=True)
class Refined:
    """What a chain of refiners made of a scene.

    Attributes:
        scores: float [B, C, h, w], of the last refiner (of the unary network where there is none).
        states: each refiner's last state, by its name.
    """

    scores: Tensor
    states: dict[str, Any]


class Segmenter(nn.Module):
    """A unary network and its refiners, each of which refines the scores of the one before.

    Args:
        classes: number of classes C.
        unary: of any network in `training.networks.NETWORKS`.
        refiners: of any in `training.refiners.REFINERS`, in the order of the chain.

    Raises:
        TrainingError: one refiner twice.
    """

    def __init__(
        self, classes: int, unary: NetworkConfig, refiners: Sequence[RefinerConfig] = ()
    ) -> None:
        super().__init__()
        names = [refiner_name(config) for config in refiners]
        if len(set(names)) < len(names):
            raise TrainingError(f"refiners {', '.join(names)}: a chain holds each refiner once")
        self.classes = classes
        self.unary = build_network(classes, unary)
        channels = self.unary.channels
        self.refiners = nn.ModuleDict(
            {
                name: build_refiner(classes, channels, config)
                for name, config in zip(names, refiners, strict=True)
            }
        )
        code = self.code
        self.code_encoder = CodeEncoder(classes, channels, code.config) if code else None

    @property
    def code(self) -> CodeRefiner | None:
        """The optimisable code, where the chain has one."""
        found = dict(self.refiners.items()).get("code")
        return found if isinstance(found, CodeRefiner) else None

    def refine(self, scene: Scene, until: str = "") -> Refined:
        """Run the chain on what the unary network said.

        Args:
            scene: with the unary network's own output.
            until: name of the refiner to stop behind; "" = the last.
        """
        states = {}
        for name, refiner in self.refiners.items():
            prepared = refiner.prepare(scene)
            states[name] = refiner.solve(prepared)
            scene = scene.refined(refiner.scores(prepared, states[name]))
            if name == until:
                break
        return Refined(scene.unary.scores, states)

    def scene_before(self, name: str, scene: Scene) -> Scene:
        """What the refiner of that name is given: the scene refined by those before it."""
        for other, refiner in self.refiners.items():
            if other == name:
                break
            scene = scene.refined(refiner(scene))
        return scene

    def forward(self, image: Tensor, evidence: EvidenceBatch | None = None) -> Tensor:
        """Refined scores, float [B, C, h, w], of an image float [B, 3, H, W], 0-255 RGB."""
        return self.refine(Scene(image, self.unary(image), evidence=evidence)).scores
