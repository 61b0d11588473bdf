"""The linear filters: compiled and numpy alike, their adjoints, padding, odd inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from filters.conftest import without_kernels
from filters.scenes import padding, picture, scores_of
from numpy.typing import NDArray

from seg_perception.errors import FilterError
from seg_perception.filters import BoxFilter, GuidedFilter, PermutohedralLattice, native
from seg_perception.filters.linear import LinearFilter

Mask = NDArray[np.bool_] | None
Builder = Callable[[NDArray[np.uint8], Mask], LinearFilter]


def of_features(image: NDArray[np.uint8], valid: Mask) -> LinearFilter:
    features = np.concatenate([image / 30, image[..., :1] / 9], axis=2).transpose(2, 0, 1)
    return PermutohedralLattice.of_features(features.astype(np.float32), valid)


BUILDERS: dict[str, Builder] = {
    "box": lambda image, valid: BoxFilter(*image.shape[:2], 3, valid),
    "guided": lambda image, valid: GuidedFilter(image, 3, 1.0, valid),
    "spatial": lambda image, valid: PermutohedralLattice.spatial(*image.shape[:2], 3.0, valid),
    "bilateral": lambda image, valid: PermutohedralLattice.bilateral(image, 10.0, 13.0, valid),
    "symmetric": lambda image, valid: PermutohedralLattice.bilateral(
        image, 10.0, 13.0, valid, symmetric=True
    ),
    "features": of_features,
}
builders = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
compiled = pytest.mark.skipif(native.library() is None, reason=native.NO_LIBRARY)


@compiled
@builders
@pytest.mark.parametrize("size", [(40, 48), (1, 1), (1, 9), (7, 1), (33, 101), (100, 70)])
@pytest.mark.parametrize("masked", [False, True])
def test_numpy_equals_the_compiled_kernels(
    build: Builder, size: tuple[int, int], masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, x = picture(*size), scores_of(5, *size)
    valid = padding(*size) if masked else None
    fast = build(image, valid)
    forth, back = fast.apply(x), fast.transpose(x)
    without_kernels(monkeypatch)
    slow = build(image, valid)
    np.testing.assert_allclose(forth, slow.apply(x), atol=2e-4)
    np.testing.assert_allclose(back, slow.transpose(x), atol=2e-4)


@builders
@pytest.mark.parametrize("masked", [False, True])
def test_transpose_is_the_adjoint(build: Builder, masked: bool, path: str) -> None:
    filter_ = build(picture(), padding(40, 48) if masked else None)
    x, y = scores_of(3, seed=1), scores_of(3, seed=2)
    there = np.vdot(filter_.apply(x).astype(np.float64), y)
    back = np.vdot(x.astype(np.float64), filter_.transpose(y))
    assert there == pytest.approx(back, rel=1e-4)


@pytest.mark.parametrize("name", ["box", "guided", "spatial", "bilateral", "features"])
def test_keeps_constants(name: str, path: str) -> None:
    ones = np.ones((2, 40, 48), np.float32)
    np.testing.assert_allclose(BUILDERS[name](picture(), None).apply(ones), ones, atol=1e-4)


@builders
def test_padding_never_enters(build: Builder, path: str) -> None:
    valid, image, x = padding(40, 48), picture(), scores_of(3)
    other_image = np.where(valid[..., None], image, np.uint8(255))
    other_x = np.where(valid, x, np.float32(1e3))
    y = build(image, valid).apply(x)
    np.testing.assert_array_equal(y, build(other_image, valid).apply(other_x))
    assert not y[:, ~valid].any()


@builders
def test_no_valid_pixel_gives_zeros(build: Builder, path: str) -> None:
    assert not build(picture(), np.zeros((40, 48), bool)).apply(scores_of(2)).any()


@pytest.mark.parametrize("channels", [1, 8, 9, 31, 33, 150])
@builders
def test_channels_are_filtered_each_for_itself(build: Builder, channels: int, path: str) -> None:
    filter_, x = build(picture(), None), scores_of(channels)
    last = filter_.apply(x[-1:])
    np.testing.assert_allclose(filter_.apply(x)[-1:], last, atol=1e-5)


@builders
def test_takes_views_and_float64(build: Builder, path: str) -> None:
    x = scores_of(3, 48, 40).transpose(0, 2, 1)
    wide = np.repeat(picture(), 2, axis=1)[:, ::2]
    y = build(wide, None).apply(x.astype(np.float64))
    np.testing.assert_array_equal(y, build(picture(), None).apply(np.ascontiguousarray(x)))


def test_window_wider_than_the_image_is_the_mean(path: str) -> None:
    x = scores_of(2, 9, 11)
    y = BoxFilter(9, 11, 10**9).apply(x)
    np.testing.assert_allclose(
        y, np.broadcast_to(x.mean((1, 2), keepdims=True), x.shape), atol=1e-5
    )


@compiled
@pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same(instructions: str) -> None:
    library = native.library()
    assert library is not None
    best = library.segf_instructions()
    x = scores_of(11)
    expected = [build(picture(), None).apply(x) for build in BUILDERS.values()]
    if not library.segf_select_instructions(instructions.encode()):
        pytest.skip(f"this processor has no {instructions}")
    try:
        actual = [build(picture(), None).apply(x) for build in BUILDERS.values()]
    finally:
        library.segf_select_instructions(best)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@compiled
@pytest.mark.parametrize("channels", [1, 11, 35])
def test_threads_share_the_vertices(channels: int) -> None:
    noisy = np.random.default_rng(0).integers(0, 40, (90, 80, 3), np.uint8)
    x = scores_of(channels, 90, 80)
    before = native.num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            native.set_num_threads(threads)
            lattice = PermutohedralLattice.bilateral(noisy, 160.0, 3.0)
            results.append((lattice.n_vertices, lattice.apply(x), lattice.transpose(x)))
    finally:
        native.set_num_threads(before)
    (vertices, forth, back), *others = results
    for other in others:
        assert other[0] == vertices
        np.testing.assert_allclose(other[1], forth, atol=1e-5)
        np.testing.assert_allclose(other[2], back, atol=1e-5)


def test_counts_vertices(path: str) -> None:
    assert PermutohedralLattice.spatial(1, 1, 3.0).n_vertices == 3
    assert PermutohedralLattice.bilateral(picture(), 10.0, 13.0).n_vertices > 100


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BoxFilter(4, 4, -1), "radius is -1: give"),
        (lambda: BoxFilter(0, 4, 1), "height is 0"),
        (lambda: GuidedFilter(picture(), eps=0.0), "eps is 0.0: give"),
        (lambda: GuidedFilter(picture()[..., 0]), "give an RGB image"),
        (lambda: GuidedFilter(np.full((4, 4, 3), np.nan)), "NaN or infinities: give"),
        (lambda: PermutohedralLattice.bilateral(picture() / 255, 9, 9), "give an RGB image, uint8"),
        (lambda: PermutohedralLattice.bilateral(picture(), 9, 1e-4), "raise the standard"),
        (lambda: PermutohedralLattice.spatial(9, 9, 1e-30), "raise the standard"),
        (lambda: PermutohedralLattice.of_features(scores_of(6) * 1e30), "raise the standard"),
        (lambda: PermutohedralLattice.spatial(9, 9, np.nan), "sxy is nan: give"),
        (lambda: PermutohedralLattice.of_features(scores_of(7)), "at most 6"),
        (lambda: BoxFilter(4, 4, 1, np.ones((4, 4))), "give bool"),
        (lambda: BoxFilter(4, 4, 1, np.ones((4, 5), bool)), "give bool"),
        (lambda: BoxFilter(40, 48, 1).apply(scores_of(2, 9, 9)), "resize one of the two"),
        (lambda: BoxFilter(4, 4, 1).apply(np.zeros((4, 4), np.float32)), "give float32"),
        (lambda: BoxFilter(4, 4, 1).apply(np.zeros((1, 4, 4), int)), "give float32"),
        (lambda: BoxFilter(4, 4, 1).apply(np.full((1, 4, 4), np.inf)), "NaN or infinities: give"),
    ],
)
def test_says_what_is_wrong(build: Callable[[], object], message: str, path: str) -> None:
    with pytest.raises(FilterError, match=message):
        build()
