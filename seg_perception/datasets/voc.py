"""PASCAL VOC 2012 segmentation (Everingham et al. 2015): 21 classes, images of many sizes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID, ClassInfo
from seg_perception.datasets.catalogue import NO_GROUPS, VOC_CLASSES
from seg_perception.datasets.matlab import read_matlab
from seg_perception.datasets.pairs import Pair, PairedFiles, stills
from seg_perception.datasets.pictures import decode, ids_of_colors, read_colors, read_ids

LISTS = ("ImageSets", "Segmentation")
BORDER = ClassInfo(VOID, "border", (224, 224, 192))
SBD, SBD_SPLIT = ("benchmark_RELEASE", "dataset"), "sbd_"
OWN, AUGMENTED = "SegmentationClass", "SegmentationClassAug"


class Voc(PairedFiles):
    """VOC 2012; its splits are the lists in ImageSets/Segmentation.

    A list may name images that VOC did not label but the Semantic Boundaries Dataset (SBD) did
    (Hariharan et al., ICCV 2011), as `trainaug` does: then its labels are read, converted or as it
    has them. Where SBD is there its own lists are splits too, `sbd_train` and `sbd_val`.
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
list trainaug.txt, either of:
    ROOT/SegmentationClassAug/2008_000003.png
    ROOT/benchmark_RELEASE/dataset/cls/2008_000003.mat    with dataset/train.txt and val.txt"""

    def splits(self) -> tuple[str, ...]:
        """The lists that are there."""
        own = sorted(self.layout.files(*LISTS, suffixes=(".txt",)))
        sbd = [f"{SBD_SPLIT}{path.stem}" for path in sorted(self.root.joinpath(*SBD).glob("*.txt"))]
        return (*own, *sbd)

    def find(self) -> Iterable[Pair]:
        """The images of the list."""
        of_sbd = self.split.startswith(SBD_SPLIT)
        folder = SBD if of_sbd else LISTS
        lines = self.layout.lines(*folder, f"{self.split.removeprefix(SBD_SPLIT)}.txt")
        names = [words[0] for words in lines]
        files = {
            name: (self.root / "JPEGImages" / f"{name}.jpg", self._labels(name)) for name in names
        }
        return stills(self.layout.listed(files), dict.fromkeys(names, self.split))

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """From the palette's colours, from ids, or from a file of SBD."""
        if path.suffix == ".mat":
            return read_matlab(path, "GTcls", "Segmentation").astype(np.uint8)
        if decode(path).ndim == 3:
            return ids_of_colors(read_colors(path), (*self.classes, BORDER), path)
        return read_ids(path)

    def _labels(self, name: str) -> Path:
        """VOC's own labels before others; the first that are there."""
        png, mat = f"{name}.png", f"{name}.mat"
        own, converted = self.root / OWN / png, self.root / AUGMENTED / png
        places = (own, converted, self.root.joinpath(*SBD, "cls", mat))
        return next((path for path in places if path.is_file()), own)
