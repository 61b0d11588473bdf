"""A lidar on the vehicle's roof, which sees the street from a place of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, cos, radians, sin, tan

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.sample import Camera
from seg_perception.datasets.street.road import Pose


@dataclass(frozen=True)
class Lidar:
    """The part of a spinning scanner's turn that looks ahead; the defaults are an HDL-64's.

    Attributes:
        ahead_m, left_m, height_m: where it is mounted, from the vehicle's origin (`Camera`).
        rings: how many rays it has above each other.
        highest_deg, lowest_deg: elevation of the outermost.
        half_width_deg: how far to either side it looks; less than a right angle.
        step_deg: between two rays of a ring.
        reach_m: farther, nothing comes back.
        noise_m: standard deviation of the ranges.
        lost: fraction of the rays that do not come back although they hit.
    """

    ahead_m: float = -0.6
    left_m: float = 0.2
    height_m: float = 2.1
    rings: int = 64
    highest_deg: float = 2.0
    lowest_deg: float = -24.8
    half_width_deg: float = 45.0
    step_deg: float = 0.2
    reach_m: float = 100.0
    noise_m: float = 0.02
    lost: float = 0.02

    @cached_property
    def view(self) -> Camera:
        """A camera in the lidar's place, of whose depth its rays are a part."""
        focal = 1 / tan(radians(self.step_deg))
        aside = ceil(focal * tan(radians(self.half_width_deg)))
        up, down = (
            ceil(focal * tan(radians(abs(angle))) / cos(radians(self.half_width_deg)))
            for angle in (self.highest_deg, self.lowest_deg)
        )
        return Camera(
            width=2 * aside + 1,
            height=up + down + 1,
            fx=focal,
            fy=focal,
            cx=aside,
            cy=up,
            height_m=self.height_m,
            pitch_rad=0.0,
        )

    def place(self, ego: Pose) -> Pose:
        """Where the lidar is when the vehicle is at `ego`."""
        c, n = cos(ego.heading), sin(ego.heading)
        x = ego.x + self.ahead_m * c - self.left_m * n
        y = ego.y + self.ahead_m * n + self.left_m * c
        return Pose(ego.s + self.ahead_m, ego.d + self.left_m, x, y, ego.heading)

    def scan(self, depth: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """What comes back.

        Args:
            depth: float32 [h, w] metres in `view`, inf = nothing is hit.
            rng: decides about noise and what is lost.

        Returns:
            float32 [N, 3] metres in the vehicle's frame, ring by ring.
        """
        rows, columns = self._rays
        slope_x, slope_y = self.view.pinhole.ray_slopes()
        x, y = slope_x[columns], slope_y[rows]
        rays = np.stack([x, y, np.ones_like(x)], axis=-1)
        length = np.linalg.norm(rays, axis=-1)
        hit = depth[rows, columns]
        back = (hit * length < self.reach_m) & (rng.random(hit.shape) >= self.lost)
        noise = rng.normal(0, self.noise_m, np.count_nonzero(back)) / length[back]
        seen = rays[back] * (hit[back] + noise)[:, None]
        mounted = np.array([self.ahead_m, self.left_m, 0.0])
        return np.asarray(self.view.pose.inverse().apply(seen) + mounted, np.float32)

    @cached_property
    def _rays(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The pixels of `view` that the rays meet: rows and columns, [rings, rays]."""
        aside = np.radians(
            np.arange(-self.half_width_deg, self.half_width_deg + 1e-6, self.step_deg)
        )
        elevation = np.radians(np.linspace(self.highest_deg, self.lowest_deg, self.rings))
        view = self.view
        columns = view.cx + view.fx * np.tan(aside)
        rows = view.cy - view.fy * np.tan(elevation)[:, None] / np.cos(aside)
        nearest = np.rint(rows).astype(np.intp), np.rint(columns).astype(np.intp)
        return nearest[0], np.broadcast_to(nearest[1], rows.shape)
