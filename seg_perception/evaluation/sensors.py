"""What a vehicle's sensors would say of a labelled frame: made from its truth, by source.

| source | reading |
|---|---|
| `lane_mask` | uint8 [h,w], 1 = on the ego lane |
| `labels` | uint8 [h,w] class ids, 255 = unknown |
| `lane_left`, `lane_right` | float32 [N,3] metres, optical frame |
| `depth` | float32 [h,w] metres, inf = no return |
| `points` | float32 [N,3] metres, optical frame |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID, class_ids
from seg_perception.datasets import Camera, Dataset, Sample
from seg_perception.datasets.partial_truth import parse_kind, partial_truth
from seg_perception.errors import ConfigError
from seg_perception.evidence.record import Evidence

Reading = NDArray[Any]

ON_LANE = 1
SCAN_LINES = 48
SCAN_STEP = 2
"""Without a lidar, depth along so many lines over the height of the image stands for it, in every
other column: about a twentieth of the pixels, as KITTI's has."""
SCAN_RANGE_M = 80.0


@dataclass(frozen=True)
class KnownLabels:
    """Which true labels the source `labels` knows.

    Attributes:
        kind: of partial truth, see `partial_truth`; one class per pixel, so neither "complete" nor
            "sets:F".
        class_name: the class that `kind` asks for.
    """

    kind: str = "points:0.01"
    class_name: str | None = None


def readings(
    sample: Sample,
    dataset: Dataset,
    sources: tuple[str, ...],
    known: KnownLabels,
    rng: np.random.Generator,
) -> dict[str, Reading]:
    """What each source says of a frame, see the module's table; sources that cannot are left out.

    Args:
        sample: the frame.
        dataset: it is of.
        sources: those wanted.
        known: of the source `labels`.
        rng: decides what is random.

    Raises:
        ConfigError: `known` cannot be made, or not be said by an image of labels; or a lane mask
            is wanted of a dataset without roads.
    """
    says: dict[str, Reading] = {}
    if "lane_mask" in sources:
        says["lane_mask"] = _lane_mask(sample, dataset, rng)
    if "labels" in sources:
        says["labels"] = _known_labels(sample.labels, dataset, known, rng)
    if "depth" in sources and sample.depth is not None:
        says["depth"] = sample.depth
    if sample.camera is None:
        return says
    if "lane_borders" in sources and sample.lane_left is not None and sample.lane_right is not None:
        for side, border in (("lane_left", sample.lane_left), ("lane_right", sample.lane_right)):
            says[side] = sample.camera.pose.apply(border)
    points = _points(sample, sample.camera) if "points" in sources else None
    return says if points is None else {**says, "points": points}


def _points(sample: Sample, camera: Camera) -> NDArray[np.float32] | None:
    """What a lidar sees, points [N,3] in the optical frame."""
    if sample.points is not None:
        return camera.pose.apply(sample.points)
    return None if sample.depth is None else _scan(sample.depth, camera)


def _scan(depth: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """The depth along the lines of a lidar, as points [N,3]."""
    height, width = depth.shape
    rows = np.linspace(0, height - 1, min(SCAN_LINES, height)).round().astype(int)[:, None]
    columns = np.arange(0, width, SCAN_STEP)[None]
    z = depth[rows, columns]
    points = np.stack(
        [z * (columns - camera.cx) / camera.fx, z * (rows - camera.cy) / camera.fy, z], axis=-1
    )
    returned: NDArray[np.float32] = points[z < SCAN_RANGE_M].astype(np.float32)
    return returned


def _lane_mask(sample: Sample, dataset: Dataset, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The road pixels of the ego lane, uint8 [H,W]: between its known borders, else a wedge."""
    if sample.camera is None or sample.lane_left is None or sample.lane_right is None:
        wedge = _partial_truth(sample.labels, "ego_lane", None, dataset, rng).index > 0
        return wedge * np.uint8(ON_LANE)
    outline = np.concatenate([sample.lane_left, sample.lane_right[::-1]])
    pixels, depth = sample.camera.project(outline)
    mask = np.zeros(sample.labels.shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(pixels[depth > 0]).astype(np.int32)], ON_LANE)
    (road,) = class_ids(dataset.classes, ("road",))
    mask[sample.labels != road] = 0
    return mask


def _known_labels(
    labels: NDArray[np.uint8], dataset: Dataset, known: KnownLabels, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Partial truth as class ids, uint8 [H,W], 255 = unknown."""
    if known.class_name is None and parse_kind(known.kind).of_one_class:
        raise ConfigError(
            f"evidence kind {known.kind!r} speaks about one class; name it by --evidence-class"
        )
    evidence = _partial_truth(labels, known.kind, known.class_name, dataset, rng)
    sizes = evidence.sets.sum(axis=1)
    if (sizes[evidence.index[evidence.index > 0]] > 1).any():
        raise ConfigError(
            f"evidence of kind {known.kind!r} leaves several classes possible, which an "
            "image of labels cannot say: use positive, partial:F, ego_lane or points:F"
        )
    only = np.where(sizes == 1, evidence.sets.argmax(axis=1), VOID).astype(np.uint8)
    return np.asarray(only[evidence.index], np.uint8)


def _partial_truth(
    labels: NDArray[np.uint8],
    kind: str,
    class_name: str | None,
    dataset: Dataset,
    rng: np.random.Generator,
) -> Evidence:
    class_id = None if class_name is None else class_ids(dataset.classes, (class_name,))[0]
    return partial_truth(
        labels, kind, class_id, classes=dataset.classes, groups=dataset.groups, rng=rng
    )
