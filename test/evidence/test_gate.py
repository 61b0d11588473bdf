from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.datasets.faults import lie, shift
from seg_perception.errors import ConfigError
from seg_perception.evidence.gate import GateRules, SourceGate
from seg_perception.evidence.record import Evidence, evidence_from_labels

H, W = 110, 150
SURE = np.full((H, W), 255, np.uint8)


def scene() -> NDArray[np.uint8]:
    """Sky over buildings beside a road: classes 0, 1, 2."""
    labels = np.zeros((H, W), np.uint8)
    labels[40:] = 1
    labels[40:, 50:100] = 2
    return labels


def source(labels: NDArray[np.uint8], name: str = "lidar", share: float = 1.0) -> Evidence:
    kept = np.random.default_rng(0).random(labels.shape) < share
    return evidence_from_labels(np.where(kept, labels, 255).astype(np.uint8), 4, source=name)


def doubted(
    *evidence: Evidence,
    confidence: NDArray[np.uint8] = SURE,
    labels: NDArray[np.uint8] | None = None,
) -> set[str]:
    gate = SourceGate()
    gate.judge(evidence, scene() if labels is None else labels, confidence)
    return set(gate.doubted())


@pytest.mark.parametrize("share", [1.0, 0.05])
def test_evidence_that_agrees_is_believed(share: float) -> None:
    assert doubted(source(scene(), share=share)) == set()


@pytest.mark.parametrize("share", [1.0, 0.05])
def test_a_shift_by_a_tenth_of_the_width_is_noticed(share: float) -> None:
    assert doubted(shift(source(scene(), share=share), 0.1)) == {"lidar"}


@pytest.mark.parametrize("fraction", [-0.02, 0.02])
def test_a_small_shift_is_noticed_by_where_it_would_fit(fraction: float) -> None:
    moved = shift(source(scene()), fraction)
    assert doubted(moved) == {"lidar"}
    gate = SourceGate(GateRules(displaced=100.0))
    gate.judge([moved], scene(), SURE)
    assert not gate.doubted(), "contradictions en masse it has none"


def test_two_that_are_wrong_together_do_not_vouch_for_each_other() -> None:
    shifted = [shift(source(scene(), name), 0.1) for name in ("depth", "lidar")]
    assert doubted(*shifted) == {"depth", "lidar"}


def test_another_frame_is_noticed() -> None:
    assert doubted(source(np.ascontiguousarray(scene()[::-1]))) == {"lidar"}


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_scattered_lies_are_left_to_the_solve(share: float) -> None:
    rng = np.random.default_rng(1)
    assert doubted(lie(source(scene(), share=share), 0.2, rng)) == set()


def test_where_the_image_is_unsure_evidence_may_correct_it() -> None:
    wrong = scene()
    wrong[40:, :75] = 3
    confidence = np.where(wrong == 3, 200, 255).astype(np.uint8)
    assert doubted(source(scene()), labels=wrong, confidence=confidence) == set()
    assert doubted(source(scene()), labels=wrong) == {"lidar"}


def test_of_two_that_contradict_each_other_the_one_that_agrees_less_is_doubted() -> None:
    unsure = np.zeros((H, W), np.uint8)
    unsure[:40] = 255
    liar = scene()
    liar[60:] = 3
    liar[:20, :40] = 1
    assert doubted(source(liar, "map"), source(scene()), confidence=unsure) == {"map"}


UNSURE = np.zeros((H, W), np.uint8)


def test_a_new_source_is_checked_and_then_left_in_peace() -> None:
    gate, good = SourceGate(GateRules(probe_frames=5, first_frames=2)), source(scene())
    asked = []
    for _ in range(8):
        asked.append(gate.suspects([good], scene()))
        if asked[-1]:
            gate.judge([good], scene(), SURE)
    assert asked == [True, True, False, False, False, False, True, False]


def test_what_passed_a_check_is_checked_again_when_it_gets_worse_or_after_a_while() -> None:
    gate = SourceGate(GateRules(recheck_frames=4, first_frames=1))
    off, worse = (source(np.roll(scene(), pixels, axis=1)) for pixels in (8, 30))
    asked = []
    for one in (off, off, off, off, off, worse):
        asked.append(gate.suspects([one], scene()))
        if asked[-1]:
            gate.judge([one], scene(), UNSURE)
    assert asked == [True, False, False, False, True, True]


def test_a_source_that_jumps_is_noticed_even_if_the_model_obeys() -> None:
    gate = SourceGate(GateRules(first_frames=1))
    obeyed = np.ascontiguousarray(scene()[::-1])
    gate.suspects([source(scene())], scene())
    gate.judge([source(scene())], scene(), SURE)
    assert not gate.suspects([source(scene())], scene())
    assert gate.suspects([source(obeyed)], obeyed)


def test_belief_comes_back_after_some_good_frames_in_a_row() -> None:
    gate, good, bad = SourceGate(), source(scene()), shift(source(scene()), 0.2)
    seen = []
    for one in (bad, good, good, bad, good, good, good):
        gate.judge([one], scene(), SURE)
        seen.append("lidar" in gate.doubted())
    assert seen == [True, True, True, True, True, True, False]


def test_the_agreement_is_told() -> None:
    gate = SourceGate()
    labels = scene()
    labels[:44] = 3
    gate.judge([source(scene())], labels, SURE)
    assert gate.doubted()["lidar"] == pytest.approx(60, abs=4)


def test_reset_forgets() -> None:
    gate = SourceGate()
    gate.judge([shift(source(scene()), 0.2)], scene(), SURE)
    gate.reset()
    assert gate.doubted() == {}


def test_a_source_that_knows_nothing_is_believed() -> None:
    nothing = source(np.full((H, W), 255, np.uint8))
    assert doubted(nothing) == set()


def test_evidence_itself_is_not_changed() -> None:
    evidence = shift(source(scene()), 0.2)
    before = replace(evidence, index=evidence.index.copy())
    doubted(evidence)
    np.testing.assert_array_equal(evidence.index, before.index)


@pytest.mark.parametrize(
    "values", [{"least": 101.0}, {"massed": -0.1}, {"recover_frames": 0}, {"grid": (0, 4)}]
)
def test_rules_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        GateRules(**values)  # type: ignore[arg-type]
