from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_datasets import HEIGHT, WIDTH, write_picture, write_voc

from seg_perception.datasets.matlab import read_matlab
from seg_perception.datasets.voc import Voc
from seg_perception.errors import DatasetError

LABELS = np.random.default_rng(0).integers(0, 21, (7, 5)).astype(np.uint8)


def write_sbd(path: Path, labels: np.ndarray, *, compress: bool = True) -> None:
    """A label file with the fields that SBD's have, among them cells and another struct."""
    io = pytest.importorskip("scipy.io", reason="an independent writer of MATLAB files")
    boundaries = np.empty((20, 1), object)
    for i in range(20):
        boundaries[i, 0] = np.zeros((3, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "Boundaries": boundaries,
        "Segmentation": labels,
        "CategoriesPresent": np.array([[1], [3]], np.uint8),
    }
    io.savemat(path, {"Other": 3.0, "GTcls": content}, do_compression=compress)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f8"])
def test_reads_what_scipy_writes(compress: bool, dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    write_sbd(path, LABELS.astype(dtype), compress=compress)
    np.testing.assert_array_equal(read_matlab(path, "GTcls", "Segmentation"), LABELS)


def test_a_small_matrix_shares_a_word_with_its_size(tmp_path: Path) -> None:
    write_sbd(tmp_path / "a.mat", LABELS[:1, :3])
    np.testing.assert_array_equal(
        read_matlab(tmp_path / "a.mat", "GTcls", "Segmentation"), LABELS[:1, :3]
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:60], "cannot be read as a MATLAB file"),
        (lambda data: data[:-9], "cannot be read as a MATLAB file"),
        (lambda data: b"nonsense" * 40, "cannot be read as a MATLAB file"),
        (lambda data: data[:128], "holds no GTcls.Segmentation"),
    ],
)
def test_a_spoilt_file_is_named(spoil, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    write_sbd(path, LABELS)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DatasetError, match=rf"a\.mat {message}"):
        read_matlab(path, "GTcls", "Segmentation")


def test_a_field_that_is_not_there(tmp_path: Path) -> None:
    write_sbd(tmp_path / "a.mat", LABELS)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_matlab(tmp_path / "a.mat", "GTcls", "Instances")


def test_voc_takes_labels_and_lists_of_sbd(tmp_path: Path) -> None:
    root = write_voc(tmp_path)
    folder = root / "VOCdevkit" / "VOC2012"
    labels = np.full((HEIGHT, WIDTH), 20, np.uint8)
    write_picture(folder / "JPEGImages" / "2009_000001.jpg", np.dstack([labels] * 3))
    sbd = folder / "benchmark_RELEASE" / "dataset"
    write_sbd(sbd / "cls" / "2009_000001.mat", labels)
    (sbd / "train.txt").write_text("2009_000001\n2007_000032\n")
    data = Voc(root, "sbd_train")
    assert [data[i].name for i in range(2)] == ["2007_000032", "2009_000001"]
    np.testing.assert_array_equal(data[1].labels, labels)
    assert 255 in data[0].labels  # VOC's own labels come first
    with pytest.raises(DatasetError, match="train, trainaug, val, sbd_train"):
        Voc(root, "sbd_val")
