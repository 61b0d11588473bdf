"""Evidence of another moment, seen from where the camera is now: planar ego-motion."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Collection
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.evidence.geometry import GroundPlane, Pinhole, Pose
from seg_perception.evidence.record import Evidence

MOST_PARALLAX_PX = 3.0
"""Obstacles have no known depth; they are kept where no depth moves them further than this from
where the ground's does."""

GRID_PX = 8
"""Parallax is smooth, and is computed on a grid this coarse."""


@dataclass(frozen=True, order=True)
class PlanarPose:
    """Where base_link is at one moment.

    Attributes:
        stamp_ns: nanoseconds.
        x_m, y_m: in the odometry's frame, metres.
        yaw_rad: heading, anticlockwise, radians.
    """

    stamp_ns: int
    x_m: float
    y_m: float
    yaw_rad: float

    def world_to_camera(self, mounted: Pose) -> Pose:
        """From the odometry's frame into the optical frame of a camera mounted on base_link.

        Args:
            mounted: from base_link into the optical frame.
        """
        sin, cos = math.sin(self.yaw_rad), math.cos(self.yaw_rad)
        rotation = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        return mounted.after(Pose(rotation, -rotation @ np.array([self.x_m, self.y_m, 0.0])))


class OdometryBuffer:
    """The last poses of the vehicle, interpolated between their stamps.

    Args:
        length: how many poses are kept.
        most_gap_s: no pose is told further than this from a stamp that was heard, nor between two
            that lie further apart; seconds.
    """

    def __init__(self, length: int = 256, most_gap_s: float = 0.2) -> None:
        self._length, self._most_gap_ns = length, round(most_gap_s * 1e9)
        self._poses: list[PlanarPose] = []

    def add(self, pose: PlanarPose) -> None:
        """Keep a pose; one that is not finite is left out."""
        if all(map(math.isfinite, (pose.x_m, pose.y_m, pose.yaw_rad))):
            # In one step, so that another thread that reads meets a whole list.
            poses = list(self._poses)
            insort(poses, pose)
            self._poses = poses[-self._length :]

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        self._poses = []

    def at(self, stamp_ns: int) -> PlanarPose | None:
        """The pose at a moment; None where it cannot be told."""
        poses = self._poses
        i = bisect_left(poses, stamp_ns, key=lambda pose: pose.stamp_ns)
        if i < len(poses) and poses[i].stamp_ns == stamp_ns:
            return poses[i]
        first = min(max(i - 1, 0), len(poses) - 2)  # beyond the ends: the motion just there
        if first < 0:
            return None
        before, after = poses[first], poses[first + 1]
        outside_ns = max(before.stamp_ns - stamp_ns, stamp_ns - after.stamp_ns)
        if max(after.stamp_ns - before.stamp_ns, outside_ns) > self._most_gap_ns:
            return None
        return _between(before, after, stamp_ns)


def warp(
    evidence: Evidence,
    from_pose: Pose,
    to_pose: Pose,
    camera: Pinhole,
    plane: GroundPlane,
    ground_ids: Collection[int] = (),
    *,
    stamp_ns: int | None = None,
) -> Evidence:
    """Evidence as it would look from another place.

    What may be ground moves with the plane, by the homography K (R - t nT / d) K^-1 (Hartley and
    Zisserman, 2004, eq. 13.2, with this plane's sign). Everything else moves with infinitely
    distant things, and only where the ground would not have moved otherwise by more than
    `MOST_PARALLAX_PX`: how far an obstacle is, evidence does not say.

    Args:
        evidence: of any size.
        from_pose: from any fixed frame into the camera's optical frame, then.
        to_pose: likewise now.
        camera: intrinsics of any size.
        plane: the ground in the optical frame, then.
        ground_ids: classes that lie on the ground; a set that leaves one of them possible moves
            with the ground. None given = all sets do.
        stamp_ns: the moment of `to_pose`, nanoseconds; None = the evidence keeps its own stamp.
    """
    height, width = evidence.index.shape
    camera = camera.scaled(width, height)
    motion = to_pose.after(from_pose.inverse())
    turned = _homography(camera, motion.rotation)
    driven = _homography(
        camera, motion.rotation - np.outer(motion.translation, plane.normal) / plane.offset_m
    )
    lies = _on_ground(evidence.sets, ground_ids)
    lying = _warped(np.where(lies[evidence.index], evidence.index, np.uint8(0)), driven)
    standing = _warped(evidence.index, turned)
    below = _below_horizon(plane, motion, camera)
    unsure = lies[standing] | (_parallax(driven, turned, camera) > MOST_PARALLAX_PX)
    standing[below & unsure] = 0
    index = np.where(below & (lying > 0), lying, standing)
    stamp = evidence.stamp_ns if stamp_ns is None else stamp_ns
    return replace(evidence, index=index, stamp_ns=stamp)


def _between(before: PlanarPose, after: PlanarPose, stamp_ns: int) -> PlanarPose:
    """On the straight line through two poses, the yaw along the shorter way round."""
    span_ns = after.stamp_ns - before.stamp_ns
    share = (stamp_ns - before.stamp_ns) / span_ns if span_ns else 1.0
    turn = math.remainder(after.yaw_rad - before.yaw_rad, math.tau)
    return PlanarPose(
        stamp_ns,
        before.x_m + share * (after.x_m - before.x_m),
        before.y_m + share * (after.y_m - before.y_m),
        before.yaw_rad + share * turn,
    )


def _on_ground(sets: NDArray[np.float32], ground_ids: Collection[int]) -> NDArray[np.bool_]:
    """Which sets move with the ground: bool [S]."""
    if not ground_ids:
        return np.ones(len(sets), bool)
    return np.asarray((sets[:, list(ground_ids)] > 0).any(axis=1))


def _homography(camera: Pinhole, motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """From pixels then to pixels now, [3, 3], for points that move by this matrix."""
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    return matrix @ motion @ np.linalg.inv(matrix)


def _warped(index: NDArray[np.uint8], homography: NDArray[np.float64]) -> NDArray[np.uint8]:
    size = index.shape[::-1]
    moved = cv2.warpPerspective(index, homography, size, flags=cv2.INTER_NEAREST, borderValue=0)
    return np.asarray(moved, np.uint8)


def _below_horizon(plane: GroundPlane, motion: Pose, camera: Pinhole) -> NDArray[np.bool_]:
    """Which pixels look down at the ground now: bool [H, W]."""
    now = GroundPlane(motion.rotation @ plane.normal, plane.offset_m)
    return np.asarray(now.ray_heights(camera) < 0)


def _parallax(
    driven: NDArray[np.float64], turned: NDArray[np.float64], camera: Pinhole
) -> NDArray[np.float32]:
    """How far apart two motions would fetch each pixel from: float32 [H, W], pixels."""
    rows = np.linspace(0, camera.height - 1, max(2, camera.height // GRID_PX))
    columns = np.linspace(0, camera.width - 1, max(2, camera.width // GRID_PX))
    x, y = np.meshgrid(columns, rows)
    now = np.stack([x, y, np.ones_like(x)])
    then = [np.tensordot(np.linalg.inv(motion), now, 1) for motion in (driven, turned)]
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = then[0][:2] / then[0][2] - then[1][:2] / then[1][2]
    distance = np.nan_to_num(np.hypot(*apart), nan=np.inf).clip(max=camera.width)
    size = camera.width, camera.height
    return np.asarray(cv2.resize(distance.astype(np.float32), size), np.float32)
