"""The ground plane from points: RANSAC around what the mounting says, tracked over frames."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.errors import EvidenceError
from seg_perception.evidence.geometry import GroundPlane

MOST_POINTS = 2000
"""Points looked at in a frame: the plane has three unknowns."""
N_HYPOTHESES = 64
FEWEST_INLIERS = 50
LEAST_SHARE = 0.3
"""Of the points near the expected plane, as many must lie on the plane found."""
NEAR_M, FAR_M = 1.0, 30.0
"""Depths between which points tell the plane: nearer is the bonnet, farther bends away."""
INLIER_M, INLIER_SLOPE = 0.06, 0.005
"""Points within INLIER_M + INLIER_SLOPE * depth of a plane lie on it."""
FRESH = 0.4
"""Weight of the newest frame in the tracked plane."""
HELD_FRAMES = 5
"""Frames without a plane for which the last one is kept: a junction full of cars."""


class GroundTracker:
    """Finds the ground in each frame's points, near the plane that the mounting promises.

    RANSAC (Fischler and Bolles, 1981): planes through three random points, and the planes of the
    last frame and of the mounting, compete by inliers; the winner is refined by least squares and
    blended with that of the frames before.

    Args:
        height_m: of the camera above the ground, metres.
        pitch_rad: of the optical axis below the horizontal, radians.
        seed: of the random choices.
        max_tilt_rad: how far a plane's normal may lie from the promised one, radians.
        max_rise: how far its height may differ from `height_m`, as a fraction of it.

    Raises:
        EvidenceError: a height that is none.
    """

    def __init__(
        self,
        height_m: float,
        pitch_rad: float,
        seed: int = 0,
        *,
        max_tilt_rad: float = math.radians(8),
        max_rise: float = 0.35,
    ) -> None:
        if not 0.1 < height_m < 10:
            raise EvidenceError(
                f"a camera {height_m} m above the ground: give its height in metres, 0.1 to 10"
            )
        self._prior = GroundPlane.of_mounted_camera(height_m, pitch_rad)
        self._rng = np.random.default_rng(seed)
        self._least_cosine = math.cos(max_tilt_rad)
        self._most_rise_m = max_rise * height_m
        self._plane: GroundPlane | None = None
        self._held = 0

    def reset(self) -> None:
        """Forget the frames so far, as after a jump of the clock."""
        self._plane, self._held = None, 0

    def update(self, points: NDArray[np.floating[Any]]) -> GroundPlane | None:
        """Take in a frame's points.

        Args:
            points: [N, 3] metres in the camera's optical frame, of the ground and of anything
                else; what is not finite is left out.

        Returns:
            The ground, or None where it cannot be told.
        """
        found = self._fit(self._candidates(np.asarray(points, np.float32)))
        if found is None:
            self._held += 1
            if self._held > HELD_FRAMES:
                self._plane = None
            return self._plane
        self._held = 0
        self._plane = found if self._plane is None else _blend(self._plane, found)
        return self._plane

    def _candidates(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Some of the points that may be ground: float32 [n, 3]."""
        points = points[:: max(1, len(points) // (8 * MOST_POINTS))]
        expected = self._plane or self._prior
        depth = points[:, 2]
        reach = np.float32(self._most_rise_m) + depth * np.float32(
            math.tan(math.acos(self._least_cosine)) / 2
        )
        with np.errstate(invalid="ignore"):
            near = (
                (depth > NEAR_M)
                & (depth < FAR_M)
                & (np.abs(expected.heights(points)) < reach)
                & np.isfinite(points).all(axis=1)
            )
        chosen = points[near]
        return np.asarray(chosen[:: max(1, len(chosen) // MOST_POINTS)])

    def _fit(self, points: NDArray[np.float32]) -> GroundPlane | None:
        if len(points) < FEWEST_INLIERS:
            return None
        normals, offsets = self._hypotheses(points)
        tolerance = np.float32(INLIER_M) + np.float32(INLIER_SLOPE) * points[:, 2]
        inliers = np.abs(normals @ points.T + offsets[:, None]) < tolerance
        best = inliers[inliers.sum(axis=1).argmax()]
        plane = None
        for _ in range(2):
            if best.sum() < max(FEWEST_INLIERS, LEAST_SHARE * len(points)):
                return None
            plane = _least_squares(points[best], 1 / tolerance[best])
            if plane is None or not self._plausible(plane):
                return None
            best = np.abs(plane.heights(points)) < tolerance
        return plane

    def _hypotheses(
        self, points: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Normals [M, 3] and offsets [M] of plausible planes, the known ones among them."""
        triples = points[self._rng.integers(len(points), size=(N_HYPOTHESES, 3))]
        normals = np.cross(triples[:, 1] - triples[:, 0], triples[:, 2] - triples[:, 0])
        length = np.linalg.norm(normals, axis=1)
        normals, triples = normals[length > 1e-6], triples[length > 1e-6]
        normals /= length[length > 1e-6, None]
        offsets = -(normals * triples[:, 0]).sum(axis=1)
        sign = np.where(offsets < 0, np.float32(-1), np.float32(1))
        normals, offsets = normals * sign[:, None], offsets * sign
        fit = (normals @ self._prior.normal.astype(np.float32) > self._least_cosine) & (
            np.abs(offsets - self._prior.offset_m) < self._most_rise_m
        )
        known = [self._prior] if self._plane is None else [self._prior, self._plane]
        return (
            np.vstack([normals[fit], *(plane.normal for plane in known)]).astype(np.float32),
            np.append(offsets[fit], [plane.offset_m for plane in known]).astype(np.float32),
        )

    def _plausible(self, plane: GroundPlane) -> bool:
        return bool(
            plane.normal @ self._prior.normal > self._least_cosine
            and abs(plane.offset_m - self._prior.offset_m) < self._most_rise_m
        )


def _least_squares(points: NDArray[np.float32], weight: NDArray[np.float32]) -> GroundPlane | None:
    """The plane through points: -y is the more upright axis, so solve y = a x + b z + c."""
    design = np.column_stack([points[:, 0], points[:, 2], np.ones(len(points))]) * weight[:, None]
    normal_matrix = design.T @ design
    try:
        a, b, c = np.linalg.solve(normal_matrix, design.T @ (points[:, 1] * weight))
    except np.linalg.LinAlgError:
        return None
    normal = np.array([a, -1.0, b]) / math.sqrt(a * a + b * b + 1)
    return GroundPlane(normal, float(-c * normal[1]))


def _blend(old: GroundPlane, new: GroundPlane) -> GroundPlane:
    """Between the tracked plane and the newest; a jump (a speed bump, another drive) is taken."""
    normal = (1 - FRESH) * old.normal + FRESH * new.normal
    offset = (1 - FRESH) * old.offset_m + FRESH * new.offset_m
    return GroundPlane(normal / np.linalg.norm(normal), float(offset))
