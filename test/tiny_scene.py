"""A flat street with a box on it, for the sensors of the evidence tests: exact depth and points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.evidence.geometry import GroundPlane, Pinhole, Pose

HEIGHT_M, PITCH_RAD = 1.5, 0.05
CAMERA = Pinhole(160, 120, 140.0, 140.0, 79.5, 59.5)
POSE = Pose.of_mounted_camera(HEIGHT_M, PITCH_RAD)
PLANE = GroundPlane.of_mounted_camera(HEIGHT_M, PITCH_RAD)
BOX_M, BOX_HALF_M, BOX_TOP_M = 10.0, 1.0, 1.6
"""A box's face: how far ahead, half its width, its height."""


def street_depth(camera: Pinhole = CAMERA) -> NDArray[np.float32]:
    """Depth float32 [H, W] of ground, box and sky (inf)."""
    x, y = np.meshgrid(*camera.ray_slopes())
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float64) @ POSE.rotation
    with np.errstate(divide="ignore"):
        ground = np.where(rays[..., 2] < 0, -HEIGHT_M / rays[..., 2], np.inf)
    box = BOX_M / rays[..., 0]
    sideways, up = box * rays[..., 1], HEIGHT_M + box * rays[..., 2]
    hit = (np.abs(sideways) < BOX_HALF_M) & (up > 0) & (up < BOX_TOP_M)
    return np.where(hit, box, ground).astype(np.float32)


def on_box(camera: Pinhole = CAMERA) -> NDArray[np.bool_]:
    """The pixels that show the box: bool [H, W]."""
    depth = street_depth(camera)
    plane = PLANE.ray_heights(camera)
    with np.errstate(invalid="ignore"):
        return np.isfinite(depth) & (depth * plane + HEIGHT_M > 1e-3)
