"""Scores of a label map against the truth, in percent, pooled over the pixels of all images.

Void pixels (255) of the truth never count. A prediction of 255 ("unlabelled") is an error of the
pixel's true class and of no other class.
"""

from seg_perception.evaluation.scores.boundary import (
    TRIMAP_WIDTHS,
    BoundaryScore,
    TrimapScore,
    boundary_tolerance_px,
)
from seg_perception.evaluation.scores.confusion import ConfusionMatrix, Outcome
from seg_perception.evaluation.scores.superpixels import SuperpixelScore, labels_at

__all__ = [
    "TRIMAP_WIDTHS",
    "BoundaryScore",
    "ConfusionMatrix",
    "Outcome",
    "SuperpixelScore",
    "TrimapScore",
    "boundary_tolerance_px",
    "labels_at",
]
