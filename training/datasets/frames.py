"""The samples of a dataset: in memory where they fit, read anew each time where they do not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from tqdm import tqdm

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
    name: str, root: Path | None, split: str, leave_out: Collection[str]
) -> tuple[Dataset, tuple[str, ...]]:
    """A split of a dataset without some drives, and the names of all of its drives.

    Raises:
        DatasetError: see `open_dataset`.
    """
    whole = open_dataset(name, root, split)
    kept = [drive for drive in whole.drives if drive not in leave_out]
    if len(kept) == len(whole.drives):
        return whole, whole.drives
    return open_dataset(name, root, split, drives=kept), whole.drives


def spread(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    """At most so many samples, evenly spread over all."""
    return samples[:: max(1, -(-len(samples) // count))]


def _bytes(sample: Sample) -> int:
    return sample.image.nbytes + sample.labels.nbytes
