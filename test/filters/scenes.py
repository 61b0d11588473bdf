"""Small images with scores that follow them roughly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def picture(height: int = 40, width: int = 48, seed: int = 0) -> NDArray[np.uint8]:
    """Three regions, a ramp over them and some noise: uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    region = (x > width // 2).astype(int) + (y > height // 3)
    colors = np.array([[60, 90, 120], [160, 150, 90], [200, 60, 60]])
    ramp = np.linspace(0, 30, height)[:, None, None]
    noisy = colors[region] + ramp + rng.normal(0, 3, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def scores_of(
    classes: int, height: int = 40, width: int = 48, seed: int = 1
) -> NDArray[np.float32]:
    """Noisy scores with blobs: float32 [C, H, W]."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 2, (classes, -(-height // 8), -(-width // 8)))
    blobs = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    return (blobs + rng.normal(0, 1, (classes, height, width))).astype(np.float32)


def scores_like_a_networks(classes: int) -> NDArray[np.float32]:
    """For `picture`: its regions, their edges two pixels off, and noise: float32 [C, 40, 48]."""
    y, x = np.mgrid[:40, :48]
    region = np.roll((x > 24).astype(int) + (y > 13), 2, axis=1)
    noise = np.random.default_rng(0).normal(0, 1, (classes, 40, 48))
    return (4 * np.eye(classes)[region].transpose(2, 0, 1) + noise).astype(np.float32)


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities over the first axis."""
    exponentials = np.exp(scores.astype(np.float64) - scores.max(axis=0))
    return exponentials / exponentials.sum(axis=0)


def padding(height: int, width: int) -> NDArray[np.bool_]:
    """Padding below and to the right, and one hole: bool [H, W]."""
    valid = np.ones((height, width), bool)
    valid[-3:], valid[:, -5:] = False, False
    valid[height // 2, width // 2] = False
    return valid
