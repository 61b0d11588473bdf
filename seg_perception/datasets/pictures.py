"""Decoding the image files of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID, ClassInfo
from seg_perception.errors import DatasetError

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
    keys = _packed(np.array([info.color for info in classes], np.uint8))
    order = np.argsort(keys)
    found = _packed(colors)
    nearest = order[np.searchsorted(keys[order], found).clip(max=len(keys) - 1)]
    known = keys[nearest] == found
    if (strays := int(known.size - np.count_nonzero(known))) > STRAY_COLORS * known.size:
        color = tuple(colors[~known][0].tolist())
        raise DatasetError(
            f"{path}: {strays} of {known.size} pixels have no class's colour, for one {color}; "
            "labels must be lossless (PNG or PPM) and not resized: copy them again"
        )
    ids = np.array([info.id for info in classes], np.uint8)
    return np.where(known, ids[nearest], np.uint8(VOID))


def _packed(colors: NDArray[np.uint8]) -> NDArray[np.int32]:
    """One number for each RGB colour [..., 3]."""
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    return np.asarray(red << 16 | green << 8 | blue, np.int32)
