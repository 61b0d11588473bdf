r"""How long a frame's evidence takes, stage by stage, and RANSAC beside other people's.

    chrt -f 50 python bench/evidence.py            # real-time priority: quiet figures

The frame is KITTI's size with as many lidar points as a 64-ring scanner gives, on a street of one
plane with boxes; depth is 1280x720. Evidence is made at the model's size.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.evidence.depth import evidence_from_depth, sample_points
from seg_perception.evidence.fuse import agreement, evidence_inputs, fuse
from seg_perception.evidence.gate import SourceGate
from seg_perception.evidence.geometry import Pinhole, Pose
from seg_perception.evidence.ground import GroundTracker
from seg_perception.evidence.lanes import evidence_from_lane_lines
from seg_perception.evidence.points import evidence_from_points

HEIGHT_M, PITCH_RAD = 1.65, 0.01
KITTI = Pinhole(1242, 375, 721.5, 721.5, 609.6, 172.9)
DEPTH_CAMERA = Pinhole(1280, 720, 900.0, 900.0, 639.5, 359.5)
MODEL = (480, 360)
N_POINTS = 120_000
REACH_M = 80.0
POSE = Pose.of_mounted_camera(HEIGHT_M, PITCH_RAD)


def cloud(rng: np.random.Generator) -> NDArray[np.float32]:
    """Float32 [N, 3]: a full turn of a scanner on a plane with boxes, 2 cm of noise, base_link."""
    azimuth = rng.uniform(-np.pi, np.pi, N_POINTS)
    elevation = np.radians(rng.uniform(-24.8, 2.0, N_POINTS))
    ground = np.where(elevation < 0, 1.73 / np.tan(np.maximum(-elevation, 1e-3)), np.inf)
    wall = 6 + 30 * np.abs(np.sin(3 * azimuth))
    reach = np.minimum(np.minimum(ground, wall), REACH_M)
    up = 1.73 + reach * np.tan(elevation)
    points = np.stack([reach * np.cos(azimuth), reach * np.sin(azimuth), up], axis=1)
    return (points + rng.normal(0, 0.02, points.shape)).astype(np.float32)


def depth_image(rng: np.random.Generator) -> NDArray[np.float32]:
    """Float32 [720, 1280] metres: a plane, a wall on either side, sky; 1 % of noise."""
    x, y = np.meshgrid(*DEPTH_CAMERA.ray_slopes())
    with np.errstate(divide="ignore"):
        ground = np.where(y > PITCH_RAD, HEIGHT_M / (y - PITCH_RAD), np.inf)
        wall = 8 / np.maximum(np.abs(x), 1e-6)
    depth = np.minimum(ground, np.where(y > -0.2, wall, np.inf))
    return (depth * rng.normal(1, 0.01, depth.shape)).astype(np.float32)


def lane_lines() -> NDArray[np.uint8]:
    """Uint8 [375, 1242]: four lines."""
    image = np.zeros((KITTI.height, KITTI.width), np.uint8)
    for number, foot in enumerate((-400, 300, 900, 1600), start=1):
        cv2.line(image, (610, 190), (foot, 374), number, 5)
    return image


def p50_ms(call: Callable[[], Any], repeats: int) -> float:
    """Median milliseconds of a call, after three to warm up."""
    durations = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        call()
        durations.append(1e3 * (time.perf_counter() - start))
    return float(np.median(durations[3:]))


def frame_stages(rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    """Every step of a frame with lidar and lane lines."""
    camera, points, lines = KITTI.scaled(*MODEL), cloud(rng), lane_lines()
    tracker, gate = GroundTracker(HEIGHT_M, PITCH_RAD), SourceGate()
    plane = tracker.update(POSE.apply(points[::8]))
    assert plane is not None

    def lidar() -> Any:
        return evidence_from_points(points, camera, POSE, plane, CAMVID_CLASSES, CAMVID_GROUPS)

    def lanes() -> Any:
        return evidence_from_lane_lines(lines, (3,), len(CAMVID_CLASSES))

    sources = [lidar(), fuse([lanes()], MODEL[1], MODEL[0], len(CAMVID_CLASSES), 32)]
    fused = fuse(sources, MODEL[1], MODEL[0], len(CAMVID_CLASSES), 32)
    labels = fused.sets.argmax(axis=1).astype(np.uint8)[fused.index]
    return {
        "lidar: ground plane": lambda: tracker.update(POSE.apply(points[::8])),
        f"lidar: {N_POINTS} points": lidar,
        "lane lines 1242x375": lanes,
        "fuse two sources": lambda: evidence_inputs(
            fuse(sources, MODEL[1], MODEL[0], len(CAMVID_CLASSES), 32), 32
        ),
        "agreement of both": lambda: [agreement(one, labels) for one in sources],
        "gate": lambda: gate.suspects(sources, labels),
    }


def depth_stages(rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    """Every step of a depth image of 1280x720."""
    depth, tracker = depth_image(rng), GroundTracker(HEIGHT_M, PITCH_RAD)
    plane = tracker.update(sample_points(depth, DEPTH_CAMERA))
    assert plane is not None
    return {
        "depth: ground plane": lambda: tracker.update(sample_points(depth, DEPTH_CAMERA)),
        "depth: evidence at 480x360": lambda: evidence_from_depth(
            depth, DEPTH_CAMERA.scaled(*MODEL), plane, CAMVID_CLASSES, CAMVID_GROUPS
        ),
        "depth: evidence at 1280x720": lambda: evidence_from_depth(
            depth, DEPTH_CAMERA, plane, CAMVID_CLASSES, CAMVID_GROUPS
        ),
    }


def planes(rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    """Our RANSAC and, where they are installed, those of scikit-learn and Open3D."""
    points = POSE.apply(cloud(rng)[::8])
    ahead = points[(points[:, 2] > 1) & (points[:, 2] < 30)]
    found: dict[str, Callable[[], Any]] = {
        "ours, the prior and all": lambda: GroundTracker(HEIGHT_M, PITCH_RAD).update(points)
    }
    if importlib.util.find_spec("sklearn"):
        from sklearn.linear_model import RANSACRegressor

        found["scikit-learn RANSACRegressor, 64 trials"] = lambda: RANSACRegressor(
            residual_threshold=0.1, max_trials=64, stop_probability=1.0, random_state=0
        ).fit(ahead[:, [0, 2]], ahead[:, 1])
    if importlib.util.find_spec("open3d"):
        import open3d

        theirs = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(ahead.astype(float)))
        found["Open3D segment_plane, 64 iterations"] = lambda: theirs.segment_plane(0.1, 3, 64)
    return found


def show(title: str, stages: dict[str, Callable[[], Any]], repeats: int, total: bool) -> None:
    """Measure and print."""
    table = Table("stage", "p50 ms", "ratio to the first", title=title)
    measured = {name: p50_ms(call, repeats) for name, call in stages.items()}
    first = next(iter(measured.values()))
    for name, duration in measured.items():
        table.add_row(name, f"{duration:.2f}", f"{duration / first:.1f}")
    if total:
        table.add_row("sum", f"{sum(measured.values()):.2f}", "")
    Console().print(table)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    show("A frame of 1242x375", frame_stages(rng), options.repeats, total=True)
    show("Depth 1280x720", depth_stages(rng), options.repeats, total=False)
    show("Ground plane of 15,000 points", planes(rng), options.repeats, total=False)


if __name__ == "__main__":
    main()
