from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_datasets import CITYSCAPES_CAMERA, write_cityscapes, write_picture

from seg_perception.datasets.cityscapes import Cityscapes
from seg_perception.errors import DatasetError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_cityscapes(tmp_path)


def test_cities_are_drives_and_stamps_count_frames(root: Path) -> None:
    (root / "leftImg8bit" / "val" / ".DS_Store").touch()  # not a city
    data = Cityscapes(root, "val")
    assert data.drives == ("aachen", "weimar")
    samples = [data[i] for i in range(4)]
    assert [sample.name for sample in samples] == [
        "aachen_000000_000019",
        "aachen_000000_000053",
        "aachen_000001_000019",
        "weimar_000000_000019",
    ]
    stamps = [sample.stamp_ns for sample in samples]
    assert stamps[1] - stamps[0] == 34 * 1_000_000_000 // 17
    assert stamps[2] - stamps[1] == 1_000_000_000


def test_label_ids_become_train_ids(root: Path) -> None:
    stored = np.arange(34, dtype=np.uint8)[None].repeat(2, axis=0)
    stem = root / "gtFine" / "val" / "weimar" / "weimar_000000_000019_gtFine_labelIds.png"
    write_picture(stem, stored)
    found = Cityscapes(root, "val").read_labels(stem)[0]
    # The table of cityscapesScripts (helpers/labels.py).
    expected = np.full(34, 255)
    expected[[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]] = range(19)
    np.testing.assert_array_equal(found, expected)


def test_camera_and_depth_where_they_are_there(root: Path) -> None:
    data = Cityscapes(root, "val")
    sample, other = data[0], data[1]
    assert other.camera is None
    assert other.depth is None
    camera = sample.camera
    assert (camera.width, camera.height) == (32, 24)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (40, 41, 15, 11)
    assert (camera.height_m, camera.pitch_rad) == (1.2, 0.04)
    assert np.isnan(sample.depth[0]).all()
    assert np.isposinf(sample.depth[1]).all()
    np.testing.assert_allclose(sample.depth[2:], 40 * 0.2 / 4)
    assert sample.depth.dtype == np.float32


def test_the_ground_lies_where_a_camera_that_looks_down_sees_it(root: Path) -> None:
    """The pitch of the file is positive downwards, as that of `Camera`: checked by the horizon."""
    camera = Cityscapes(root, "val")[0].camera
    (far,), _ = camera.project(np.array([[1e6, 0, 0]]))
    assert far[1] < CITYSCAPES_CAMERA["intrinsic"]["v0"]


def test_a_spoilt_camera_or_disparity_is_named(root: Path) -> None:
    write_picture(
        root / "disparity/val/aachen/aachen_000000_000019_disparity.png",
        np.zeros((24, 32), np.uint8),
    )
    with pytest.raises(DatasetError, match=r"disparity.png is uint8 .* not 16-bit"):
        Cityscapes(root, "val")[0]
    camera = root / "camera/val/aachen/aachen_000000_000019_camera.json"
    camera.write_text('{"intrinsic": {}}')
    with pytest.raises(DatasetError, match=r"camera.json is no camera of Cityscapes"):
        Cityscapes(root, "val")[0]


def test_a_wrong_name_is_refused(root: Path) -> None:
    for folder, ending in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        path = root / folder / "val" / "weimar" / f"lunar_000000_000019_{ending}.png"
        write_picture(path, np.zeros((2, 2), np.uint8))
    with pytest.raises(DatasetError, match="named CITY_SEQUENCE_FRAME"):
        Cityscapes(root, "val")
