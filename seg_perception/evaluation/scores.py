"""Scores of a label map against the truth, in percent, pooled over the pixels of all images.

Void pixels (255) of the truth never count. A prediction of 255 ("unlabelled") is an error of the
pixel's true class and of no other class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from seg_perception.errors import ConfigError

BOUNDARY_TOLERANCE = 0.0075  # of the image diagonal (Csurka et al. 2013)


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
        return _mean(self.class_accuracy)

    @property
    def class_iou(self) -> NDArray[np.float64]:
        """float64 [C] percent intersection over union; nan for a class in neither map."""
        hits = np.diagonal(self.counts)
        union = self.counts.sum(axis=1) + self.counts[:, :-1].sum(axis=0) - hits
        return _percents(hits, union)

    def miou(self, without: Iterable[int] = ()) -> float:
        """Mean of `class_iou` over the classes that have one.

        Args:
            without: ids of classes that do not count (those that evidence has given away).
        """
        return _mean(np.delete(self.class_iou, list(without)))


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


@dataclass(frozen=True)
class BoundaryScore:
    """Boundary F-score per class, averaged over images; scores of several images add up.

    The measure of Csurka et al., "What is a good evaluation measure for semantic segmentation?",
    BMVC 2013: precision is the share of a predicted class's boundary pixels that lie within the
    tolerance of the true boundary of that class, recall the converse, and F their harmonic mean.

    Attributes:
        sums: float64 [C] percent, summed over the images that hold a boundary of the class.
        images: int64 [C] how many those are.
    """

    sums: NDArray[np.float64]
    images: NDArray[np.int64]

    @classmethod
    def empty(cls, n_classes: int) -> BoundaryScore:
        """The score of no image."""
        return cls(np.zeros(n_classes), np.zeros(n_classes, np.int64))

    @classmethod
    def of(
        cls,
        labels: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        n_classes: int,
        tolerance_px: float | None = None,
    ) -> BoundaryScore:
        """Score one image.

        Args:
            labels: uint8 [H,W] predicted class ids.
            truth: uint8 [H,W] true class ids, 255 = void; a border with void is no boundary.
            n_classes: C.
            tolerance_px: in pixels; None = 0.75 % of the image diagonal, as in the paper.
        """
        tolerance = boundary_tolerance_px(*truth.shape) if tolerance_px is None else tolerance_px
        known = truth != VOID
        predicted_edges, true_edges = _boundary(labels, known), _boundary(truth, known)
        f = [
            _boundary_f(predicted_edges & (labels == c), true_edges & (truth == c), tolerance)
            for c in range(n_classes)
        ]
        return cls(np.nan_to_num(f), np.isfinite(f).astype(np.int64))

    def __add__(self, other: BoundaryScore) -> BoundaryScore:
        return BoundaryScore(self.sums + other.sums, self.images + other.images)

    @property
    def class_f(self) -> NDArray[np.float64]:
        """float64 [C] percent; nan for a class whose boundary no image shows."""
        shown: NDArray[np.float64] = np.where(self.images > 0, self.images, np.nan)
        return self.sums / shown

    @property
    def mean_f(self) -> float:
        """Mean of `class_f` over the classes that have one."""
        return _mean(self.class_f)


def boundary_tolerance_px(height: int, width: int) -> float:
    """The usual tolerance of a boundary score: 0.75 % of the image diagonal, in pixels."""
    return BOUNDARY_TOLERANCE * math.hypot(height, width)


def _boundary(labels: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels with a 4-neighbour of another class, both known."""
    edges = np.zeros(labels.shape, np.bool_)
    for one, other in (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
    ):
        differ = (labels[one] != labels[other]) & known[one] & known[other]
        edges[one] |= differ
        edges[other] |= differ
    return edges


def _boundary_f(
    predicted: NDArray[np.bool_], true: NDArray[np.bool_], tolerance_px: float
) -> float:
    """F-score in percent of one class's boundary pixels; nan where neither map has any."""
    n_predicted, n_true = int(predicted.sum()), int(true.sum())
    if not n_predicted and not n_true:
        return math.nan
    if not n_predicted or not n_true:
        return 0.0
    precision = float((_distance_px(true)[predicted] <= tolerance_px).mean())
    recall = float((_distance_px(predicted)[true] <= tolerance_px).mean())
    total = precision + recall
    return 200.0 * precision * recall / total if total else 0.0


def _distance_px(pixels: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Exact Euclidean distance of every pixel to the nearest of `pixels`, float32 [H,W]."""
    away = np.where(pixels, np.uint8(0), np.uint8(1))
    return np.asarray(cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else math.nan


def _percents(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    known: NDArray[np.float64] = np.where(whole > 0, whole, np.nan)
    return 100.0 * part / known


def _mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan
