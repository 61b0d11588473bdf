"""Random sequences of broken sensor inputs: refused with the fix, or used without harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_bundle import TINY_CLASSES, color_image, write_tiny_bundle
from tiny_scene import CAMERA, HEIGHT_M, PITCH_RAD, POSE, street_depth

from seg_perception.errors import EvidenceError
from seg_perception.evidence.buffer import EvidenceBuffer
from seg_perception.evidence.depth import GroundTracker, evidence_from_depth, sample_points
from seg_perception.evidence.gate import SourceGate
from seg_perception.evidence.lanes import evidence_from_lane_borders, evidence_from_lane_lines
from seg_perception.evidence.points import evidence_from_points
from seg_perception.evidence.record import Evidence, evidence_from_labels
from seg_perception.perceiver import Frame, Perceiver
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import Runner, open_runner

MS = 1_000_000
MAX_AGE_MS = 200
H, W = 24, 32
GROUPS = {"ground": ("road", "sidewalk"), "sky": ("sky",)}
SMALL = CAMERA.scaled(W, H)
DEPTH = street_depth(SMALL)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    folder: Path = write_tiny_bundle(tmp_path_factory.mktemp("tiny"), height=H, width=W)
    return open_runner(load_bundle(folder), threads=1)


def broken(values: NDArray[np.float32], fault: str, rng: np.random.Generator) -> NDArray[Any]:
    """Metres as a faulty driver gives them."""
    damaged = values.copy()
    if fault in ("nan", "inf", "negative", "zero"):
        bad = {"nan": np.nan, "inf": np.inf, "negative": -1.0, "zero": 0.0}[fault]
        damaged[rng.random(values.shape) < rng.random()] = bad
    elif fault == "noise":
        damaged += rng.normal(0, 3, values.shape).astype(np.float32)
    elif fault == "millimetres":
        damaged = damaged * np.float32(1000)
    elif fault == "float64":
        return damaged.astype(np.float64)
    elif fault == "flat":
        return damaged.ravel()
    elif fault == "empty":
        return damaged[:0]
    elif fault == "huge":
        damaged *= np.float32(1e30)
    return damaged


def depth_source(fault: str, stamp_ns: int, rng: np.random.Generator) -> Evidence | None:
    depth = broken(DEPTH, fault, rng)
    tracker = GroundTracker(HEIGHT_M, PITCH_RAD)
    plane = tracker.update(sample_points(depth, SMALL)) or tracker.update(
        sample_points(DEPTH, SMALL)
    )
    assert plane is not None
    assert np.isfinite([*plane.normal, plane.offset_m]).all()
    return evidence_from_depth(depth, SMALL, plane, TINY_CLASSES, GROUPS, stamp_ns=stamp_ns)


def lidar_source(fault: str, stamp_ns: int, rng: np.random.Generator) -> Evidence | None:
    points = broken(rng.uniform((2, -8, -0.2), (50, 8, 3), (800, 3)).astype(np.float32), fault, rng)
    plane = GroundTracker(HEIGHT_M, PITCH_RAD).update(sample_points(DEPTH, SMALL))
    assert plane is not None
    return evidence_from_points(
        points, SMALL, POSE, plane, TINY_CLASSES, GROUPS, stamp_ns=stamp_ns, source="points"
    )


def border_source(fault: str, stamp_ns: int, rng: np.random.Generator) -> Evidence | None:
    x = np.linspace(-5, 40, 12)
    left, right = (np.column_stack([x, 0 * x + y, 0 * x]).astype(np.float32) for y in (2, -2))
    return evidence_from_lane_borders(
        broken(left, fault, rng), right, SMALL, POSE, (1,), 4, stamp_ns=stamp_ns
    )


def line_source(fault: str, stamp_ns: int, rng: np.random.Generator) -> Evidence | None:
    lines = np.zeros((H, W), np.uint8)
    rows = np.arange(8, H)
    lines[rows, 16 - (rows - 6) // 2], lines[rows, 16 + (rows - 6) // 2] = 20, 70
    if fault in ("nan", "noise"):
        lines[rng.random(lines.shape) < rng.random()] = rng.integers(256)
    elif fault == "empty":
        lines = lines[:0]
    elif fault == "float64":
        return evidence_from_lane_lines(lines.astype(float), (1,), 4)  # type: ignore[arg-type]
    return evidence_from_lane_lines(lines, (1,), 4, stamp_ns=stamp_ns)


def label_source(fault: str, stamp_ns: int, rng: np.random.Generator) -> Evidence | None:
    highest = 9 if fault == "noise" else 4
    labels = rng.integers(0, highest, (H, W)).astype(np.uint8)
    labels[rng.random(labels.shape) < rng.random()] = 255
    return evidence_from_labels(labels, 4, stamp_ns=stamp_ns)


SOURCES = (depth_source, lidar_source, border_source, line_source, label_source)
FAULTS = ("", "nan", "inf", "negative", "zero", "noise", "millimetres", "float64", "flat")
FAULTS += ("empty", "huge")
events = st.tuples(
    st.sampled_from(SOURCES), st.sampled_from(FAULTS), st.integers(-600, 600), st.integers(0, 99)
)
steps = st.tuples(st.integers(-150, 400), st.lists(events, max_size=3))


@given(script=st.lists(steps, min_size=1, max_size=6), gated=st.booleans())
@settings(max_examples=200)
def test_no_script_of_faults_harms_the_answers(
    runner: Runner, script: list[tuple[int, list[Any]]], gated: bool
) -> None:
    perceiver = Perceiver(
        runner,
        evidence_max_age_s=MAX_AGE_MS / 1e3,
        temporal_precision=1.0,
        gate=SourceGate() if gated else None,
    )
    buffer, refusals, now_ms = EvidenceBuffer(length=4), list[str](), 10_000
    for passed_ms, offered in script:
        now_ms += passed_ms
        for source, fault, offset_ms, seed in offered:
            try:
                made = source(fault, (now_ms + offset_ms) * MS, np.random.default_rng(seed))
            except EvidenceError as error:
                refusals.append(str(error))
            else:
                buffer.add(made)
        evidence = buffer.nearest(now_ms * MS)
        image = color_image(np.full((H, W), now_ms % 4, np.uint8), TINY_CLASSES)
        answer = perceiver.perceive(Frame(image, now_ms * MS), evidence)
        assert answer.labels.max() < len(TINY_CLASSES)
        assert answer.code is not None
        assert np.isfinite(answer.code).all()
        assert [report.source for report in answer.evidence] == [one.source for one in evidence]
        for report in answer.evidence:
            assert not (report.used and report.age_ms > MAX_AGE_MS)
            assert report.used == (report.reason == "" or "left out" in report.reason)
            assert not 0 <= report.agreement <= 100 or report.age_ms <= MAX_AGE_MS
    assert all(": " in refusal for refusal in refusals), "what is wrong, and what to do"
    counters = perceiver.counters
    assert counters.answered == len(script)
    assert counters.failed == 0
