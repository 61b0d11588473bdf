from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_datasets import WRITERS
from tiny_drives import tiny_drive
from tiny_training import TINY_CROP, write_camvid

from seg_perception.datasets import open_dataset
from seg_perception.errors import DatasetError
from training.datasets import Loader
from training.datasets.frames import Shrunk, Streamed, frames_of, open_without, spread


def test_frames_are_kept_where_they_fit_and_read_anew_where_not() -> None:
    drive = tiny_drive(4)
    one = drive[0].image.nbytes + drive[0].labels.nbytes
    kept = frames_of(drive, "decode", memory_bytes=4 * one)
    streamed = frames_of(drive, "decode", memory_bytes=4 * one - 1)
    assert isinstance(kept, list)
    assert isinstance(streamed, Streamed)
    assert [a.name for a in kept] == [a.name for a in streamed]
    assert frames_of(tiny_drive(0), "decode") == []


def test_a_shrunk_dataset_has_smaller_pictures_and_the_same_names() -> None:
    drive = tiny_drive(2)
    small = Shrunk(drive, 2)
    height, width = drive[0].labels.shape
    sample = small[1]
    assert (len(small), sample.name, small.drives) == (2, drive[1].name, drive.drives)
    assert sample.labels.shape == (height // 2, width // 2)
    blocks = drive[1].image.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(sample.image, blocks, atol=0.51)
    corners = drive[1].labels.reshape(height // 2, 2, width // 2, 2)
    assert (corners == sample.labels[:, None, :, None]).any(axis=(1, 3)).all()


def test_streamed_frames_can_be_sliced() -> None:
    streamed = Streamed(tiny_drive(7), range(7))
    assert [s.name for s in streamed[1::3]] == ["tiny_001", "tiny_004"]
    assert streamed[-1].name == "tiny_006"
    assert len(streamed[::3]) == 3


@pytest.mark.parametrize(("count", "expected"), [(10, 7), (4, 4), (3, 3), (1, 1)])
def test_spread_takes_at_most_so_many(count: int, expected: int) -> None:
    found = spread(range(7), count)
    assert len(found) == expected
    assert found[0] == 0


def test_drives_are_left_out_without_being_decoded(tmp_path: Path) -> None:
    root = write_camvid(tmp_path)
    for path in (root / "train").glob("0006R0*"):
        path.write_bytes(b"broken")
    train, drives = open_without("camvid", root, "train", ["0006R0"])
    assert drives == ("0001TP", "0006R0", "0016E5")
    assert {sample.drive for sample in frames_of(train, "decode")} == {"0001TP", "0016E5"}
    val, _ = open_without("camvid", root, "val", ["0016E5"])
    assert len(val) == 0


def test_streets_cannot_be_chosen() -> None:
    with pytest.raises(DatasetError, match="give a number of frames"):
        open_dataset("street", drives=["street0_0000"])


@pytest.mark.parametrize("name", ["voc", "ade20k", "cityscapes"])
def test_images_of_different_sizes_make_batches_padded_with_void(name: str, tmp_path: Path) -> None:
    split = "trainaug" if name == "voc" else "val"
    data = open_dataset(name, WRITERS[name](tmp_path), split)
    loader = Loader(Streamed(data, range(len(data))), TINY_CROP, 2, seed=0, workers=2)
    (batch, *_) = list(loader.epoch(0))
    assert batch.image.shape == (2, 3, 32, 48)
    found = set(np.unique(batch.labels.numpy()))
    assert found <= {*range(len(data.classes)), 255}
    assert 255 in found  # the crop is larger than the images
    assert found - {255}
