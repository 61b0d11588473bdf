"""How well boundaries are drawn: boundary F-score, and the pixels near boundaries (trimap)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from seg_perception.errors import ConfigError
from seg_perception.evaluation.scores.confusion import ConfusionMatrix, mean_of_finite

BOUNDARY_TOLERANCE = 0.0075  # of the image diagonal (Csurka et al. 2013)
TRIMAP_WIDTHS = (1, 2, 4, 8, 16)


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
        predicted_edges, true_edges = boundary_pixels(labels, known), boundary_pixels(truth, known)
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
        return mean_of_finite(self.class_f)


@dataclass(frozen=True)
class TrimapScore:
    """Scores of the pixels near true boundaries; scores of several images add up.

    The measure of Kohli et al., "Robust higher order potentials", IJCV 2009, as dense-CRF papers
    use it: everything but a band around the boundaries is left out.

    Attributes:
        widths: of the bands in pixels to either side; width 1 is the boundary pixels themselves.
        bands: one matrix for each.
    """

    widths: tuple[int, ...]
    bands: tuple[ConfusionMatrix, ...]

    @classmethod
    def empty(cls, n_classes: int, widths: Sequence[int] = TRIMAP_WIDTHS) -> TrimapScore:
        """The score of no image.

        Raises:
            ConfigError: a width below 1.
        """
        if min(widths, default=1) < 1:
            raise ConfigError(f"trimap widths {tuple(widths)}: give whole pixels from 1 on")
        return cls(tuple(widths), (ConfusionMatrix.empty(n_classes),) * len(widths))

    @classmethod
    def of(
        cls,
        labels: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        n_classes: int,
        widths: Sequence[int] = TRIMAP_WIDTHS,
        *,
        void_is_boundary: bool = False,
    ) -> TrimapScore:
        """Score one image.

        Args:
            labels: uint8 [H,W] predicted class ids.
            truth: uint8 [H,W] true class ids, 255 = void, which is never scored.
            n_classes: C.
            widths: of the bands in pixels.
            void_is_boundary: whether void borders a class, as in VOC, where it is drawn around
                objects; elsewhere it is just unlabelled.

        Raises:
            ConfigError: a width below 1, or the maps do not fit together.
        """
        known = np.ones(truth.shape, np.bool_) if void_is_boundary else truth != VOID
        away = distance_px(boundary_pixels(truth, known))
        bands = tuple(
            ConfusionMatrix.of(labels, np.where(away < width, truth, np.uint8(VOID)), n_classes)
            for width in cls.empty(n_classes, widths).widths
        )
        return cls(tuple(widths), bands)

    def __add__(self, other: TrimapScore) -> TrimapScore:
        if self.widths != other.widths:
            raise ConfigError(f"trimaps of widths {self.widths} and {other.widths} do not add up")
        return TrimapScore(
            self.widths, tuple(a + b for a, b in zip(self.bands, other.bands, strict=True))
        )

    def to_record(self) -> dict[str, dict[str, Any]]:
        """Pixel accuracy and mIoU in percent, by width in pixels."""
        return {
            str(width): {"pixel_accuracy": band.pixel_accuracy, "miou": band.miou()}
            for width, band in zip(self.widths, self.bands, strict=True)
        }


def boundary_tolerance_px(height: int, width: int) -> float:
    """The usual tolerance of a boundary score: 0.75 % of the image diagonal, in pixels."""
    return BOUNDARY_TOLERANCE * math.hypot(height, width)


def boundary_pixels(labels: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels with a 4-neighbour of another class, both known, bool [H,W]."""
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
    precision = float((distance_px(true)[predicted] <= tolerance_px).mean())
    recall = float((distance_px(predicted)[true] <= tolerance_px).mean())
    total = precision + recall
    return 200.0 * precision * recall / total if total else 0.0


def distance_px(pixels: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Exact Euclidean distance of every pixel to the nearest of `pixels`, float32 [H,W]."""
    away = np.where(pixels, np.uint8(0), np.uint8(1))
    return np.asarray(cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)
