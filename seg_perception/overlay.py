"""Label maps as pictures, for people."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo

VOID_COLOR = (0, 0, 0)
LEGEND_ROW = 16
"""Height of a row of the legend, pixels."""
HATCH_PERIOD, HATCH_TINT = 8, 0.25
"""Pixels from one line of the hatching to the next, and how much colour lies between them."""
OUTLINE_COLOR = (255, 255, 255)


def colorize(labels: NDArray[np.uint8], classes: Sequence[ClassInfo]) -> NDArray[np.uint8]:
    """Paint each pixel in the colour of its class.

    Args:
        labels: uint8 [H,W], class ids.
        classes: ids and colours; any other label becomes black.

    Returns:
        uint8 [H,W,3] RGB.
    """
    table = np.full((256, 1, 3), VOID_COLOR, np.uint8)
    for info in classes:
        table[info.id, 0] = info.color
    # A twentieth of the time of numpy's table[labels].
    return np.asarray(cv2.applyColorMap(np.ascontiguousarray(labels), table), np.uint8)


def overlay(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    classes: Sequence[ClassInfo],
    alpha: float,
    *,
    legend: bool = False,
) -> NDArray[np.uint8]:
    """Lay the colours of the classes over an image.

    Args:
        image: uint8 [H,W,3] RGB.
        labels: uint8 [H,W], class ids; where it is none of the classes the image stays as it is.
        classes: ids and colours.
        alpha: 0 = only the image, 1 = only the colours.
        legend: write the names of the classes that occur into the upper left corner.

    Returns:
        uint8 [H,W,3] RGB.
    """
    colors = colorize(labels, classes)
    blended = np.asarray(cv2.addWeighted(image, 1.0 - alpha, colors, alpha, 0.0), np.uint8)
    unlabelled = np.full(256, 255, np.uint8)
    unlabelled[[info.id for info in classes]] = 0
    cv2.copyTo(image, cv2.LUT(labels, unlabelled), blended)
    if legend:
        occurring = set(np.unique(labels).tolist())
        _write_legend(blended, [info for info in classes if info.id in occurring])
    return blended


def hatch(
    picture: NDArray[np.uint8],
    index: NDArray[np.uint8],
    sets: NDArray[np.float32],
    classes: Sequence[ClassInfo],
) -> NDArray[np.uint8]:
    """Hatch what evidence knows, each set in the mean colour of its classes.

    Args:
        picture: uint8 [H,W,3] RGB.
        index: uint8 [H,W], row of `sets` for each pixel; 0 = nothing known.
        sets: float32 [S,C], 1 for each class that remains possible.
        classes: ids and colours.

    Returns:
        uint8 [H,W,3] RGB.
    """
    colors = np.array([info.color for info in classes], np.float32)
    possible = sets[:, [info.id for info in classes]]
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(sets), 0] = possible @ colors / np.maximum(possible.sum(axis=1, keepdims=True), 1)
    means = np.asarray(cv2.applyColorMap(np.ascontiguousarray(index), table), np.uint8)
    tinted = cv2.addWeighted(picture, 1 - HATCH_TINT, means, HATCH_TINT, 0.0)
    cv2.copyTo(means, _diagonals(*index.shape), tinted)
    hatched = picture.copy()
    cv2.copyTo(tinted, (index > 0).view(np.uint8), hatched)
    return hatched


@lru_cache(maxsize=4)
def _diagonals(height: int, width: int) -> NDArray[np.uint8]:
    """1 on the lines of the hatching, uint8 [H,W]; thrice the rest of `hatch` if made each time."""
    phase = np.add.outer(np.arange(height), np.arange(width)) % HATCH_PERIOD
    return np.asarray(phase == 0, np.uint8)


def outline(picture: NDArray[np.uint8], pixels: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw a line along the inner edge of the given pixels bool [H,W]."""
    mask = pixels.astype(np.uint8)
    edge = mask - cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0)
    outlined = picture.copy()
    outlined[edge > 0] = OUTLINE_COLOR
    return outlined


def _write_legend(picture: NDArray[np.uint8], classes: Sequence[ClassInfo]) -> None:
    for row, info in enumerate(classes):
        top = row * LEGEND_ROW
        bottom = top + LEGEND_ROW - 1
        cv2.rectangle(picture, (0, top), (LEGEND_ROW - 1, bottom), info.color, cv2.FILLED)
        # Dark below light, so that the name can be read on any picture.
        for thickness, shade in ((3, 0), (1, 255)):
            cv2.putText(
                picture,
                info.name,
                (LEGEND_ROW + 4, bottom - 3),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.4,
                (shade, shade, shade),
                thickness,
                cv2.LINE_AA,
            )
