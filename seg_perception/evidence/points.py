"""Evidence from a lidar: its points, projected into the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo
from seg_perception.errors import EvidenceError
from seg_perception.evidence.geometry import GroundPlane, Pinhole, Pose, project_optical
from seg_perception.evidence.record import Evidence
from seg_perception.evidence.terrain import (
    GROUND,
    HIGH,
    HIGHER,
    OBSTACLE,
    UNKNOWN,
    GroundRules,
    terrain_sets,
    terrain_weights,
)

SCREEN_PX = (4, 12)
"""Width and height in pixels of the cells in which a near obstacle hides what is behind it: a
lidar's rays are some pixels apart, and far ones pass between them."""
BEHIND, BEHIND_M = 0.1, 0.5
"""Hidden is what is deeper than the obstacle by this fraction and these metres."""
FOOT_M = 2.5
"""Low points within these metres of something raised are its foot, and no ground."""
UNTOLD = 255
"""Where something was hit that nothing is said about, until gaps are filled."""
MOST_METRES = 1000.0


def evidence_from_points(
    points: NDArray[np.float32],
    camera: Pinhole,
    pose: Pose,
    plane: GroundPlane,
    classes: Sequence[ClassInfo],
    groups: Mapping[str, tuple[str, ...]],
    *,
    rules: GroundRules | None = None,
    splat_px: int = 1,
    fill_px: tuple[int, int] = (5, 7),
    weight: float = 1.0,
    stamp_ns: int = 0,
    source: str = "points",
) -> Evidence:
    """Evidence of what is ground and what stands on it, where the lidar hit.

    Args:
        points: float32 [N, 3] metres, in the lidar's frame; what is not finite is left out.
        camera: intrinsics; its size is that of the result, so that `camera.scaled` to the size
            of the model saves time and loses no point.
        pose: from the lidar's frame into the camera's optical frame.
        plane: the ground, as `GroundTracker` finds it in `pose.apply(points)`.
        classes: of the model, by id.
        groups: class names by group, from the model's manifest; see `terrain_sets`.
        rules: from heights to sets.
        splat_px: every point speaks for a square of so many pixels; where several meet, for the
            nearest.
        fill_px: width and height of gaps between points of the ground, or of obstacles, up to which
            what is between them is the same.
        weight: how much each known pixel counts, >= 0.
        stamp_ns: moment of the observation, nanoseconds.
        source: name of the source.

    Raises:
        EvidenceError: `points` are no such array, or the groups do not tell the ground.
    """
    rules = rules or GroundRules()
    check_points(points, source)
    if splat_px < 1:
        raise EvidenceError(f"evidence {source!r}: a splat of {splat_px} px: give 1 or more")
    sets = terrain_sets(classes, groups, source)
    seen = _in_view(points, pose, camera)
    pixels, depth = project_optical(seen, camera)
    last = camera.width - 1, camera.height - 1
    columns, lines = np.rint(pixels).astype(np.intp).clip(0, last).T
    height = plane.heights(seen)
    terrain = rules.rows(depth, height)
    before = _nearest(columns, lines, depth, terrain == OBSTACLE, camera)
    raised = _nearest(columns, lines, depth, (terrain != GROUND) & (height > 0), camera)
    told = _is_sure(terrain, depth, before, raised)
    index = _splat(columns, lines, np.where(told, terrain, UNTOLD), camera, splat_px)
    index = _filled(index, fill_px)
    return Evidence(index, sets, terrain_weights(weight, rules), stamp_ns, source)


def check_points(points: NDArray[np.float32], source: str) -> None:
    """Refuse what are not points in metres.

    Raises:
        EvidenceError: they are not; the message names the source.
    """
    if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != 3:
        raise EvidenceError(
            f"evidence {source!r} is {points.dtype} {list(points.shape)}: give points float32 "
            "[N, 3] in metres (x, y, z of the cloud)"
        )
    some = points[:: max(1, len(points) // 1000)]
    known = np.abs(some[np.isfinite(some).all(axis=1)]).max(axis=1, initial=0)
    if len(known) and np.median(known) > MOST_METRES:
        raise EvidenceError(
            f"evidence {source!r} lies {np.median(known):.0f} m away: it seems to be in "
            "millimetres; divide by 1000"
        )


def _in_view(points: NDArray[np.float32], pose: Pose, camera: Pinhole) -> NDArray[np.float32]:
    """The points [n, 3] that the camera sees, in its optical frame, the farthest first.

    Culled by the four planes of the view frustum, before anything is done to all of them.
    """
    left, top = camera.cx + 0.5, camera.cy + 0.5  # of the image's edges, from its middle
    frustum = np.array(
        [
            [camera.fx, 0, left],
            [-camera.fx, 0, camera.width - left],
            [0, camera.fy, top],
            [0, -camera.fy, camera.height - top],
        ]
    )
    normals = (frustum @ pose.rotation).astype(np.float32)
    offsets = (frustum @ pose.translation).astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # lidars mark misses by inf or NaN
        inside = (normals @ points.T > -offsets[:, None]).all(axis=0)
    seen = pose.apply(points[np.flatnonzero(inside)])
    seen = seen[(seen[:, 2] > 0) & (seen[:, 2] < np.inf)]
    return np.asarray(seen[np.argsort(-seen[:, 2])])


def _is_sure(
    terrain: NDArray[np.uint8],
    depth: NDArray[np.floating],
    before: NDArray[np.float32],
    raised: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Which points [n] say something: not those behind an obstacle, nor what may be its foot."""
    hidden = depth > before * np.float32(1 + BEHIND) + np.float32(BEHIND_M)
    foot = (terrain == GROUND) & (np.abs(depth - raised) < np.float32(FOOT_M))
    return np.asarray((terrain != UNKNOWN) & ~hidden & ~foot)


def _nearest(
    columns: NDArray[np.intp],
    lines: NDArray[np.intp],
    depth: NDArray[np.floating],
    chosen: NDArray[np.bool_],
    camera: Pinhole,
) -> NDArray[np.float32]:
    """The least depth [n] of the chosen points in or beside the cell of each point, or inf.

    The points come with falling depth.
    """
    wide, high = SCREEN_PX
    cell_x, cell_y = columns // wide + 1, lines // high + 1
    screen = np.full((camera.height // high + 3, camera.width // wide + 3), np.inf, np.float32)
    # numpy keeps the last of several values for one place: the nearest, for they come last.
    screen[cell_y[chosen], cell_x[chosen]] = depth[chosen]
    across = np.minimum(np.minimum(screen[:, :-2], screen[:, 1:-1]), screen[:, 2:])
    around = np.minimum(np.minimum(across[:-2], across[1:-1]), across[2:])
    return np.asarray(around[cell_y - 1, cell_x - 1])


def _filled(index: NDArray[np.uint8], gap: tuple[int, int]) -> NDArray[np.uint8]:
    """Between two points on the ground is ground, and between two of an obstacle an obstacle.

    Args:
        index: uint8 [H, W], where points are.
        gap: width and height of the closing's rectangle in pixels.
    """
    box = np.ones((gap[1], gap[0]), np.uint8)
    flat = (index == GROUND).view(np.uint8)
    upright = ((index == OBSTACLE) | (index == HIGH) | (index == HIGHER)).view(np.uint8)
    other = ((index != UNKNOWN) & (index != GROUND)).view(np.uint8)
    ground = (cv2.morphologyEx(flat, cv2.MORPH_CLOSE, box) > cv2.dilate(other, box)).view(np.uint8)
    obstacle = cv2.morphologyEx(upright, cv2.MORPH_CLOSE, box)
    told = np.where(index == UNKNOWN, ground * GROUND + obstacle * OBSTACLE, index)
    return np.asarray(told * (index != UNTOLD), np.uint8)


def _splat(
    columns: NDArray[np.intp],
    lines: NDArray[np.intp],
    terrain: NDArray[np.uint8],
    camera: Pinhole,
    size: int,
) -> NDArray[np.uint8]:
    """Paint a square for every point [n], the last over the others: uint8 [H, W]."""
    index = np.zeros((camera.height + size, camera.width + size), np.uint8)
    corner = (lines * index.shape[1] + columns)[:, None]
    square = np.add.outer(np.arange(size) * index.shape[1], np.arange(size)).ravel()
    index.ravel()[corner + square] = terrain[:, None]
    low = (size - 1) // 2  # rather downwards: above an obstacle may be sky
    return np.ascontiguousarray(index[low : low + camera.height, low : low + camera.width])
