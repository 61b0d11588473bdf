"""The samples of a dataset: in memory where they fit, read anew each time where they do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception.classes import ClassInfo
from seg_perception.datasets import Dataset, Sample, open_dataset

MEMORY_BYTES = 6 * 2**30
"""What decoded images and labels may take: CamVid is 0.3 GiB, Cityscapes' train split 23."""


@dataclass(frozen=True)
class Streamed(Sequence[Sample]):
    """Samples that are decoded whenever they are asked for.

    Attributes:
        dataset: to read from.
        indices: of its samples.
    """

    dataset: Dataset
    indices: range

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Streamed: ...

    def __getitem__(self, index: int | slice) -> Sample | Streamed:
        if isinstance(index, slice):
            return Streamed(self.dataset, self.indices[index])
        return self.dataset[self.indices[index]]


@dataclass(frozen=True)
class Shrunk(Dataset):
    """A dataset whose images and labels are smaller.

    Attributes:
        whole: the dataset.
        factor: by which both sides are divided, rounded.
    """

    whole: Dataset
    factor: int

    @property
    def name(self) -> str:
        """That of the whole."""
        return self.whole.name

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Those of the whole."""
        return self.whole.classes

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Those of the whole."""
        return self.whole.groups

    @property
    def drives(self) -> tuple[str, ...]:
        """Those of the whole."""
        return self.whole.drives

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> Sample:
        """The image averaged over areas, the nearest labels; nothing else is kept in pixels."""
        sample = self.whole[index]
        labels = cv2.resize(
            sample.labels, _size(sample.labels, self.factor), interpolation=cv2.INTER_NEAREST_EXACT
        )
        return dataclasses.replace(
            sample,
            image=shrunk(sample.image, self.factor),
            labels=np.asarray(labels, np.uint8),
            depth=None,
            camera=None,
            superpixels=None,
        )


def shrunk(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """An image uint8 [H, W, 3] at 1/factor of its size, averaged over areas."""
    if factor == 1:
        return image
    small = cv2.resize(image, _size(image, factor), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _size(picture: NDArray[np.uint8], factor: int) -> tuple[int, int]:
    """(width, height) of a picture [H, W, ...] that is to be smaller."""
    height, width = picture.shape[:2]
    return round(width / factor), round(height / factor)


def frames_of(dataset: Dataset, what: str, memory_bytes: int = MEMORY_BYTES) -> Sequence[Sample]:
    """All samples of a dataset, decoded now where their pictures fit into memory.

    Args:
        dataset: of any size; that of its first sample stands for all.
        what: is being done, for the progress bar.
        memory_bytes: see `MEMORY_BYTES`.
    """
    every = range(len(dataset))
    if every and len(every) * _bytes(dataset[0]) > memory_bytes:
        return Streamed(dataset, every)
    return [dataset[i] for i in tqdm(every, what)]


def open_without(
    name: str, root: Path | None, split: str, leave_out: Collection[str], shrink: int = 1
) -> tuple[Dataset, tuple[str, ...]]:
    """A split of a dataset without some drives, and the names of all of its drives.

    Its images are at 1/shrink of their size.

    Raises:
        DatasetError: see `open_dataset`.
    """
    whole = open_dataset(name, root, split)
    kept = [drive for drive in whole.drives if drive not in leave_out]
    rest = whole
    if len(kept) < len(whole.drives):
        rest = open_dataset(name, root, split, drives=kept)
    return rest if shrink == 1 else Shrunk(rest, shrink), whole.drives


def spread(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    """At most so many samples, evenly spread over all."""
    return samples[:: max(1, -(-len(samples) // count))]


def _bytes(sample: Sample) -> int:
    return sample.image.nbytes + sample.labels.nbytes
