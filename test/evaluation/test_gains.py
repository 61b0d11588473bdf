from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.testing import assert_allclose
from tiny_bundle import TINY_CLASSES
from tiny_drives import ROAD, TinyDrive, tiny_drive
from tiny_replay import TRANSPORT, frames, lane

from seg_perception.datasets.sample import Sample
from seg_perception.evaluation.compare import Comparer
from seg_perception.evaluation.drive import ReplayFrame
from seg_perception.evaluation.gains import GAIN_COLUMNS, SourceGains, gain_rows
from seg_perception.evaluation.replay import score_replay
from seg_perception.evidence.record import Evidence, evidence_from_labels
from seg_perception.runtime.runner import Runner


def map_of(sample: Sample) -> Evidence:
    """The left half, every class of it."""
    known = sample.labels.copy()
    known[:, known.shape[1] // 2 :] = 255
    return evidence_from_labels(known, len(TINY_CLASSES), stamp_ns=sample.stamp_ns, source="map")


def with_map(drive: TinyDrive, first: int = 0) -> list[ReplayFrame]:
    """The drive's frames, from the given one on with a map beside the lane."""
    samples = drive.samples
    return [
        replace(frame, evidence=(lane(s), *((map_of(s),) if i >= first else ())))
        for i, (s, frame) in enumerate(zip(samples, frames(drive), strict=True))
    ]


def added_up(runner: Runner, answered: list[ReplayFrame]) -> dict[str, dict[str, float | None]]:
    comparer = Comparer(runner)
    gains = SourceGains(comparer, len(TINY_CLASSES))
    for frame in answered:
        assert frame.truth is not None
        gains.add(frame, frame.truth, comparer.uncorrected(frame.image)["labels"])
    return gains.to_record({"map": 1.5})


def test_each_source_is_credited_with_what_it_brings_alone(runner: Runner) -> None:
    drive = tiny_drive(3)
    record = added_up(runner, with_map(drive))
    assert list(record) == ["lane_mask", "map"]
    wrong = sum(
        int(((s.image != s.image[-1, -1]).any(axis=2) & (s.labels == ROAD))[:, 16:].sum())
        for s in drive.samples
    )
    labelled = sum(int((s.labels != 255).sum()) for s in drive.samples)
    lane_gain, map_gain = (record[name]["pixel_accuracy_gain"] for name in record)
    assert wrong > 0
    assert_allclose(lane_gain, 100 * wrong / labelled, atol=0.01)
    assert map_gain is not None
    assert map_gain > 0
    for figures in record.values():
        assert figures["frames"] == 3
        assert figures["true_percent"] == 100
        assert figures["miou_gain"] is not None
        assert figures["miou_gain"] > 0
    assert record["map"]["convert_ms"] == 1.5
    assert record["lane_mask"]["convert_ms"] is None
    assert_allclose(record["map"]["known_percent"], 50, atol=0.01)


def test_a_source_that_speaks_up_late_was_silent_before(runner: Runner) -> None:
    drive = tiny_drive(4)
    late, early = (added_up(runner, with_map(drive, first))["map"] for first in (2, 0))
    assert (late["frames"], early["frames"]) == (2, 4)
    assert_allclose(late["known_percent"], early["known_percent"] / 2, atol=0.01)
    assert 0 < late["pixel_accuracy_gain"] < early["pixel_accuracy_gain"]


def test_a_source_that_lies_is_told(runner: Runner) -> None:
    drive = tiny_drive(1)
    (frame,) = with_map(drive)
    (sample,) = drive.samples
    lie = evidence_from_labels(
        np.where(sample.labels == 255, 255, (sample.labels + 1) % 4).astype(np.uint8),
        4,
        source="map",
    )
    record = added_up(runner, [replace(frame, evidence=(lie,))])
    assert record["map"]["true_percent"] == 0
    assert record["map"]["pixel_accuracy_gain"] < 0


def test_the_last_row_is_what_the_node_answered(runner: Runner) -> None:
    transport = replace(
        TRANSPORT,
        stage_ms={"evidence": {"p50": 2.0, "p90": 2.0, "p99": 2.0}},
        convert_ms={"lane_mask": 0.5, "map": 1.5},
    )
    result = score_replay(with_map(tiny_drive(2)), transport, TINY_CLASSES, Comparer(runner))
    rows = gain_rows(result.to_record())
    assert list(rows) == ["lane_mask", "map", "together"]
    assert all(len(cells) == len(GAIN_COLUMNS) for cells in rows.values())
    corrected, refined = (result.tallies[name].outcome for name in ("corrected", "refined"))
    gain = corrected.everywhere.miou() - refined.everywhere.miou()
    cells = dict(zip(GAIN_COLUMNS, rows["together"], strict=True))
    assert cells["miou_gain"] == f"{gain:+.2f}"
    assert (cells["known_percent"], cells["convert_ms"]) == ("–", "4.0")


def test_without_truth_there_are_no_gains(runner: Runner) -> None:
    answered = frames(tiny_drive(2), truth=False)
    result = score_replay(answered, TRANSPORT, TINY_CLASSES, Comparer(runner))
    assert gain_rows(result.to_record()) == {}
