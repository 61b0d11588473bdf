"""Decoding the image files of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo
from seg_perception.errors import DatasetError

NO_CLASS = -1  # becomes VOID as uint8
STRAY_COLORS = 1e-3
"""Share of an image's pixels that may have no class's colour, and become void: slips of the pen."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode a colour image: uint8 [H,W,3] RGB.

    Raises:
        DatasetError: it cannot be decoded.
    """
    bgr = decode(path, cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def read_ids(path: Path) -> NDArray[np.uint8]:
    """Decode an image of 8-bit numbers: uint8 [H,W].

    Raises:
        DatasetError: it cannot be decoded, or has colours or more bits.
    """
    ids = decode(path)
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise DatasetError(f"{path} is {ids.dtype} {list(ids.shape)}, not 8-bit class ids")
    return ids.astype(np.uint8, copy=False)


def read_colors(path: Path) -> NDArray[np.uint8]:
    """Decode a label image in colours, which must be exact: uint8 [H,W,3] RGB.

    Raises:
        DatasetError: it cannot be decoded, or is grey.
    """
    found = decode(path)
    if found.ndim != 3 or found.dtype != np.uint8:
        raise DatasetError(f"{path} is {found.dtype} {list(found.shape)}, not coloured labels")
    return np.ascontiguousarray(found[..., 2::-1])  # from BGR, or from BGRA


def decode(path: Path, flags: int = cv2.IMREAD_UNCHANGED) -> NDArray[Any]:
    """Decode an image as OpenCV does.

    Raises:
        DatasetError: it cannot be decoded.
    """
    found = cv2.imread(str(path), flags) if path.is_file() else None
    if found is None:
        raise DatasetError(f"{path} cannot be decoded (truncated?); copy it again")
    return np.asarray(found)


def ids_of_colors(
    colors: NDArray[np.uint8], classes: Sequence[ClassInfo], path: Path
) -> NDArray[np.uint8]:
    """Class ids of a picture painted in the colours of classes.

    Args:
        colors: uint8 [H,W,3] RGB.
        classes: their colours, and the ids to give; ids may repeat, and 255 is void.
        path: where the picture comes from, for the message.

    Returns:
        uint8 [H,W], 255 = void.

    Raises:
        DatasetError: more than `STRAY_COLORS` of the pixels have no class's colour.
    """
    found = _id_of_color(tuple(classes))[_packed(colors)]
    stray = found == NO_CLASS
    if (strays := np.count_nonzero(stray)) > STRAY_COLORS * stray.size:
        color = tuple(colors[stray][0].tolist())
        raise DatasetError(
            f"{path}: {strays} of {stray.size} pixels have no class's colour, for one {color}; "
            "labels must be lossless (PNG or PPM) and not resized: copy them again"
        )
    return found.astype(np.uint8)  # which makes void of what has no class


@lru_cache(maxsize=4)
def _id_of_color(classes: tuple[ClassInfo, ...]) -> NDArray[np.int16]:
    """The id of every packed colour, int16 [2^24]: a look-up is much faster than a search."""
    ids = np.full(1 << 24, NO_CLASS, np.int16)
    colors = np.array([[info.color for info in classes]], np.uint8)
    ids[_packed(colors)[0]] = [info.id for info in classes]
    return ids


def _packed(colors: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """One number for each RGB colour: uint8 [H,W,3] to uint32 [H,W] below 2^24."""
    padded = cv2.cvtColor(colors, cv2.COLOR_RGB2RGBA)
    return (padded.view("<u4")[..., 0] & 0xFFFFFF).astype(np.uint32, copy=False)
