"""Labelled data, one reader for training and for the vehicle's evaluation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import ceil
from pathlib import Path

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, ClassInfo
from seg_perception.datasets.registry import DATASETS, STREET, reader_of
from seg_perception.datasets.sample import Camera, Dataset, Sample
from seg_perception.errors import DatasetError

__all__ = ["DATASETS", "Camera", "Dataset", "Sample", "dataset_classes", "open_dataset"]

STREET_FRAMES = 100
STREET_SPLITS = {"train": (8, 2.0), "val": (100, 10.0), "test": (100, 10.0)}
"""Frames of one drive and frames a second: many unlike ones to train on, long drives to replay."""


def open_dataset(
    name: str,
    root: Path | str | None = None,
    split: str = "train",
    *,
    frames: int | None = None,
    drives: Collection[str] | None = None,
    seed: int = 0,
    height: int | None = None,
    width: int | None = None,
    lidar: bool = False,
) -> Dataset:
    """Open a dataset by name.

    Args:
        name: one of `DATASETS`.
        root: the folder of a recorded dataset; rendered ones need none.
        split: "train", "val", "test", or whatever else the dataset has.
        frames: how many frames; None = all of a recorded dataset, 100 of a rendered one.
        drives: only these of a recorded dataset; None = all.
        seed: of a rendered dataset.
        height: of a rendered dataset's frames in pixels; recorded ones keep their own size.
        width: likewise.
        lidar: whether a rendered dataset's frames come with what a lidar on the roof sees.

    Raises:
        DatasetError: an unknown name or split, or missing data.
    """
    if name == STREET:
        if drives is not None:
            raise DatasetError("street's drives cannot be chosen; give a number of frames")
        n_frames = STREET_FRAMES if frames is None else frames
        return _street(split, n_frames, seed, (height or 360, width or 480), lidar)
    reader = reader_of(name)
    if root is None:
        raise DatasetError(f"{name} needs the folder it lies in; give its root\n{reader.tree}")
    return reader(root, split, drives=drives, frames=frames)


def dataset_classes(name: str) -> tuple[tuple[ClassInfo, ...], Mapping[str, tuple[str, ...]]]:
    """Classes and groups of a dataset, without its data.

    Raises:
        DatasetError: an unknown name.
    """
    if name == STREET:
        return CAMVID_CLASSES, CAMVID_GROUPS
    reader = reader_of(name)
    return reader.classes, reader.groups


def _street(split: str, frames: int, seed: int, size: tuple[int, int], lidar: bool) -> Dataset:
    """A split of its own for each name: the same seed gives other streets in each."""
    # A renderer, which readers need not load.
    from seg_perception.datasets.street import Lidar, Street

    if split not in STREET_SPLITS:
        raise DatasetError(f"street has no split {split!r}; choose of {', '.join(STREET_SPLITS)}")
    frames_per_drive, frame_rate = STREET_SPLITS[split]
    own_seed = len(STREET_SPLITS) * seed + list(STREET_SPLITS).index(split)
    drives = ceil(frames / frames_per_drive)
    return Street(frames, own_seed, *size, drives, frame_rate, Lidar() if lidar else None)
