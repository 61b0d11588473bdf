"""dense_crf and guided_crf: against brute force, compiled and numpy alike, and hard inputs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from filters.conftest import without_kernels
from filters.scenes import padding, picture, scores_like_a_networks, scores_of, softmax
from numpy.typing import NDArray

from seg_perception.errors import FilterError
from seg_perception.filters import (
    GuidedFilter,
    PermutohedralLattice,
    dense_crf,
    describe_kernels,
    guided_crf,
    lattice_mean_field,
    native,
    num_threads,
    probs_to_scores,
    set_num_threads,
)
from seg_perception.filters.linear import image_features
from seg_perception.filters.native import at_most

compiled = pytest.mark.skipif(native.library() is None, reason=native.NO_LIBRARY)
Refine = Callable[[NDArray[np.float32], NDArray[np.uint8]], NDArray[np.float32]]
REFINERS: dict[str, Refine] = {
    "dense": lambda scores, image: dense_crf(scores, image),
    "guided": lambda scores, image: guided_crf(scores, image),
}
refiners = pytest.mark.parametrize("refine", REFINERS.values(), ids=REFINERS)


def exact_dense_crf(
    scores: NDArray[np.float32], image: NDArray[np.uint8], spatial: float, bilateral: float
) -> NDArray[np.float64]:
    """Probabilities by brute force: the Gaussians (3 px) and (30 px, 8 levels) in full."""
    height, width = image.shape[:2]
    unary = scores.reshape(len(scores), -1).astype(np.float64)
    kernels = [
        spatial * _kernel(image_features(height, width, None, 3.0, 1.0)),
        bilateral * _kernel(image_features(height, width, image, 30.0, 8.0)),
    ]
    now = unary
    for _ in range(5):
        now = unary + softmax(now) @ sum(kernels).T
    return softmax(now).reshape(scores.shape)


def _kernel(features: NDArray[np.float32]) -> NDArray[np.float64]:
    points = features.reshape(len(features), -1).T.astype(np.float64)
    distance = ((points[:, None] - points) ** 2).sum(axis=2)
    kernel = np.exp(-0.5 * distance)
    return kernel / kernel.sum(axis=1, keepdims=True)


def test_dense_crf_is_close_to_brute_force(path: str) -> None:
    scores, image = scores_like_a_networks(5), picture()
    exact = exact_dense_crf(scores, image, 3.0, 4.0)
    ours = softmax(dense_crf(scores, image, spatial=(3.0, 3.0), bilateral=(30.0, 8.0, 4.0)))
    assert np.abs(ours - exact).mean() <= 5e-4
    assert (ours.argmax(axis=0) == exact.argmax(axis=0)).mean() >= 0.998


@compiled
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 8, 11, 19, 35, 150])
def test_numpy_equals_the_compiled_kernels(
    classes: int, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, image = scores_of(classes), picture()
    valid = padding(40, 48) if masked else None
    matrix = np.random.default_rng(0).normal(0, 1, (classes, classes)).astype(np.float32)

    def all_of_them() -> list[NDArray[np.float32]]:
        return [
            dense_crf(scores, image, valid=valid, spatial=(3.0, matrix / 3)),
            guided_crf(scores, image, valid=valid, compatibility=matrix),
            dense_crf(scores, image, valid=valid),
            dense_crf(scores, image, valid=valid, symmetric=True, compatibility=matrix),
            guided_crf(scores, image, valid=valid),
        ]

    fast = all_of_them()
    without_kernels(monkeypatch)
    for one, other in zip(fast, all_of_them(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_potts_is_minus_one_on_the_diagonal(path: str) -> None:
    scores, image = scores_of(4), picture()
    potts = dense_crf(scores, image)
    np.testing.assert_allclose(dense_crf(scores, image, compatibility=-np.eye(4)), potts, atol=1e-4)
    usual = dense_crf(scores, image, compatibility=1 - np.eye(4))
    np.testing.assert_allclose(softmax(usual), softmax(potts), atol=1e-4)


def test_weights_may_mix_classes(path: str) -> None:
    scores, image = scores_of(4), picture()
    rng = np.random.default_rng(0)
    first, second, mu = (rng.normal(0, 1, (4, 4)).astype(np.float32) for _ in range(3))
    probs = softmax(scores).astype(np.float32)
    spatial = PermutohedralLattice.spatial(40, 48, 2.0).apply(probs)
    bilateral = PermutohedralLattice.bilateral(image, 10.0, 13.0).apply(probs)
    mixed = [np.einsum("ij,jhw->ihw", m, x) for m, x in ((first, spatial), (second, bilateral))]
    once = dense_crf(
        scores,
        image,
        iterations=1,
        spatial=(2.0, first),
        bilateral=(10.0, 13.0, second),
        compatibility=mu,
    )
    expected = scores - np.einsum("ij,jhw->ihw", mu, mixed[0] + mixed[1])
    np.testing.assert_allclose(once, expected, atol=1e-4)
    guided = GuidedFilter(image, 3, 1.0).apply(probs)
    once = guided_crf(scores, image, iterations=1, weight=0.5, compatibility=mu)
    expected = scores - 0.5 * np.einsum("ij,jhw->ihw", mu, guided)
    np.testing.assert_allclose(once, expected, atol=1e-4)


@pytest.mark.parametrize("other", [2.5, np.diag([1.0, 2.0, 1.0]).astype(np.float32)])
def test_a_multiple_of_the_identity_is_a_number(other: Any, path: str) -> None:
    scores, image = scores_of(3), picture()
    matrix = 4 * np.eye(3, dtype=np.float32)
    answers = [
        dense_crf(scores, image, spatial=(3.0, other), bilateral=(20.0, 8.0, weight))
        for weight in (4.0, matrix)
    ]
    np.testing.assert_allclose(*answers, atol=1e-4)


def test_update_is_the_one_that_is_documented(path: str) -> None:
    scores, image = scores_of(4), picture()
    probs = softmax(scores).astype(np.float32)
    message = 2 * GuidedFilter(image, 3, 1.0).apply(probs)
    np.testing.assert_allclose(guided_crf(scores, image, iterations=1), scores + message, atol=1e-4)
    lattice = PermutohedralLattice.spatial(40, 48, 2.0)
    once = dense_crf(scores, image, iterations=1, spatial=(2.0, 3.0), bilateral=None)
    np.testing.assert_allclose(once, scores + 3 * lattice.apply(probs), atol=1e-4)


def test_lattices_can_be_shared(path: str) -> None:
    image, lattice = picture(), PermutohedralLattice.bilateral(picture(), 10.0, 13.0)
    for scores in (scores_of(3), scores_of(5)):
        alone = dense_crf(scores, image, spatial=None, bilateral=(10.0, 13.0, 4.0))
        np.testing.assert_array_equal(lattice_mean_field(scores, [(lattice, 4.0)], 5), alone)


def test_mends_noise_and_keeps_edges(path: str) -> None:
    image = picture()
    truth = (image[..., 0] > 120).astype(int)
    rng = np.random.default_rng(0)
    scores = np.stack([1 - truth, truth]) * 2 + rng.normal(0, 1.5, (2, 40, 48))
    noisy = scores.astype(np.float32)
    before = (noisy.argmax(axis=0) == truth).mean()
    for after in (dense_crf(noisy, image), guided_crf(noisy, image, weight=4.0)):
        assert (after.argmax(axis=0) == truth).mean() > (1 + before) / 2


@refiners
@pytest.mark.parametrize("size", [(1, 1), (1, 13), (17, 1), (2, 3), (31, 47)])
@pytest.mark.parametrize("classes", [1, 3])
def test_takes_odd_sizes(refine: Refine, size: tuple[int, int], classes: int, path: str) -> None:
    refined = refine(scores_of(classes, *size), picture(*size))
    assert refined.shape == (classes, *size)
    assert np.isfinite(refined).all()


@refiners
def test_extreme_scores_stay_finite(refine: Refine, path: str) -> None:
    assert np.isfinite(refine(scores_of(3) * 1e6, picture())).all()


def test_no_iteration_changes_nothing(path: str) -> None:
    scores = scores_of(3)
    np.testing.assert_array_equal(dense_crf(scores, picture(), iterations=0), scores)
    np.testing.assert_array_equal(guided_crf(scores, picture(), iterations=0), scores)


def test_padding_keeps_its_scores(path: str) -> None:
    scores, valid = scores_of(3), padding(40, 48)
    for refined in (
        dense_crf(scores, picture(), valid=valid),
        guided_crf(scores, picture(), valid=valid),
    ):
        np.testing.assert_array_equal(refined[:, ~valid], scores[:, ~valid])


def test_padded_image_is_refined_as_the_image_without(path: str) -> None:
    scores, image = scores_of(3), picture()
    valid = np.zeros((40, 48), bool)
    valid[:30, :35] = True
    padded = dense_crf(scores, image, valid=valid)[:, :30, :35]
    alone = dense_crf(scores[:, :30, :35], image[:30, :35])
    np.testing.assert_allclose(padded, alone, atol=1e-4)


def test_probs_to_scores_inverts_softmax() -> None:
    probs = softmax(scores_of(4)).astype(np.float32)
    np.testing.assert_allclose(softmax(probs_to_scores(probs)), probs, atol=1e-6)
    assert np.isfinite(probs_to_scores(np.eye(3, dtype=np.float32)[..., None])).all()


@compiled
def test_threads_do_not_change_the_answer() -> None:
    scores, image, before = scores_of(11, 120, 160), picture(120, 160), num_threads()
    try:
        answers = []
        for threads in (1, 2, 5):
            set_num_threads(threads)
            assert num_threads() == threads
            answers.append((dense_crf(scores, image), guided_crf(scores, image)))
    finally:
        set_num_threads(before)
    for dense, guided in answers[1:]:
        np.testing.assert_allclose(dense, answers[0][0], atol=1e-3)
        np.testing.assert_array_equal(guided, answers[0][1])


@compiled
def test_a_thread_may_limit_what_its_own_calls_use() -> None:
    before = num_threads()
    try:
        set_num_threads(5)
        with at_most(3):
            with at_most(1):
                assert num_threads() == 1
            assert num_threads() == 3
            seen: list[int] = []
            other = threading.Thread(target=lambda: seen.append(num_threads()))
            other.start()
            other.join()
            assert seen == [5]
        with at_most(None):
            assert num_threads() == 5
    finally:
        set_num_threads(before)


@compiled
def test_kernels_of_other_sources_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    native.library.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(native, "_VERSION", -1)
        with pytest.raises(FilterError, match="build_ext --inplace"):
            native.library()
    assert native.library() is not None


@compiled
def test_may_be_called_from_several_threads_at_once() -> None:
    scores, image = scores_of(11, 100, 120), picture(100, 120)
    expected, answers = dense_crf(scores, image), []

    def refine() -> None:
        answers.extend(dense_crf(scores, image) for _ in range(5))

    threads = [threading.Thread(target=refine) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)


@compiled
def test_works_in_a_forked_process() -> None:
    scores, image = scores_of(11, 100, 120), picture(100, 120)
    expected = dense_crf(scores, image)  # starts the threads, which a fork does not have
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(dense_crf(scores, image), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_says_what_runs_the_filters(path: str) -> None:
    words = {"compiled": "compiled for", "numpy": "apt install g"}
    assert words[path] in describe_kernels()


NAN = np.full((3, 40, 48), np.nan, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dense_crf(NAN, picture()), "NaN or infinities: give"),
        (lambda: guided_crf(NAN, picture()), "NaN or infinities: give"),
        (lambda: dense_crf(-scores_of(3) / 0.0, picture()), "probs_to_scores"),
        (lambda: dense_crf(scores_of(3), picture(41, 48)), "resize one of the two"),
        (lambda: guided_crf(scores_of(3, 10, 12), picture()), "INTER_AREA"),
        (lambda: dense_crf(scores_of(3).transpose(1, 2, 0), picture()), "moveaxis"),
        (lambda: dense_crf([[[1, 2]]], picture(1, 2)), r"scores: int64 \[1, 1, 2\]: give float32"),
        (lambda: dense_crf(scores_of(3), picture(), bilateral=(80, 13)), "2 numbers: give .sxy, s"),
        (lambda: guided_crf(scores_of(3), picture(), radius=2.5), "radius is 2.5: give a whole"),
        (lambda: dense_crf(np.zeros((2000, 2, 2), np.float32), picture(2, 2)), "more than 1024"),
        (lambda: dense_crf(scores_of(3), picture(), spatial=None, bilateral=None), "no kernel"),
        (lambda: dense_crf(scores_of(3), picture(), iterations=5.0), "5.0: give a whole number"),
        (lambda: guided_crf(scores_of(3), picture(), iterations=-1), "-1: give a whole number"),
        (lambda: dense_crf(scores_of(3), picture(), compatibility=np.eye(4)), "one row and column"),
        (lambda: dense_crf(scores_of(3), picture(), spatial=(3, np.eye(2))), "the weight is"),
        (lambda: dense_crf(scores_of(3), picture(), spatial=(3, np.inf)), "weight is inf: give"),
        (lambda: guided_crf(scores_of(3), picture(), weight=np.nan), "weight is nan: give a fin"),
        (lambda: guided_crf(scores_of(3), picture(), compatibility=np.eye(2)), "row and column"),
        (lambda: probs_to_scores(scores_of(3)), "scores already"),
        (lambda: set_num_threads(0), "1 or more"),
    ],
)
def test_says_what_is_wrong(call: Callable[[], object], message: str, path: str) -> None:
    with np.errstate(divide="ignore", invalid="ignore"), pytest.raises(FilterError, match=message):
        call()
