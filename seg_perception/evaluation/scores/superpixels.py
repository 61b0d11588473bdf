"""Superpixel accuracy (SAP), the measure of the LFW part labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import ConfigError


@dataclass(frozen=True)
class SuperpixelScore:
    """How many superpixels get their true class by a vote of their pixels; images add up.

    The measure of Kae et al., "Augmenting CRFs with Boltzmann machine shape priors for image
    labeling", CVPR 2013, as paper 000 applies it to maps of pixels: these are brought to the size
    of the superpixels (250x250; `labels_at` does so), and each superpixel takes the class that most
    of its pixels have. A tie goes to the lower id. Superpixels without true labels do not count.

    Attributes:
        hits: superpixels with their true class.
        total: superpixels.
    """

    hits: int = 0
    total: int = 0

    @classmethod
    def of(
        cls,
        labels: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        superpixels: NDArray[np.int32],
        n_classes: int,
    ) -> SuperpixelScore:
        """Score one image.

        Args:
            labels: uint8 [H,W] predicted class ids; everything from `n_classes` on has no vote.
            truth: uint8 [H,W] true class ids, 255 = void.
            superpixels: int32 [H,W], any numbers.
            n_classes: C.

        Raises:
            ConfigError: the three differ in size.
        """
        if not labels.shape == truth.shape == superpixels.shape:
            raise ConfigError(
                f"labels are {labels.shape}, truth is {truth.shape}, superpixels are "
                f"{superpixels.shape}; bring labels to the size of the superpixels by `labels_at`"
            )
        numbers = np.unique(superpixels, return_inverse=True)[1].reshape(superpixels.shape)
        voted, true = _votes(labels, numbers, n_classes), _votes(truth, numbers, n_classes)
        known = true.any(axis=1)
        agreed = voted.any(axis=1) & (voted.argmax(axis=1) == true.argmax(axis=1))
        return cls(int((agreed & known).sum()), int(known.sum()))

    def __add__(self, other: SuperpixelScore) -> SuperpixelScore:
        return SuperpixelScore(self.hits + other.hits, self.total + other.total)

    @property
    def accuracy(self) -> float:
        """Percent of the superpixels; nan where there is none."""
        return 100.0 * self.hits / self.total if self.total else math.nan


def labels_at(scores: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """The likeliest class at another size, the scores being resized bilinearly.

    Args:
        scores: float32 [C,h,w], higher is better.
        height: wanted, in pixels.
        width: likewise.

    Returns:
        uint8 [height,width] class ids.
    """
    resized = [
        cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in scores
    ]
    return np.asarray(np.argmax(resized, axis=0), np.uint8)


def _votes(
    labels: NDArray[np.uint8], numbers: NDArray[np.intp], n_classes: int
) -> NDArray[np.intp]:
    """Pixels of each superpixel by class, [N,C]; labels that are no class have none."""
    valid = labels < n_classes
    flat = numbers[valid] * n_classes + labels[valid]
    counts = np.bincount(flat, minlength=(int(numbers.max()) + 1) * n_classes)
    return counts.reshape(-1, n_classes)
