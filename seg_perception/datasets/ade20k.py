"""ADE20K scene parsing (Zhou et al., CVPR 2017): 150 classes, images of many sizes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.catalogue import ADE20K_CLASSES, NO_GROUPS
from seg_perception.datasets.pairs import Pair, PairedFiles, stills
from seg_perception.datasets.pictures import read_ids

FOLDERS = {"train": "training", "val": "validation"}


class Ade20k(PairedFiles):
    """The 150 classes of the benchmark; what is "other" there (0) is void."""

    name = "ade20k"
    title = "ADE20K"
    classes = ADE20K_CLASSES
    groups = NO_GROUPS
    inside = ("ADEChallengeData2016",)
    tree = """expected (ADEChallengeData2016.zip, unpacked; ROOT is it or around it):
    ROOT/images/training/ADE_train_00000001.jpg
    ROOT/annotations/training/ADE_train_00000001.png
    ROOT/images/validation/..., ROOT/annotations/validation/...
labels: 8-bit PNG, 1-150, 0 = other"""

    def splits(self) -> tuple[str, ...]:
        """The test split has no labels."""
        return tuple(FOLDERS)

    def find(self) -> Iterable[Pair]:
        """Images and annotations of the same stem."""
        folder = FOLDERS[self.split]
        images = self.layout.files("images", folder)
        files = self.layout.pairs(images, self.layout.files("annotations", folder))
        return stills(files, dict.fromkeys(files, self.split))

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """Ids from 0; 0 wraps around to 255."""
        return read_ids(path) - np.uint8(1)
