"""Single frames of real sensors for the report: KITTI with lidar, TuSimple with lane lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import class_ids
from seg_perception.datasets.driving_samples import LidarFrame, lane_frames, lidar_frames
from seg_perception.errors import EvidenceError
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.drive import Answer, ReplayFrame, known_pixels
from seg_perception.evaluation.gallery import Exhibit
from seg_perception.evidence.ground import GroundTracker
from seg_perception.evidence.lanes import evidence_from_lane_lines
from seg_perception.evidence.points import evidence_from_points
from seg_perception.evidence.record import Evidence
from seg_perception.runtime.manifest import Manifest

KITTI_HEIGHT_M = 1.65
"""Of the cameras above the ground (Geiger et al., 2012)."""


def real_exhibits(root: Path, manifest: Manifest, comparer: Comparer) -> Iterator[Exhibit]:
    """Every sample, answered without and with what its sensor knows.

    Args:
        root: holds kitti/ and tusimple/, see `datasets.driving_samples`.
        manifest: of the model that answers.
        comparer: answers.

    Raises:
        DatasetError: a sample is missing or unreadable.
        ConfigError: the model knows no road.
        EvidenceError: no ground is seen in a cloud.
    """
    for i, frame in enumerate(lidar_frames(root)):
        known = _lidar_evidence(frame, manifest)
        yield _exhibit(f"KITTI, lidar, frame {i}", frame.image, known, comparer)
    road = class_ids(manifest.classes, ("road",))
    for i, lane in enumerate(lane_frames(root)):
        known = evidence_from_lane_lines(lane.lines, road, manifest.n_classes)
        yield _exhibit(f"TuSimple, lane lines, frame {i}", lane.image, known, comparer)


def _lidar_evidence(frame: LidarFrame, manifest: Manifest) -> Evidence:
    plane = GroundTracker(KITTI_HEIGHT_M, 0.0).update(frame.pose.apply(frame.points))
    if plane is None:
        raise EvidenceError("no ground is seen in a lidar sample: is it KITTI's, and complete?")
    return evidence_from_points(
        frame.points,
        frame.camera,
        frame.pose,
        plane,
        manifest.classes,
        manifest.class_groups,
    )


def _exhibit(
    title: str, image: NDArray[np.uint8], evidence: Evidence, comparer: Comparer
) -> Exhibit:
    """One frame in pictures; the answer is computed here, no node has seen it."""
    refined = comparer.uncorrected(image)["labels"]
    corrected = comparer.labels(image, (evidence,))
    frame = ReplayFrame(0, image, None, (evidence,), Answer(corrected))
    maps = {"refined": refined, "corrected": corrected}
    known = known_pixels(frame.evidence, *image.shape[:2])
    return Exhibit("a real sensor", frame, maps, {}, known, title)
