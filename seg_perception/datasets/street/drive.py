"""One drive: a street, a vehicle with a camera that moves through it, and the pictures it takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.sample import Camera, Sample
from seg_perception.datasets.street.canvas import Canvas
from seg_perception.datasets.street.layout import lay_out
from seg_perception.datasets.street.lens import random_lens
from seg_perception.datasets.street.lidar import Lidar
from seg_perception.datasets.street.light import random_light
from seg_perception.datasets.street.road import SIGHT, MiddleLine, Pose
from seg_perception.datasets.street.site import (
    random_character,
    random_section,
    random_site,
)
from seg_perception.datasets.street.sky import Sky
from seg_perception.datasets.street.stage import Stage, far_to_near

FloatArray = NDArray[np.float64]

LANE_FROM, LANE_TO, LANE_STEP = 2.0, 60.0, 2.0
PASSED = 3.0  # metres behind the camera, after which nothing of a thing is seen
SHADOWS_FROM, SHADOWS_TO = 25.0, 90.0
SCAN = 1  # tells the lidar's random numbers from the camera's


class Drive:
    """A street and a drive through it; everything follows from the seed.

    Args:
        name: of the drive.
        n_frames: its length.
        frame_rate: frames a second.
        height, width: of the pictures in pixels.
        seed: sequence of numbers that decide everything.
        lidar: that the vehicle carries beside the camera, if any.
    """

    def __init__(
        self,
        name: str,
        n_frames: int,
        frame_rate: float,
        height: int,
        width: int,
        seed: list[int],
        lidar: Lidar | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.name, self._seed, self._lidar = name, seed, lidar
        self._period = 1 / frame_rate
        self._speed = rng.uniform(5, 12)
        duration = n_frames * self._period
        length = self._speed * duration
        self._camera = random_camera(height, width, rng)
        self._light = random_light(rng)
        self._lens = random_lens(self._light, rng)
        self._section = random_section(rng)
        self._road = MiddleLine(length, rng.uniform(0, 1 / 110), rng)
        self._sky = Sky(self._camera, self._light, rng)
        site = random_site(self._section, random_character(rng), length + SIGHT, rng)
        self._layout = lay_out(site, self._speed, duration, self._light.lamps)

    def frame(self, index: int) -> Sample:
        """Render frame `index`, without need of those before it."""
        time_s = index * self._period
        ego = self._pose(time_s)
        stage = self._stage(self._camera, ego, time_s)
        self._sky.draw(stage.canvas, ego.heading, stage.light)
        self._draw_street(stage, self._shadows(stage))
        left, right = self._lane_borders(ego)
        return Sample(
            name=f"{self.name}_{index:06d}",
            drive=self.name,
            stamp_ns=round(index * self._period * 1e9),
            image=self._lens.expose(stage.canvas, stage.light, [*self._seed, index]),
            labels=stage.canvas.labels,
            depth=stage.canvas.depth,
            camera=self._camera,
            lane_left=left,
            lane_right=right,
            points=self._scan(ego, index),
            pose=(ego.x, ego.y, ego.heading),
        )

    def _stage(self, camera: Camera, ego: Pose, time_s: float) -> Stage:
        light = self._light.seen_from(ego.heading)
        return Stage(Canvas(camera), self._road, ego, light, time_s)

    def _draw_street(self, stage: Stage, shadows: list[FloatArray]) -> None:
        start = stage.ego.s
        things = self._layout.between(start - PASSED, start + SIGHT - 20, stage.time_s)
        self._layout.ground.draw(stage, shadows)
        for thing in far_to_near(things, stage.time_s):
            thing.draw(stage)

    def _scan(self, ego: Pose, index: int) -> NDArray[np.float32] | None:
        """What the lidar sees of frame `index`: points [N, 3], vehicle frame."""
        if self._lidar is None:
            return None
        stage = self._stage(self._lidar.view, self._lidar.place(ego), index * self._period)
        self._draw_street(stage, [])
        rng = np.random.default_rng([*self._seed, index, SCAN])
        return self._lidar.scan(stage.canvas.depth, rng)

    def _pose(self, time_s: float) -> Pose:
        """Along the middle of the lane, a little to and fro."""
        sway = 0.12 * np.sin(0.5 * time_s)
        yaw = float(0.06 * np.cos(0.5 * time_s) / self._speed)
        return self._road.pose(self._speed * time_s, self._section.ego_center + sway, yaw)

    def _shadows(self, stage: Stage) -> list[FloatArray]:
        """Outlines of the shadows that can be seen, also of what we have passed."""
        if not stage.light.has_shadows:
            return []
        start, end = stage.ego.s - SHADOWS_FROM, stage.ego.s + SHADOWS_TO
        things = self._layout.between(start, end, stage.time_s)
        return [outline for thing in things for outline in thing.shadows(stage)]

    def _lane_borders(self, ego: Pose) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Left and right border of the ego lane, [N, 3] metres, vehicle frame."""
        s = ego.s + np.arange(LANE_FROM, LANE_TO, LANE_STEP, dtype=np.float64)
        half = self._section.lane_width / 2
        left, right = (
            self._road.in_vehicle(s, self._section.ego_center + offset, ego).astype(np.float32)
            for offset in (half, -half)
        )
        return left, right


def random_camera(height: int, width: int, rng: np.random.Generator) -> Camera:
    """A forward camera behind a windscreen or on a roof."""
    focal = width * rng.uniform(0.85, 1.2)
    horizon = height * rng.uniform(0.42, 0.58)
    cy = (height - 1) / 2
    return Camera(
        width=width,
        height=height,
        fx=focal,
        fy=focal,
        cx=(width - 1) / 2,
        cy=cy,
        height_m=rng.uniform(1.25, 1.8),
        pitch_rad=float(np.arctan((cy - horizon) / focal)),
    )
