"""Replays of tiny drives, as they would come from a node that answers perfectly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tiny_bundle import TINY_CLASSES
from tiny_drives import ROAD, TinyDrive

from seg_perception.datasets.sample import Sample
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.drive import Answer, ReplayFrame, Transport
from seg_perception.evaluation.replay import ReplayResult, score_replay
from seg_perception.evidence.lanes import evidence_from_lane_mask
from seg_perception.evidence.record import Evidence
from seg_perception.runtime.runner import Runner

TRANSPORT = Transport("In a test", sent=5, answered=4, duration_s=2, latency_ms=(1, 2, 3, 4))


def lane(sample: Sample) -> Evidence:
    """The road of the image's right half."""
    mask = (sample.labels == ROAD).astype(np.uint8)
    mask[:, : mask.shape[1] // 2] = 0
    return evidence_from_lane_mask(mask, (ROAD,), len(TINY_CLASSES), stamp_ns=sample.stamp_ns)


def frames(drive: TinyDrive, *, truth: bool = True, known: bool = True) -> Iterator[ReplayFrame]:
    """The drive as it would come from a node that answers perfectly."""
    for sample in drive.samples:
        yield ReplayFrame(
            sample.stamp_ns,
            sample.image,
            sample.labels if truth else None,
            (lane(sample),) if known else (),
            Answer(np.minimum(sample.labels, 3), latency_ms=7.0),
        )


def scored(drive: TinyDrive, runner: Runner | None, **options: bool) -> ReplayResult:
    comparer = None if runner is None else Comparer(runner)
    return score_replay(frames(drive, **options), TRANSPORT, TINY_CLASSES, comparer)
