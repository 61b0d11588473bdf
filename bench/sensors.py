r"""What each sensor's evidence brings, and what a faulty source costs, with and without the gate.

    python bench/sensors.py BUNDLE                 # rendered street: lanes, depth, lidar, all
    python bench/sensors.py BUNDLE --root CAMVID   # CamVid val: lane-like truth with faults

Rendered drives carry exact depth, from which a stereo camera's is made, camera, lane borders, and
what a lidar on the roof sees from its own place. All pass through the same functions as on the
vehicle: borders in metres are projected, the ground plane is found by RANSAC. Gains are mIoU over
no evidence, in points.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, class_ids
from seg_perception.datasets import Sample, open_dataset
from seg_perception.datasets.faults import lie, shift
from seg_perception.datasets.partial_truth import ego_lane, partial_truth
from seg_perception.datasets.street import Lidar, Street
from seg_perception.evaluation.scores import ConfusionMatrix
from seg_perception.evidence.depth import GroundTracker, evidence_from_depth, sample_points
from seg_perception.evidence.gate import SourceGate
from seg_perception.evidence.lanes import (
    evidence_from_lane_borders,
    evidence_from_lane_lines,
    evidence_from_lane_mask,
)
from seg_perception.evidence.points import evidence_from_points
from seg_perception.evidence.record import Evidence
from seg_perception.perceiver import Frame, Perceiver, Perception
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import Runner, open_runner

(ROAD,) = class_ids(CAMVID_CLASSES, ["road"])
OBSTACLES = class_ids(CAMVID_CLASSES, CAMVID_GROUPS["obstacle"])
N_CLASSES = len(CAMVID_CLASSES)
PLANE_STEP = 4
"""The ground is looked for among every so many points."""
STEREO_REACH_M = 30.0
DISPARITY_ERROR, DISPARITY_BLUR_PX = 0.2 / (480 * 0.3), 3.0
"""Standard deviation of one over the depth, of a stereo camera of 480 pixels focal length and 30 cm
baseline that errs by a fifth of a pixel; and how smoothly, as windows of pixels are matched."""
LANE_MASK_M, LANE_LINES_M = 12.0, 40.0
LIES, SHIFT = 0.2, 0.1
FLAKY = 4
"""A flaky source gives another frame's evidence in every so many frames."""


@dataclass
class Score:
    """What one way to use evidence reached so far."""

    perceiver: Perceiver
    confusion: ConfusionMatrix
    evidence_ms: list[float]
    infer_ms: list[float]

    @classmethod
    def new(cls, runner: Runner, gated: bool) -> Score:
        """Nothing scored yet."""
        gate = SourceGate() if gated else None
        return cls(Perceiver(runner, gate=gate), ConfusionMatrix.empty(N_CLASSES), [], [])

    def add(
        self, sample: Sample, evidence: Sequence[Evidence], evidence_ms: float = 0.0
    ) -> Perception:
        """Answer a frame and score it."""
        answer = self.perceiver.perceive(Frame(sample.image, sample.stamp_ns), evidence)
        self.score(answer, sample, evidence_ms)
        return answer

    def score(self, answer: Perception, sample: Sample, evidence_ms: float = 0.0) -> None:
        """Score an answer."""
        self.confusion += ConfusionMatrix.of(answer.labels, sample.labels, N_CLASSES)
        self.evidence_ms.append(evidence_ms)
        self.infer_ms.append(answer.timings["infer"])

    @property
    def miou(self) -> float:
        """Percent."""
        return float(self.confusion.miou())

    @property
    def doubted(self) -> float:
        """Percent of the evidence that the gate left out."""
        counters = self.perceiver.counters
        offered = counters.evidence_doubted + counters.evidence_used
        return 100 * counters.evidence_doubted / max(offered, 1)


def add_both(
    scores: tuple[Score, Score], sample: Sample, evidence: Sequence[Evidence], ms: float = 0.0
) -> None:
    """Score a frame with the gate and without, which differ only where it left something out."""
    gated, free = scores
    answer = gated.add(sample, evidence, ms)
    if all(report.used for report in answer.evidence):
        free.score(answer, sample, ms)
    else:
        free.add(sample, evidence, ms)


class Sensors:
    """The sensors of one rendered drive."""

    def __init__(self, sample: Sample) -> None:
        assert sample.camera is not None
        self.camera, self.pose = sample.camera.pinhole, sample.camera.pose
        mounting = sample.camera.height_m, sample.camera.pitch_rad
        self._depth_ground, self._lidar_ground = GroundTracker(*mounting), GroundTracker(*mounting)

    def lanes(self, sample: Sample) -> Evidence:
        """From the borders of the ego lane in metres."""
        return self._borders(sample, obstacle_ids=OBSTACLES)

    def lane_region(self, sample: Sample) -> Evidence:
        """From a mask of the ego lane, up to where a mask is worth having."""
        mask = (self._ego_lane(sample, LANE_MASK_M) > 0).view(np.uint8)
        return evidence_from_lane_mask(mask, (ROAD,), N_CLASSES, stamp_ns=sample.stamp_ns)

    def lane_lines(self, sample: Sample) -> Evidence:
        """From the ego lane's two lines, 5 pixels wide, as TuSimple draws them."""
        ego = self._ego_lane(sample, LANE_LINES_M)
        lines = ego - cv2.erode(ego, np.ones((1, 5), np.uint8))
        return evidence_from_lane_lines(lines, (ROAD,), N_CLASSES, stamp_ns=sample.stamp_ns)

    def depth(self, sample: Sample) -> Evidence | None:
        """From a stereo camera, see `stereo`."""
        assert sample.depth is not None
        return self._from_depth(stereo(sample.depth, sample.stamp_ns), sample)

    def exact_depth(self, sample: Sample) -> Evidence | None:
        """From depth as it is, up to where it is looked at."""
        assert sample.depth is not None
        return self._from_depth(sample.depth, sample)

    def _ego_lane(self, sample: Sample, reach_m: float) -> NDArray[np.uint8]:
        """Uint8 [H, W], 1 between the borders up to so far away."""
        return self._borders(sample, max_range_m=reach_m).index

    def _borders(self, sample: Sample, **how: Any) -> Evidence:
        assert sample.lane_left is not None
        assert sample.lane_right is not None
        return evidence_from_lane_borders(
            sample.lane_left,
            sample.lane_right,
            self.camera,
            self.pose,
            (ROAD,),
            N_CLASSES,
            stamp_ns=sample.stamp_ns,
            **how,
        )

    def _from_depth(self, depth: NDArray[np.float32], sample: Sample) -> Evidence | None:
        plane = self._depth_ground.update(sample_points(depth, self.camera))
        if plane is None:
            return None
        return evidence_from_depth(
            depth,
            self.camera,
            plane,
            CAMVID_CLASSES,
            CAMVID_GROUPS,
            stamp_ns=sample.stamp_ns,
        )

    def lidar(self, sample: Sample) -> Evidence | None:
        """From the points of a scanner on the roof."""
        assert sample.points is not None
        plane = self._lidar_ground.update(self.pose.apply(sample.points[::PLANE_STEP]))
        if plane is None:
            return None
        return evidence_from_points(
            sample.points,
            self.camera,
            self.pose,
            plane,
            CAMVID_CLASSES,
            CAMVID_GROUPS,
            stamp_ns=sample.stamp_ns,
        )


def stereo(depth: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Depth as a stereo camera measures it: with smooth errors of its disparities, to a reach."""
    noise = np.random.default_rng(seed).standard_normal(depth.shape, np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), DISPARITY_BLUR_PX)
    error = smooth * np.float32(DISPARITY_ERROR / smooth.std())
    with np.errstate(divide="ignore", invalid="ignore"):
        measured = 1 / (1 / depth + error)
    known = (depth < STEREO_REACH_M) & (measured > 0)
    return np.where(known, measured, np.float32(np.nan)).astype(np.float32)


STREET_SOURCES: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "lanes": ("lanes",),
    "depth": ("depth",),
    "lidar": ("lidar",),
    "lanes and lidar": ("lanes", "lidar"),
    "all three": ("lanes", "depth", "lidar"),
    "exact depth": ("exact_depth",),
    "lane region": ("lane_region",),
    "lane lines": ("lane_lines",),
    "lane region, shifted": ("lane_region",),
    "lane lines, shifted": ("lane_lines",),
}


def street(runner: Runner, drives: int, frames: int, seed: int) -> list[dict[str, object]]:
    """Score every sensor alone and all together on rendered drives, with the gate and without."""
    scores = {
        name: (Score.new(runner, gated=True), Score.new(runner, gated=False))
        for name in STREET_SOURCES
    }
    data = Street(drives * frames, seed, n_drives=drives, lidar=Lidar())
    sensors, drive = None, ""
    for i in tqdm(range(len(data)), "street"):
        sample = data[i]
        if sensors is None or sample.drive != drive:
            sensors, drive = Sensors(sample), sample.drive
        for name, used in STREET_SOURCES.items():
            made = [_timed(getattr(sensors, one), sample) for one in used]
            known = [one for one, _ in made if one is not None]
            if name.endswith("shifted"):
                known = [shift(one, SHIFT) for one in known]
            add_both(scores[name], sample, known, sum(ms for _, ms in made))
    plain = scores["none"][0].miou
    return [
        {
            "source": name,
            "mIoU": gated.miou,
            "gain": gated.miou - plain,
            "gain without gate": free.miou - plain,
            "doubted %": gated.doubted,
            "evidence ms": float(np.median(gated.evidence_ms)),
            "model ms": float(np.median(gated.infer_ms)),
        }
        for name, (gated, free) in scores.items()
    ]


def _timed(
    make: Callable[[Sample], Evidence | None], sample: Sample
) -> tuple[Evidence | None, float]:
    start = time.perf_counter()
    evidence = make(sample)
    return evidence, 1e3 * (time.perf_counter() - start)


def lane_like(sample: Sample, rng: np.random.Generator) -> dict[str, Evidence]:
    """Evidence as lane detectors give it, and harder kinds, from the truth of a frame."""
    ego = ego_lane(sample.labels == ROAD, rng).view(np.uint8)
    lines = ego - cv2.erode(ego, np.ones((1, 7), np.uint8))
    made = {
        "ego-lane region": evidence_from_lane_mask(ego, (ROAD,), N_CLASSES),
        "thin lines": evidence_from_lane_mask(lines, (ROAD,), N_CLASSES),
    }
    for name, kind, one in (
        ("10 % of road", "partial:0.1", ROAD),
        ("1 % of all pixels", "points:0.01", None),
        ("5 % as groups", "sets:0.05", None),
    ):
        made[name] = partial_truth(
            sample.labels, kind, one, classes=CAMVID_CLASSES, groups=CAMVID_GROUPS, rng=rng
        )
    return {
        name: replace(evidence, stamp_ns=sample.stamp_ns, source=name)
        for name, evidence in made.items()
    }


def with_faults(
    right: Evidence, other: Evidence, number: int, rng: np.random.Generator
) -> Iterator[tuple[str, Evidence]]:
    """The evidence, and what faulty sources would give in its place."""
    other = replace(other, stamp_ns=right.stamp_ns)
    yield "none", right
    yield "20 % lies", lie(right, LIES, rng)
    yield "shifted by 10 %", shift(right, SHIFT)
    yield "another frame", other
    yield "now and then another", other if number % FLAKY == 0 else right


def camvid(runner: Runner, root: Path, every: int) -> list[dict[str, object]]:
    """Score lane-like evidence and its faults on CamVid val."""
    data = open_dataset("camvid", root, "val")
    samples = [data[i] for i in range(0, len(data), every)]
    plain = Score.new(runner, gated=False)
    scores: dict[tuple[str, str], tuple[Score, Score]] = {}
    for number, sample in enumerate(tqdm(samples, "camvid")):
        plain.add(sample, [])
        rng = np.random.default_rng(number)
        far = samples[(number + len(samples) // 2) % len(samples)]
        right, other = lane_like(sample, rng), lane_like(far, rng)
        for kind in right:
            for fault, evidence in with_faults(right[kind], other[kind], number, rng):
                pair = scores.setdefault(
                    (kind, fault), (Score.new(runner, True), Score.new(runner, False))
                )
                add_both(pair, sample, [evidence])
    return [
        {
            "evidence": kind,
            "fault": fault,
            "gain": gated.miou - plain.miou,
            "gain without gate": free.miou - plain.miou,
            "doubted %": gated.doubted,
        }
        for (kind, fault), (gated, free) in scores.items()
    ]


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print a table."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console().print(table)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--root", type=Path, help="folder of CamVid; without it, rendered street")
    parser.add_argument("--every", type=int, default=1, help="of CamVid's val frames")
    parser.add_argument("--drives", type=int, default=8, help="of the street")
    parser.add_argument("--frames", type=int, default=10, help="of each drive")
    parser.add_argument("--seed", type=int, default=1, help="of the street; 1 = its val split")
    parser.add_argument("--json", type=Path, help="write the figures")
    options = parser.parse_args()
    runner = open_runner(load_bundle(options.bundle))
    if options.root:
        rows = camvid(runner, options.root, options.every)
        show("CamVid val", rows)
    else:
        rows = street(runner, options.drives, options.frames, options.seed)
        show("Rendered street", rows)
    runner.close()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
