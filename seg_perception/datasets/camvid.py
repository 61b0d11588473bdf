"""CamVid (Brostow et al. 2009): SegNet's release, 11 classes, or the original, 32 colours."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, VOID
from seg_perception.datasets.catalogue import (
    CAMVID32_CLASSES,
    CAMVID32_GROUPS,
    camvid_palette,
)
from seg_perception.datasets.layout import Layout
from seg_perception.datasets.pairs import SECOND_NS, Pair, PairedFiles
from seg_perception.datasets.pictures import ids_of_colors, read_colors, read_ids
from seg_perception.errors import DatasetError

FRAME_RATE = 30  # of the recordings; file names count their frames
STORED_VOID = 11
FRAME_NAME = re.compile(r"(?P<drive>[^_]+)_f?(?P<frame>\d+)")
IMAGES, LABELS = "701_StillsRaw_full", "LabeledApproved_full"
SEGNET_TREE = """expected (SegNet's layout of CamVid):
    ROOT/train/0001TP_006690.png      ROOT/trainannot/0001TP_006690.png
    ROOT/val/...                      ROOT/valannot/...
    ROOT/test/...                     ROOT/testannot/...
images: PNG or JPEG; labels: 8-bit PNG of the same name, ids 0-10, 11 = void"""
ORIGINAL_TREE = """expected (the original layout of CamVid):
    ROOT/701_StillsRaw_full/0001TP_006690.png
    ROOT/LabeledApproved_full/0001TP_006690_L.png
labels: PNG in the 32 colours of label_colors.txt"""


class CamVid(PairedFiles):
    """CamVid's usual 11 classes, from either layout (see the trees above), by drive and time.

    Drives are what the file names begin with ("0001TP"). In the original layout the splits are
    SegNet's.
    """

    name = "camvid"
    title = "CamVid"
    classes = CAMVID_CLASSES
    groups = CAMVID_GROUPS
    tree = f"{SEGNET_TREE}\nor, {ORIGINAL_TREE}"

    def find(self) -> Iterable[Pair]:
        """Images and labels of the same stem."""
        original = (self.root / LABELS).is_dir() or (self.root / IMAGES).is_dir()
        files = original_files(self.layout) if original else split_files(self.layout, self.split)
        frames = {stem: drive_and_frame(pair[0], stem) for stem, pair in files.items()}
        for stem in sorted(frames, key=lambda stem: frames[stem]):
            drive, frame = frames[stem]
            if not original or segnet_split(drive, frame) == self.split:
                yield Pair(stem, drive, frame * SECOND_NS // FRAME_RATE, *files[stem])

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """Colours become the classes that SegNet puts them in."""
        if path.parent.name == LABELS:
            return ids_of_colors(read_colors(path), camvid_palette(self.classes), path)
        ids = read_ids(path)
        return np.where(ids == STORED_VOID, np.uint8(VOID), ids)


class CamVid32(CamVid):
    """The original labels with all their classes, 31 and void."""

    name = "camvid32"
    title = "CamVid with 32 colours"
    classes = CAMVID32_CLASSES
    groups = CAMVID32_GROUPS
    tree = ORIGINAL_TREE

    def find(self) -> Iterable[Pair]:
        """SegNet's layout does not tell these classes apart."""
        self.layout.folder(LABELS)
        return super().find()


def split_files(layout: Layout, split: str) -> dict[str, tuple[Path, Path]]:
    """Images in SPLIT/, labels in SPLITannot/, by stem.

    Raises:
        DatasetError: a folder is missing, or a file lacks its partner.
    """
    return layout.pairs(layout.files(split), layout.files(f"{split}annot", suffixes=(".png",)))


def original_files(layout: Layout) -> dict[str, tuple[Path, Path]]:
    """Images and labels of the original release, by the image's stem.

    Raises:
        DatasetError: a folder is missing, or a file lacks its partner.
    """
    return layout.pairs(layout.files(IMAGES), layout.files(LABELS, suffixes=(".png",), ending="_L"))


def segnet_split(drive: str, frame: int) -> str:
    """The split in which SegNet's release has a frame (367, 101 and 233 of the 701)."""
    if drive == "Seq05VD" or (drive == "0001TP" and frame >= 8550):
        return "test"
    return "val" if drive == "0016E5" and 7959 <= frame <= 8159 else "train"


def drive_and_frame(path: Path, stem: str) -> tuple[str, int]:
    """What a CamVid file's name says.

    Raises:
        DatasetError: it is no such name.
    """
    match = FRAME_NAME.fullmatch(stem)
    if match is None:
        raise DatasetError(
            f"{path}: a CamVid file is named DRIVE_FRAME, as 0001TP_006690 or "
            "Seq05VD_f00030; rename or remove it"
        )
    return match["drive"], int(match["frame"])
