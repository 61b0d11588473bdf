"""Labelled driving data, one reader for training and for the vehicle's evaluation."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from seg_perception.datasets.camvid import CamVid
from seg_perception.datasets.sample import Camera, Dataset, Sample
from seg_perception.errors import DatasetError

__all__ = ["DATASET_NAMES", "CamVid", "Camera", "Dataset", "Sample", "open_dataset"]

DATASET_NAMES = ("camvid",)


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
) -> Dataset:
    """Open a dataset by name.

    Args:
        name: "camvid".
        root: the folder of a recorded dataset; rendered ones need none.
        split: "train", "val" or "test".
        frames: how many frames; None = all.
        drives: only these of a recorded dataset; None = all.
        seed: of a rendered dataset.
        height: of a rendered dataset's frames in pixels; recorded ones keep their own size.
        width: likewise.

    Raises:
        DatasetError: an unknown name or split, or missing data.
    """
    if name == "camvid":
        if root is None:
            raise DatasetError("camvid needs the folder it lies in; give its root")
        return CamVid(root, split, drives=drives, frames=frames)
    raise DatasetError(f"no dataset '{name}'; there are {', '.join(DATASET_NAMES)}")
