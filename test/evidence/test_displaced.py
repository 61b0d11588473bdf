from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.datasets.faults import lie, shift
from seg_perception.evidence.displaced import misfit
from seg_perception.evidence.record import Evidence, evidence_from_labels

H, W = 120, 200
SURE = np.ones((H, W), bool)


def scene() -> NDArray[np.uint8]:
    """Four things side by side under a sky: classes 0 to 3."""
    labels = np.zeros((H, W), np.uint8)
    labels[30:] = np.repeat([1, 2, 3, 1], W // 4)
    return labels


def source(share: float = 1.0) -> Evidence:
    kept = np.random.default_rng(0).random((H, W)) < share
    return evidence_from_labels(np.where(kept, scene(), 255).astype(np.uint8), 4)


@pytest.mark.parametrize("fraction", [-0.1, -0.05, 0.02, 0.07])
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_what_is_displaced_would_fit_elsewhere(fraction: float, share: float) -> None:
    inner = 3 * abs(round(fraction * W)) * 90 / (H * (W - abs(round(fraction * W))))
    found = misfit(shift(source(share), fraction), scene(), SURE)
    assert found == pytest.approx(100 * inner, rel=0.25)


def test_what_is_right_would_not() -> None:
    assert misfit(source(), scene(), SURE) == 0


def test_lies_are_no_displacement() -> None:
    assert misfit(lie(source(), 0.2, np.random.default_rng(0)), scene(), SURE) == 0


def test_what_contradicts_the_image_anywhere_is_no_displacement() -> None:
    labels = scene()
    labels[60:] = 0
    assert misfit(source(), labels, SURE) == 0


def test_where_the_image_is_unsure_nothing_is_held_against_it() -> None:
    assert misfit(shift(source(), 0.05), scene(), ~SURE) == 0


def test_a_few_pixels_tell_nothing() -> None:
    assert misfit(shift(source(0.01), 0.02), scene(), SURE) == 0
