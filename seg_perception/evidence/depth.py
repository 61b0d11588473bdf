"""Evidence from a depth image, dense and registered with the camera (REP 118)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo
from seg_perception.errors import EvidenceError
from seg_perception.evidence.geometry import GroundPlane, Pinhole
from seg_perception.evidence.ground import GroundTracker
from seg_perception.evidence.record import Evidence
from seg_perception.evidence.terrain import (
    FAR,
    GROUND,
    SOLID,
    GroundRules,
    terrain_sets,
    terrain_weights,
)
from seg_perception.nearest import resize_nearest

__all__ = [
    "GroundPlane",
    "GroundRules",
    "GroundTracker",
    "check_depth",
    "evidence_from_depth",
    "sample_points",
]

STEEP_ROWS, STEEPEST = 3, 0.5
"""Over so many rows the ground may rise by this fraction of what an upright surface would."""

MOST_METRES = 300.0
"""A median depth beyond this is millimetres taken for metres."""


def evidence_from_depth(
    depth: NDArray[np.float32],
    camera: Pinhole,
    plane: GroundPlane,
    classes: Sequence[ClassInfo],
    groups: Mapping[str, tuple[str, ...]],
    *,
    rules: GroundRules | None = None,
    weight: float = 1.0,
    stamp_ns: int = 0,
    source: str = "depth",
) -> Evidence:
    """Evidence of what is ground, what stands on it, and where nothing is.

    Args:
        depth: float32 [h, w] metres along the optical axis; NaN and <= 0 = unknown, inf = no
            return. Taken at the pixels of `camera` if it has another size.
        camera: intrinsics; its size is that of the result, so that `camera.scaled` to the size
            of the model saves time.
        plane: the ground, as `GroundTracker` finds it.
        classes: of the model, by id.
        groups: class names by group, from the model's manifest; see `terrain_sets`.
        rules: from heights to sets.
        weight: how much each known pixel counts, >= 0.
        stamp_ns: moment of the observation, nanoseconds.
        source: name of the source.

    Raises:
        EvidenceError: `depth` is no depth image in metres, or the groups do not tell the ground.
    """
    rules = rules or GroundRules()
    check_depth(depth, source)
    sets = terrain_sets(classes, groups, source)
    fitting = resize_nearest(depth, camera.height, camera.width)
    rising = plane.ray_heights(camera)
    with np.errstate(invalid="ignore"):  # inf * 0 on the horizon
        height = fitting * rising
    height += np.float32(plane.offset_m)
    index = rules.rows(fitting, height)
    index[_steep(fitting, height, camera) & (index == GROUND)] = SOLID
    index[(fitting > rules.far_m) & (rising > 0)] = FAR
    return Evidence(index, sets, terrain_weights(weight, rules), stamp_ns, source)


def _steep(
    depth: NDArray[np.float32], height: NDArray[np.float32], camera: Pinhole
) -> NDArray[np.bool_]:
    """Where the surface rises like a wall: the feet of cars and houses are low, but no ground.

    From one row to the next an upright surface rises by depth / fy metres, the ground by nothing.
    """
    steep = np.zeros(depth.shape, bool)
    per_row = depth[STEEP_ROWS:] * np.float32(STEEPEST * STEEP_ROWS / camera.fy)
    with np.errstate(invalid="ignore"):
        steep[STEEP_ROWS:] = height[:-STEEP_ROWS] - height[STEEP_ROWS:] > per_row
    return steep


def sample_points(
    depth: NDArray[np.float32], camera: Pinhole, limit: int = 3000
) -> NDArray[np.float32]:
    """Some points of a depth image on an even grid, for `GroundTracker.update`.

    Args:
        depth: float32 [H, W] metres, as in `evidence_from_depth`, of any size.
        camera: intrinsics, of any size.
        limit: about so many pixels are looked at, in the lower two thirds of the image.

    Returns:
        float32 [N, 3] metres in the optical frame, those that have a depth.

    Raises:
        EvidenceError: `depth` is no depth image in metres.
    """
    check_depth(depth, "depth")
    height, width = depth.shape
    camera = camera.scaled(width, height)
    top = height // 3
    step = max(1, round(((height - top) * width / limit) ** 0.5))
    x, y = camera.ray_slopes()
    z = depth[top::step, ::step]
    with np.errstate(invalid="ignore"):  # inf * 0 straight ahead
        points = np.stack([z * x[::step], z * y[top::step, None], z], axis=-1).reshape(-1, 3)
    known: NDArray[np.float32] = points[np.isfinite(points).all(axis=1) & (points[:, 2] > 0)]
    return known


def check_depth(depth: NDArray[np.float32], source: str) -> None:
    """Refuse what is not a depth image in metres.

    Raises:
        EvidenceError: it is not; the message names the source.
    """
    if depth.dtype != np.float32 or depth.ndim != 2 or depth.size == 0:
        raise EvidenceError(
            f"evidence {source!r} is {depth.dtype} {list(depth.shape)}: give a depth image "
            "float32 [H, W] in metres (16UC1 is millimetres: divide by 1000)"
        )
    some = depth[:: max(1, depth.shape[0] // 40), :: max(1, depth.shape[1] // 40)]
    known = some[np.isfinite(some) & (some > 0)]
    if len(known) and np.median(known) > MOST_METRES:
        raise EvidenceError(
            f"evidence {source!r} has a median depth of {np.median(known):.0f} m: it seems to be "
            "in millimetres; divide by 1000"
        )
