"""Pixel counts by true and predicted class, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from seg_perception.errors import ConfigError


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often a pixel of one class was given another; matrices of several images add up.

    Attributes:
        counts: int64 [C, C+1] pixels; rows are the true class, columns the predicted one, the last
            column "unlabelled".
    """

    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, n_classes: int) -> ConfusionMatrix:
        """The matrix of no pixels."""
        return cls(np.zeros((n_classes, n_classes + 1), np.int64))

    @classmethod
    def of(
        cls, labels: NDArray[np.uint8], truth: NDArray[np.uint8], n_classes: int
    ) -> ConfusionMatrix:
        """Count the pixels of one image.

        Args:
            labels: uint8 [H,W] predicted class ids; everything from `n_classes` on is "unlabelled".
            truth: uint8 [H,W] true class ids, 255 = void.
            n_classes: C.

        Raises:
            ConfigError: the two differ in size, or the truth holds a class that there is not.
        """
        if labels.shape != truth.shape:
            raise ConfigError(
                f"labels are {labels.shape}, truth is {truth.shape}; resize one first"
            )
        known = truth != VOID
        rows, columns = truth[known].astype(np.intp), labels[known]
        if rows.size and rows.max() >= n_classes:
            raise ConfigError(
                f"truth holds class {rows.max()}, but the classes are 0 to {n_classes - 1}; label "
                f"by the ids of the bundle's manifest, and void as {VOID}"
            )
        flat = rows * (n_classes + 1) + np.minimum(columns, n_classes)
        counts = np.bincount(flat, minlength=n_classes * (n_classes + 1))
        return cls(counts.reshape(n_classes, n_classes + 1))

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        return ConfusionMatrix(self.counts + other.counts)

    @property
    def n_pixels(self) -> int:
        """Pixels counted."""
        return int(self.counts.sum())

    @property
    def pixel_accuracy(self) -> float:
        """Percent of the pixels that have their true class; nan where there is no pixel."""
        return _percent(int(np.trace(self.counts)), self.n_pixels)

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """float64 [C] percent of each class's true pixels found; nan for a class without any."""
        return _percents(np.diagonal(self.counts), self.counts.sum(axis=1))

    @property
    def mean_class_accuracy(self) -> float:
        """Mean of `class_accuracy` over the classes that have it."""
        return mean_of_finite(self.class_accuracy)

    @property
    def class_iou(self) -> NDArray[np.float64]:
        """float64 [C] percent intersection over union; nan for a class in neither map."""
        hits = np.diagonal(self.counts)
        union = self.counts.sum(axis=1) + self.counts[:, :-1].sum(axis=0) - hits
        return _percents(hits, union)

    def foreground_iou(self, background: int = 0) -> float:
        """Percent intersection over union of all that is not background, as one class.

        What paper 000 and MMBM (Yang et al., CVPR 2014) call IoU; their AP, average pixel accuracy,
        is `pixel_accuracy`.

        Args:
            background: id of the class that everything is set against.
        """
        one_class = np.delete(self.counts[:, :-1], background, axis=1)
        hits = np.delete(one_class, background, axis=0).sum()
        union = self.counts.sum() - self.counts[background, [background, -1]].sum()
        return _percent(int(hits), int(union))

    def miou(self, without: Iterable[int] = ()) -> float:
        """Mean of `class_iou` over the classes that have one.

        Args:
            without: ids of classes that do not count (those that evidence has given away).
        """
        return mean_of_finite(np.delete(self.class_iou, list(without)))


@dataclass(frozen=True)
class Outcome:
    """Scores of one way to use evidence; outcomes of several images add up.

    Attributes:
        everywhere: over all pixels.
        outside: over the pixels without evidence.
    """

    everywhere: ConfusionMatrix
    outside: ConfusionMatrix

    @classmethod
    def of(
        cls,
        labels: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        known: NDArray[np.bool_],
        n_classes: int,
    ) -> Outcome:
        """Score one image; `known` bool [H,W] is where there is evidence, the rest as above."""
        unknown = np.where(known, np.uint8(VOID), truth)
        return cls(
            ConfusionMatrix.of(labels, truth, n_classes),
            ConfusionMatrix.of(labels, unknown, n_classes),
        )

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.everywhere + other.everywhere, self.outside + other.outside)

    def to_record(self, given: Iterable[int]) -> dict[str, float]:
        """The figures by name; `given` are the ids of the classes that evidence names."""
        return {
            "pixel_accuracy": self.everywhere.pixel_accuracy,
            "miou": self.everywhere.miou(),
            "miou_others": self.everywhere.miou(without=given),
            "outside_pixel_accuracy": self.outside.pixel_accuracy,
            "outside_miou": self.outside.miou(),
        }


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else math.nan


def _percents(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    known: NDArray[np.float64] = np.where(whole > 0, whole, np.nan)
    return 100.0 * part / known


def mean_of_finite(values: NDArray[np.float64]) -> float:
    """Mean of the values that there are; nan where there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan
