from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.classes import CAMVID_CLASSES, class_ids
from seg_perception.datasets import Sample, open_dataset
from seg_perception.datasets.street import Street
from seg_perception.errors import DatasetError

HEIGHT, WIDTH = 180, 240
SEEDS = range(6)
SKY, ROAD, SIDEWALK, CAR, PEDESTRIAN, FENCE = class_ids(
    CAMVID_CLASSES, ["sky", "road", "sidewalk", "car", "pedestrian", "fence"]
)


@cache
def sample(seed: int) -> Sample:
    return Street(40, seed, HEIGHT, WIDTH)[12]


def height_above_ground(s: Sample) -> NDArray[np.float64]:
    """[H, W] metres, from depth and camera alone."""
    assert s.camera is not None
    assert s.depth is not None
    below_axis = (np.arange(s.camera.height) - s.camera.cy) / s.camera.fy
    drop = np.sin(s.camera.pitch_rad) + np.cos(s.camera.pitch_rad) * below_axis
    return s.camera.height_m - s.depth * drop[:, None]


def assert_same(a: Sample, b: Sample) -> None:
    for field in ("image", "labels", "depth", "lane_left", "lane_right"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert (a.name, a.drive, a.stamp_ns, a.camera) == (b.name, b.drive, b.stamp_ns, b.camera)
    assert a.pose == b.pose


def test_a_frame_is_the_same_whatever_was_rendered_before() -> None:
    used, fresh = Street(6, 3, HEIGHT, WIDTH, n_drives=2), Street(6, 3, HEIGHT, WIDTH, n_drives=2)
    for index in (5, 0, 2):
        assert_same(used[index], used[index])
    assert_same(used[4], fresh[4])
    assert_same(used[-1], fresh[5])


def test_seeds_and_drives_differ() -> None:
    street = Street(4, 0, HEIGHT, WIDTH, n_drives=2)
    assert street.drives == ("street0_0000", "street0_0001")
    assert street[0].drive == street[1].drive != street[2].drive
    assert (street[0].labels != street[2].labels).mean() > 0.05
    assert (street[0].labels != Street(4, 1, HEIGHT, WIDTH, n_drives=2)[0].labels).mean() > 0.05


def test_a_drive_goes_on_at_its_frame_rate() -> None:
    street = Street(4, 0, HEIGHT, WIDTH, frame_rate=20)
    first, second = street[0], street[1]
    assert second.stamp_ns - first.stamp_ns == 50_000_000
    assert first.camera == second.camera
    changed = (first.labels != second.labels).mean()
    assert 0 < changed < 0.1
    assert len({frame.name for frame in street}) == len(street) == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sample_is_complete(seed: int) -> None:
    s = sample(seed)
    assert s.image.shape == (HEIGHT, WIDTH, 3)
    assert (s.image.dtype, s.labels.dtype) == (np.uint8, np.uint8)
    assert s.labels.shape == s.depth.shape == (HEIGHT, WIDTH)
    assert s.labels.max() < len(CAMVID_CLASSES)
    np.testing.assert_array_equal(np.isinf(s.depth), s.labels == SKY)
    assert s.depth.min() >= 0.5
    assert s.image.std() > 20


@pytest.mark.parametrize("seed", SEEDS)
def test_ground_lies_in_the_cameras_ground_plane(seed: int) -> None:
    s = sample(seed)
    height = height_above_ground(s)
    assert (s.labels == ROAD).sum() > 0.1 * s.labels.size
    np.testing.assert_allclose(height[s.labels == ROAD], 0, atol=1e-4)
    assert height[s.labels == SIDEWALK].min() > -1e-4
    assert height[s.labels == SIDEWALK].max() < 0.16


@pytest.mark.parametrize("seed", SEEDS)
def test_things_stand_on_the_ground_and_are_as_high_as_they_should_be(seed: int) -> None:
    s = sample(seed)
    height = height_above_ground(s)
    for label, highest in ((CAR, 3.6), (PEDESTRIAN, 2.4), (FENCE, 2.0)):
        near = (s.labels == label) & (s.depth < 40)
        assert height[near].min(initial=0) > -0.5
        assert height[near].max(initial=0) < highest


@pytest.mark.parametrize("seed", SEEDS)
def test_lane_borders_lie_on_the_road(seed: int) -> None:
    s = sample(seed)
    on_road = 0
    for border in (s.lane_left, s.lane_right):
        pixels, depth = s.camera.project(border)
        columns, rows = np.round(pixels).astype(int).T
        seen = (columns >= 0) & (columns < WIDTH) & (rows >= 0) & (rows < HEIGHT - 1)
        columns, rows, depth = columns[seen], rows[seen], depth[seen]
        free = np.abs(s.depth[rows, columns] / depth - 1) < 0.05  # nothing stands before it
        assert (s.labels[rows, columns][free] == ROAD).all()
        on_road += np.count_nonzero(free)
    assert on_road >= 10


def test_the_ego_lane_is_ahead_of_the_vehicle() -> None:
    for seed in SEEDS:
        s = sample(seed)
        assert s.lane_left[0, 1] > 0 > s.lane_right[0, 1]
        widths = np.linalg.norm(s.lane_left - s.lane_right, axis=1)
        assert 2.8 < widths.min() <= widths.max() < 3.8
        assert (np.diff(s.lane_left[:, 0]) > 0).all()


def test_classes_are_about_as_frequent_as_in_camvid() -> None:
    counts = np.zeros(len(CAMVID_CLASSES))
    for k in range(16):
        labels = Street(20, 100 + k, 96, 128)[10].labels
        counts += np.bincount(labels.ravel(), minlength=len(counts))
    share = dict(zip([info.name for info in CAMVID_CLASSES], counts / counts.sum(), strict=True))
    bounds = {
        "sky": (0.1, 0.28), "building": (0.13, 0.32), "pole": (0.003, 0.03), "road": (0.24, 0.42),
        "sidewalk": (0.025, 0.1), "tree": (0.05, 0.2), "sign": (0.003, 0.025),
        "fence": (0.003, 0.04), "car": (0.02, 0.1), "pedestrian": (0.002, 0.02),
        "bicyclist": (0.001, 0.03),
    }  # fmt: skip
    outside = {name: share[name] for name, (low, high) in bounds.items()
               if not low < share[name] < high}  # fmt: skip
    assert not outside


def test_size_is_free_and_changes_the_resolution_only() -> None:
    small, large = Street(20, 2, 90, 120)[9], Street(20, 2, 360, 480)[9]
    assert large.image.shape == (360, 480, 3)
    assert (small.labels == large.labels[2::4, 2::4]).mean() > 0.85


def test_open_dataset_gives_each_split_its_own_streets() -> None:
    train = open_dataset("street", split="train", frames=17, height=HEIGHT, width=WIDTH)
    test = open_dataset("street", split="test", frames=17, height=HEIGHT, width=WIDTH)
    assert len(train) == len(test) == 17
    assert (len(train.drives), len(test.drives)) == (3, 1)
    assert not set(train.drives) & set(test.drives)
    assert train[1].stamp_ns - train[0].stamp_ns > test[1].stamp_ns - test[0].stamp_ns > 0
    assert train.name == "street"
    with pytest.raises(DatasetError, match="train, val, test"):
        open_dataset("street", split="demo")
    with pytest.raises(DatasetError, match="0 frames cannot make"):
        open_dataset("street", frames=0)


@pytest.mark.parametrize(
    "arguments", [{"n_frames": 0}, {"n_frames": 2, "n_drives": 3}, {"n_frames": 1, "height": 8}]
)
def test_impossible_streets_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(DatasetError, match="give"):
        Street(**arguments)


def test_beyond_the_last_frame_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        Street(3, height=HEIGHT, width=WIDTH)[3]


def test_the_vehicle_moves_as_its_poses_say() -> None:
    """The borders of the lane, seen from two places, lie on one line in the world."""
    street = Street(6, 2, HEIGHT, WIDTH, frame_rate=5)
    lines = []
    for frame in (street[0], street[4]):
        assert frame.pose is not None
        x, y, yaw = frame.pose
        ahead, left, _ = frame.lane_left.T
        east = x + ahead * np.cos(yaw) - left * np.sin(yaw)
        north = y + ahead * np.sin(yaw) + left * np.cos(yaw)
        lines.append(np.stack([east, north], axis=1))
    first, second = lines
    driven = np.linalg.norm(np.subtract(street[4].pose[:2], street[0].pose[:2]))
    assert 3 < driven < 10
    inside = second[second[:, 0] < first[-1, 0]]
    along = np.interp(inside[:, 0], first[:, 0], first[:, 1])
    assert len(inside) > 5
    np.testing.assert_allclose(inside[:, 1], along, atol=0.05)
