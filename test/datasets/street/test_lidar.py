from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from seg_perception.datasets import Sample, open_dataset
from seg_perception.datasets.street import Lidar, Street
from seg_perception.datasets.street.road import Pose
from seg_perception.evidence.ground import GroundTracker

EXACT = Lidar(noise_m=0.0, lost=0.0)


@cache
def sample(lidar: Lidar = EXACT) -> Sample:
    return Street(40, 1, 180, 240, lidar=lidar)[12]


def flat_depth(lidar: Lidar) -> np.ndarray:  # type: ignore[type-arg]
    """What a lidar sees of an empty plane."""
    _, below = lidar.view.pinhole.ray_slopes()
    column = np.where(below > 0, lidar.height_m / np.maximum(below, 1e-9), np.inf)
    shape = lidar.view.height, lidar.view.width
    return np.broadcast_to(column[:, None], shape).astype(np.float32)


def test_an_empty_plane_is_seen_in_the_vehicles_frame() -> None:
    points = EXACT.scan(flat_depth(EXACT), np.random.default_rng(0))
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[:, 2], 0.0, atol=1e-4)
    nearest = EXACT.height_m / np.tan(np.radians(-EXACT.lowest_deg))
    reach = np.hypot(points[:, 0] - EXACT.ahead_m, points[:, 1] - EXACT.left_m)
    assert reach.min() == pytest.approx(nearest, rel=0.02)
    assert reach.max() < EXACT.reach_m
    aside = np.degrees(np.arctan2(points[:, 1] - EXACT.left_m, points[:, 0] - EXACT.ahead_m))
    assert (abs(aside).max(), np.median(aside)) == pytest.approx((45, 0), abs=0.2)


def test_ranges_are_noisy_and_some_rays_are_lost() -> None:
    lidar = Lidar(noise_m=0.05, lost=0.25)
    exact, noisy = (one.scan(flat_depth(one), np.random.default_rng(0)) for one in (EXACT, lidar))
    assert len(noisy) == pytest.approx(0.75 * len(exact), rel=0.05)
    slant = np.linalg.norm(noisy - (lidar.ahead_m, lidar.left_m, lidar.height_m), axis=1)
    along_ray = noisy[:, 2] * slant / lidar.height_m
    assert along_ray.std() == pytest.approx(0.05, rel=0.05)


def test_the_lidar_turns_and_drives_with_the_vehicle() -> None:
    place = Lidar(ahead_m=-1.0, left_m=0.5).place(
        Pose(s=10.0, d=2.0, x=3.0, y=4.0, heading=np.pi / 2)
    )
    assert (place.x, place.y, place.heading) == pytest.approx((2.5, 3.0, np.pi / 2))


def test_it_sees_the_cameras_street() -> None:
    s = sample()
    assert s.camera is not None
    assert s.points is not None
    assert s.depth is not None
    pixels, z = s.camera.project(s.points)
    column, row = np.rint(pixels).astype(int).T
    seen = (z > 0) & (column >= 0) & (column < 240) & (row >= 0) & (row < 180)
    apart = np.abs(s.depth[row[seen], column[seen]] - z[seen]) / z[seen]
    assert np.mean(apart < 0.05) > 0.8
    plane = GroundTracker(s.camera.height_m, s.camera.pitch_rad).update(
        s.camera.pose.apply(s.points)
    )
    assert plane is not None
    assert plane.offset_m == pytest.approx(s.camera.height_m, abs=0.05)


def test_from_the_roof_one_sees_what_the_camera_does_not() -> None:
    low = sample(Lidar(ahead_m=0.0, left_m=0.0, height_m=0.5, noise_m=0.0, lost=0.0))
    high = sample()
    assert low.points is not None
    assert high.points is not None
    assert np.abs(high.points[:, 2]).max() > 1.0
    far = [np.count_nonzero(np.abs(p[p[:, 0] > 25, 2]) < 0.2) for p in (low.points, high.points)]
    assert far[1] > 1.3 * far[0], "more of the ground over the roofs of cars"


def test_scans_are_made_only_where_they_are_asked_for() -> None:
    assert Street(3, 1, 90, 120)[0].points is None
    assert open_dataset("street", None, "val", frames=2, height=90, width=120)[0].points is None
    scanned = open_dataset("street", None, "val", frames=2, height=90, width=120, lidar=True)[0]
    assert scanned.points is not None
    plain = open_dataset("street", None, "val", frames=2, height=90, width=120)[0]
    np.testing.assert_array_equal(plain.image, scanned.image)
