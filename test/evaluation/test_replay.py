from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny_bundle import TINY_CLASSES
from tiny_drives import ROAD, tiny_drive, tiny_sample
from tiny_replay import TRANSPORT, frames, lane, scored

from seg_perception.classes import VOID
from seg_perception.errors import ConfigError
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.drive import Answer, ReplayFrame, known_pixels
from seg_perception.evaluation.gallery import N_EVEN, N_EXTREME
from seg_perception.evaluation.replay import METHODS, score_replay
from seg_perception.evaluation.scores import ConfusionMatrix
from seg_perception.runtime.runner import Runner


def test_every_method_is_scored_on_the_same_pixels(runner: Runner) -> None:
    drive = tiny_drive(4)
    result = scored(drive, runner)
    assert tuple(result.tallies) == METHODS
    known = sum(int((sample.labels != 255).sum()) for sample in drive.samples)
    assert {t.outcome.everywhere.n_pixels for t in result.tallies.values()} == {known}
    accuracy = [result.tallies[m].outcome.everywhere.pixel_accuracy for m in METHODS]
    unrefined, refined, replaced, corrected = accuracy
    assert unrefined == refined < replaced < corrected == 100


def test_replaced_puts_right_what_the_evidence_covers(runner: Runner) -> None:
    drive = tiny_drive(4)
    result = scored(drive, runner)
    refined, replaced = (result.tallies[name].outcome for name in ("refined", "replaced"))
    assert (refined.outside.counts == replaced.outside.counts).all()
    hidden = sum(int(lane(sample).index.sum()) for sample in drive.samples)
    assert refined.everywhere.n_pixels - refined.outside.n_pixels == hidden


def test_without_evidence_replaced_is_refined(runner: Runner) -> None:
    result = scored(tiny_drive(2), runner, known=False)
    refined, replaced = (result.tallies[name].outcome for name in ("refined", "replaced"))
    assert (refined.everywhere.counts == replaced.everywhere.counts).all()
    assert result.given == ()


def test_without_a_runner_only_the_node_is_scored() -> None:
    result = scored(tiny_drive(2), None)
    assert list(result.tallies) == ["corrected"]
    assert result.tallies["corrected"].outcome.everywhere.pixel_accuracy == 100


def test_without_truth_there_are_latencies_and_pictures(runner: Runner) -> None:
    result = scored(tiny_drive(3), runner, truth=False)
    assert result.tallies == {}
    assert len(result.frames) == len(result.exhibits) == 3
    record = result.to_record()
    assert record["methods"] == {}
    assert record["frames"] == {"sent": 5, "answered": 4, "dropped": 1, "scored": 0}


def test_record_is_json_and_adds_up(runner: Runner) -> None:
    drive = tiny_drive(4)
    record = scored(drive, runner).to_record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["evidence_classes"] == ["road"]
    assert record["stamp_to_publish_ms"]["p50"] == 2.5
    assert record["answers_per_second"] == 2
    assert list(record["methods"]) == list(METHODS)
    refined = record["methods"]["refined"]
    others = [iou for name, iou in refined["class_iou"].items() if name != "road"]
    assert_allclose(refined["miou_others"], np.mean(others), atol=1e-3)
    assert_allclose(refined["miou"], np.mean(list(refined["class_iou"].values())), atol=1e-3)
    assert record["methods"]["corrected"]["boundary_f"] == 100 > refined["boundary_f"]


def test_truth_of_another_size_is_scored_at_its_own() -> None:
    sample = tiny_sample(0)
    large = sample.labels.repeat(2, 0).repeat(2, 1)
    frame = ReplayFrame(0, sample.image, large, (), Answer(np.minimum(sample.labels, 3)))
    result = score_replay([frame], TRANSPORT, TINY_CLASSES, None)
    confusion = result.tallies["corrected"].outcome.everywhere
    expected = ConfusionMatrix.of(np.minimum(large, 3), large, len(TINY_CLASSES))
    assert (confusion.counts == expected.counts).all()


def test_truth_with_other_classes_is_refused() -> None:
    sample = tiny_sample(0)
    frame = ReplayFrame(0, sample.image, sample.labels + np.uint8(4), (), Answer(sample.labels))
    with pytest.raises(ConfigError, match=r"class 7.*0 to 3"):
        score_replay([frame], TRANSPORT, TINY_CLASSES, None)


def test_evidence_of_another_size_is_seen_in_the_image() -> None:
    evidence = lane(tiny_sample(0))
    known = known_pixels((evidence, lane(tiny_sample(5))), 48, 64)
    assert known.shape == (48, 64)
    assert (known[::2, ::2] >= (evidence.index > 0)).all()


def test_gallery_stays_small_and_shows_best_and_worst(runner: Runner) -> None:
    n_frames = 10 * N_EVEN

    def answers() -> Iterator[ReplayFrame]:
        for i, frame in enumerate(frames(tiny_drive(n_frames))):
            labels = frame.answer.labels.copy()
            labels[:3] = ROAD if i == 13 else labels[:3]
            truth = np.full_like(labels, VOID) if i >= n_frames - N_EXTREME else frame.truth
            yield replace(frame, truth=truth, answer=Answer(labels))

    exhibits = score_replay(answers(), TRANSPORT, TINY_CLASSES, Comparer(runner)).exhibits
    assert N_EVEN < len(exhibits) < 2 * N_EVEN + 2 * N_EXTREME
    stamps = [exhibit.frame.stamp_ns for exhibit in exhibits]
    assert len(set(stamps)) == len(stamps)
    worst = [e for e in exhibits if e.why == "corrected worst"]
    assert worst[0].frame.stamp_ns == 13 * 100_000_000
    evenly = sorted(e.frame.stamp_ns for e in exhibits if e.why == "from the drive")
    assert evenly[-1] > 0.8 * stamps[-1]
