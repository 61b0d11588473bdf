"""What holds for every dataset that is read from disk."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle
from tiny_datasets import WRITERS

from seg_perception.classes import VOID
from seg_perception.datasets import DATASETS, open_dataset
from seg_perception.datasets.registry import reader_of
from seg_perception.errors import DatasetError
from seg_perception.evaluation.bag import Bag
from seg_perception.evaluation.evaluate import evaluate
from seg_perception.evaluation.make_bag import BagOptions, make_bag
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import open_runner

ALL = pytest.mark.parametrize("name", list(WRITERS))


def test_every_dataset_has_a_writer_here() -> None:
    assert set(WRITERS) == {name for name, entry in DATASETS.items() if entry.reader}


@ALL
def test_is_what_it_is_called(name: str) -> None:
    reader = reader_of(name)
    assert reader.name == name
    assert [info.id for info in reader.classes] == list(range(len(reader.classes)))
    assert len({info.name for info in reader.classes}) == len(reader.classes)
    assert len({info.color for info in reader.classes}) == len(reader.classes)
    members = [member for group in reader.groups.values() for member in group]
    assert len(set(members)) == len(members)
    assert set(members) <= {info.name for info in reader.classes}


@ALL
def test_samples_are_whole_and_in_order(name: str, tmp_path: Path) -> None:
    data = open_dataset(name, WRITERS[name](tmp_path), "val")
    samples = [data[i] for i in range(len(data))]
    assert samples
    assert len({sample.name for sample in samples}) == len(samples)
    assert tuple(dict.fromkeys(sample.drive for sample in samples)) == data.drives
    for sample in samples:
        assert sample.image.dtype == sample.labels.dtype == np.uint8
        assert sample.image.shape == (*sample.labels.shape, 3)
        assert {*np.unique(sample.labels)} <= {*range(len(data.classes)), VOID}
    for one, next_one in pairwise(samples):
        assert one.drive != next_one.drive or one.stamp_ns < next_one.stamp_ns


@ALL
def test_is_scored_and_recorded(name: str, tmp_path: Path) -> None:
    data = open_dataset(name, WRITERS[name](tmp_path / "data"), "val")
    folder = write_tiny_bundle(tmp_path / "bundle", classes=data.classes)
    with_runner = open_runner(load_bundle(folder), "onnx")
    result = evaluate(with_runner, data)
    with_runner.close()
    assert result.confusion.pixel_accuracy > 85  # JPEG, and another size, blur the edges
    assert ("superpixel_accuracy" in result.to_record()) == (name == "lfw")
    counts = make_bag(data, tmp_path / "bag", BagOptions(evidence=()))
    assert counts["/image"] == counts["/truth/labels"] == len(data)
    with Bag(tmp_path / "bag") as bag:
        assert len(list(bag.frames())) == len(data)


@ALL
def test_an_empty_folder_shows_the_expected_tree(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        open_dataset(name, tmp_path, "val")
    assert reader_of(name).tree in str(error.value)
    with pytest.raises(DatasetError, match=r"does not exist|no file"):
        open_dataset(name, tmp_path / "nowhere", "val")


@ALL
@pytest.mark.parametrize("lost", ["image", "labels"])
def test_a_half_copied_folder_names_what_is_missing(name: str, lost: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path)
    pair = next(iter(reader_of(name)(root, "val").find()))
    getattr(pair, lost).unlink()
    with pytest.raises(DatasetError, match=re.escape(pair.name)) as error:
        open_dataset(name, root, "val")
    assert reader_of(name).tree in str(error.value)


@ALL
def test_unknown_splits_and_drives_list_what_there_is(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path)
    with pytest.raises(DatasetError, match=r"no split 'vallo'; choose one of .*train"):
        open_dataset(name, root, "vallo")
    drives = open_dataset(name, root, "val").drives
    with pytest.raises(DatasetError, match=f"no drive lunar; it holds .*{drives[0]}"):
        open_dataset(name, root, "val", drives=["lunar"])
    only = open_dataset(name, root, "val", drives=drives[:1])
    assert only.drives == drives[:1]


@ALL
def test_needs_a_root_and_says_how_it_should_look(name: str) -> None:
    with pytest.raises(DatasetError, match=r"needs the folder it lies in.*\nexpected"):
        open_dataset(name)


@pytest.mark.parametrize("name", ["voc", "ade20k", "birds", "penn_fudan"])
def test_the_root_may_be_the_unpacked_folder_itself(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path)
    inner = root.joinpath(*reader_of(name).inside)
    if (root / "segmentations").is_dir():
        shutil.move(root / "segmentations", inner)
    assert len(open_dataset(name, inner, "val")) == len(open_dataset(name, root, "val"))
