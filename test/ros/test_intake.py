"""Conversions beside the images: nobody waits for long, nothing gets lost in silence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sensor_messages as say
from ros_client import wait_for
from std_msgs.msg import Header
from tiny_scene import HEIGHT_M, PITCH_RAD

from seg_perception.ros.frames import Frames
from seg_perception.ros.intake import Intake
from seg_perception.ros.parameters import MountSettings, Settings
from seg_perception.ros.senses import CAMERA_INFO, DEPTH, LABELS, LANE_MASK, ODOMETRY, Senses
from seg_perception.runtime.bundle import load_bundle

S = 10**9
PATIENCE_S = 20.0


class SlowSenses(Senses):
    """Takes a message only when `go` is set; the real thing in all else."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.go = threading.Event()
        self.started = threading.Event()
        self.taken: list[int] = []

    def take(self, topic: str, message: Any) -> None:
        if topic not in (CAMERA_INFO, ODOMETRY):
            self.started.set()
            assert self.go.wait(PATIENCE_S)
            self.taken.append(message.header.stamp.sec)
        super().take(topic, message)


@pytest.fixture
def senses(bundle: Path) -> SlowSenses:
    mount = MountSettings(camera=(0.0, 0.0, HEIGHT_M, 0.0, PITCH_RAD, 0.0))
    return SlowSenses(load_bundle(bundle).manifest, Frames(), Settings(mount=mount))


class Told:
    """What an intake said."""

    def __init__(self) -> None:
        self.faults: list[tuple[str, str]] = []
        self.sensed: list[str] = []
        self.skipped: list[str] = []
        self.settled: list[tuple[str, int]] = []

    def on_fault(self, cause: str, message: str) -> None:
        self.faults.append((cause, message))

    def on_sensed(self, source: str, took_ms: float) -> None:
        self.sensed.append(source)

    def on_skipped(self, source: str) -> None:
        self.skipped.append(source)

    def on_settled(self, topic: str, header: Header) -> None:
        self.settled.append((topic, header.stamp.sec))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def intake(senses: SlowSenses, told: Told) -> Iterator[Intake]:
    intake = Intake(senses, told)
    yield intake
    senses.go.set()
    intake.close()


def labels(stamp_s: int, value: int = 3) -> Any:
    return say.label_image(np.full((4, 6), value, np.uint8), stamp_s * S)


def test_posting_never_waits_and_the_newest_of_a_topic_wins(
    intake: Intake, senses: SlowSenses, told: Told
) -> None:
    intake.post(LABELS, labels(1))
    assert senses.started.wait(PATIENCE_S)
    for stamp in (2, 3, 4):
        intake.post(LABELS, labels(stamp))  # returns, though nothing can be taken yet
    senses.go.set()
    assert wait_for(lambda: senses.taken == [1, 4], PATIENCE_S)
    assert told.skipped == ["labels", "labels"]
    assert wait_for(lambda: len(told.settled) == 4, PATIENCE_S)
    assert sorted(told.settled) == [(LABELS, stamp) for stamp in (1, 2, 3, 4)]


def test_while_a_frame_is_answered_only_what_the_next_needs_is_converted(
    intake: Intake, senses: SlowSenses, told: Told
) -> None:
    senses.go.set()
    intake.nearest(S)
    for stamp in (1, 2, 3, 4, 5):  # more than there is room for
        intake.post(LABELS, labels(stamp))
    intake.post(LANE_MASK, labels(3, value=1))
    assert senses.taken == []
    found = {evidence.source: evidence.stamp_ns for evidence in intake.nearest(4 * S)}
    assert found == {"labels": 4 * S, "lane_mask": 3 * S}
    assert sorted(senses.taken) == [3, 4]
    assert told.skipped == ["labels"] * 3, "the fifth may be needed by a later frame"


def test_what_waits_is_converted_once_the_frame_is_done(intake: Intake, senses: SlowSenses) -> None:
    senses.go.set()
    intake.nearest(S)
    intake.nearest(S)  # two frames in flight
    for stamp in (2, 3):
        intake.post(LABELS, labels(stamp))
    intake.frame_done()
    assert senses.taken == []
    intake.frame_done()
    assert wait_for(lambda: senses.taken == [3], PATIENCE_S)


def test_what_is_known_already_is_not_replaced_by_what_is_further_away(
    intake: Intake, senses: SlowSenses
) -> None:
    senses.go.set()
    intake.post(LABELS, labels(2))
    intake.nearest(2 * S)
    intake.post(LABELS, labels(9))
    (evidence,) = intake.nearest(3 * S)
    assert evidence.stamp_ns == 2 * S
    (evidence,) = intake.nearest(8 * S)
    assert evidence.stamp_ns == 9 * S
    assert senses.taken == [2, 9]


def test_a_frame_waits_for_what_came_before_it(intake: Intake, senses: SlowSenses) -> None:
    senses.go.set()
    for stamp in range(1, 50):
        intake.post(LABELS, labels(stamp))
        (evidence,) = intake.nearest(stamp * S)
        assert evidence.stamp_ns == stamp * S
        intake.frame_done()


def test_a_frame_does_not_wait_for_ever(intake: Intake, senses: SlowSenses) -> None:
    intake.post(LABELS, labels(1))
    assert intake.nearest(S) == ()
    senses.go.set()
    assert wait_for(lambda: intake.nearest(S), PATIENCE_S)


def test_depth_waits_for_the_camera(intake: Intake, senses: SlowSenses, told: Told) -> None:
    senses.go.set()
    intake.post(DEPTH, say.depth_image(S))
    assert intake.nearest(S) == ()
    assert told.faults == []
    intake.post(CAMERA_INFO, say.camera_info(S))
    (evidence,) = intake.nearest(S)
    assert evidence.source == "depth"
    assert told.sensed == ["depth"]


def test_a_camera_that_never_comes_is_told_with_the_next_message(
    intake: Intake, senses: SlowSenses, told: Told
) -> None:
    senses.go.set()
    for stamp in (1, 2, 3):
        intake.post(DEPTH, say.depth_image(stamp * S))
    assert [topic for topic, _ in told.faults] == [DEPTH, DEPTH]
    assert "remap camera_info" in told.faults[0][1]


def test_what_cannot_be_used_is_told_and_the_thread_lives(
    intake: Intake, senses: SlowSenses, told: Told
) -> None:
    senses.go.set()
    intake.post(LABELS, labels(1, value=77))
    assert intake.nearest(S) == ()
    intake.post(ODOMETRY, say.odometry(S, float("nan")))
    intake.post(LABELS, labels(2))
    assert len(intake.nearest(2 * S)) == 1
    assert [topic for topic, _ in told.faults] == [LABELS, ODOMETRY]
    assert "class 77" in told.faults[0][1]


def test_closing_ends_the_thread(intake: Intake, senses: SlowSenses) -> None:
    senses.go.set()
    intake.close()
    intake.post(LABELS, labels(1))
    assert intake.nearest(S) == ()
