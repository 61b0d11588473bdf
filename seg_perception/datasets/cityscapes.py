"""Cityscapes (Cordts et al., CVPR 2016): 19 classes, 2048x1024, with camera and stereo depth."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from seg_perception.datasets.catalogue import (
    CITYSCAPES_CLASSES,
    CITYSCAPES_GROUPS,
    CITYSCAPES_LABEL_IDS,
)
from seg_perception.datasets.pairs import SECOND_NS, Pair, PairedFiles
from seg_perception.datasets.pictures import decode, read_ids
from seg_perception.datasets.sample import Camera
from seg_perception.errors import DatasetError

FRAME_RATE = 17  # of the recordings, in frames a second
SEQUENCE_GAP_NS = SECOND_NS  # between recordings of one city: how long it really was, is not told
FRAME_NAME = re.compile(r"(?P<city>.+)_(?P<sequence>\d{6})_(?P<frame>\d{6})")
IMAGE_ENDING, LABEL_ENDING = "_leftImg8bit", "_gtFine_labelIds"


class Cityscapes(PairedFiles):
    """Cityscapes with fine labels; each city is a drive.

    A city's sequences follow each other a second apart; within one, stamps count its frames. The
    labels of the test split are void: it is scored by the benchmark's server only.
    """

    name = "cityscapes"
    title = "Cityscapes"
    classes = CITYSCAPES_CLASSES
    groups = CITYSCAPES_GROUPS
    tree = """expected (leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, in ROOT):
    ROOT/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png
    ROOT/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png
    ROOT/leftImg8bit/val/..., ROOT/gtFine/val/..., ROOT/leftImg8bit/test/..., ROOT/gtFine/test/...
and, where they are there (camera_trainvaltest.zip, disparity_trainvaltest.zip):
    ROOT/camera/train/aachen/aachen_000000_000019_camera.json
    ROOT/disparity/train/aachen/aachen_000000_000019_disparity.png"""

    def find(self) -> Iterable[Pair]:
        """City by city."""
        folder = self.layout.folder("leftImg8bit", self.split)
        cities = sorted(path.name for path in folder.iterdir() if path.is_dir())
        if not cities:
            raise self.layout.fault(f"{folder} holds no city")
        for city in cities:
            images = self.layout.files("leftImg8bit", self.split, city, ending=IMAGE_ENDING)
            labels = self.layout.files("gtFine", self.split, city, ending=LABEL_ENDING)
            yield from _city(city, self.layout.pairs(images, labels))

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """The 34 label ids become the 19 train ids, the others void."""
        train_ids = np.full(256, VOID, np.uint8)
        train_ids[list(CITYSCAPES_LABEL_IDS)] = np.arange(len(CITYSCAPES_LABEL_IDS))
        return np.asarray(cv2.LUT(read_ids(path), train_ids), np.uint8)

    def extras(self, pair: Pair, height: int, width: int) -> Mapping[str, Any]:
        """The camera, and with it the depth that stereo matching found."""
        path = self._beside(pair, "camera", ".json")
        if not path.is_file():
            return {}
        camera, baseline_m = read_camera(path, height, width)
        disparity = self._beside(pair, "disparity", ".png")
        if not disparity.is_file():
            return {"camera": camera}
        return {"camera": camera, "depth": read_depth(disparity, camera.fx * baseline_m)}

    def _beside(self, pair: Pair, kind: str, suffix: str) -> Path:
        return self.root / kind / self.split / pair.drive / f"{pair.name}_{kind}{suffix}"


def read_camera(path: Path, height: int, width: int) -> tuple[Camera, float]:
    """The camera of a `_camera.json`, and the baseline of the stereo pair in metres.

    Its small yaw and roll are left out: `Camera` looks straight ahead.

    Raises:
        DatasetError: the file is not of that kind.
    """
    try:
        record = json.loads(path.read_text())
        inner, outer = record["intrinsic"], record["extrinsic"]
        camera = Camera(
            width,
            height,
            fx=float(inner["fx"]),
            fy=float(inner["fy"]),
            cx=float(inner["u0"]),
            cy=float(inner["v0"]),
            height_m=float(outer["z"]),
            pitch_rad=float(outer["pitch"]),
        )
        return camera, float(outer["baseline"])
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is no camera of Cityscapes ({error!r}); copy it again"
        ) from error


def read_depth(path: Path, focal_times_baseline: float) -> NDArray[np.float32]:
    """Depth of a `_disparity.png`, which holds 256 d + 1, or 0 where nothing was matched.

    Args:
        path: 16-bit PNG.
        focal_times_baseline: pixels times metres.

    Returns:
        float32 [H,W] metres, nan where unknown, inf at a disparity of 0.

    Raises:
        DatasetError: not a 16-bit image of one channel.
    """
    stored = decode(path)
    if stored.ndim != 2 or stored.dtype != np.uint16:
        raise DatasetError(f"{path} is {stored.dtype} {list(stored.shape)}, not 16-bit disparities")
    disparity = (stored.astype(np.float32) - 1) / 256
    with np.errstate(divide="ignore"):
        depth = np.float32(focal_times_baseline) / disparity
    return np.where(stored > 0, depth, np.float32(np.nan))


def _city(city: str, files: Mapping[str, tuple[Path, Path]]) -> Iterable[Pair]:
    numbers = {stem: _sequence_and_frame(city, stem, pair[0]) for stem, pair in files.items()}
    stamp_ns, last = 0, (0, 0)
    for stem in sorted(numbers, key=lambda stem: numbers[stem]):
        sequence, frame = numbers[stem]
        same = sequence == last[0]
        passed_ns = (frame - last[1]) * SECOND_NS // FRAME_RATE if same else SEQUENCE_GAP_NS
        stamp_ns, last = stamp_ns + passed_ns, (sequence, frame)
        yield Pair(stem, city, stamp_ns, *files[stem])


def _sequence_and_frame(city: str, stem: str, path: Path) -> tuple[int, int]:
    match = FRAME_NAME.fullmatch(stem)
    if match is None or match["city"] != city:
        raise DatasetError(
            f"{path}: a file of Cityscapes is named CITY_SEQUENCE_FRAME, as "
            f"{city}_000000_000019{IMAGE_ENDING}.png; rename or remove it"
        )
    return int(match["sequence"]), int(match["frame"])
