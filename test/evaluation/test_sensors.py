from __future__ import annotations

from dataclasses import replace

import numpy as np

from seg_perception.datasets import Dataset, Sample, open_dataset
from seg_perception.evaluation.sensors import KnownLabels, Reading, readings


def street() -> Dataset:
    return open_dataset("street", None, "val", frames=1, height=90, width=120, lidar=True)


def said(sample: Sample, *sources: str) -> dict[str, Reading]:
    return readings(sample, street(), sources, KnownLabels(), np.random.default_rng(0))


def test_a_lidars_points_are_told_in_the_optical_frame() -> None:
    sample = street()[0]
    assert sample.camera is not None
    assert sample.points is not None
    points = said(sample, "points")["points"]
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, sample.camera.to_optical(sample.points), atol=1e-4)
    assert points[:, 1].max() > 0.9 * sample.camera.height_m, "the ground is below the camera"


def test_without_a_lidar_its_points_are_made_of_the_depth() -> None:
    sample = replace(street()[0], points=None)
    assert sample.depth is not None
    points = said(sample, "points")["points"]
    assert np.isin(points[:, 2], sample.depth).all()
    assert said(replace(sample, depth=None), "points") == {}


def test_nothing_is_told_that_was_not_asked_for() -> None:
    assert said(street()[0], "depth").keys() == {"depth"}
