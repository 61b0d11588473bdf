"""Bags through the real node, in its own process, over real DDS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_drives import TinyDrive, tiny_drive, tiny_sample, with_lanes
from tiny_scene import HEIGHT_M, PITCH_RAD, street_depth

from seg_perception.datasets.sample import Camera, Sample
from seg_perception.errors import ReplayError
from seg_perception.evaluation.bag import SOURCES, Bag
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.drive import ReplayFrame
from seg_perception.evaluation.make_bag import BagOptions, make_bag
from seg_perception.ros.frames import Frames
from seg_perception.ros.parameters import Settings
from seg_perception.ros.player import PlayLog, PlayOptions, play
from seg_perception.ros.recorded import replayed_frames
from seg_perception.ros.senses import Senses
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import open_runner

pytestmark = pytest.mark.ros

N_FRAMES = 5
DRIVE = tiny_drive(N_FRAMES)
LARGE_CAMERA = Camera(2048, 1024, 1280.0, 853.0, 1023.5, 511.5, HEIGHT_M, PITCH_RAD)
LARGE_DEPTH = street_depth(LARGE_CAMERA.pinhole)
PLAIN = {"threads": "1", "evidence_gate": "false"}
"""A node whose answers to a frame do not depend on those before."""


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bag") / "drive"
    make_bag(DRIVE, path, BagOptions())
    return path


@pytest.fixture(scope="module")
def comparer(bundle: Path) -> Iterator[Comparer]:
    """What the node must agree with, pixel for pixel."""
    runner = open_runner(load_bundle(bundle), "onnx", threads=1)
    yield Comparer(runner)
    runner.close()


def drive(path: Path, bundle: Path, **options: Any) -> tuple[PlayLog, list[ReplayFrame]]:
    options["parameters"] = {**PLAIN, **options.get("parameters", {})}
    with Bag(path) as opened:
        log = play(opened, bundle, PlayOptions(**options))
        senses = Senses(load_bundle(bundle).manifest, Frames(), Settings())
        return log, list(replayed_frames(opened, log, senses))


@pytest.fixture(scope="module")
def played(bag: Path, bundle: Path) -> tuple[PlayLog, list[ReplayFrame]]:
    return drive(bag, bundle)


def assert_same_maps(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(found, expected)


def test_every_frame_is_answered_with_its_own_evidence(
    played: tuple[PlayLog, list[ReplayFrame]], comparer: Comparer
) -> None:
    log, frames = played
    assert (log.transport.sent, log.transport.answered, log.transport.dropped) == (5, 5, 0)
    assert log.transport.node["evidence.used"] == N_FRAMES
    for frame, sample in zip(frames, DRIVE.samples, strict=True):
        assert_same_maps(frame.image, sample.image)
        assert frame.truth is not None
        assert_same_maps(frame.truth, sample.labels)
        assert [evidence.source for evidence in frame.evidence] == ["lane_mask"]
        uncorrected = comparer.uncorrected(frame.image)["labels"]
        corrected = comparer.corrected(frame.image, frame.evidence, uncorrected)["labels"]
        assert (corrected != uncorrected).any()
        assert_same_maps(frame.answer.labels, corrected)
        assert frame.answer.entropy is not None
        assert frame.answer.entropy.shape == frame.image.shape[:2]


class Everything(TinyDrive):
    """Every frame with all that sensors know, as large as real sensors' messages."""

    def __getitem__(self, index: int) -> Sample:
        sample = with_lanes(tiny_sample(index, 1024, 2048))
        return replace(sample, pose=(0.1 * index, 0, 0), camera=LARGE_CAMERA, depth=LARGE_DEPTH)


def test_nothing_that_is_sent_gets_lost_or_comes_too_late(
    tmp_path: Path, bundle: Path, comparer: Comparer
) -> None:
    n_frames = 4
    drive_of_all = Everything(tiny_drive(n_frames).samples)
    make_bag(drive_of_all, tmp_path / "bag", BagOptions(evidence=SOURCES))
    log, frames = drive(tmp_path / "bag", bundle)
    assert log.transport.answered == n_frames
    for frame in frames:
        assert sorted(evidence.source for evidence in frame.evidence) == sorted(SOURCES)
        uncorrected = comparer.uncorrected(frame.image)["labels"]
        corrected = comparer.corrected(frame.image, frame.evidence, uncorrected)["labels"]
        assert_same_maps(frame.answer.labels, corrected)
    assert log.transport.node["evidence.used"] == n_frames * len(SOURCES)
    assert log.transport.node["frames.received"] == n_frames, "none was sent twice"
    skipped = {key: n for key, n in log.transport.node.items() if key.endswith(".skipped")}
    assert skipped == {f"evidence.{source}.skipped": 0 for source in SOURCES}


def test_latencies_of_every_stage_are_reported(
    played: tuple[PlayLog, list[ReplayFrame]],
) -> None:
    transport = played[0].transport
    assert len(transport.latency_ms) == N_FRAMES
    assert min(transport.latency_ms) > 0
    assert {"decode", "evidence", "infer", "publish"} <= transport.stage_ms.keys()
    for points in transport.stage_ms.values():
        assert 0 <= points["p50"] <= points["p90"] <= points["p99"]
    assert transport.duration_s > 0
    assert transport.answers_per_second == N_FRAMES / transport.duration_s


def test_evidence_can_be_kept_from_the_node(bag: Path, bundle: Path, comparer: Comparer) -> None:
    log, frames = drive(bag, bundle, sources=(), frames=2)
    assert log.transport.sent == len(frames) == 2
    assert log.transport.node["evidence.used"] == 0
    for frame in frames:
        assert frame.evidence == ()
        assert_same_maps(frame.answer.labels, comparer.uncorrected(frame.image)["labels"])


def test_frames_that_come_too_fast_are_dropped_and_counted(tmp_path: Path, bundle: Path) -> None:
    make_bag(tiny_drive(20), tmp_path / "bag", BagOptions())
    # A node that may answer once a second gets 20 frames in a fifth of one.
    log, frames = drive(tmp_path / "bag", bundle, rate_hz=100.0, parameters={"max_rate": "1.0"})
    transport = log.transport
    assert transport.sent == 20
    assert 1 <= transport.answered == len(frames) < 20
    assert transport.dropped == 20 - transport.answered


def test_compressed_images_without_truth_at_the_pace_of_the_bag(
    tmp_path: Path, bundle: Path
) -> None:
    make_bag(tiny_drive(3), tmp_path / "bag", BagOptions(compressed=True, evidence=("labels",)))
    log, frames = drive(tmp_path / "bag", bundle, paced=True)
    assert log.transport.mode == "At the pace of the bag"
    assert frames
    assert all([e.source for e in frame.evidence] == ["labels"] for frame in frames)


def test_a_node_that_dies_is_noticed_at_once(bag: Path, bundle: Path) -> None:
    with pytest.raises(ReplayError, match=r"(?s)ended with exit code 1.*max_rate"):
        drive(bag, bundle, parameters={"max_rate": "-1.0"})


def test_a_node_that_never_listens_is_given_up(bag: Path, bundle: Path) -> None:
    with pytest.raises(ReplayError, match=r"did not listen to /replay_\w+/image within 2 s"):
        drive(bag, bundle, start_timeout_s=2.0, parameters={"autostart": "false"})


def test_a_node_that_cannot_load_its_model_says_why(
    bag: Path, bundle: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    with pytest.raises(ReplayError, match=r"cannot start.*no bundle.*manifest\.json"):
        drive(bag, broken)


def test_images_that_cannot_be_read_are_not_answered(tmp_path: Path, bundle: Path) -> None:
    sample = tiny_sample(0)
    frames = (sample, replace(sample, stamp_ns=10**8), replace(sample, stamp_ns=2 * 10**8))
    path = tmp_path / "bag"
    make_bag(TinyDrive(frames), path, BagOptions(evidence=()))
    file = next(path.glob("*.mcap"))
    file.write_bytes(file.read_bytes().replace(b"rgb8\0", b"rgb9\0"))
    with pytest.raises(ReplayError, match=r"(?s)did not answer 3 frames in a row.*rgb9"):
        drive(path, bundle, answer_timeout_s=0.5)
