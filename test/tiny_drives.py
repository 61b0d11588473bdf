"""Tiny labelled drives in memory, in the colours that the tiny bundle tells apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tiny_bundle import TINY_CLASSES, color_image

from seg_perception.classes import ClassInfo
from seg_perception.datasets.sample import Camera, Sample

SKY, ROAD, SIDEWALK, CAR = range(4)
CAMERA = Camera(32, 24, fx=20.0, fy=20.0, cx=15.5, cy=11.5, height_m=1.5, pitch_rad=0.0)


@dataclass(frozen=True)
class TinyDrive:
    """A `Dataset` of given samples."""

    samples: tuple[Sample, ...]
    name: str = "tiny"
    classes: tuple[ClassInfo, ...] = TINY_CLASSES

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        return {"ground": ("road", "sidewalk"), "sky": ("sky",), "obstacle": ("car",)}

    @property
    def drives(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(sample.drive for sample in self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def tiny_drive(n_frames: int = 4, height: int = 24, width: int = 32) -> TinyDrive:
    """A car crosses the road, 10 frames a second; every fourth column of the road is painted over.

    What is painted over looks like sidewalk, so that the tiny model errs there without evidence.
    """
    return TinyDrive(tuple(tiny_sample(i, height, width) for i in range(n_frames)))


def tiny_sample(i: int, height: int = 24, width: int = 32) -> Sample:
    labels = np.full((height, width), SKY, np.uint8)
    labels[height // 2 :] = ROAD
    labels[height // 2 :, : width // 8] = SIDEWALK
    left = (width // 4 + 2 * i) % (width - 4)
    labels[height // 2 - 3 : height // 2 + 2, left : left + 4] = CAR
    seen = labels.copy()
    seen[:, ::4][seen[:, ::4] == ROAD] = SIDEWALK
    labels[0] = 255
    return Sample(f"tiny_{i:03d}", "tiny", i * 100_000_000, color_image(seen, TINY_CLASSES), labels)


def with_lanes(sample: Sample) -> Sample:
    """The same with depth, a camera, and the borders of a lane 3 m wide, 3 to 30 m ahead."""
    ahead = np.linspace(3, 30, 10, dtype=np.float32)
    flat = np.zeros_like(ahead)
    left, right = (np.stack([ahead, flat + side, flat], axis=1) for side in (1.5, -1.5))
    depth = np.full(sample.labels.shape, 7.5, np.float32)
    return replace(sample, depth=depth, camera=CAMERA, lane_left=left, lane_right=right)


def of_drives(samples: Sequence[tuple[str, int]]) -> TinyDrive:
    """One sample for each name of a drive and stamp in nanoseconds."""
    return TinyDrive(
        tuple(
            replace(tiny_sample(i), drive=drive, stamp_ns=stamp_ns)
            for i, (drive, stamp_ns) in enumerate(samples)
        )
    )
