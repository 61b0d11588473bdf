"""Objects before a background: Caltech-UCSD Birds and the Penn-Fudan pedestrians."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.catalogue import BIRD_CLASSES, NO_GROUPS, PEDESTRIAN_CLASSES
from seg_perception.datasets.pairs import Pair, PairedFiles, stills
from seg_perception.datasets.pictures import decode, read_ids

HALF = 127
"""Bird masks are five people's votes, 0 to 255; a bird is where more than half of them say so."""


class Birds(PairedFiles):
    """CUB-200-2011 (Wah et al. 2011); a drive is a species.

    The release has train and test; every tenth training image (by its number) is val here.
    """

    name = "birds"
    title = "CUB-200-2011"
    classes = BIRD_CLASSES
    groups = NO_GROUPS
    inside = ("CUB_200_2011",)
    tree = """expected (CUB_200_2011.tgz and segmentations.tgz; ROOT is CUB_200_2011 or around it):
    ROOT/images.txt                lines: 1 001.Black_footed_Albatross/NAME.jpg
    ROOT/train_test_split.txt      lines: 1 0
    ROOT/images/001.Black_footed_Albatross/NAME.jpg
    ROOT/segmentations/001.Black_footed_Albatross/NAME.png, or segmentations/ beside ROOT
masks: PNG, 0-255"""

    def find(self) -> Iterable[Pair]:
        """The split's images, species by species."""
        training = {number: flag == "1" for number, flag in self._table("train_test_split.txt")}
        masks = self.root / "segmentations"
        masks = masks if masks.is_dir() else self.root.parent / "segmentations"
        files = {
            Path(path).stem: (
                self.root / "images" / path,
                (masks / path).with_suffix(".png"),
            )
            for number, path in self._table("images.txt")
            if bird_split(int(number), training.get(number, False)) == self.split
        }
        species = {name: image.parent.name for name, (image, _) in files.items()}
        return stills(self.layout.listed(files), species)

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """1 where most say bird; a few masks have further channels, which are copies or alpha."""
        votes = decode(path)
        votes = votes if votes.ndim == 2 else votes[..., 0]
        return (votes > HALF).astype(np.uint8)

    def _table(self, name: str) -> list[tuple[str, str]]:
        rows = self.layout.lines(name)
        if any(len(row) != 2 or not row[0].isdecimal() for row in rows):
            raise self.layout.fault(f"{self.root / name} is not a table of NUMBER VALUE")
        return [(number, value) for number, value in rows]


class PennFudan(PairedFiles):
    """The Penn-Fudan pedestrians (Wang et al., ACCV 2007), all of them as one class.

    The release has no splits; of every five images (by name) three are train here, then one val and
    one test.
    """

    name = "penn_fudan"
    title = "PennFudanPed"
    classes = PEDESTRIAN_CLASSES
    groups = NO_GROUPS
    inside = ("PennFudanPed",)
    tree = """expected (PennFudanPed.zip, unpacked; ROOT is it or around it):
    ROOT/PNGImages/FudanPed00001.png
    ROOT/PedMasks/FudanPed00001_mask.png
masks: 8-bit PNG, 0 = background, else the number of a pedestrian"""

    def find(self) -> Iterable[Pair]:
        """A drive is the place: Fudan or Penn."""
        images = self.layout.files("PNGImages")
        files = self.layout.pairs(images, self.layout.files("PedMasks", ending="_mask"))
        split_of = ("train", "train", "train", "val", "test")
        chosen = {
            stem: files[stem]
            for i, stem in enumerate(sorted(files))
            if split_of[i % len(split_of)] == self.split
        }
        return stills(chosen, {stem: stem.partition("Ped")[0] for stem in chosen})

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """1 on every pedestrian."""
        return (read_ids(path) > 0).astype(np.uint8)


def bird_split(number: int, training: bool) -> str:
    """The split of an image of the release."""
    if not training:
        return "test"
    return "train" if number % 10 else "val"
