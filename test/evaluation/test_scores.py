from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose

from seg_perception.errors import ConfigError
from seg_perception.evaluation.scores import (
    BoundaryScore,
    ConfusionMatrix,
    SuperpixelScore,
    TrimapScore,
    boundary_tolerance_px,
    labels_at,
)

N = 4
LABELS = hnp.arrays(np.uint8, (6, 7), elements=st.integers(0, N - 1))
TRUTHS = hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 3, 255]))


def random_maps(seed: int, height: int = 40, width: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, N, (height, width)).astype(np.uint8)
    labels = np.where(rng.random(truth.shape) < 0.7, truth, (truth + 1) % N).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.1] = 255
    return labels, truth


def test_agrees_with_sklearn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, truth = random_maps(0)
    known = truth != 255
    ours = ConfusionMatrix.of(labels, truth, N)
    y, p = truth[known], labels[known]
    assert (ours.counts[:, :N] == metrics.confusion_matrix(y, p, labels=range(N))).all()
    assert_allclose(ours.class_iou, 100 * metrics.jaccard_score(y, p, average=None))
    assert_allclose(ours.miou(), 100 * metrics.jaccard_score(y, p, average="macro"))
    assert_allclose(ours.pixel_accuracy, 100 * metrics.accuracy_score(y, p))
    assert_allclose(ours.class_accuracy, 100 * metrics.recall_score(y, p, average=None))
    assert_allclose(ours.mean_class_accuracy, 100 * metrics.balanced_accuracy_score(y, p))


def test_scores_of_a_map_by_hand() -> None:
    truth = np.array([[0, 0, 0, 1], [1, 1, 255, 255]], np.uint8)
    labels = np.array([[0, 0, 1, 1], [1, 255, 0, 3]], np.uint8)
    scores = ConfusionMatrix.of(labels, truth, 3)
    assert scores.n_pixels == 6
    assert_allclose(scores.pixel_accuracy, 100 * 4 / 6)
    assert_allclose(scores.class_iou[:2], [100 * 2 / 3, 100 * 2 / 4])
    assert math.isnan(scores.class_iou[2])  # neither in the truth nor predicted
    assert_allclose(scores.miou(), (200 / 3 + 50) / 2)
    assert_allclose(scores.miou(without=[0]), 50)


def test_a_class_only_predicted_scores_zero_not_nan() -> None:
    truth = np.zeros((2, 2), np.uint8)
    labels = np.array([[0, 0], [0, 1]], np.uint8)
    scores = ConfusionMatrix.of(labels, truth, 2)
    assert_allclose(scores.class_iou, [75, 0])
    assert_allclose(scores.miou(), 37.5)


@given(LABELS, TRUTHS, LABELS, TRUTHS)
def test_matrices_add_up_like_their_images(
    a: np.ndarray, truth_a: np.ndarray, b: np.ndarray, truth_b: np.ndarray
) -> None:
    both = ConfusionMatrix.of(np.vstack([a, b]), np.vstack([truth_a, truth_b]), N)
    one, other = ConfusionMatrix.of(a, truth_a, N), ConfusionMatrix.of(b, truth_b, N)
    assert (both.counts == (one + other).counts).all()
    assert (both.counts == (other + one + ConfusionMatrix.empty(N)).counts).all()


@given(TRUTHS)
def test_the_truth_itself_is_perfect(truth: np.ndarray) -> None:
    scores = ConfusionMatrix.of(truth, truth, N)
    assert scores.n_pixels == (truth != 255).sum()
    expected = 100.0 if scores.n_pixels else math.nan
    assert_allclose([scores.pixel_accuracy, scores.miou()], [expected, expected])


def test_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match=r"\(2, 2\).*\(2, 3\)"):
        ConfusionMatrix.of(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 2)
    with pytest.raises(ConfigError, match="class 7"):
        ConfusionMatrix.of(np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8), 2)


def split_at(column: int, size: int = 40) -> np.ndarray:
    labels = np.zeros((size, size), np.uint8)
    labels[:, column:] = 1
    return labels


@pytest.mark.parametrize(
    ("shift", "tolerance_px", "expected"),
    [(0, 0, 100), (2, 2, 100), (2, 1, 0), (9, 3, 0)],
)
def test_boundary_within_tolerance(shift: int, tolerance_px: float, expected: float) -> None:
    score = BoundaryScore.of(split_at(20 + shift), split_at(20), 2, tolerance_px)
    assert_allclose(score.class_f, [expected, expected])


def test_boundary_f_is_the_harmonic_mean_of_precision_and_recall() -> None:
    truth = np.zeros((41, 41), np.uint8)
    truth[10:31, 10:31] = 1
    labels = truth.copy()
    labels[:5, :5] = 1  # one false object: recall stays 100 %
    true_edge = 4 * 20
    false_edge = 5 + 5 - 1
    precision = true_edge / (true_edge + false_edge)
    score = BoundaryScore.of(labels, truth, 2, 1)
    assert_allclose(score.class_f[1], 200 * precision / (precision + 1))


def test_void_makes_no_boundary() -> None:
    truth = split_at(20)
    truth[:, 18:22] = 255
    score = BoundaryScore.of(np.zeros_like(truth), truth, 2, 2)
    assert score.images.tolist() == [0, 0]
    assert math.isnan(score.mean_f)


def test_boundary_scores_average_over_the_images_that_show_the_class() -> None:
    hit = BoundaryScore.of(split_at(20), split_at(20), 3, 1)
    miss = BoundaryScore.of(split_at(5), split_at(20), 3, 1)
    blank = BoundaryScore.of(np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8), 3, 1)
    total = hit + miss + blank + BoundaryScore.empty(3)
    assert_allclose(total.class_f[:2], [50, 50])
    assert math.isnan(total.class_f[2])


def test_default_boundary_tolerance_is_that_of_the_paper() -> None:
    assert_allclose(boundary_tolerance_px(360, 480), 4.5)


def test_foreground_iou_takes_all_but_background_as_one_class() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, truth = random_maps(3)
    known = truth != 255
    ours = ConfusionMatrix.of(labels, truth, N).foreground_iou()
    assert_allclose(ours, 100 * metrics.jaccard_score(truth[known] > 0, labels[known] > 0))


def test_foreground_iou_counts_what_is_unlabelled_as_missed() -> None:
    truth = np.array([[0, 0, 1, 2]], np.uint8)
    labels = np.array([[0, 255, 2, 255]], np.uint8)
    assert_allclose(ConfusionMatrix.of(labels, truth, 3).foreground_iou(), 50)
    background_2 = ConfusionMatrix.of(labels, truth, 3).foreground_iou(background=2)
    assert_allclose(background_2, 100 / 3)


def trimap_by_hand(
    labels: np.ndarray, truth: np.ndarray, width: int, void_is_boundary: bool
) -> ConfusionMatrix:
    """Every pixel against every other: slow, and written from the definition."""
    height, columns = truth.shape
    edges = []
    for y, x in np.ndindex(truth.shape):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            v, u = y + dy, x + dx
            if not (0 <= v < height and 0 <= u < columns) or truth[y, x] == truth[v, u]:
                continue
            if void_is_boundary or 255 not in (truth[y, x], truth[v, u]):
                edges.append((y, x))
    near = truth.copy()
    for y, x in np.ndindex(truth.shape):
        if not any(math.hypot(y - v, x - u) < width for v, u in edges):
            near[y, x] = 255
    return ConfusionMatrix.of(labels, near, N)


@pytest.mark.parametrize("void_is_boundary", [False, True])
def test_trimap_agrees_with_a_slow_count(void_is_boundary: bool) -> None:
    labels, _ = random_maps(1, 18, 22)
    truth = np.zeros((18, 22), np.uint8)
    truth[5:12, 4:9], truth[:, 15:], truth[14:, 2:6] = 1, 2, 255
    widths = (1, 2, 5)
    ours = TrimapScore.of(labels, truth, N, widths, void_is_boundary=void_is_boundary)
    for width, band in zip(widths, ours.bands, strict=True):
        expected = trimap_by_hand(labels, truth, width, void_is_boundary)
        np.testing.assert_array_equal(band.counts, expected.counts)


def test_a_band_of_one_pixel_is_the_boundary_and_a_wide_one_is_all() -> None:
    truth = split_at(20)
    score = TrimapScore.of(truth, truth, 2, (1, 3, 100))
    assert [band.n_pixels for band in score.bands] == [2 * 40, 6 * 40, 40 * 40]
    assert score.to_record()["3"] == {"pixel_accuracy": 100.0, "miou": 100.0}


def test_trimaps_add_up_and_refuse_what_does_not_fit() -> None:
    labels, truth = random_maps(2)
    one = TrimapScore.of(labels, truth, N, (1, 2))
    total = one + one + TrimapScore.empty(N, (1, 2))
    np.testing.assert_array_equal(total.bands[1].counts, 2 * one.bands[1].counts)
    with pytest.raises(ConfigError, match="do not add up"):
        one + TrimapScore.empty(N, (3,))
    with pytest.raises(ConfigError, match="from 1 on"):
        TrimapScore.of(labels, truth, N, (0, 1))


def superpixels_by_hand(labels: np.ndarray, truth: np.ndarray, superpixels: np.ndarray) -> float:
    hits = []
    for number in set(superpixels.ravel().tolist()):
        inside = superpixels == number
        true, voted = truth[inside], labels[inside]
        true, voted = true[true < N].tolist(), voted[voted < N].tolist()
        if true:
            best = max(range(N), key=lambda c, votes=voted: (votes.count(c), -c))
            hits.append(bool(voted) and best == max(range(N), key=lambda c, t=true: t.count(c)))
    return 100 * sum(hits) / len(hits)


@pytest.mark.parametrize("seed", range(3))
def test_superpixel_accuracy_agrees_with_a_slow_vote(seed: int) -> None:
    rng = np.random.default_rng(seed)
    superpixels = (np.add.outer(np.arange(30) // 5 * 10, np.arange(40) // 6) * 7).astype(np.int32)
    truth = (superpixels % N).astype(np.uint8)
    labels = np.where(rng.random(truth.shape) < 0.05, truth, rng.integers(0, 6, truth.shape))
    truth[superpixels == superpixels[0, 0]] = 255  # without truth: does not count
    ours = SuperpixelScore.of(labels.astype(np.uint8), truth, superpixels, N)
    assert 0 < ours.accuracy < 100
    assert_allclose(ours.accuracy, superpixels_by_hand(labels, truth, superpixels))
    assert (ours + ours).accuracy == ours.accuracy
    assert math.isnan(SuperpixelScore().accuracy)


def test_superpixels_want_labels_of_their_size() -> None:
    small, large = np.zeros((32, 32), np.uint8), np.zeros((250, 250), np.uint8)
    with pytest.raises(ConfigError, match="by `labels_at`"):
        SuperpixelScore.of(small, large, large.astype(np.int32), 3)


def test_scores_are_resized_between_pixel_centres() -> None:
    """Two classes side by side: the border lies in the middle at any size."""
    scores = np.zeros((2, 4, 4), np.float32)
    scores[1, :, 2:] = 1
    scores[0, :, :2] = 1
    labels = labels_at(scores, 250, 250)
    assert labels.shape == (250, 250)
    assert (labels[:, :125] == 0).all()
    assert (labels[:, 125:] == 1).all()
