"""Evidence from lane detection: lane lines, and what lies between the lane's borders, are road."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID
from seg_perception.errors import EvidenceError
from seg_perception.evidence.geometry import Pinhole, Pose
from seg_perception.evidence.record import Evidence, check_map, row_weights

LINE, BETWEEN = 1, 2
"""Rows of lane-line evidence: the paint itself, and the surface between the ego lane's lines."""

MOST_LINE_SHARE = 0.2
"""Lines that cover more of the image than this are a region."""
ROW_STEP = 4
"""Lines are looked at in every so many rows: they are smooth."""
FEWEST_ROWS = 4
NEAREST_M = 0.3
"""What is nearer to the camera than this along the axis is cut off before it is projected."""
NEAR_LANE_M, FAR_LANE_M = 12.0, 60.0
"""How far a lane is told that may have nothing on it, and one that may."""
_SUBPIXEL_BITS = 4
_FAR_PX = 1 << 20


def evidence_from_lane_mask(
    mask: NDArray[np.uint8],
    road_ids: tuple[int, ...],
    n_classes: int,
    *,
    weight: float = 1.0,
    stamp_ns: int = 0,
    source: str = "lane_mask",
) -> Evidence:
    """Evidence that every pixel of the mask is one of the road classes.

    Args:
        mask: uint8 [H, W]; 0 and 255 = unknown, anything else = on a lane.
        road_ids: ids of the classes that a lane can lie on.
        n_classes: C, the number of classes of the model.
        weight: how much each lane pixel counts, >= 0.
        stamp_ns: moment of the observation, nanoseconds.
        source: name of the source.

    Raises:
        EvidenceError: `mask` is not such a map, or `road_ids` are not classes of the model.
    """
    check_map(mask, source)
    index = ((mask != 0) & (mask != VOID)).view(np.uint8)
    sets = _road_sets(2, road_ids, n_classes, source)
    return Evidence(index, sets, row_weights(2, weight), stamp_ns, source)


def evidence_from_lane_lines(
    lines: NDArray[np.uint8],
    road_ids: tuple[int, ...],
    n_classes: int,
    *,
    weight: float = 1.0,
    between_weight: float = 0.5,
    reach: float = 0.6,
    stamp_ns: int = 0,
    source: str = "lane_lines",
) -> Evidence:
    """Evidence from thin lane lines, as TuSimple-style networks give them.

    The lines are road, and so is the surface between the two lines of the ego lane: the nearest
    to the left and to the right of the image's middle at its bottom, in the rows where both are
    seen. A car may drive between them, hence the smaller weight there, and the limited reach.

    Args:
        lines: uint8 [H, W]; 0 = background, else the line's id, 255 = unknown. Where all lines
            have one id (a binary image), connected pixels are taken for one line; where 255 is
            the only value beside 0, it means "line", as in TuSimple's masks.
        road_ids: ids of the classes that a lane can lie on.
        n_classes: C, the number of classes of the model.
        weight: how much each pixel of a line counts, >= 0.
        between_weight: factor on it for the pixels between the ego lane's lines, >= 0.
        reach: fraction of the rows between the ego lane's lines, from the bottom, that is told.
        stamp_ns: moment of the observation, nanoseconds.
        source: name of the source.

    Raises:
        EvidenceError: `lines` is not such a map or shows a region, or `road_ids` are not classes
            of the model.
    """
    check_map(lines, source)
    sets = _road_sets(3, road_ids, n_classes, source)
    weights = np.array([0.0, weight, weight * between_weight], np.float32)
    ids = _line_ids(lines, source)
    index = np.zeros(lines.shape, np.uint8)
    pair = _ego_lines(ids)
    if pair is not None:
        _fill(index, _between(*pair, reach), BETWEEN)
    np.copyto(index, np.uint8(LINE), where=ids > 0)
    return Evidence(index, sets, weights, stamp_ns, source)


def evidence_from_lane_borders(
    left: NDArray[np.floating[Any]],
    right: NDArray[np.floating[Any]],
    camera: Pinhole,
    pose: Pose,
    road_ids: tuple[int, ...],
    n_classes: int,
    *,
    obstacle_ids: tuple[int, ...] = (),
    max_range_m: float | None = None,
    weight: float = 1.0,
    stamp_ns: int = 0,
    source: str = "lane_borders",
) -> Evidence:
    """Evidence that the surface between the two borders of the ego lane is road.

    What stands or drives on it hides it: told of `obstacle_ids`, the set is road or one of those,
    as far as the lane is known; else road, and only near by, where seldom anything is.

    Args:
        left: [N, 3] metres, points along the left border, near to far or far to near, in the
            source frame of `pose`.
        right: [M, 3] metres, likewise the right border, in the same direction.
        camera: intrinsics; its size is that of the result.
        pose: from the borders' frame into the camera's optical frame.
        road_ids: ids of the classes that a lane can lie on.
        n_classes: C, the number of classes of the model.
        obstacle_ids: ids of the classes that may be on a lane.
        max_range_m: what is farther from the camera is not told; None = 60 m with `obstacle_ids`,
            12 m without. Of a lane's pixels, five in six are nearer than 10 m.
        weight: how much each pixel counts, >= 0.
        stamp_ns: moment of the observation, nanoseconds.
        source: name of the source.

    Raises:
        EvidenceError: a border is not [N, 3] or not finite, or `road_ids` are not classes of the
            model.
    """
    sets = _road_sets(2, road_ids, n_classes, source)
    sets[1, list(obstacle_ids)] = 1.0
    if max_range_m is None:
        max_range_m = FAR_LANE_M if obstacle_ids else NEAR_LANE_M
    for name, border in (("left", left), ("right", right)):
        if border.ndim != 2 or border.shape[1] != 3 or not np.isfinite(border).all():
            raise EvidenceError(
                f"evidence {source!r}: the {name} border is {list(border.shape)}, or not finite: "
                "give points [N, 3] in metres"
            )
    index = np.zeros((camera.height, camera.width), np.uint8)
    if len(left) > 1 and len(right) > 1:
        outline = pose.apply(np.concatenate([left, right[::-1]]).astype(np.float64))
        near = _cut(outline, (0.0, 0.0, -1.0), max_range_m)
        seen = _cut(near, (0.0, 0.0, 1.0), -NEAREST_M)
        if len(seen) > 2:
            slopes = seen[:, :2] / seen[:, 2:]
            _fill(index, slopes * (camera.fx, camera.fy) + (camera.cx, camera.cy), 1)
    return Evidence(index, sets, row_weights(2, weight), stamp_ns, source)


def _road_sets(
    n_rows: int, road_ids: tuple[int, ...], n_classes: int, source: str
) -> NDArray[np.float32]:
    """Float32 [n_rows, C]: nothing known, then {road} in every row."""
    if not road_ids or not all(0 <= road_id < n_classes for road_id in road_ids):
        raise EvidenceError(
            f"evidence {source!r}: lanes lie on the classes {list(road_ids)}, but the model has "
            f"the classes 0 to {n_classes - 1}: give at least one of those"
        )
    sets = np.zeros((n_rows, n_classes), np.float32)
    sets[0] = 1.0
    sets[1:, list(road_ids)] = 1.0
    return sets


def _line_ids(lines: NDArray[np.uint8], source: str) -> NDArray[np.integer[Any]]:
    """The id of the line in each pixel, 0 = none: [H, W]."""
    counts = ROW_STEP * np.bincount(lines[::ROW_STEP].ravel(), minlength=256)
    values = np.flatnonzero(counts[1:VOID]) + 1
    if not len(values) and counts[VOID] <= MOST_LINE_SHARE * lines.size:
        values = np.array([VOID])
    share = counts[values].sum() / lines.size
    if share > MOST_LINE_SHARE:
        raise EvidenceError(
            f"evidence {source!r}: lines cover {100 * share:.0f} % of the image: give thin lines, "
            "or give a region as a lane mask"
        )
    if len(values) != 1:
        return np.where(lines == VOID, np.uint8(0), lines)
    paint = (lines == values[0]).view(np.uint8)
    return np.asarray(cv2.connectedComponents(paint, connectivity=8, ltype=cv2.CV_16U)[1])


def _ego_lines(
    ids: NDArray[np.integer[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Middle column by row, float64 [R], NaN where it is not seen, of the ego lane's two lines."""
    sparse = ids[::ROW_STEP]
    rows, columns = np.nonzero(sparse)
    if not len(rows):
        return None
    found = sparse[rows, columns].astype(np.intp)
    n_rows = len(sparse)
    place = found * n_rows + rows
    counts = np.bincount(place, minlength=(found.max() + 1) * n_rows).reshape(-1, n_rows)
    sums = np.bincount(place, weights=columns, minlength=counts.size).reshape(-1, n_rows)
    tracks = [
        np.where(counts[i] > 0, sums[i] / np.maximum(counts[i], 1), np.nan)
        for i in np.flatnonzero((counts > 0).sum(axis=1) >= FEWEST_ROWS)
    ]
    middle = (ids.shape[1] - 1) / 2
    bottoms = np.array([_at_bottom(track) for track in tracks]) - middle
    left, right = (np.where(side, np.abs(bottoms), np.inf) for side in (bottoms < 0, bottoms >= 0))
    if not (np.isfinite(left).any() and np.isfinite(right).any()):
        return None
    return tracks[int(left.argmin())], tracks[int(right.argmin())]


def _at_bottom(track: NDArray[np.float64]) -> float:
    """Where a line meets the bottom row, by the straight line through its lower half."""
    seen = np.flatnonzero(np.isfinite(track))
    lower = seen[len(seen) // 2 :]
    slope, offset = np.polyfit(lower, track[lower], 1)
    return float(slope * (len(track) - 1) + offset)


def _between(
    left: NDArray[np.float64], right: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Outline (column, row) of the lower part of the surface between two lines."""
    rows = np.arange(len(left))
    seen = [np.flatnonzero(np.isfinite(track)) for track in (left, right)]
    common = rows[max(seen[0][0], seen[1][0]) : min(seen[0][-1], seen[1][-1]) + 1]
    common = common[len(common) - round(reach * len(common)) :]
    x_left, x_right = (
        np.interp(common, at, track[at]) for at, track in zip(seen, (left, right), strict=True)
    )
    apart = x_right > x_left
    y = common[apart] * float(ROW_STEP)
    sides = [np.column_stack([x[apart], y]) for x in (x_left, x_right)]
    return np.concatenate([sides[0], sides[1][::-1]])


def _cut(
    outline: NDArray[np.floating[Any]], normal: tuple[float, float, float], offset: float
) -> NDArray[np.float64]:
    """The part of a polygon [N, 3] with normal . x + offset > 0 (Sutherland and Hodgman, 1974)."""
    following = np.roll(outline, -1, axis=0)
    before, after = outline @ normal + offset, following @ normal + offset
    crossing = (before > 0) != (after > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(crossing, before / (before - after), 0.0)
    cuts = outline + share[:, None] * (following - outline)
    both = np.stack([outline, cuts], axis=1).reshape(-1, 3)
    kept = np.stack([before > 0, crossing], axis=1).ravel()
    return np.asarray(both[kept], np.float64)


def _fill(index: NDArray[np.uint8], outline: NDArray[np.float64], row: int) -> None:
    """Fill a polygon of (column, row) with the number of a set, in place."""
    if len(outline) < 3:
        return
    scaled = np.rint(outline.clip(-_FAR_PX, _FAR_PX) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(index, [scaled], row, shift=_SUBPIXEL_BITS)
