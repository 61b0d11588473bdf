from __future__ import annotations

import math

import numpy as np
import pytest

from seg_perception.evidence.previous import (
    IMAGE_DECAY,
    TEMPORAL_DECAY_S,
    PreviousCode,
    thumbnail,
)

SECOND = 1_000_000_000
IMAGE = np.random.default_rng(0).integers(0, 200, (60, 80, 3)).astype(np.uint8)
PREVIOUS = PreviousCode(np.zeros((1, 4), np.float32), 5 * SECOND, (60, 80), thumbnail(IMAGE))


def precision(stamp_ns: int = 5 * SECOND, brighter: float = 0.0) -> float:
    return PREVIOUS.precision(stamp_ns, thumbnail(IMAGE) + np.float32(brighter), 2.0)


def test_it_falls_with_time() -> None:
    assert precision() == 2.0
    later = 5 * SECOND + round(TEMPORAL_DECAY_S * SECOND)
    assert precision(later) == pytest.approx(2 / math.e)
    assert precision(4 * SECOND) == 2.0


def test_it_falls_with_the_change_of_the_image() -> None:
    assert precision(brighter=IMAGE_DECAY) == pytest.approx(2 / math.e, rel=1e-4)
    assert precision(brighter=-3.0) > 1.9


def test_a_cut_leaves_nothing() -> None:
    other = np.random.default_rng(1).integers(55, 255, (60, 80, 3)).astype(np.uint8)
    assert PREVIOUS.precision(5 * SECOND, thumbnail(other), 2.0) < 1e-4


def test_noise_does_not_count() -> None:
    noise = np.random.default_rng(2).integers(0, 5, IMAGE.shape).astype(np.uint8)
    assert PREVIOUS.precision(5 * SECOND, thumbnail(IMAGE + noise), 2.0) > 1.9
