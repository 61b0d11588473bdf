"""A figure of a paper: some images, their truth, and each row's labels beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo
from seg_perception.datasets import Sample
from training.errors import TrainingError

Picture = NDArray[np.uint8]
PANEL_WIDTH = 320
CAPTION_HEIGHT = 22
GAP = 4


class Figure:
    """Collects some of the images that are scored.

    Args:
        classes: whose colours are painted; void is black.
        total: how many images will come.
        pictures: how many of them, evenly spread, make the figure.
    """

    def __init__(self, classes: Sequence[ClassInfo], total: int, pictures: int) -> None:
        self._colors = np.zeros((256, 3), np.uint8)
        self._colors[[info.id for info in classes]] = [info.color for info in classes]
        count = min(total, pictures)
        self._wanted = {(2 * i + 1) * total // (2 * count) for i in range(count)}
        self._seen = 0
        self._rows: list[dict[str, Picture]] = []

    def add(self, sample: Sample, labels: Mapping[str, Picture]) -> None:
        """Keep an image with its labels uint8 [H, W] by caption, if it is one of the chosen."""
        if self._seen in self._wanted:
            painted = {name: self._colors[one] for name, one in labels.items()}
            truth = self._colors[sample.labels]
            self._rows.append({"image": sample.image, "truth": truth, **painted})
        self._seen += 1

    def write(self, path: Path) -> None:
        """Write the figure as PNG.

        Raises:
            TrainingError: it cannot be written, or nothing was added.
        """
        if not self._rows:
            raise TrainingError("no images for a figure: give more --pictures or a larger --limit")
        captions = np.hstack([_caption(name) for name in self._rows[0]])
        rows = [np.hstack([_panel(picture) for picture in row.values()]) for row in self._rows]
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = np.vstack([captions, *rows])
        if not cv2.imwrite(str(path), whole[..., ::-1]):
            raise TrainingError(f"cannot write {path}; choose another folder, and .png")


def _panel(picture: Picture) -> Picture:
    """A picture at the width of its column, a gap at its right and below."""
    height = round(picture.shape[0] * PANEL_WIDTH / picture.shape[1])
    scaled = cv2.resize(picture, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.pad(scaled, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)


def _caption(text: str) -> Picture:
    strip = np.full((CAPTION_HEIGHT, PANEL_WIDTH + GAP, 3), 255, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(strip, text, (4, CAPTION_HEIGHT - 7), font, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
