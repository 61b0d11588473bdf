from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_perception.datasets import open_dataset
from seg_perception.datasets.camvid import CamVid
from seg_perception.errors import DatasetError

REPOSITORY = Path(__file__).parents[2]
REAL = Path(os.environ.get("SEG_PERCEPTION_DATA", REPOSITORY.parent / "shared" / "data")) / "camvid"


def write_pair(root: Path, split: str, stem: str, suffix: str = ".png", seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 12, (6, 8), np.uint8)
    image = np.repeat(labels[..., None] * 20, 3, axis=2)
    image[..., 0] = 250  # red in RGB, so a swapped channel order shows
    for folder in (split, f"{split}annot"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / split / (stem + suffix)), image[..., ::-1])
    cv2.imwrite(str(root / f"{split}annot" / f"{stem}.png"), labels)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pair(tmp_path, "train", "0006R0_f00960")
    write_pair(tmp_path, "train", "0001TP_006720")
    write_pair(tmp_path, "train", "0001TP_006690")
    write_pair(tmp_path, "test", "Seq05VD_f00030", suffix=".jpg")
    return tmp_path


def test_pairs_are_sorted_by_drive_and_frame(root: Path) -> None:
    data = CamVid(root, "train")
    assert [data[i].name for i in range(len(data))] == [
        "0001TP_006690",
        "0001TP_006720",
        "0006R0_f00960",
    ]
    assert data.drives == ("0001TP", "0006R0")


def test_stamps_count_frames_at_30_hz(root: Path) -> None:
    data = CamVid(root, "train")
    assert data[0].stamp_ns == 223_000_000_000
    assert data[1].stamp_ns - data[0].stamp_ns == 1_000_000_000


def test_image_is_rgb_and_void_is_255(root: Path) -> None:
    sample = CamVid(root, "train")[0]
    stored = cv2.imread(str(root / "trainannot" / "0001TP_006690.png"), cv2.IMREAD_UNCHANGED)
    assert sample.image.shape == (6, 8, 3)
    assert sample.image.dtype == np.uint8
    assert (sample.image[..., 0] == 250).all()
    assert (stored == 11).any()
    np.testing.assert_array_equal(sample.labels == 255, stored == 11)
    np.testing.assert_array_equal(sample.labels[stored < 11], stored[stored < 11])


def test_jpeg_images_and_letters_before_the_frame_number(root: Path) -> None:
    sample = CamVid(root, "test")[0]
    assert (sample.name, sample.drive, sample.stamp_ns) == (
        "Seq05VD_f00030",
        "Seq05VD",
        1_000_000_000,
    )


def test_drives_filter(root: Path) -> None:
    assert CamVid(root, "train", drives=["0006R0"]).drives == ("0006R0",)
    with pytest.raises(DatasetError, match="no drive 0016E5; it holds 0001TP, 0006R0"):
        CamVid(root, "train", drives=["0016E5"])


def test_frames_keeps_the_first(root: Path) -> None:
    data = open_dataset("camvid", root, "train", frames=1)
    assert len(data) == 1
    assert data[0].name == "0001TP_006690"


def test_missing_root_shows_the_expected_tree(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere does not exist\nexpected"):
        CamVid(tmp_path / "nowhere", "train")


def test_missing_label_folder_shows_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    cv2.imwrite(str(tmp_path / "train" / "0001TP_1.png"), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"no folder .*trainannot; .* holds train\n"):
        CamVid(tmp_path, "train")


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(DatasetError, match=r"holds no .png or .jpg"):
        CamVid(tmp_path, "train")


def test_half_copied_folder_names_the_missing_pairs(root: Path) -> None:
    (root / "trainannot" / "0001TP_006720.png").unlink()
    (root / "train" / "0006R0_f00960.png").unlink()
    with pytest.raises(DatasetError) as error:
        CamVid(root, "train")
    assert "1 images lack labels (0001TP_006720)" in str(error.value)
    assert "1 labels lack images (0006R0_f00960)" in str(error.value)


def test_truncated_image_is_named(root: Path) -> None:
    path = root / "train" / "0001TP_006690.png"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DatasetError, match=r"0001TP_006690.png cannot be decoded"):
        CamVid(root, "train")[0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((6, 8, 3), np.uint8), "not 8-bit class ids"),
        (np.full((6, 8), 12, np.uint8), "holds class 12"),
        (np.zeros((3, 4), np.uint8), "is 8x6 but .* is 4x3"),
    ],
)
def test_wrong_labels_are_refused(root: Path, labels: np.ndarray, message: str) -> None:
    cv2.imwrite(str(root / "trainannot" / "0001TP_006690.png"), labels)
    with pytest.raises(DatasetError, match=message):
        CamVid(root, "train")[0]


def test_unparsable_file_name_is_refused(root: Path) -> None:
    write_pair(root, "train", "holiday")
    with pytest.raises(DatasetError, match="named DRIVE_FRAME"):
        CamVid(root, "train")


def test_unknown_split_and_dataset_list_what_there_is(root: Path) -> None:
    with pytest.raises(DatasetError, match="train, val, test"):
        CamVid(root, "trainval")
    with pytest.raises(DatasetError, match="camvid"):
        open_dataset("kitty", root, "train")
    with pytest.raises(DatasetError, match="root"):
        open_dataset("camvid", None, "train")


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason=f"CamVid is not at {REAL} (see SEG_PERCEPTION_DATA)")
def test_real_splits_have_their_sizes_and_drives() -> None:
    train, val = CamVid(REAL, "train"), CamVid(REAL, "val")
    assert (len(train), len(val)) == (367, 101)
    assert train.drives == ("0001TP", "0006R0", "0016E5")
    assert val.drives == ("0016E5",)
    sample = val[0]
    assert sample.image.shape == (360, 480, 3)
    assert sample.labels.shape == (360, 480)
    assert set(np.unique(sample.labels)) <= {*range(11), 255}
