from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny_bundle import TINY_CLASSES
from tiny_drives import CAR, ROAD, TinyDrive, tiny_drive

from seg_perception.classes import CAMVID_CLASSES
from seg_perception.datasets.camvid import CamVid
from seg_perception.errors import ConfigError
from seg_perception.evaluation.evaluate import (
    METHODS,
    EvidenceCase,
    ScoredFrame,
    evaluate,
    evidence_cases,
)
from seg_perception.runtime.runner import Runner

SCORES = {
    "pixel_accuracy",
    "miou",
    "miou_others",
    "outside_pixel_accuracy",
    "outside_miou",
}


def cases(evidence: str | None, kind: str | None = None) -> tuple[EvidenceCase, ...]:
    names = None if evidence is None else tuple(filter(None, evidence.split(",")))
    return evidence_cases(names, kind, TINY_CLASSES)


def test_scores_by_hand_without_evidence(runner: Runner) -> None:
    drive = tiny_drive(3)
    record = evaluate(runner, drive).to_record()
    # The model sees what is painted: every fourth column of the road looks like sidewalk.
    wrong = sum(
        (sample.image[:, ::4][sample.labels[:, ::4] == ROAD] != (255, 0, 0)).any(axis=1).sum()
        for sample in drive.samples
    )
    known = sum((sample.labels != 255).sum() for sample in drive.samples)
    assert wrong > 0
    assert record.keys() == {"n_images", "miou", "pixel_accuracy", "class_iou", "latency_ms"}
    assert record["n_images"] == 3
    assert_allclose(record["pixel_accuracy"], 100 * (known - wrong) / known, atol=1e-3)
    assert record["class_iou"].keys() == {"sky", "road", "sidewalk", "car"}
    assert record["class_iou"]["sky"] == record["class_iou"]["car"] == 100
    assert_allclose(record["miou"], np.mean(list(record["class_iou"].values())), atol=1e-3)
    assert record["latency_ms"].keys() == {"p50", "p90", "p99"}
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_evidence_is_scored_in_every_way_for_every_class(runner: Runner) -> None:
    record = evaluate(runner, tiny_drive(3), cases("road,car")).to_record()
    assert list(record["evidence"]) == ["road", "car"]
    for ways in record["evidence"].values():
        assert tuple(ways) == METHODS
        assert all(scores.keys() == SCORES for scores in ways.values())
    road = record["evidence"]["road"]
    assert road["zero_code"]["pixel_accuracy"] == record["pixel_accuracy"]
    assert road["replaced"]["pixel_accuracy"] > road["zero_code"]["pixel_accuracy"]
    # Replacing changes nothing where nothing is known.
    for figure in ("outside_pixel_accuracy", "outside_miou"):
        assert road["replaced"][figure] == road["zero_code"][figure]


def test_others_leave_out_the_given_class(runner: Runner) -> None:
    evaluation = evaluate(runner, tiny_drive(3), cases("road"))
    scores = evaluation.outcomes["road"]["zero_code"].to_record(evaluation.cases[0].given)
    others = np.delete(evaluation.confusion.class_iou, ROAD)
    assert_allclose(scores["miou_others"], others.mean())


def test_complete_evidence_leaves_nothing_outside(runner: Runner) -> None:
    record = evaluate(runner, tiny_drive(2), cases("road", "complete")).to_record()
    scores = record["evidence"]["road"]["replaced"]
    assert scores["outside_pixel_accuracy"] is None
    assert scores["outside_miou"] is None


def test_all_points_known_is_perfect(runner: Runner) -> None:
    record = evaluate(runner, tiny_drive(2), cases(None, "points:1")).to_record()
    assert list(record["evidence"]) == ["points"]
    ways = record["evidence"]["points"]
    assert ways["replaced"]["pixel_accuracy"] == ways["optimised"]["pixel_accuracy"] == 100
    assert ways["zero_code"]["pixel_accuracy"] == record["pixel_accuracy"] < 100


def test_evidence_is_seeded(runner: Runner) -> None:
    drive, wanted = tiny_drive(3), cases("road", "partial:0.3")
    first, same, other = (
        evaluate(runner, drive, wanted, seed).to_record()["evidence"] for seed in (0, 0, 1)
    )
    assert first == same
    assert first != other


def test_kinds_that_need_no_class() -> None:
    (lane,) = cases(None, "ego_lane")
    assert (lane.name, lane.class_id, lane.given) == ("ego_lane", None, (ROAD,))
    (sets,) = cases(None, "sets:0.5")
    assert (sets.name, sets.kind, sets.given) == ("sets", "sets:0.5", ())
    # Who names classes finds them too, left out of "others".
    assert [(case.name, case.given) for case in cases("road,car", "points:0.1")] == [
        ("points", ()),
        ("road", (ROAD,)),
        ("car", (CAR,)),
    ]


def test_no_evidence() -> None:
    assert cases(None) == cases("") == cases("", "positive") == ()


def test_positive_is_the_default_kind() -> None:
    assert cases("car") == (EvidenceCase("car", "positive", CAR, (CAR,)),)


def test_wrong_evidence_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'lorry'.*sky, road"):
        cases("lorry")
    with pytest.raises(ConfigError, match="none of positive"):
        cases("road", "most")
    with pytest.raises(ConfigError, match="name it by --evidence"):
        cases(None, "partial:0.1")


def test_images_of_another_size_are_scored_at_their_own(runner: Runner) -> None:
    seen: list[ScoredFrame] = []
    small = evaluate(runner, tiny_drive(2), cases("road"))
    large = evaluate(runner, tiny_drive(2, 48, 64), cases("road"), observe=seen.append)
    assert large.confusion.n_pixels == 2 * (48 - 1) * 64
    assert small.confusion.n_pixels == 2 * (24 - 1) * 32
    assert list(seen[0].maps) == ["zero_code", *(f"road {method}" for method in METHODS)]
    assert all(labels.shape == (48, 64) for labels in seen[0].maps.values())


def test_other_classes_or_no_images_are_refused(runner: Runner) -> None:
    drive = replace(tiny_drive(1), classes=CAMVID_CLASSES)
    with pytest.raises(ConfigError, match=r"sky, road, sidewalk, car apart, but tiny is labelled"):
        evaluate(runner, drive)
    with pytest.raises(ConfigError, match="no images"):
        evaluate(runner, TinyDrive(()))


@pytest.mark.data
def test_ego_lane_of_a_real_drive(camvid_root: Path, runner: Runner) -> None:
    sample = CamVid(camvid_root, "val", frames=1)[0]
    road = sample.labels == 3
    labels = np.where(sample.labels == 255, 255, np.where(road, ROAD, CAR)).astype(np.uint8)
    drive = TinyDrive((replace(sample, labels=labels),))
    ways = evaluate(runner, drive, cases(None, "ego_lane")).to_record()["evidence"]["ego_lane"]
    gain = ways["replaced"]["pixel_accuracy"] - ways["zero_code"]["pixel_accuracy"]
    assert 1 < gain < 40
