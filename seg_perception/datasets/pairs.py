"""What all recorded datasets share: a list of image and label files, decoded one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID, ClassInfo
from seg_perception.datasets.layout import Layout, descend
from seg_perception.datasets.pictures import read_image
from seg_perception.datasets.sample import Sample
from seg_perception.errors import DatasetError

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Pair:
    """The files of one sample, and what their names say.

    Attributes:
        name: unique within the dataset, fit for a file name.
        drive: the recording, or whatever else samples are grouped by.
        stamp_ns: rising within a drive, nanoseconds.
        image, labels: the files.
    """

    name: str
    drive: str
    stamp_ns: int
    image: Path
    labels: Path


class PairedFiles(ABC):
    """One split of a recorded dataset.

    A subclass names itself, its classes and its splits, shows the tree of its files, finds the
    pairs of a split (`find`) and reads their labels (`read_labels`).

    Args:
        root: the folder that `tree` calls ROOT, or one of those around it that `inside` names.
        split: one of `splits()`.
        drives: only these; None = all.
        frames: only the first so many samples; None = all.

    Raises:
        DatasetError: an unknown split or drive, or something is missing.
    """

    name: str
    title: str
    classes: tuple[ClassInfo, ...]
    groups: Mapping[str, tuple[str, ...]]
    tree: str
    inside: tuple[str, ...] = ()

    def __init__(
        self,
        root: Path | str,
        split: str,
        drives: Collection[str] | None = None,
        frames: int | None = None,
    ) -> None:
        self.root, self.split = descend(root, self.inside), split
        self.layout = Layout(self.title, self.root, self.tree)
        if split not in (splits := self.splits()):
            raise DatasetError(
                f"{self.title} has no split '{split}'; choose one of {', '.join(splits)}"
            )
        self._pairs = self._of_drives(tuple(self.find()), drives)[:frames]
        self.drives = tuple(dict.fromkeys(pair.drive for pair in self._pairs))

    def splits(self) -> tuple[str, ...]:
        """The splits to choose from."""
        return ("train", "val", "test")

    @abstractmethod
    def find(self) -> Iterable[Pair]:
        """The pairs of the split, in the order of their drives and stamps.

        Raises:
            DatasetError: a folder or file is missing.
        """

    @abstractmethod
    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """Class ids of a label file, uint8 [H,W], 255 = void.

        Raises:
            DatasetError: it cannot be decoded, or holds no labels of this dataset.
        """

    def extras(self, pair: Pair, height: int, width: int) -> Mapping[str, Any]:
        """Further fields of the `Sample`, where there are files for them.

        Args:
            pair: the sample's files.
            height: of its image in pixels.
            width: likewise.

        Raises:
            DatasetError: such a file is not what it should be.
        """
        return {}

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        """Decode sample `index`.

        Raises:
            DatasetError: a file cannot be decoded or holds something else than a labelled image.
        """
        pair = self._pairs[index]
        image, labels = read_image(pair.image), self.read_labels(pair.labels)
        if image.shape[:2] != labels.shape:
            raise DatasetError(
                f"{pair.image} is {image.shape[1]}x{image.shape[0]} but {pair.labels} is "
                f"{labels.shape[1]}x{labels.shape[0]}; copy both again from one release"
            )
        self._check_ids(labels, pair.labels)
        extras = self.extras(pair, *labels.shape)
        return Sample(pair.name, pair.drive, pair.stamp_ns, image, labels, **extras)

    def _check_ids(self, labels: NDArray[np.uint8], path: Path) -> None:
        highest = int(labels[labels != VOID].max(initial=0))
        if highest >= len(self.classes):
            raise DatasetError(
                f"{path} holds class {highest}, but {self.title} has {len(self.classes)} classes "
                "and void; copy it again from the release that is expected"
            )

    def _of_drives(
        self, pairs: tuple[Pair, ...], drives: Collection[str] | None
    ) -> tuple[Pair, ...]:
        if drives is None:
            return pairs
        present = {pair.drive for pair in pairs}
        if unknown := sorted(set(drives) - present):
            raise DatasetError(
                f"{self.title} {self.split} has no drive {', '.join(unknown)}; "
                f"it holds {', '.join(sorted(present))}"
            )
        return tuple(pair for pair in pairs if pair.drive in drives)


def stills(files: Mapping[str, tuple[Path, Path]], drive_of: Mapping[str, str]) -> Iterable[Pair]:
    """Pairs of images that no clock orders: sorted by drive and name, a second apart.

    Args:
        files: image and labels, by the name of the sample.
        drive_of: what each is grouped by.
    """
    ordered = sorted(files, key=lambda name: (drive_of[name], name))
    for i, name in enumerate(ordered):
        yield Pair(name, drive_of[name], i * SECOND_NS, *files[name])
