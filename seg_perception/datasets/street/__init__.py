"""Rendered drives through procedural streets, with exact labels, depth, camera and lane borders."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.datasets.sample import Sample
from seg_perception.datasets.street.drive import Drive
from seg_perception.datasets.street.lidar import Lidar
from seg_perception.errors import DatasetError

__all__ = ["Lidar", "Street"]


class Street:
    """Frames of rendered drives, in CamVid's classes; `Street(seed=s)[i]` is always the same.

    Args:
        n_frames: in all drives together.
        seed: of all drives; each looks different.
        height, width: of the pictures in pixels.
        n_drives: how many drives share the frames as evenly as can be.
        frame_rate: frames a second; a low one makes consecutive frames differ more.
        lidar: that scans every frame from its own place, at two thirds of the time that the picture
            takes; None = no `Sample.points`.

    Raises:
        DatasetError: no frames, fewer frames than drives, or a picture too small to see anything.
    """

    name = "street"
    classes = CAMVID_CLASSES
    groups = CAMVID_GROUPS

    def __init__(
        self,
        n_frames: int,
        seed: int = 0,
        height: int = 360,
        width: int = 480,
        n_drives: int = 1,
        frame_rate: float = 10.0,
        lidar: Lidar | None = None,
    ) -> None:
        if not 1 <= n_drives <= n_frames:
            raise DatasetError(f"{n_frames} frames cannot make {n_drives} drives; give more frames")
        if height < 16 or width < 16:
            raise DatasetError(
                f"street frames of {width}x{height} show nothing; give 16x16 or more"
            )
        self._n_frames, self._seed = n_frames, seed
        self._height, self._width, self._frame_rate = height, width, frame_rate
        self._lidar = lidar
        self._starts = [n_frames * k // n_drives for k in range(n_drives + 1)]
        self.drives = tuple(f"street{seed}_{k:04d}" for k in range(n_drives))
        self._drive = lru_cache(maxsize=4)(self._make_drive)

    def __len__(self) -> int:
        return self._n_frames

    def __getitem__(self, index: int) -> Sample:
        """Render sample `index`."""
        index = range(self._n_frames)[index]
        drive = bisect_right(self._starts, index) - 1
        return self._drive(drive).frame(index - self._starts[drive])

    def _make_drive(self, number: int) -> Drive:
        n_frames = self._starts[number + 1] - self._starts[number]
        return Drive(
            self.drives[number],
            n_frames,
            self._frame_rate,
            self._height,
            self._width,
            [self._seed, number],
            self._lidar,
        )
