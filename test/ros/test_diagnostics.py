from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest
from diagnostic_msgs.msg import DiagnosticArray

from seg_perception.perceiver import Counters, EvidenceReport
from seg_perception.ros.diagnostics import ERROR, WARN, Journal, read_status, to_status

TIMINGS = {"decode": 1.0, "infer": 20.0, "total": 21.0}
EVIDENCE = (EvidenceReport("lane_mask", age_ms=12.5, agreement=98.765, used=True),)


def test_what_is_told_can_be_read_again() -> None:
    journal = Journal()
    journal.answered(TIMINGS, EVIDENCE)
    journal.lost(2)
    journal.fault("image", "step is 17")
    counters = Counters(received=5, answered=3, dropped=1, failed=1, evidence_used=3)
    snapshot = journal.snapshot({"state": "active"}, counters)
    others = to_status("other/segmentation", WARN, "not meant", snapshot)
    status = to_status("car/segmentation", WARN, "image: step is 17", snapshot)
    report = read_status(DiagnosticArray(status=[others, status]), "car/segmentation")
    assert report is not None
    assert (report.level, report.message, report.state) == (WARN, "image: step is 17", "active")
    names = ("received", "answered", "dropped", "failed", "lost")
    assert [report.count(f"frames.{name}") for name in names] == [5, 3, 1, 1, 2]
    assert report.count("evidence.used") == 3
    assert report.count("faults.image") == 1
    assert report.values["evidence.lane_mask.agreement_percent"] == "98.77"
    assert report.stages() == {
        "decode": {"p50": 1.0, "p90": 1.0, "p99": 1.0},
        "infer": {"p50": 20.0, "p90": 20.0, "p99": 20.0},
    }


def test_what_sensors_cost_is_told_by_source() -> None:
    journal = Journal()
    for took_ms in (1.0, 2.0, 9.0):
        journal.sensed("depth", took_ms)
    journal.sensed("points", 4.0)
    status = to_status("a", WARN, "", journal.snapshot({}, None))
    report = read_status(DiagnosticArray(status=[status]), "a")
    assert report is not None
    assert report.conversions() == {"depth": 2.0, "points": 4.0}
    assert float(report.values["evidence.depth.per_second"]) > 0
    assert float(report.values["evidence.points.per_second"]) == 0, "one message is no rate"


def test_another_node_is_not_read() -> None:
    status = to_status("a", WARN, "", Journal().snapshot({}, None))
    assert read_status(DiagnosticArray(status=[status]), "b") is None


@pytest.mark.parametrize(
    ("level", "state", "failed"),
    [
        (ERROR, "unconfigured", True),  # the bundle was refused
        (ERROR, "active", False),  # no image has come yet
        (WARN, "inactive", False),
    ],
)
def test_a_node_that_waits_for_images_has_started(level: bytes, state: str, failed: bool) -> None:
    status = to_status("a", level, "", Journal().snapshot({"state": state}, None))
    report = read_status(DiagnosticArray(status=[status]), "a")
    assert report is not None
    assert report.cannot_start is failed


def test_counts_are_zero_before_anything_happens() -> None:
    status = to_status("a", WARN, "", Journal().snapshot({"state": "unconfigured"}, None))
    report = read_status(DiagnosticArray(status=[status]), "a")
    assert report is not None
    assert report.count("frames.received") == report.count("faults.image") == 0
    assert report.stages() == {}


def test_only_the_first_fault_of_a_cause_is_news() -> None:
    journal = Journal()
    assert journal.fault("image", "first")
    assert not journal.fault("image", "second")
    assert journal.fault("clock_jump", "other")
    assert journal.new_faults() == {"image": "second", "clock_jump": "other"}
    assert journal.new_faults() == {}
    assert not journal.fault("image", "third")
    assert journal.new_faults() == {"image": "third"}


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that interrupt each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_frames_may_come_while_the_journal_is_read() -> None:
    journal, over = Journal(), threading.Event()

    def answer() -> None:
        while not over.is_set():
            journal.answered(TIMINGS, EVIDENCE)
            journal.fault("image", "again")
            journal.sensed("depth", 1.0)

    writer = threading.Thread(target=answer)
    writer.start()
    try:
        for _ in range(300):
            journal.per_second()
            journal.new_faults()
            journal.snapshot({}, None).values()
    finally:
        over.set()
        writer.join()
