from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from seg_perception.errors import EvidenceError
from seg_perception.evidence.fuse import agreement, evidence_inputs, fuse, rescale
from seg_perception.evidence.record import Evidence, evidence_from_labels

H, W, C, S = 6, 7, 4, 32


@st.composite
def evidences(draw: st.DrawFn, height: int = H, width: int = W) -> Evidence:
    """Random valid evidence about C classes: random sets, weights (0 among them) and index."""
    n_rows = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sets = rng.integers(0, 2, (n_rows, C)).astype(np.float32)
    sets[sets.sum(axis=1) == 0, 0] = 1
    sets[0] = 1
    weight = rng.choice(np.array([0, 0.25, 0.5, 1], np.float32), n_rows)
    weight[0] = 0
    index = rng.integers(0, n_rows, (height, width)).astype(np.uint8)
    return Evidence(index, sets, weight, draw(st.integers(0, 100)), f"s{n_rows}")


def per_pixel(evidence: Evidence) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sets [H, W, C] and weight [H, W]; what weighs nothing allows everything."""
    weight = evidence.weight[evidence.index]
    return np.where(weight[..., None] > 0, evidence.sets[evidence.index], 1), weight


def expected_pixel(
    a: tuple[NDArray[np.float32], float], b: tuple[NDArray[np.float32], float]
) -> tuple[NDArray[np.float32], float]:
    """The rule of `fuse` for two sources in one pixel, written out."""
    (set_a, weight_a), (set_b, weight_b) = a, b
    heavy, light = ((set_a, weight_a), (set_b, weight_b))
    if weight_b > weight_a:
        heavy, light = light, heavy
    both = set_a * set_b
    if not both.any() or (both == heavy[0]).all():
        return heavy
    return both, light[1]


@given(evidences(), evidences())
def test_two_sources_meet_pixel_by_pixel(first: Evidence, second: Evidence) -> None:
    fused = fuse([first, second], H, W, C, S)
    assert fused.left_out_pixels == 0
    sets, weight = per_pixel(fused)
    sets_a, weight_a = per_pixel(first)
    sets_b, weight_b = per_pixel(second)
    for at in np.ndindex(H, W):
        expected = expected_pixel((sets_a[at], weight_a[at]), (sets_b[at], weight_b[at]))
        # A set of everything says nothing, whatever it weighed.
        expected_weight = 0 if expected[0].all() else expected[1]
        np.testing.assert_array_equal(sets[at], expected[0])
        assert weight[at] == expected_weight


@given(evidences())
def test_nothing_is_lost_by_joining_with_nothing_or_itself(evidence: Evidence) -> None:
    nothing = fuse([], H, W, C, S)
    sets, weight = per_pixel(evidence)
    informative = ~sets.all(axis=-1)
    for sources in ([evidence], [evidence, nothing], [nothing, evidence], [evidence, evidence]):
        fused_sets, fused_weight = per_pixel(fuse(sources, H, W, C, S))
        np.testing.assert_array_equal(fused_sets, sets)
        np.testing.assert_array_equal(fused_weight[informative], weight[informative])


@given(st.lists(evidences(), min_size=1, max_size=4), st.integers(2, 5))
def test_too_many_sets_leave_out_the_least(sources: list[Evidence], max_sets: int) -> None:
    everything = fuse([*sources, fuse([], H, W, C, 2)], H, W, C, 256)
    fused = fuse(sources, H, W, C, max_sets)
    assert len(fused.sets) <= max_sets
    kept = ~per_pixel(fused)[0].all(axis=-1)
    known = ~per_pixel(everything)[0].all(axis=-1)
    assert fused.left_out_pixels == np.count_nonzero(known & ~kept)
    np.testing.assert_array_equal(per_pixel(fused)[0][kept], per_pixel(everything)[0][kept])
    lost = known & ~kept
    if lost.any():
        pixels = np.bincount(everything.index.ravel(), minlength=len(everything.sets))
        worth = (pixels * everything.weight)[everything.index]
        assert worth[lost].max() <= worth[kept].min()


def test_contradicting_sources_end_with_the_heavier() -> None:
    road = evidence_from_labels(np.full((H, W), 1, np.uint8), C, weight=0.5, source="map")
    car = evidence_from_labels(np.full((H, W), 2, np.uint8), C, weight=0.75, source="lidar")
    for sources in ([road, car], [car, road]):
        sets, weight = per_pixel(fuse(sources, H, W, C, S))
        assert (sets == [0, 0, 1, 0]).all()
        assert (weight == 0.75).all()


def test_the_fusion_names_its_sources_and_is_as_new_as_the_newest() -> None:
    labels = np.zeros((H, W), np.uint8)
    old = evidence_from_labels(labels, C, stamp_ns=1, source="map")
    new = evidence_from_labels(labels, C, stamp_ns=2, source="lidar")
    fused = fuse([new, old], H, W, C, S)
    assert (fused.source, fused.stamp_ns) == ("lidar+map", 2)


def test_one_source_that_fits_is_not_copied() -> None:
    evidence = evidence_from_labels(np.zeros((H, W), np.uint8), C)
    assert fuse([evidence], H, W, C, S) is evidence


def test_another_number_of_classes_is_refused() -> None:
    evidence = evidence_from_labels(np.zeros((H, W), np.uint8), C + 1, source="map")
    with pytest.raises(EvidenceError, match="'map' speaks about 5 classes, the model has 4"):
        fuse([evidence], H, W, C, S)


@given(st.integers(1, 20), st.integers(1, 20))
def test_another_size_is_rescaled_in_place(height: int, width: int) -> None:
    left = np.full((height, 2 * width), 255, np.uint8)
    left[:, :width] = 3
    fused = fuse([evidence_from_labels(left, C)], 8, 10, C, S)
    assert fused.index.shape == (8, 10)
    assert (fused.sets[fused.index[:, :5]] == [0, 0, 0, 1]).all()
    assert not fused.index[:, 5:].any()


def test_rescaling_to_the_same_size_is_free() -> None:
    evidence = evidence_from_labels(np.zeros((H, W), np.uint8), C)
    assert rescale(evidence, H, W) is evidence


@given(evidences())
def test_the_inputs_of_the_graph_say_the_same(evidence: Evidence) -> None:
    inputs = evidence_inputs(evidence, S)
    assert inputs["evidence"].shape == (1, H, W)
    assert inputs["evidence_sets"].shape == (S, C)
    assert inputs["evidence_weight"].shape == (S,)
    assert {array.dtype for array in inputs.values()} == {np.dtype("u1"), np.dtype("f4")}
    index = inputs["evidence"][0]
    np.testing.assert_array_equal(inputs["evidence_sets"][index], evidence.sets[evidence.index])
    np.testing.assert_array_equal(inputs["evidence_weight"][index], evidence.weight[evidence.index])
    unused = slice(len(evidence.sets), None)
    assert inputs["evidence_sets"][unused].all()
    assert not inputs["evidence_weight"][unused].any()


@given(evidences(), st.integers(0, 2**32))
def test_agreement_counts_the_pixels_with_a_possible_label(evidence: Evidence, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 256, (H, W), np.uint8)
    labels[: H // 2] %= C
    known = [at for at in np.ndindex(H, W) if evidence.index[at]]
    agreeing = [
        at for at in known if labels[at] < C and evidence.sets[evidence.index[at]][labels[at]]
    ]
    found = agreement(evidence, labels)
    if known:
        assert found == pytest.approx(100.0 * len(agreeing) / len(known))
    else:
        assert math.isnan(found)
