"""Tileable noise, the raw material of asphalt, plaster, leaves and clouds."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 512


@lru_cache(maxsize=8)
def noise_tile(roughness: float) -> NDArray[np.float32]:
    """Noise whose spectrum falls off as 1 / frequency ** `roughness`, periodic in both directions.

    Args:
        roughness: 0 = grains of sand, 1 = stone, 2 = clouds.

    Returns:
        float32 [512, 512], zero mean, unit deviation; read only.
    """
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) / frequency**roughness
    noise = np.fft.irfft2(spectrum, (SIZE, SIZE))
    tile: NDArray[np.float32] = (noise / noise.std()).astype(np.float32)
    tile.setflags(write=False)
    return tile


def sample_tile(
    tile: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Read a periodic tile at float32 positions x, y in texels, bilinear."""
    sampled = cv2.remap(
        tile, _wrapped(x), _wrapped(y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return np.asarray(sampled, np.float32)


def _wrapped(position: NDArray[np.float32]) -> NDArray[np.float32]:
    """Modulo the tile's size, twenty times as fast as `%`."""
    size = np.float32(SIZE)
    return np.asarray(position - np.floor(position / size) * size)


def noise_patch(
    roughness: float, height: int, width: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A random window of a tile, repeated as far as it must: float32 [height, width]."""
    row, column = rng.integers(0, SIZE, 2)
    rows, columns = (np.arange(height) + row) % SIZE, (np.arange(width) + column) % SIZE
    return np.asarray(noise_tile(roughness)[rows[:, None], columns])
