"""Parts of faces: FASSEG in split folders, and the part labels of Labeled Faces in the Wild."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.camvid import split_files
from seg_perception.datasets.catalogue import FACE_CLASSES, NO_GROUPS
from seg_perception.datasets.pairs import Pair, PairedFiles, stills
from seg_perception.datasets.pictures import ids_of_colors, read_colors, read_ids
from seg_perception.errors import DatasetError

LFW_LISTS = {"train": "parts_train.txt", "val": "parts_validation.txt", "test": "parts_test.txt"}


class Faces(PairedFiles):
    """FASSEG (Khan et al. 2015) at 256x256 with three parts; a drive is a view of the head."""

    name = "faces"
    title = "Faces"
    classes = FACE_CLASSES
    groups = NO_GROUPS
    tree = """expected (faces in split folders):
    ROOT/train/frontal_1.jpg      ROOT/trainannot/frontal_1.png
    ROOT/train/pose+15_personne01147+0+15.jpg, ...
    ROOT/val/...                  ROOT/valannot/...
labels: 8-bit PNG of the same name, 0 background, 1 hair, 2 skin"""

    def find(self) -> Iterable[Pair]:
        """The view is what a file name begins with."""
        files = split_files(self.layout, self.split)
        return stills(files, {stem: stem.partition("_")[0] for stem in files})

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """As they are stored."""
        return read_ids(path)


class Lfw(PairedFiles):
    """LFW part labels (Kae et al., CVPR 2013) on the funneled images, with their superpixels."""

    name = "lfw"
    title = "LFW part labels"
    classes = FACE_CLASSES
    groups = NO_GROUPS
    tree = """expected (lfw-funneled.tgz, parts_lfw_funneled_gt_images.tgz and the lists, together):
    ROOT/parts_train.txt, ROOT/parts_validation.txt, ROOT/parts_test.txt    lines: Aaron_Eckhart 1
    ROOT/lfw_funneled/Aaron_Eckhart/Aaron_Eckhart_0001.jpg
    ROOT/parts_lfw_funneled_gt_images/Aaron_Eckhart_0001.ppm
and, for superpixel accuracy, where they are there (parts_lfw_funneled_superpixels_mat.tgz):
    ROOT/parts_lfw_funneled_superpixels_mat/Aaron_Eckhart/Aaron_Eckhart_0001.dat
labels: PPM, red = hair, green = skin, blue = background"""

    def find(self) -> Iterable[Pair]:
        """The images of the split's list."""
        people = {f"{person}_{int(number):04d}": person for person, number in self._listed_people()}
        images, labels = self.root / "lfw_funneled", self.root / "parts_lfw_funneled_gt_images"
        files = {
            name: (images / person / f"{name}.jpg", labels / f"{name}.ppm")
            for name, person in people.items()
        }
        return stills(self.layout.listed(files), dict.fromkeys(files, self.split))

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """From the colours."""
        return ids_of_colors(read_colors(path), self.classes, path)

    def extras(self, pair: Pair, height: int, width: int) -> Mapping[str, Any]:
        """The superpixels that the labels were drawn with."""
        folder = self.root / "parts_lfw_funneled_superpixels_mat" / pair.image.parent.name
        path = folder / f"{pair.name}.dat"
        return {"superpixels": read_superpixels(path)} if path.is_file() else {}

    def _listed_people(self) -> list[tuple[str, str]]:
        name = LFW_LISTS[self.split]
        lines = self.layout.lines(name)
        for words in lines:
            if len(words) != 2 or not words[1].isdecimal():
                raise DatasetError(
                    f"{self.root / name}: {' '.join(words)!r} is no line NAME NUMBER, as in "
                    "Aaron_Eckhart 1; copy the list again"
                )
        return [(person, number) for person, number in lines]


def read_superpixels(path: Path) -> NDArray[np.int32]:
    """A matrix of superpixel numbers, in text: int32 [H,W].

    Raises:
        DatasetError: it is no such matrix.
    """
    try:
        numbers = np.loadtxt(path, dtype=np.int32, ndmin=2)
    except ValueError as error:
        raise DatasetError(f"{path} is no matrix of whole numbers; copy it again") from error
    return numbers
