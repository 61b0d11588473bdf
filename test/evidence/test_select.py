from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from seg_perception.evidence.record import Evidence, evidence_from_labels
from seg_perception.evidence.select import Rules, Selected, Verdict, select

RULES = Rules(height=4, width=6, n_classes=3, max_sets=32, max_age_s=0.5, trust={})
SECOND = 1_000_000_000


def lidar(n_classes: int = 3, stamp_ns: int = 10 * SECOND) -> Evidence:
    labels = np.zeros((8, 12), np.uint8)
    return evidence_from_labels(labels, n_classes, stamp_ns=stamp_ns, source="lidar")


def decide(evidence: Evidence, rules: Rules = RULES, stamp_ns: int = 10 * SECOND) -> Selected:
    return select([evidence], stamp_ns, rules)[0]


def test_evidence_that_fits_in_time_is_used_at_the_size_of_the_model() -> None:
    decided = decide(lidar())
    assert decided.verdict is Verdict.USED
    assert decided.evidence.index.shape == (4, 6)


@pytest.mark.parametrize("sign", [-1, 1])
def test_age_counts_in_both_directions(sign: int) -> None:
    just_right = decide(lidar(), stamp_ns=10 * SECOND + sign * SECOND // 2)
    too_far = decide(lidar(), stamp_ns=10 * SECOND + sign * (SECOND // 2 + 1_000_000))
    assert just_right.verdict is Verdict.USED
    assert too_far.verdict is Verdict.STALE
    assert too_far.age_ms == pytest.approx(501)
    assert too_far.reason == "501 ms from the frame, at most 500 are allowed"


def test_another_number_of_classes_is_rejected() -> None:
    decided = decide(lidar(n_classes=5))
    assert decided.verdict is Verdict.REJECTED
    assert decided.reason == "it has 5 classes, the model 3"


def test_a_model_without_evidence_rejects_all() -> None:
    decided = decide(lidar(), replace(RULES, max_sets=0))
    assert decided.verdict is Verdict.REJECTED
    assert decided.reason == "the model takes no evidence"


def test_trust_scales_the_weight_of_its_source_only() -> None:
    rules = replace(RULES, trust={"lidar": 0.25})
    np.testing.assert_array_equal(decide(lidar(), rules).evidence.weight, [0, 0.25, 0.25, 0.25])
    other = replace(lidar(), source="map")
    np.testing.assert_array_equal(decide(other, rules).evidence.weight, [0, 1, 1, 1])


def test_a_source_without_trust_is_muted() -> None:
    decided = decide(lidar(), replace(RULES, trust={"lidar": 0.0}))
    assert decided.verdict is Verdict.MUTED
    assert "trust" in decided.reason


def test_the_report_says_how_far_the_answer_agrees() -> None:
    labels = np.zeros((4, 6), np.uint8)
    labels[:1] = 2
    report = decide(lidar()).report(labels, left_out_pixels=0)
    assert (report.source, report.used, report.reason) == ("lidar", True, "")
    assert report.agreement == 75.0


def test_the_report_says_what_did_not_fit() -> None:
    report = decide(lidar()).report(np.zeros((4, 6), np.uint8), left_out_pixels=9)
    assert report.used
    assert report.reason.startswith("9 pixels left out")


def test_the_report_of_unused_evidence_knows_no_agreement() -> None:
    report = decide(lidar(stamp_ns=0)).report(np.zeros((4, 6), np.uint8), left_out_pixels=9)
    assert not report.used
    assert math.isnan(report.agreement)
    assert report.reason.startswith("10000 ms")
