"""CamVid (Brostow et al. 2009) in the layout of SegNet's release: 480x360, 11 classes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, VOID
from seg_perception.datasets.sample import Sample
from seg_perception.errors import DatasetError

SPLITS = ("train", "val", "test")
FRAME_RATE = 30  # of the recordings; file names count their frames
STORED_VOID = 11
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
FRAME_NAME = re.compile(r"(?P<drive>[^_]+)_f?(?P<frame>\d+)")
EXPECTED_TREE = """expected (SegNet's layout of CamVid):
    ROOT/train/0001TP_006690.png      ROOT/trainannot/0001TP_006690.png
    ROOT/val/...                      ROOT/valannot/...
    ROOT/test/...                     ROOT/testannot/...
images: PNG or JPEG; labels: 8-bit PNG of the same name, ids 0-10, 11 = void"""


class CamVid:
    """One split of CamVid, sorted by drive and time.

    Args:
        root: the folder that holds `train`, `trainannot`, ...
        split: "train", "val" or "test".
        drives: only these drives, as they begin the file names ("0001TP"); None = all.
        frames: only the first so many frames; None = all.

    Raises:
        DatasetError: a folder, an image or a label is missing, or nothing is left.
    """

    name = "camvid"
    classes = CAMVID_CLASSES
    groups = CAMVID_GROUPS

    def __init__(
        self,
        root: Path | str,
        split: str,
        drives: Collection[str] | None = None,
        frames: int | None = None,
    ) -> None:
        if split not in SPLITS:
            raise DatasetError(f"CamVid has no split '{split}'; choose one of {', '.join(SPLITS)}")
        self.root, self.split = Path(root), split
        pairs = sorted(_paired_files(self.root, split), key=lambda pair: _drive_and_frame(pair[0]))
        self._pairs = _of_drives(pairs, drives, split)[:frames]
        self.drives = tuple(dict.fromkeys(_drive_and_frame(image)[0] for image, _ in self._pairs))

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        """Decode sample `index`.

        Raises:
            DatasetError: a file cannot be decoded or holds something else than a labelled image.
        """
        image_path, labels_path = self._pairs[index]
        drive, frame = _drive_and_frame(image_path)
        image, labels = _read_image(image_path), _read_labels(labels_path)
        if image.shape[:2] != labels.shape:
            raise DatasetError(
                f"{image_path} is {image.shape[1]}x{image.shape[0]} but {labels_path} is "
                f"{labels.shape[1]}x{labels.shape[0]}; copy both again from one release"
            )
        return Sample(image_path.stem, drive, frame * 1_000_000_000 // FRAME_RATE, image, labels)


def _paired_files(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Image and label files of a split, matched by stem; a file without its partner is an error."""
    images = _files_by_stem(root, split, IMAGE_SUFFIXES)
    labels = _files_by_stem(root, f"{split}annot", (".png",))
    unpaired = [
        f"{len(missing)} {kind} lack {lacked} ({_first_few(missing)})"
        for kind, lacked, missing in (
            ("images", "labels", sorted(images.keys() - labels.keys())),
            ("labels", "images", sorted(labels.keys() - images.keys())),
        )
        if missing
    ]
    if unpaired:
        raise DatasetError(
            f"CamVid {split} in {root} is incomplete: {'; '.join(unpaired)}; "
            f"copy it again\n{EXPECTED_TREE}"
        )
    return [(images[stem], labels[stem]) for stem in images]


def _files_by_stem(root: Path, folder: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    path = root / folder
    if not path.is_dir():
        found = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else None
        state = "does not exist" if found is None else f"holds {_first_few(found)}"
        raise DatasetError(f"CamVid: no folder {path}; {root} {state}\n{EXPECTED_TREE}")
    files = {entry.stem: entry for entry in path.iterdir() if entry.suffix.lower() in suffixes}
    if not files:
        raise DatasetError(f"CamVid: {path} holds no {' or '.join(suffixes)} file\n{EXPECTED_TREE}")
    return files


def _first_few(names: Iterable[str], count: int = 4) -> str:
    names = list(names)
    more = f", ... {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more if names else "nothing"


def _drive_and_frame(path: Path) -> tuple[str, int]:
    match = FRAME_NAME.fullmatch(path.stem)
    if match is None:
        raise DatasetError(
            f"{path}: a CamVid file is named DRIVE_FRAME, as 0001TP_006690 or "
            "Seq05VD_f00030; rename or remove it"
        )
    return match["drive"], int(match["frame"])


def _of_drives(
    pairs: list[tuple[Path, Path]], drives: Collection[str] | None, split: str
) -> list[tuple[Path, Path]]:
    if drives is None:
        return pairs
    present = {_drive_and_frame(image)[0] for image, _ in pairs}
    unknown = sorted(set(drives) - present)
    if unknown:
        raise DatasetError(
            f"CamVid {split} has no drive {', '.join(unknown)}; "
            f"it holds {', '.join(sorted(present))}"
        )
    return [pair for pair in pairs if _drive_and_frame(pair[0])[0] in drives]


def _read_image(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"{path} cannot be decoded (truncated?); copy it again")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _read_labels(path: Path) -> NDArray[np.uint8]:
    """Class ids, uint8 [H,W], 255 = void."""
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise DatasetError(f"{path} cannot be decoded (truncated?); copy it again")
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise DatasetError(
            f"{path} is {labels.dtype} {list(labels.shape)}, not 8-bit class ids; "
            "CamVid's own colour-coded labels must be converted, SegNet's release has them ready"
        )
    if labels.max() > STORED_VOID:
        raise DatasetError(f"{path} holds id {labels.max()}; CamVid's ids are 0-10 and 11 (void)")
    return np.where(labels == STORED_VOID, np.uint8(VOID), labels)
