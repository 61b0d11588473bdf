from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg_perception.errors import EvidenceError
from seg_perception.evidence.record import Evidence, evidence_from_labels


def valid() -> Evidence:
    return Evidence(
        index=np.array([[0, 1], [2, 0]], np.uint8),
        sets=np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1]], np.float32),
        weight=np.array([0, 1, 0.5], np.float32),
        stamp_ns=7,
        source="test",
    )


nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": np.zeros((2, 2), np.int64)}, r"int64 \[2, 2\].*uint8 map \[H, W\]"),
        ({"index": np.zeros((1, 2, 2), np.uint8)}, r"\[1, 2, 2\].*uint8 map \[H, W\]"),
        ({"index": np.zeros((0, 4), np.uint8)}, "at least one pixel"),
        ({"index": np.full((2, 2), 3, np.uint8)}, "names row 3, but there are only 3"),
        ({"sets": np.ones((3, 3))}, r"float64.*give float32 \[S, C\]"),
        ({"sets": np.ones((0, 3), np.float32)}, "1 to 256 rows"),
        ({"sets": np.ones((257, 3), np.float32)}, "1 to 256 rows"),
        ({"sets": np.full((3, 3), 0.5, np.float32)}, "other values than 0 and 1"),
        ({"sets": np.full((3, 3), nan, np.float32)}, "other values than 0 and 1"),
        ({"sets": np.eye(3, dtype=np.float32)}, "row 0 must be all ones"),
        (
            {"sets": np.array([[1, 1], [1, 0], [0, 0]], np.float32)},
            "leave at least one class possible",
        ),
        ({"weight": np.zeros(2, np.float32)}, r"\[2\].*give float32 \[3\]"),
        ({"weight": np.array([1, 1, 1], np.float32)}, "the first of them 0"),
        ({"weight": np.array([0, -1, 1], np.float32)}, "finite numbers >= 0"),
        ({"weight": np.array([0, nan, 1], np.float32)}, "finite numbers >= 0"),
        ({"weight": np.array([0, inf, 1], np.float32)}, "finite numbers >= 0"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(EvidenceError, match=f"'test'.*{message}"):
        dataclasses.replace(valid(), **change)


@given(
    n_classes=st.integers(1, 255),
    labels=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)),
)
def test_labels_become_sets_of_one_class(n_classes: int, labels: np.ndarray) -> None:
    labels = np.where(labels < n_classes, labels, 255).astype(np.uint8)
    evidence = evidence_from_labels(labels, n_classes, weight=0.5, stamp_ns=3, source="lidar")
    known = labels != 255
    assert (evidence.sets.sum(axis=1)[evidence.index] == np.where(known, 1, n_classes)).all()
    assert (evidence.sets.argmax(axis=1)[evidence.index][known] == labels[known]).all()
    assert (evidence.weight[evidence.index] == np.where(known, 0.5, 0)).all()
    assert (evidence.stamp_ns, evidence.source) == (3, "lidar")


def test_an_unknown_class_is_refused_with_the_fix() -> None:
    labels = np.array([[0, 255, 11]], np.uint8)
    with pytest.raises(EvidenceError, match=r"names class 11.*classes 0 to 10.*255 where"):
        evidence_from_labels(labels, 11, source="map")


@pytest.mark.parametrize("weight", [-1.0, nan, inf])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(EvidenceError, match="finite numbers >= 0"):
        evidence_from_labels(np.zeros((2, 2), np.uint8), 3, weight=weight)
