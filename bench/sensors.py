r"""What each sensor's evidence brings, and what a faulty source costs, with and without the gate.

    python bench/sensors.py BUNDLE                 # rendered street: lanes, depth, lidar, all
    python bench/sensors.py BUNDLE --root CAMVID   # CamVid val: lane-like truth with faults

Rendered drives carry exact depth, camera and lane borders, and what a lidar on the roof sees from
its own place; all pass through the same functions as on the vehicle: borders in metres are
projected, the ground plane is found by RANSAC. Gains are mIoU over no evidence, in points.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
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
from seg_perception.evidence.lanes import evidence_from_lane_borders, evidence_from_lane_mask
from seg_perception.evidence.points import evidence_from_points
from seg_perception.evidence.record import Evidence
from seg_perception.perceiver import Frame, Perceiver
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import Runner, open_runner

(ROAD,) = class_ids(CAMVID_CLASSES, ["road"])
OBSTACLES = class_ids(CAMVID_CLASSES, CAMVID_GROUPS["obstacle"])
N_CLASSES = len(CAMVID_CLASSES)
PLANE_STEP = 4
"""The ground is looked for among every so many points."""
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

    def add(self, sample: Sample, evidence: Sequence[Evidence], evidence_ms: float = 0.0) -> None:
        """Answer a frame and score it."""
        answer = self.perceiver.perceive(Frame(sample.image, sample.stamp_ns), evidence)
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


class Sensors:
    """The sensors of one rendered drive."""

    def __init__(self, sample: Sample) -> None:
        assert sample.camera is not None
        self.camera, self.pose = sample.camera.pinhole, sample.camera.pose
        mounting = sample.camera.height_m, sample.camera.pitch_rad
        self._depth_ground, self._lidar_ground = GroundTracker(*mounting), GroundTracker(*mounting)

    def lanes(self, sample: Sample) -> Evidence:
        """From the borders of the ego lane in metres."""
        assert sample.lane_left is not None
        assert sample.lane_right is not None
        return evidence_from_lane_borders(
            sample.lane_left,
            sample.lane_right,
            self.camera,
            self.pose,
            (ROAD,),
            N_CLASSES,
            obstacle_ids=OBSTACLES,
            stamp_ns=sample.stamp_ns,
        )

    def depth(self, sample: Sample) -> Evidence | None:
        """From the depth image."""
        assert sample.depth is not None
        plane = self._depth_ground.update(sample_points(sample.depth, self.camera))
        if plane is None:
            return None
        return evidence_from_depth(
            sample.depth,
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


def street(runner: Runner, drives: int, frames: int, seed: int) -> list[dict[str, object]]:
    """Score every sensor alone and all together on rendered drives, through the gate."""
    sources = ("lanes", "depth", "lidar")
    chosen: dict[str, tuple[str, ...]] = {"none": (), **{name: (name,) for name in sources}}
    chosen |= {"lanes+lidar": ("lanes", "lidar"), "all": sources}
    scores = {name: Score.new(runner, gated=True) for name in chosen}
    free = {name: Score.new(runner, gated=False) for name in chosen}
    data = Street(drives * frames, seed, n_drives=drives, lidar=Lidar())
    sensors, drive = None, ""
    for i in tqdm(range(len(data)), "street"):
        sample = data[i]
        if sensors is None or sample.drive != drive:
            sensors, drive = Sensors(sample), sample.drive
        made = {name: _timed(getattr(sensors, name), sample) for name in sources}
        for name, used in chosen.items():
            evidence = [made[one][0] for one in used]
            cost = sum(made[one][1] for one in used)
            known = [one for one in evidence if one is not None]
            scores[name].add(sample, known, cost)
            free[name].add(sample, known, cost)
    plain = scores["none"].miou
    return [
        {
            "source": name,
            "mIoU": score.miou,
            "gain": score.miou - plain,
            "gain without gate": free[name].miou - plain,
            "doubted %": score.doubted,
            "evidence ms": float(np.median(score.evidence_ms)),
            "model ms": float(np.median(free[name].infer_ms)),
        }
        for name, score in scores.items()
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
                for score in pair:
                    score.add(sample, [evidence])
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
