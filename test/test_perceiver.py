from __future__ import annotations

import gc
import math
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_bundle import (
    TINY_CLASSES,
    LoopedRunner,
    color_image,
    measured_code,
    write_tiny_bundle,
)

from seg_perception.errors import ConfigError, RunnerError, SegPerceptionError
from seg_perception.evidence.gate import SourceGate
from seg_perception.evidence.previous import TEMPORAL_DECAY_S
from seg_perception.evidence.record import Evidence, evidence_from_labels
from seg_perception.perceiver import Frame, Perceiver, Perception
from seg_perception.runtime.bundle import load_bundle
from seg_perception.runtime.runner import Runner, open_runner

MS = 1_000_000
H, W = 24, 32


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    folder: Path = write_tiny_bundle(tmp_path_factory.mktemp("tiny"), height=H, width=W)
    return open_runner(load_bundle(folder), threads=1)


@pytest.fixture
def perceiver(runner: Runner) -> Iterator[Perceiver]:
    perceiver = Perceiver(runner)
    yield perceiver
    perceiver.stop()


def uniform(label: int, height: int = H, width: int = W) -> NDArray[np.uint8]:
    return np.full((height, width), label, np.uint8)


def frame(
    labels: NDArray[np.uint8] | None = None, stamp_ms: int = 1000, header: Any = None
) -> Frame:
    labels = uniform(0) if labels is None else labels
    return Frame(color_image(labels, TINY_CLASSES), stamp_ms * MS, header)


def knowing(label: int, source: str = "map", stamp_ms: int = 1000) -> Evidence:
    return evidence_from_labels(uniform(label), 4, stamp_ns=stamp_ms * MS, source=source)


class Wrapped:
    """The real runner behind a function that may wait, fail or change the answers."""

    def __init__(self, runner: Runner, around: Callable[[Callable[[], Any]], Any]) -> None:
        self.bundle, self.name, self.reason = runner.bundle, "wrapped", "for a test"
        self.frames_in_flight = runner.frames_in_flight
        self._runner, self._around = runner, around

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        answers: dict[str, NDArray[Any]] = self._around(lambda: self._runner.run(inputs, outputs))
        return answers

    def close(self) -> None:
        self._runner.close()


class Gate:
    """Lets a runner through one frame at a time."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self._open = threading.Semaphore(0)

    def around(self, run: Callable[[], Any]) -> Any:
        self.entered.release()
        assert self._open.acquire(timeout=20)
        return run()

    def wait_until_busy(self) -> None:
        assert self.entered.acquire(timeout=20)

    def let_through(self, frames: int = 1) -> None:
        self._open.release(frames)


class Inbox:
    """Collects what the worker says; `wait` returns once so much has come."""

    def __init__(self) -> None:
        self.perceptions: list[Perception] = []
        self.errors: list[Exception] = []
        self._come = threading.Semaphore(0)

    def on_perception(self, perception: Perception) -> None:
        self.perceptions.append(perception)
        self._come.release()

    def on_error(self, error: Exception) -> None:
        self.errors.append(error)
        self._come.release()

    def wait(self, count: int = 1) -> None:
        for _ in range(count):
            assert self._come.acquire(timeout=20)


# -- one frame, in the caller's thread


@given(scale_h=st.integers(1, 4), scale_w=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_the_answer_has_the_size_and_the_place_of_the_frame(
    runner: Runner, scale_h: int, scale_w: int, seed: int
) -> None:
    small = np.random.default_rng(seed).integers(0, 4, (H, W), np.uint8)
    labels = small.repeat(scale_h, axis=0).repeat(scale_w, axis=1)
    answer = Perceiver(runner).perceive(frame(labels))
    np.testing.assert_array_equal(answer.labels, labels)
    for values in (answer.confidence, answer.entropy):
        assert values.dtype == np.uint8
        assert values.shape == labels.shape


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7), (H + 1, W), (480, 640), (23, 31)])
def test_any_size_of_image_is_answered(perceiver: Perceiver, size: tuple[int, int]) -> None:
    answer = perceiver.perceive(frame(uniform(2, *size)))
    np.testing.assert_array_equal(answer.labels, uniform(2, *size))


def test_views_of_other_memory_layouts_are_answered_alike(perceiver: Perceiver) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (2 * H, 2 * W), np.uint8)
    for shape in ((H, W), (2 * H, 2 * W)):
        image = color_image(labels[: shape[0], : shape[1]], TINY_CLASSES)
        expected = perceiver.perceive(Frame(image, 0)).labels
        bgr = image[..., ::-1].copy()
        padded = np.zeros((shape[0], shape[1] + 5, 3), np.uint8)
        padded[:, : shape[1]] = image
        for view in (bgr[..., ::-1], padded[:, : shape[1]], np.asfortranarray(image)):
            np.testing.assert_array_equal(perceiver.perceive(Frame(view, 0)).labels, expected)


def test_the_frame_and_its_header_come_back(perceiver: Perceiver) -> None:
    asked = frame(header=object())
    answer = perceiver.perceive(asked)
    assert answer.frame is asked
    assert answer.frame.header is asked.header


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_what_is_no_image_is_refused(image: NDArray[Any]) -> None:
    with pytest.raises(RunnerError, match=r"give a uint8 image \[h, w, 3\] RGB"):
        Frame(image, 0)


def test_every_stage_is_timed(perceiver: Perceiver) -> None:
    timings = perceiver.perceive(frame()).timings
    assert list(timings) == ["wait", "resize", "gather", "evidence", "infer", "restore", "total"]
    assert timings["infer"] > 0
    assert timings["total"] == pytest.approx(sum(timings.values()) - timings["total"])
    assert set(perceiver.latencies()) == set(timings)
    assert perceiver.latencies()["infer"].p50_ms == timings["infer"]


def test_a_model_without_a_code_is_answered_too(tmp_path: Path) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path, code_size=0))
    perceiver = Perceiver(open_runner(bundle), temporal_precision=1.0)
    for _ in range(2):
        answer = perceiver.perceive(frame(), [knowing(1)])
    assert answer.code is None
    assert (answer.labels == 0).all()
    assert answer.evidence[0].reason == "the model takes no evidence"
    assert perceiver.counters.evidence_rejected == 2


# -- evidence


def test_labels_before_correction_come_when_asked_for(perceiver: Perceiver) -> None:
    perceiver.unrefined = True
    answer = perceiver.perceive(frame(), [knowing(1)])
    assert (answer.labels == 1).all()
    np.testing.assert_array_equal(answer.labels_unrefined, uniform(0))


def test_evidence_corrects_and_is_reported(perceiver: Perceiver) -> None:
    answer = perceiver.perceive(frame(), [knowing(1, stamp_ms=990)])
    assert (answer.labels == 1).all()
    assert answer.labels_unrefined is None
    (report,) = answer.evidence
    assert (report.source, report.used, report.reason) == ("map", True, "")
    assert report.age_ms == 10
    assert report.agreement == 100
    assert perceiver.counters.evidence_used == 1


def test_evidence_of_another_size_lands_in_place(perceiver: Perceiver) -> None:
    known = uniform(255, 2 * H, 3 * W)
    known[:, : 3 * W // 2] = 1
    evidence = evidence_from_labels(known, 4, stamp_ns=1000 * MS)
    answer = perceiver.perceive(frame(uniform(0, 4 * H, 4 * W)), [evidence])
    assert (answer.labels[:, : 2 * W] == 1).all()
    assert (answer.labels[:, 2 * W :] == 0).all()


def test_stale_evidence_is_dropped_counted_and_reported(perceiver: Perceiver) -> None:
    answer = perceiver.perceive(frame(), [knowing(1, stamp_ms=400), knowing(1, "new", 1400)])
    assert [report.used for report in answer.evidence] == [False, True]
    assert answer.evidence[0].reason == "600 ms from the frame, at most 500 are allowed"
    assert math.isnan(answer.evidence[0].agreement)
    counters = perceiver.counters
    assert (counters.evidence_stale, counters.evidence_used) == (1, 1)


def test_the_allowed_age_can_be_changed_at_run_time(perceiver: Perceiver) -> None:
    old = knowing(1, stamp_ms=400)
    perceiver.evidence_max_age_s = 0.6
    assert (perceiver.perceive(frame(), [old]).labels == 1).all()
    perceiver.evidence_max_age_s = 0.1
    assert (perceiver.perceive(frame(), [old]).labels == 0).all()


def test_evidence_about_other_classes_is_refused_and_counted(perceiver: Perceiver) -> None:
    other = evidence_from_labels(uniform(1), 11, stamp_ns=1000 * MS, source="lidar")
    answer = perceiver.perceive(frame(), [other])
    assert (answer.labels == 0).all()
    assert answer.evidence[0].reason == "it has 11 classes, the model 4"
    assert perceiver.counters.evidence_rejected == 1


def test_trust_decides_between_contradicting_sources(perceiver: Perceiver) -> None:
    sources = [knowing(1, "map"), knowing(2, "lidar")]
    perceiver.evidence_trust = {"map": 0.5}
    answer = perceiver.perceive(frame(), sources)
    assert (answer.labels == 2).all()
    assert [report.agreement for report in answer.evidence] == [0, 100]
    perceiver.evidence_trust = {"lidar": 0.0}
    answer = perceiver.perceive(frame(), sources)
    assert (answer.labels == 1).all()
    assert [report.used for report in answer.evidence] == [True, False]
    assert perceiver.counters.evidence_muted == 1


def test_sets_beyond_what_the_model_takes_are_reported(tmp_path: Path) -> None:
    bundle = load_bundle(write_tiny_bundle(tmp_path, height=H, width=W, max_sets=2))
    known = uniform(1)
    known[0, 0] = 2
    evidence = evidence_from_labels(known, 4, stamp_ns=1000 * MS)
    (report,) = Perceiver(open_runner(bundle)).perceive(frame(), [evidence]).evidence
    assert report.used
    assert report.reason == "1 pixels left out: the model does not take so many sets"


# -- doubted sources


def counted(runner: Runner) -> tuple[Wrapped, list[int]]:
    """The runner, and how often it ran."""
    runs = [0]

    def around(run: Callable[[], Any]) -> Any:
        runs[0] += 1
        return run()

    return Wrapped(runner, around), runs


def test_a_source_that_the_image_contradicts_en_masse_is_left_out(runner: Runner) -> None:
    wrapped, runs = counted(runner)
    perceiver = Perceiver(wrapped, gate=SourceGate())
    answer = perceiver.perceive(frame(), [knowing(1)])
    assert (answer.labels == 0).all()
    (report,) = answer.evidence
    assert (report.used, report.agreement) == (False, 0.0)
    assert report.reason == "it contradicts what the image shows for sure on 100 % of it"
    assert (perceiver.counters.evidence_doubted, perceiver.counters.evidence_used) == (1, 0)
    assert runs == [2]
    perceiver.perceive(frame(), [knowing(1)])
    assert runs == [3], "a doubted source costs nothing more"


def test_the_other_sources_still_take_part(runner: Runner) -> None:
    perceiver = Perceiver(runner, gate=SourceGate())
    right = uniform(255)
    right[:, W // 2 :] = 0
    good = evidence_from_labels(right, 4, stamp_ns=1000 * MS, source="lidar")
    answer = perceiver.perceive(frame(), [knowing(1), good])
    assert [report.used for report in answer.evidence] == [False, True]
    assert (answer.labels == 0).all()


def test_a_source_that_agrees_costs_its_first_checks(runner: Runner) -> None:
    wrapped, runs = counted(runner)
    perceiver = Perceiver(wrapped, gate=SourceGate())
    for expected in (2, 4, 6, 7, 8):  # three times it is checked
        assert perceiver.perceive(frame(), [knowing(0)]).evidence[0].used
        assert runs == [expected]


def test_a_doubted_source_comes_back(runner: Runner) -> None:
    perceiver = Perceiver(runner, gate=SourceGate())
    perceiver.perceive(frame(), [knowing(1)])
    used = [perceiver.perceive(frame(), [knowing(0)]).evidence[0].used for _ in range(4)]
    assert used == [False, False, False, True]


def test_a_clock_that_jumps_back_clears_all_doubts(runner: Runner) -> None:
    perceiver = Perceiver(runner, gate=SourceGate())
    perceiver.perceive(frame(stamp_ms=1000), [knowing(1)])
    answer = perceiver.perceive(frame(stamp_ms=900), [knowing(0)])
    assert answer.evidence[0].used


# -- the previous frame


def test_every_frame_starts_anew_by_default(perceiver: Perceiver) -> None:
    codes = [perceiver.perceive(frame(uniform(label))).code for label in (0, 1, 0)]
    np.testing.assert_array_equal(codes[0], codes[2])


def test_the_previous_code_enters_with_a_precision_that_decays(perceiver: Perceiver) -> None:
    perceiver.temporal_precision = 2.0
    first = perceiver.perceive(frame(uniform(0), stamp_ms=1000)).code
    assert first is not None
    evidence = knowing(0, stamp_ms=1250)
    second = perceiver.perceive(frame(uniform(0), stamp_ms=1250), [evidence]).code
    precision = 2.0 * math.exp(-0.25 / TEMPORAL_DECAY_S)
    measured = measured_code(color_image(uniform(0), TINY_CLASSES), 1.0, 4)
    assert second == pytest.approx((measured + precision * first) / (1 + precision), rel=1e-5)


def test_after_a_cut_the_previous_code_says_nothing(perceiver: Perceiver) -> None:
    perceiver.temporal_precision = 100.0
    perceiver.perceive(frame(uniform(0), stamp_ms=1000))
    cut = perceiver.perceive(frame(uniform(1), stamp_ms=1033)).code
    measured = measured_code(color_image(uniform(1), TINY_CLASSES), 0.0, 4)
    np.testing.assert_allclose(cut, measured, rtol=1e-5)


@pytest.mark.parametrize(
    "second", [frame(uniform(1), stamp_ms=999), frame(uniform(1, 2 * H, 2 * W), stamp_ms=1001)]
)
def test_another_size_or_an_older_stamp_forgets_the_previous_code(
    perceiver: Perceiver, second: Frame
) -> None:
    perceiver.temporal_precision = 2.0
    perceiver.perceive(frame(uniform(0), stamp_ms=1000))
    measured = measured_code(color_image(uniform(1), TINY_CLASSES), 0.0, 4)
    np.testing.assert_allclose(perceiver.perceive(second).code, measured, rtol=1e-5)


def test_a_code_that_diverged_is_not_handed_on(runner: Runner) -> None:
    diverge = [True, False]

    def around(run: Callable[[], Any]) -> Any:
        answers = run()
        return {**answers, "code": answers["code"] * np.nan} if diverge.pop(0) else answers

    perceiver = Perceiver(Wrapped(runner, around), temporal_precision=2.0)
    assert np.isnan(perceiver.perceive(frame()).code).all()
    assert np.isfinite(perceiver.perceive(frame()).code).all()


def test_a_clock_that_jumps_back_is_counted(perceiver: Perceiver) -> None:
    for stamp_ms in (1000, 1100, 1100, 500, 600):
        perceiver.perceive(frame(stamp_ms=stamp_ms))
    assert perceiver.counters.clock_jumps == 1
    assert perceiver.counters.answered == 5


# -- settings


@pytest.mark.parametrize("name", ["evidence_max_age_s", "temporal_precision", "min_period_s"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_settings_that_make_no_sense_are_refused(
    perceiver: Perceiver, name: str, value: float
) -> None:
    before = getattr(perceiver, name)
    with pytest.raises(ConfigError, match=f"{name} is {value}: give a finite number >= 0"):
        setattr(perceiver, name, value)
    assert getattr(perceiver, name) == before


def test_trust_that_makes_no_sense_is_refused(perceiver: Perceiver) -> None:
    with pytest.raises(ConfigError, match=r"evidence_trust\['map'\] is -1"):
        perceiver.evidence_trust = {"map": -1}
    assert perceiver.evidence_trust == {}


# -- the worker


def test_while_one_frame_is_answered_only_the_newest_waits(runner: Runner) -> None:
    gate, inbox = Gate(), Inbox()
    perceiver = Perceiver(Wrapped(runner, gate.around))
    perceiver.start(inbox.on_perception, inbox.on_error)
    perceiver.submit(frame(header=0))
    gate.wait_until_busy()
    for i in range(1, 8):
        perceiver.submit(frame(header=i))
    gate.let_through(2)
    inbox.wait(2)
    assert [answer.frame.header for answer in inbox.perceptions] == [0, 7]
    assert inbox.perceptions[1].timings["wait"] > 0
    perceiver.stop()
    counters = perceiver.counters
    assert (counters.received, counters.answered, counters.dropped) == (8, 2, 6)


def test_stopping_finishes_the_frame_at_hand_and_drops_the_next(runner: Runner) -> None:
    gate, inbox = Gate(), Inbox()
    perceiver = Perceiver(Wrapped(runner, gate.around))
    perceiver.start(inbox.on_perception, inbox.on_error)
    perceiver.submit(frame(header="at hand"))
    gate.wait_until_busy()
    perceiver.submit(frame(header="next"))
    stopper = threading.Thread(target=perceiver.stop)
    stopper.start()
    gate.let_through(2)
    stopper.join(timeout=20)
    assert not stopper.is_alive()
    assert [answer.frame.header for answer in inbox.perceptions] == ["at hand"]
    counters = perceiver.counters
    assert (counters.answered, counters.dropped, counters.failed) == (1, 1, 0)


def test_stopping_twice_or_unstarted_is_fine(perceiver: Perceiver) -> None:
    perceiver.stop()
    perceiver.start(Inbox().on_perception, Inbox().on_error)
    perceiver.stop()
    perceiver.stop()


def test_starting_twice_is_refused(perceiver: Perceiver) -> None:
    inbox = Inbox()
    perceiver.start(inbox.on_perception, inbox.on_error)
    with pytest.raises(SegPerceptionError, match=r"runs already: call stop\(\) first"):
        perceiver.start(inbox.on_perception, inbox.on_error)


def test_it_can_be_started_again_and_knows_nothing_of_before(perceiver: Perceiver) -> None:
    inbox = Inbox()
    perceiver.start(inbox.on_perception, inbox.on_error)
    perceiver.offer(knowing(1))
    perceiver.submit(frame())
    inbox.wait()
    perceiver.stop()
    perceiver.submit(frame(header="while stopped"))
    perceiver.start(inbox.on_perception, inbox.on_error)
    # Older than the frame before, which another run of the clock must not count as a jump.
    perceiver.submit(frame(stamp_ms=1, header="again"))
    inbox.wait()
    assert [answer.frame.header for answer in inbox.perceptions] == [None, "again"]
    assert inbox.perceptions[1].evidence == ()
    assert perceiver.counters.clock_jumps == 0
    assert perceiver.counters.dropped == 1


def test_a_callback_may_stop_the_perceiver(perceiver: Perceiver) -> None:
    inbox = Inbox()

    def stop_and_tell(perception: Perception) -> None:
        perceiver.stop()
        inbox.on_perception(perception)

    perceiver.start(stop_and_tell, inbox.on_error)
    perceiver.submit(frame())
    inbox.wait()
    perceiver.submit(frame())
    assert perceiver.counters.dropped == 1
    assert inbox.errors == []


def test_the_newest_offer_of_each_source_is_used(perceiver: Perceiver) -> None:
    inbox = Inbox()
    perceiver.start(inbox.on_perception, inbox.on_error)
    perceiver.offer(knowing(1, "map"))
    perceiver.offer(knowing(2, "map"))
    perceiver.submit(frame())
    inbox.wait()
    perceiver.offer(knowing(2, "lidar"))
    perceiver.submit(frame(stamp_ms=1010))
    inbox.wait()
    first, second = inbox.perceptions
    assert (first.labels == 2).all()
    assert [report.source for report in first.evidence] == ["map"]
    assert [report.source for report in second.evidence] == ["map", "lidar"]


def test_a_frame_takes_what_was_offered_nearest_to_it_in_time(perceiver: Perceiver) -> None:
    inbox = Inbox()
    perceiver.start(inbox.on_perception, inbox.on_error)
    for label, stamp_ms in ((1, 900), (2, 1010), (3, 1300)):
        perceiver.offer(knowing(label, stamp_ms=stamp_ms))
    for stamp_ms in (940, 1000, 1290):
        perceiver.submit(frame(stamp_ms=stamp_ms))
        inbox.wait()
    assert [answer.labels[0, 0] for answer in inbox.perceptions] == [1, 2, 3]
    assert [answer.evidence[0].age_ms for answer in inbox.perceptions] == [40, 10, 10]


def test_a_clock_jump_forgets_what_was_offered(perceiver: Perceiver) -> None:
    inbox = Inbox()
    perceiver.start(inbox.on_perception, inbox.on_error)
    perceiver.offer(knowing(1))
    for stamp_ms in (1000, 990):
        perceiver.submit(frame(stamp_ms=stamp_ms))
        inbox.wait()
    assert [len(answer.evidence) for answer in inbox.perceptions] == [1, 0]


def test_the_worker_outlives_a_runner_that_fails(runner: Runner) -> None:
    failures: list[Exception | None] = [RunnerError("a"), RunnerError("b"), ValueError("c"), None]

    def around(run: Callable[[], Any]) -> Any:
        failure = failures.pop(0)
        if failure is not None:
            raise failure
        return run()

    inbox = Inbox()
    perceiver = Perceiver(Wrapped(runner, around))
    perceiver.start(inbox.on_perception, inbox.on_error)
    for _ in range(4):
        perceiver.submit(frame())
        inbox.wait()
    perceiver.stop()
    assert [str(error) for error in inbox.errors] == ["a", "b", "c"]
    assert len(inbox.perceptions) == 1
    counters = perceiver.counters
    assert counters.errors == {"RunnerError": 2, "ValueError": 1}
    assert (counters.received, counters.answered, counters.failed) == (4, 1, 3)


def test_the_worker_outlives_callbacks_that_fail(perceiver: Perceiver) -> None:
    inbox = Inbox()

    def fail(perception: Perception) -> None:
        raise OSError("no room to publish")

    def fail_too(error: Exception) -> None:
        inbox.on_error(error)
        raise KeyError("on_error")

    perceiver.start(fail, fail_too)
    for _ in range(2):
        perceiver.submit(frame())
        inbox.wait()
    perceiver.stop()
    assert perceiver.counters.errors == {"OSError": 2}
    assert (perceiver.counters.answered, perceiver.counters.failed) == (2, 0)


def test_an_error_reaches_whoever_asked(runner: Runner) -> None:
    def around(run: Callable[[], Any]) -> Any:
        raise RunnerError("out of memory")

    perceiver = Perceiver(Wrapped(runner, around))
    with pytest.raises(RunnerError, match="out of memory"):
        perceiver.perceive(frame())
    assert (perceiver.counters.failed, perceiver.counters.answered) == (1, 0)


def test_the_rate_limit_spaces_the_frames(runner: Runner) -> None:
    starts: list[float] = []

    def around(run: Callable[[], Any]) -> Any:
        starts.append(time.monotonic())
        return run()

    inbox = Inbox()
    perceiver = Perceiver(Wrapped(runner, around))
    perceiver.min_period_s = 0.05
    perceiver.start(inbox.on_perception, inbox.on_error)
    for _ in range(3):
        perceiver.submit(frame())
        inbox.wait()
    perceiver.stop()
    assert np.diff(starts).min() > 0.04


def test_many_threads_at_once_and_every_frame_is_accounted_for(perceiver: Perceiver) -> None:
    inbox = Inbox()
    perceiver.start(inbox.on_perception, inbox.on_error)

    def work(label: int) -> None:
        for i in range(15):
            perceiver.submit(frame(uniform(label), stamp_ms=i))
            perceiver.offer(knowing(label, source=str(label), stamp_ms=i))
            answer = perceiver.perceive(frame(uniform(label), stamp_ms=i))
            assert (answer.labels == label).all()

    threads = [threading.Thread(target=work, args=(label,)) for label in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    perceiver.stop()
    counters = perceiver.counters
    assert counters.received == 4 * 15 * 2
    assert counters.received == counters.answered + counters.dropped
    assert counters.answered == 4 * 15 + len(inbox.perceptions)
    assert counters.errors == {}


def test_memory_stays_flat(runner: Runner) -> None:
    perceiver = Perceiver(runner, temporal_precision=1.0)
    asked, evidence = frame(), knowing(1)

    def drive(frames: int) -> None:
        for i in range(frames):
            perceiver.perceive(replace(asked, stamp_ns=i * MS), [evidence])

    drive(600)  # fills the history of timings
    gc.collect()
    tracemalloc.start()
    drive(100)
    before = tracemalloc.get_traced_memory()[0]
    drive(1000)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    # A history that grew would hold 6 numbers of 24 bytes for each of the 1000 frames.
    assert after - before < 50_000


def test_the_steps_of_looped_refiners_go_with_every_frame(runner: Runner) -> None:
    looped = LoopedRunner(runner, {"denoiser": 4, "other": 1})
    perceiver = Perceiver(looped)
    perceiver.perceive(frame(uniform(0)))
    perceiver.refiner_iterations = {"denoiser": 0}
    perceiver.perceive(frame(uniform(0)))
    assert looped.iterations == [[4, 1], [0, 1]]
    for wrong in ({"nope": 1}, {"denoiser": -1}):
        with pytest.raises(ConfigError, match="give 0 or more for denoiser, other"):
            perceiver.refiner_iterations = wrong


# -- two frames in flight


class TwoAtOnce(Wrapped):
    """The real runner for two calls at once; each ends when its label is let through.

    Attributes:
        precisions: of the prior that came with a label, in the order of arrival.
    """

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner, lambda run: run())
        self.frames_in_flight = 2
        self.precisions: list[tuple[int, float]] = []
        self.failing: set[int] = set()
        self._changed = threading.Condition()
        self._through: set[int] = set()

    def run(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        answers = super().run(inputs, outputs)
        label = int(answers["labels"][0, 0, 0])
        precision = float(inputs.get("prior_precision", np.zeros(1))[0])
        with self._changed:
            self.precisions.append((label, precision))
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: label in self._through, 20)
        if label in self.failing:
            raise RunnerError(f"of {label}")
        return answers

    def wait_for(self, frames: int) -> None:
        """Until so many have arrived."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.precisions) >= frames, 20)

    def let_through(self, *labels: int) -> None:
        with self._changed:
            self._through.update(labels)
            self._changed.notify_all()


@pytest.fixture
def two(runner: Runner) -> Iterator[tuple[TwoAtOnce, Perceiver, Inbox]]:
    """Frames are of one label, which tells them apart."""
    slow, inbox = TwoAtOnce(runner), Inbox()
    perceiver = Perceiver(slow)
    perceiver.start(inbox.on_perception, inbox.on_error)
    yield slow, perceiver, inbox
    slow.let_through(*range(4))
    perceiver.stop()


def begin(slow: TwoAtOnce, perceiver: Perceiver, *labels: int, first_ms: int = 1000) -> None:
    """Submit frames, 100 ms from each other, each once the runner has the one before."""
    for i, label in enumerate(labels):
        arrived = len(slow.precisions)
        perceiver.submit(frame(uniform(label), stamp_ms=first_ms + 100 * i))
        slow.wait_for(arrived + 1)


def told(inbox: Inbox) -> list[int]:
    return [int(answer.labels[0, 0]) for answer in inbox.perceptions]


def test_a_second_frame_begins_where_the_runner_can(
    two: tuple[TwoAtOnce, Perceiver, Inbox],
) -> None:
    slow, perceiver, inbox = two
    begin(slow, perceiver, 0, 1)
    for label, stamp_ms in ((2, 1200), (3, 1300)):  # of these only the newest waits
        perceiver.submit(frame(uniform(label), stamp_ms=stamp_ms))
    slow.let_through(0, 1, 2, 3)
    inbox.wait(3)
    assert told(inbox) == [0, 1, 3]
    counters = perceiver.counters
    assert (counters.received, counters.answered, counters.dropped) == (4, 3, 1)


def test_answers_come_in_the_order_of_the_frames(two: tuple[TwoAtOnce, Perceiver, Inbox]) -> None:
    slow, perceiver, inbox = two
    begin(slow, perceiver, 0, 1)
    slow.let_through(1)
    begin_of_third = threading.Thread(target=begin, args=(slow, perceiver, 2))
    begin_of_third.start()
    assert told(inbox) == []  # 1 is ready, and waits for 0
    slow.let_through(0, 2)
    inbox.wait(3)
    begin_of_third.join(20)
    assert told(inbox) == [0, 1, 2]


def test_an_error_keeps_its_place_and_holds_nobody_up(
    two: tuple[TwoAtOnce, Perceiver, Inbox],
) -> None:
    slow, perceiver, inbox = two
    slow.failing = {0}
    begin(slow, perceiver, 0, 1)
    slow.let_through(0, 1)
    inbox.wait(2)
    assert told(inbox) == [1]
    assert [str(error) for error in inbox.errors] == ["of 0"]
    assert perceiver.counters.failed == 1


def test_the_prior_is_of_the_newest_frame_that_is_finished(
    two: tuple[TwoAtOnce, Perceiver, Inbox],
) -> None:
    slow, perceiver, inbox = two
    perceiver.temporal_precision = 2.0
    begin(slow, perceiver, 0)
    slow.let_through(0)
    inbox.wait()
    begin(slow, perceiver, 1, 0, first_ms=1100)  # the 0 ends at once, before the 1
    slow.let_through(1)
    inbox.wait(2)
    begin(slow, perceiver, 0, first_ms=1300)
    inbox.wait()
    precisions = [precision for _, precision in slow.precisions]
    assert precisions[0] == 0
    # 200 ms after the first frame; the one between was not finished.
    assert precisions[2] == pytest.approx(2.0 * math.exp(-0.2 / TEMPORAL_DECAY_S))
    # 100 ms after the third, although the second ended later.
    assert precisions[3] == pytest.approx(2.0 * math.exp(-0.1 / TEMPORAL_DECAY_S))


def test_what_is_in_flight_when_the_clock_jumps_leaves_nothing_behind(
    two: tuple[TwoAtOnce, Perceiver, Inbox],
) -> None:
    slow, perceiver, inbox = two
    perceiver.temporal_precision = 2.0
    begin(slow, perceiver, 0)
    begin(slow, perceiver, 1, first_ms=500)
    slow.let_through(0)
    inbox.wait()
    begin(slow, perceiver, 0, first_ms=600)
    slow.let_through(1)
    inbox.wait(2)
    assert perceiver.counters.clock_jumps == 1
    assert [precision for _, precision in slow.precisions] == [0, 0, 0]


def test_stopping_finishes_both_frames(two: tuple[TwoAtOnce, Perceiver, Inbox]) -> None:
    slow, perceiver, inbox = two
    begin(slow, perceiver, 0, 1)
    perceiver.submit(frame(uniform(2), stamp_ms=1200))
    stopper = threading.Thread(target=perceiver.stop)
    stopper.start()
    slow.let_through(0, 1, 2)
    stopper.join(timeout=20)
    assert not stopper.is_alive()
    assert told(inbox) == [0, 1]
    counters = perceiver.counters
    assert (counters.answered, counters.dropped) == (2, 1)


def test_nothing_is_told_after_a_callback_that_stopped(runner: Runner) -> None:
    slow, inbox = TwoAtOnce(runner), Inbox()
    perceiver = Perceiver(slow)

    def stop_and_tell(perception: Perception) -> None:
        perceiver.stop()
        inbox.on_perception(perception)

    perceiver.start(stop_and_tell, inbox.on_error)
    begin(slow, perceiver, 0, 1)
    workers = [thread for thread in threading.enumerate() if thread.name == "perceiver"]
    slow.let_through(0, 1)
    for worker in workers:
        worker.join(20)
    assert told(inbox) == [0]
    assert inbox.errors == []
    assert not any(worker.is_alive() for worker in workers)
