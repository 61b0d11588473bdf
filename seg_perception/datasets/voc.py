"""PASCAL VOC 2012 segmentation (Everingham et al. 2015): 21 classes, images of many sizes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID, ClassInfo
from seg_perception.datasets.catalogue import NO_GROUPS, VOC_CLASSES
from seg_perception.datasets.pairs import Pair, PairedFiles, stills
from seg_perception.datasets.pictures import decode, ids_of_colors, read_colors, read_ids

LISTS = ("ImageSets", "Segmentation")
BORDER = ClassInfo(VOID, "border", (224, 224, 192))
OWN, AUGMENTED = "SegmentationClass", "SegmentationClassAug"


class Voc(PairedFiles):
    """VOC 2012; its splits are the lists in ImageSets/Segmentation.

    A list may name images that VOC did not label but the Semantic Boundaries Dataset did
    (Hariharan et al., ICCV 2011), as `trainaug` does: their labels lie in SegmentationClassAug.
    """

    name = "voc"
    title = "PASCAL VOC 2012"
    classes = VOC_CLASSES
    groups = NO_GROUPS
    inside = ("VOCdevkit", "VOC2012")
    tree = """expected (VOCtrainval_11-May-2012.tar, unpacked; ROOT is VOC2012 or around it):
    ROOT/JPEGImages/2007_000032.jpg
    ROOT/SegmentationClass/2007_000032.png
    ROOT/ImageSets/Segmentation/train.txt, val.txt, trainval.txt
labels: PNG in VOC's palette, or 8-bit ids; 255 = void. For images that only SBD labels, as in a
list trainaug.txt:
    ROOT/SegmentationClassAug/2008_000003.png"""

    def splits(self) -> tuple[str, ...]:
        """The lists that are there."""
        return tuple(sorted(self.layout.files(*LISTS, suffixes=(".txt",))))

    def find(self) -> Iterable[Pair]:
        """The images of the list."""
        names = [words[0] for words in self.layout.lines(*LISTS, f"{self.split}.txt")]
        files = {
            name: (self.root / "JPEGImages" / f"{name}.jpg", self._labels(name)) for name in names
        }
        return stills(self.layout.listed(files), dict.fromkeys(names, self.split))

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """From the palette's colours, or from ids."""
        if decode(path).ndim == 3:
            return ids_of_colors(read_colors(path), (*self.classes, BORDER), path)
        return read_ids(path)

    def _labels(self, name: str) -> Path:
        own = self.root / OWN / f"{name}.png"
        return own if own.is_file() else self.root / AUGMENTED / f"{name}.png"
