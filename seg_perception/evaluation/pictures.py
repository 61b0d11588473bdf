"""Pictures of evaluated images, for people."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo
from seg_perception.errors import ConfigError
from seg_perception.evaluation.evaluate import ScoredFrame
from seg_perception.overlay import overlay

ALPHA = 0.6
CAPTION_HEIGHT = 24


def write_strip(frame: ScoredFrame, classes: tuple[ClassInfo, ...], folder: Path) -> Path:
    """Write an image, its truth and its label maps side by side, as `folder`/NAME.png.

    Raises:
        ConfigError: it cannot be written.
    """
    image = frame.sample.image
    panels = {"image": image}
    for name, labels in {"truth": frame.sample.labels, **frame.maps}.items():
        panels[name] = overlay(image, labels, classes, ALPHA)
    strip = np.hstack([_captioned(name, panel) for name, panel in panels.items()])
    path = folder / f"{frame.sample.name}.png"
    with suppress(OSError):  # imwrite tells by what it returns
        folder.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(strip, cv2.COLOR_RGB2BGR)):
        raise ConfigError(f"cannot write {path}; choose another folder")
    return path


def _captioned(name: str, panel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    strip = np.zeros((CAPTION_HEIGHT, panel.shape[1], 3), np.uint8)
    font, white = cv2.FONT_HERSHEY_SIMPLEX, (255, 255, 255)
    cv2.putText(strip, name, (6, 17), font, 0.5, white, 1, cv2.LINE_AA)
    return np.vstack([strip, panel])
