"""Choosing the few frames of a drive that a report shows."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seg_perception.evaluation.drive import ReplayFrame, known_pixels

N_EVEN = 8  # frames spread over the drive; up to twice as many while it lasts
N_EXTREME = 2


@dataclass(frozen=True)
class Exhibit:
    """One frame in pictures.

    Attributes:
        why: why it is shown.
        frame: the frame and its answer.
        maps: label map uint8 [h,w] by method.
        pixel_accuracy: percent by method; empty without truth.
        known: bool [h,w], where there was evidence.
        title: names the frame; empty = its stamp does.
    """

    why: str
    frame: ReplayFrame
    maps: Mapping[str, NDArray[np.uint8]]
    pixel_accuracy: Mapping[str, float]
    known: NDArray[np.bool_]
    title: str = ""

    @property
    def gain(self) -> float | None:
        """Percent of the pixels that correction put right (or, below 0, wrong), where known.

        nan where the truth is void throughout.
        """
        accuracy = self.pixel_accuracy
        if "refined" not in accuracy:
            return accuracy.get("corrected")
        return accuracy["corrected"] - accuracy["refined"]


class Gallery:
    """Keeps the frames that correction helped most and least, and some spread over the drive.

    Memory stays bounded however long the drive is: every time the spread frames are too many,
    every other of them goes, and from then on half as many come.
    """

    def __init__(self) -> None:
        self._even: list[Exhibit] = []
        self._stride = 1
        self._count = 0
        self._best: list[tuple[float, int, Exhibit]] = []
        self._worst: list[tuple[float, int, Exhibit]] = []

    def add(
        self,
        frame: ReplayFrame,
        maps: Mapping[str, NDArray[np.uint8]],
        pixel_accuracy: Mapping[str, float],
    ) -> None:
        """Look at one frame; arguments as in `Exhibit`."""
        known = known_pixels(frame.evidence, *frame.image.shape[:2])
        exhibit = Exhibit("from the drive", frame, dict(maps), dict(pixel_accuracy), known)
        if self._count % self._stride == 0:
            self._even.append(exhibit)
        if len(self._even) == 2 * N_EVEN:
            self._even = self._even[::2]
            self._stride *= 2
        gain = exhibit.gain
        if gain is not None and math.isfinite(gain):
            _keep_largest(self._best, (gain, self._count, exhibit))
            _keep_largest(self._worst, (-gain, self._count, exhibit))
        self._count += 1

    def exhibits(self) -> tuple[Exhibit, ...]:
        """The chosen frames, each once: most helped, least helped, then those in between."""
        chosen = [
            *(replace(exhibit, why="corrected best") for exhibit in _largest_first(self._best)),
            *(replace(exhibit, why="corrected worst") for exhibit in _largest_first(self._worst)),
            *self._even,
        ]
        by_stamp: dict[int, Exhibit] = {}
        for exhibit in chosen:
            by_stamp.setdefault(exhibit.frame.stamp_ns, exhibit)
        return tuple(by_stamp.values())


def _keep_largest(heap: list[tuple[float, int, Exhibit]], new: tuple[float, int, Exhibit]) -> None:
    heapq.heappush(heap, new)
    if len(heap) > N_EXTREME:
        heapq.heappop(heap)


def _largest_first(heap: list[tuple[float, int, Exhibit]]) -> list[Exhibit]:
    return [exhibit for _, _, exhibit in sorted(heap, key=lambda item: -item[0])]
