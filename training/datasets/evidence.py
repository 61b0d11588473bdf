"""Random partial truth to train the solve: every kind that is scored, and sensors' errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seg_perception.classes import VOID, ClassInfo
from seg_perception.datasets.faults import lie, shift
from seg_perception.datasets.partial_truth import partial_truth
from seg_perception.evidence.record import Evidence
from training.refiners import EvidenceBatch

MAX_SETS = 32
"""Rows of a table of sets, where the classes do not need more: every class on its own, and none."""


@dataclass(frozen=True)
class EvidenceSampler:
    """Draws what a vehicle might know of a frame.

    Attributes:
        classes: of the dataset.
        groups: class names by group.
        chances: how often each kind is drawn, in any unit; kinds that the dataset's classes do not
            allow are never drawn, and kinds about one class choose it by the
            square root of its area, for it is the large classes that sensors report.
        fractions: range of the fraction for the kinds that take one, sampled by its logarithm.
        lies: chance that some of the evidence is wrong, and the highest share that then is.
        shifts: chance that the evidence is displaced, and by how much of the width at most.
    """

    classes: Sequence[ClassInfo]
    groups: Mapping[str, tuple[str, ...]]
    chances: tuple[tuple[str, float], ...] = (
        ("ego_lane", 5.0),
        ("partial", 6.0),
        ("points", 4.0),
        ("sets", 3.0),
        ("positive", 3.0),
        ("complete", 1.0),
    )
    fractions: tuple[tuple[str, tuple[float, float]], ...] = (
        ("partial", (0.02, 0.5)),
        ("points", (0.002, 0.05)),
        ("sets", (0.01, 0.6)),
    )
    lies: tuple[float, float] = (0.2, 0.3)
    shifts: tuple[float, float] = (0.1, 0.15)

    def draw(self, labels: NDArray[np.uint8], rng: np.random.Generator) -> Evidence:
        """Evidence about one frame; labels uint8 [H, W], 255 = void."""
        evidence = self._truth(labels, rng)
        if rng.random() < self.lies[0]:
            evidence = lie(evidence, rng.uniform(0, self.lies[1]), rng)
        if rng.random() < self.shifts[0]:
            evidence = shift(evidence, rng.uniform(-self.shifts[1], self.shifts[1]))
        return evidence

    def batch(self, labels: NDArray[np.uint8], rng: np.random.Generator) -> EvidenceBatch:
        """Evidence about each frame of a batch; labels uint8 [B, H, W]."""
        return collate([self.draw(frame, rng) for frame in labels])

    def _truth(self, labels: NDArray[np.uint8], rng: np.random.Generator) -> Evidence:
        offered = [c for c in self.chances if can_be_drawn(c[0], self.classes, self.groups)]
        names, chances = zip(*offered, strict=True)
        kind = str(rng.choice(names, p=np.array(chances) / sum(chances)))
        limits = dict(self.fractions).get(kind)
        if limits:
            kind += f":{np.exp(rng.uniform(*np.log(limits))):.4f}"
        share = np.bincount(labels.ravel(), minlength=VOID + 1)[: len(self.classes)] ** 0.5
        chosen = int(rng.choice(len(share), p=share / share.sum())) if share.any() else 0
        return partial_truth(
            labels, kind, chosen, classes=self.classes, groups=self.groups, rng=rng
        )


def can_be_drawn(
    kind: str, classes: Sequence[ClassInfo], groups: Mapping[str, tuple[str, ...]]
) -> bool:
    """Whether these classes allow a kind of evidence: a lane needs road, sets need groups."""
    name = kind.partition(":")[0]
    if name == "ego_lane":
        return any(info.name == "road" for info in classes)
    return name != "sets" or bool(groups)


def collate(evidence: Sequence[Evidence]) -> EvidenceBatch:
    """Stack evidence; tables of sets are filled up to `max_sets` rows that no pixel names."""
    classes = evidence[0].n_classes
    rows = max_sets(classes)
    sets = np.ones((len(evidence), rows, classes), np.float32)
    weight = np.zeros((len(evidence), rows), np.float32)
    for row, one in enumerate(evidence):
        sets[row, : len(one.sets)] = one.sets
        weight[row, : len(one.weight)] = one.weight
    index = torch.from_numpy(np.stack([one.index for one in evidence]))
    return EvidenceBatch(index, torch.from_numpy(sets), torch.from_numpy(weight))


def max_sets(classes: int) -> int:
    """Rows of a table of sets for so many classes."""
    return max(MAX_SETS, classes + 1)
