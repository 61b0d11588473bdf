"""The ground: asphalt, kerbs, pavement, lawns, and what is painted on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.street.along import Along
from seg_perception.datasets.street.canvas import Canvas, fill, starts_of
from seg_perception.datasets.street.labels import ROAD, SIDEWALK, TREE
from seg_perception.datasets.street.marks import Mark, draw_marks
from seg_perception.datasets.street.noise import noise_tile, sample_tile
from seg_perception.datasets.street.road import SIGHT, Section
from seg_perception.datasets.street.site import Stretch
from seg_perception.datasets.street.stage import Stage

Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]
Mask = NDArray[np.bool_]

ASPHALT, PARKING, KERB_FACE, KERB_TOP, SLABS, GRASS, PAVING = range(7)
LABEL_OF_ZONE = np.array([ROAD, ROAD, SIDEWALK, SIDEWALK, SIDEWALK, TREE, SIDEWALK], np.uint8)
KERB_WIDTH = 0.18
GRAIN_PER_METRE = 90.0  # texels of noise
STAIN_PER_METRE = 11.0
MARKS_TO = 110.0
NARROWEST_MARK = 0.12


@dataclass(frozen=True, eq=False)
class Plane:
    """Where the rows of the picture meet a horizontal plane.

    Attributes:
        depth: float32 [H] along the optical axis, metres.
        s, d: float32 [H, W] road coordinates, metres.
    """

    depth: Array
    s: Array
    d: Array


@dataclass(frozen=True, eq=False)
class Relief:
    """Where the ground is seen, pixel by pixel.

    Attributes:
        s, d: float32 [H, W] road coordinates, metres.
        beyond: float32 [H, W] metres outside the kerb's line, negative = on the road.
        raised: bool [H, W], what lies at the kerb's height.
        face: bool [H, W], the kerb's upright side.
        depth: float32 [H, W] along the optical axis, metres.
    """

    s: Array
    d: Array
    beyond: Array
    raised: Mask
    face: Mask
    depth: Array


@dataclass(frozen=True, eq=False)
class Ground:
    """The ground of one drive.

    Attributes:
        section: of the road.
        palette: float32 [7, 3] RGB by zone.
        slab: length of a paving slab, metres.
        wear: how much paint has worn off, 0 to 1.
        junctions: where side roads join.
        lawns: where there is grass beyond the pavement, not paving.
        stains: repairs, manholes, cracks.
        white, yellow: painted marks.
    """

    section: Section
    palette: Array
    slab: float
    wear: float
    junctions: Along[Stretch]
    lawns: Along[Stretch]
    stains: Along[Mark]
    white: Along[Mark]
    yellow: Along[Mark]

    def draw(self, stage: Stage, shadows: Sequence[FloatArray]) -> None:
        """Paint all that is seen of the ground within sight; `shadows` are outlines [N, 3]."""
        canvas = stage.canvas
        first = first_ground_row(canvas)
        if first >= canvas.camera.height:
            return
        relief = self._relief(stage, first)
        zone = self._zones(stage, relief)
        color = self.palette.take(zone, axis=0)
        color *= self._tone(stage, relief, zone, first)[..., None]
        self._paint(stage, relief, color, first)
        color *= stage.light.factor((0, 0, 1)).astype(np.float32)
        if shadows:
            _darken(color, shadows, stage, first)
        canvas.image[first:] = np.minimum(color, 255).astype(np.uint8)
        canvas.labels[first:] = LABEL_OF_ZONE.take(zone)
        canvas.depth[first:] = relief.depth

    def _relief(self, stage: Stage, first: int) -> Relief:
        """Decide between the road's plane, the pavement's, and the kerb between them."""
        road, top = _plane(stage, 0.0, first), _plane(stage, self.section.kerb, first)
        beyond_road, beyond_top = self._beyond(road.d), self._beyond(top.d)
        raised = (beyond_top > 0) & ~self._within(self.junctions, top.s, top.d, stage)
        face = (beyond_road > 0) & ~raised
        face &= ~self._within(self.junctions, road.s, road.d, stage)
        into = np.clip(beyond_top / np.minimum(beyond_top - beyond_road, -1e-6), 0, 1)
        face_depth = top.depth[:, None] + into * (road.depth - top.depth)[:, None]
        depth = np.where(raised, top.depth[:, None], road.depth[:, None])
        return Relief(
            s=np.where(raised, top.s, road.s),
            d=np.where(raised, top.d, road.d),
            beyond=np.where(raised, beyond_top, beyond_road),
            raised=raised,
            face=face,
            depth=np.where(face, face_depth, depth),
        )

    def _beyond(self, d: Array) -> Array:
        left, right = np.float32(self.section.edge(1)), np.float32(self.section.edge(-1))
        return np.asarray(np.maximum(d - left, -d - right))

    def _within(self, stretches: Along[Stretch], s: Array, d: Array, stage: Stage) -> Mask:
        """Which ground points lie in one of the stretches in sight."""
        inside = np.zeros(s.shape, bool)
        for stretch in stretches.between(stage.ego.s - 20, stage.ego.s + SIGHT):
            inside |= (s > stretch.start) & (s < stretch.end) & (d * stretch.side > 0)
        return inside

    def _zones(self, stage: Stage, relief: Relief) -> NDArray[np.uint8]:
        section, beyond, raised = self.section, relief.beyond, relief.raised
        parking, walk = (
            np.where(relief.d > 0, np.float32(left), np.float32(right))
            for left, right in (
                (section.parking_left, section.parking_right),
                (section.sidewalk_left, section.sidewalk_right),
            )
        )
        zone = np.full(beyond.shape, ASPHALT, np.uint8)
        zone[~raised & (beyond > -parking) & (beyond < 0)] = PARKING
        zone[relief.face] = KERB_FACE
        zone[raised] = SLABS
        zone[raised & (beyond < KERB_WIDTH + section.verge)] = GRASS
        zone[raised & (beyond < KERB_WIDTH)] = KERB_TOP
        plot = raised & (beyond > walk)
        zone[plot] = PAVING
        zone[plot & self._within(self.lawns, relief.s, relief.d, stage)] = GRASS
        return zone

    def _tone(self, stage: Stage, relief: Relief, zone: NDArray[np.uint8], first: int) -> Array:
        """Brightness [H, W] of the ground's texture, about 1."""
        across, along = _footprint(relief)
        s, d = relief.s, relief.d
        grain = sample_tile(noise_tile(0.3), d * GRAIN_PER_METRE, s * GRAIN_PER_METRE)
        stain = sample_tile(noise_tile(1.2), d * STAIN_PER_METRE, s * STAIN_PER_METRE * 0.4)
        fine = np.float32(0.075) / (1 + (np.sqrt(across * along) * GRAIN_PER_METRE / 4) ** 2)
        coarse = np.float32(0.05) / (1 + (along * STAIN_PER_METRE / 8) ** 2)
        contrast = np.array([1, 1.2, 0.8, 0.8, 0.7, 2.4, 0.8], np.float32)[zone]
        tone = 1 + contrast * (grain * fine[:, None] + stain * coarse[:, None])
        tone[zone <= PARKING] *= self._wheel_tracks(d[zone <= PARKING])
        slabs = np.nonzero((zone == SLABS) | (zone == KERB_TOP))
        tone[slabs] *= self._joints(s[slabs], d[slabs], across[slabs[0]], along[slabs[0]])
        stains = np.full((stage.canvas.camera.height, stage.canvas.camera.width), 128, np.uint8)
        draw_marks(stains, self.stains.between(stage.ego.s - 5, stage.ego.s + MARKS_TO), stage)
        tone *= np.where(relief.beyond < 0, stains[first:] / np.float32(128), 1)
        return np.asarray(tone)

    def _wheel_tracks(self, d: Array) -> Array:
        """Tyres polish and darken two tracks in each lane."""
        phase = d * np.float32(4 * np.pi / self.section.lane_width)
        return np.asarray(1 - np.float32(0.035) * np.cos(phase))

    def _joints(self, s: Array, d: Array, across: Array, along: Array) -> Array:
        """Brightness of pavement with dark joints between its slabs, at points [N]."""
        lines = np.maximum(_line(s, self.slab, 0.014, along), _line(d, 0.6, 0.014, across))
        return np.asarray(1 - np.float32(0.4) * lines)

    def _paint(self, stage: Stage, relief: Relief, color: Array, first: int) -> None:
        """Blend the markings into the colours [H, W, 3], in place."""
        camera = stage.canvas.camera
        width = NARROWEST_MARK * camera.fx / relief.depth[:, :1]
        strength = np.clip(width * 1.3, 0.1, 1) * np.float32(0.95 - 0.5 * self.wear)
        seen = stage.ego.s - 5, stage.ego.s + MARKS_TO
        for marks, paint in ((self.white, (232, 232, 226)), (self.yellow, (216, 176, 62))):
            mask = np.zeros((camera.height, camera.width), np.uint8)
            draw_marks(mask, marks.between(*seen), stage)
            rows, columns = np.nonzero(mask[first:])
            cover = mask[first:][rows, columns] / np.float32(255) * strength[rows, 0]
            cover *= relief.beyond[rows, columns] < 0
            here = color[rows, columns]
            color[rows, columns] = here + cover[:, None] * (np.array(paint, np.float32) - here)


def first_ground_row(canvas: Canvas) -> int:
    """The uppermost row whose ground is within sight."""
    camera = canvas.camera
    far = np.array([[SIGHT, 0.0, 0.0]])
    return max(0, int(np.ceil(camera.project(far)[0][0, 1])))


def _plane(stage: Stage, z: float, first: int) -> Plane:
    """Intersect the rays of the rows from `first` on with the plane `z` metres high."""
    camera, below = stage.canvas.camera, stage.canvas.ray_y[first:].astype(np.float64)
    cos, sin = np.cos(camera.pitch_rad), np.sin(camera.pitch_rad)
    depth = (camera.height_m - z) / (sin + cos * below)
    left = -depth.astype(np.float32)[:, None] * stage.canvas.ray_x
    s, d = stage.road.of_ground(depth * (cos - sin * below), left, stage.ego)
    return Plane(depth.astype(np.float32), s, d)


def _footprint(relief: Relief) -> tuple[Array, Array]:
    """How much ground a pixel covers in each row, across and along the road: float32 [H] metres."""
    middle = relief.d.shape[1] // 2
    across = np.abs(relief.d[:, middle + 1] - relief.d[:, middle])
    along = np.abs(np.gradient(relief.s[:, middle]))
    return across + np.float32(1e-3), along.astype(np.float32) + np.float32(1e-3)


def _line(position: Array, period: float, width: float, footprint: Array) -> Array:
    """How much of a pixel a line that comes back every `period` metres covers, 0 to 1."""
    offset = np.abs((position / np.float32(period)) % 1 - np.float32(0.5)) * np.float32(period)
    spread = np.maximum(footprint, np.float32(width))
    return np.asarray(np.clip(1 - offset / spread, 0, 1) * (np.float32(width) / spread))


def _darken(color: Array, shadows: Sequence[FloatArray], stage: Stage, first: int) -> None:
    """Take the sun's light from the colours [H, W, 3] within the shadows, in place."""
    canvas = stage.canvas
    mask = np.zeros((canvas.camera.height, canvas.camera.width), np.uint8)
    for outline in canvas.outlines(np.concatenate(shadows), starts_of(shadows)):
        if outline is not None:
            fill(mask, outline, (255,))
    soft = cv2.blur(mask, (3, 3))[first:].astype(np.float32) / 255
    color *= 1 - soft[..., None] * (1 - stage.light.shadow).astype(np.float32)
