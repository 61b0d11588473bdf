"""What the filters ask of their inputs, and what they say when it is not so."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import FilterError
from seg_perception.filters.native import NOT_FINITE

MAX_CHANNELS = 1024


def planes(x: NDArray[Any], name: str = "x") -> NDArray[np.float32]:
    """`x` as finite float32 [C, H, W], C-contiguous; copied only where it is not already so.

    Raises:
        FilterError: of another shape, not floating point, or not finite.
    """
    x = shape_of_planes(x, name)
    if not np.isfinite(x).all():
        raise FilterError(f"{name}: {NOT_FINITE}")
    return x


def shape_of_planes(x: NDArray[Any], name: str = "x") -> NDArray[np.float32]:
    """As `planes`, but whether the numbers are finite is left to the compiled kernels.

    Raises:
        FilterError: of another shape, or not floating point.
    """
    x = np.asarray(x)
    if x.ndim != 3 or 0 in x.shape or not np.issubdtype(x.dtype, np.floating):
        raise FilterError(
            f"{name}: {x.dtype} {list(x.shape)}: give float32 [C, H, W], channels first, at least "
            "one of each"
        )
    if len(x) > MAX_CHANNELS:
        raise FilterError(
            f"{name}: {len(x)} channels, more than {MAX_CHANNELS}: give float32 [C, H, W], "
            "channels first"
        )
    return np.ascontiguousarray(x, np.float32)


def same_size(x: NDArray[Any], height: int, width: int) -> None:
    """Refuse planes of another size than the filter's.

    Raises:
        FilterError: they are.
    """
    if x.shape[-2:] == (height, width):
        return
    if x.shape[:2] == (height, width):
        raise FilterError(
            f"{list(x.shape)} on a filter that was built for {height}x{width}: channels come "
            "first, np.moveaxis(x, -1, 0)"
        )
    raise FilterError(
        f"{x.shape[-2]}x{x.shape[-1]} planes on a filter that was built for {height}x{width}: "
        "resize one of the two (cv2.resize, INTER_AREA for images)"
    )


def rgb(image: NDArray[Any], name: str = "image") -> NDArray[np.uint8]:
    """`image` as uint8 [H, W, 3], C-contiguous.

    Raises:
        FilterError: of another type or shape.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise FilterError(
            f"{name} is {image.dtype} {list(image.shape)}: give an RGB image, uint8 [H, W, 3]"
        )
    return np.ascontiguousarray(image)


def mask(valid: NDArray[Any] | None, height: int, width: int) -> NDArray[np.bool_] | None:
    """`valid` as bool [H, W], C-contiguous, or None.

    Raises:
        FilterError: of another type or shape.
    """
    if valid is None:
        return None
    if valid.dtype != np.bool_ or valid.shape != (height, width):
        raise FilterError(
            f"valid is {valid.dtype} {list(valid.shape)}: give bool [{height}, {width}], "
            "False on padding, or None"
        )
    return np.ascontiguousarray(valid)


def whole(**numbers: Any) -> None:
    """Refuse parameters that are not integers >= 0.

    Raises:
        FilterError: names the first.
    """
    for name, value in numbers.items():
        if not isinstance(value, (int, np.integer)) or value < 0:
            raise FilterError(f"{name} is {value}: give a whole number >= 0")


def positive(**numbers: float) -> None:
    """Refuse parameters that are not finite numbers > 0.

    Raises:
        FilterError: names the first.
    """
    for name, value in numbers.items():
        if not (value > 0 and np.isfinite(value)):
            raise FilterError(f"{name} is {value}: give a finite number > 0")
