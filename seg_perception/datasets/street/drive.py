"""One drive: a street, a vehicle with a camera that moves through it, and the pictures it takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.sample import Camera, Sample
from seg_perception.datasets.street.along import Along
from seg_perception.datasets.street.canvas import Canvas
from seg_perception.datasets.street.furnish import furnish
from seg_perception.datasets.street.lens import random_lens
from seg_perception.datasets.street.light import random_light
from seg_perception.datasets.street.paving import crossings, pave
from seg_perception.datasets.street.plots import build
from seg_perception.datasets.street.road import SIGHT, MiddleLine, Pose
from seg_perception.datasets.street.site import (
    Stretch,
    random_character,
    random_section,
    random_site,
)
from seg_perception.datasets.street.sky import Sky
from seg_perception.datasets.street.stage import Stage, Thing, far_to_near
from seg_perception.datasets.street.traffic import traffic

FloatArray = NDArray[np.float64]

LANE_FROM, LANE_TO, LANE_STEP = 2.0, 60.0, 2.0
PASSED = 3.0  # metres behind the camera, after which nothing of a thing is seen
SHADOWS_TO = 90.0


class Drive:
    """A street and a drive through it; everything follows from the seed.

    Args:
        name: of the drive.
        n_frames: its length.
        frame_rate: frames a second.
        height, width: of the pictures in pixels.
        seed: sequence of numbers that decide everything.
    """

    def __init__(
        self, name: str, n_frames: int, frame_rate: float, height: int, width: int, seed: list[int]
    ) -> None:
        rng = np.random.default_rng(seed)
        self.name, self._seed = name, seed
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
        zebras = crossings(site)
        standing: list[Thing] = []
        lawns: list[Stretch] = []
        for side in (1, -1):
            built, green = build(site, side)
            lawns += green
            standing += [*built, *furnish(site, side, zebras)]
        self._ground = pave(site, lawns, zebras)
        self._standing = Along((thing.reach(0.0), thing) for thing in standing)
        self._moving = list(traffic(site, self._speed, duration, self._light.lamps, zebras))

    def frame(self, index: int) -> Sample:
        """Render frame `index`, without need of those before it."""
        time_s = index * self._period
        ego = self._pose(time_s)
        stage = Stage(
            Canvas(self._camera), self._road, ego, self._light.seen_from(ego.heading), time_s
        )
        things = self._in_sight(ego.s, time_s)
        self._sky.draw(stage.canvas, ego.heading, stage.light)
        self._ground.draw(stage, self._shadows(things, stage))
        for thing in far_to_near(things, time_s):
            thing.draw(stage)
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
        )

    def _pose(self, time_s: float) -> Pose:
        """Along the middle of the lane, a little to and fro."""
        sway = 0.12 * np.sin(0.5 * time_s)
        yaw = float(0.06 * np.cos(0.5 * time_s) / self._speed)
        return self._road.pose(self._speed * time_s, self._section.ego_center + sway, yaw)

    def _in_sight(self, s: float, time_s: float) -> list[Thing]:
        near, far = s - PASSED, s + SIGHT - 20
        moving = [
            thing
            for thing in self._moving
            for start, end in [thing.reach(time_s)]
            if end > near and start < far
        ]
        return self._standing.between(near, far) + moving

    def _shadows(self, things: list[Thing], stage: Stage) -> list[FloatArray]:
        if not stage.light.has_shadows:
            return []
        behind = self._standing.between(stage.ego.s - 25, stage.ego.s - PASSED)
        near = [t for t in things if t.reach(stage.time_s)[0] < stage.ego.s + SHADOWS_TO]
        return [outline for thing in (*near, *behind) for outline in thing.shadows(stage)]

    def _lane_borders(self, ego: Pose) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Left and right border of the ego lane, [N, 3] metres, vehicle frame."""
        s = ego.s + np.arange(LANE_FROM, LANE_TO, LANE_STEP)
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
