from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.datasets import Augmentation


def steady(crop: tuple[int, int], **changes: object) -> Augmentation:
    """Nothing random but what `changes` says and where the crop is cut out."""
    still = {"scale": (1.0, 1.0), "aspect": (1.0, 1.0), "flip": 0.0, "gamma": (1.0, 1.0)}
    light = {"channel_gain": (1.0, 1.0), "saturation": (1.0, 1.0), "shading": 0.0, "noise": 0.0}
    return Augmentation(crop, **{**still, **light, "blur": 0.31, **changes})


def random_sample(seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (48, 64, 3), np.uint8)
    return image, rng.integers(0, 11, (48, 64), np.uint8)


def test_the_generator_decides_everything() -> None:
    image, labels = random_sample()
    augmentation = Augmentation(crop=(40, 56))
    first, again, other = (
        augmentation(image, labels, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_the_input_is_left_alone() -> None:
    image, labels = random_sample()
    before = image.copy(), labels.copy()
    Augmentation(crop=(40, 56))(image, labels, np.random.default_rng(0))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("crop", [(40, 56), (80, 120)], ids=["inside", "beyond"])
@pytest.mark.parametrize("seed", range(6))
def test_image_and_labels_are_warped_alike(seed: int, crop: tuple[int, int]) -> None:
    """A chessboard, dark and bright, 0 and 1: after the warp every square must still match."""
    labels = np.kron(np.indices((6, 8)).sum(axis=0) % 2, np.ones((16, 16))).astype(np.uint8)
    image = np.repeat((labels * 200 + 20)[..., None], 3, axis=2)
    augmentation = steady(
        crop, scale=(0.8, 1.5), aspect=(0.9, 1.1), flip=0.5, exposure=(100.0, 100.0)
    )
    image, labels = augmentation(image, labels, np.random.default_rng(seed))
    known = labels != 255
    dark, bright = (image[known & (labels == label)].mean(axis=-1) for label in (0, 1))
    threshold = (np.median(dark) + np.median(bright)) / 2
    wrong = (dark > threshold).sum() + (bright < threshold).sum()
    assert wrong < 0.05 * known.sum()  # interpolation blurs the corners
    assert np.median(bright) > 2 * np.median(dark)


def test_what_lies_outside_is_grey_and_void() -> None:
    image, labels = np.full((20, 30, 3), 250, np.uint8), np.zeros((20, 30), np.uint8)
    _, labels = steady((64, 64))(image, labels, np.random.default_rng(0))
    inside = np.argwhere(labels == 0)
    assert (labels == 255).sum() == 64 * 64 - len(inside)
    assert len(inside) == pytest.approx(20 * 30, rel=0.1)
    assert np.ptp(inside, axis=0) == pytest.approx((19, 29), abs=1)


@pytest.mark.parametrize("level", [20, 200], ids=["dusk", "noon"])
def test_dusk_and_noon_come_out_equally_bright(level: int) -> None:
    image = np.full((48, 64, 3), level, np.uint8)
    augmentation = steady((32, 32), exposure=(90.0, 90.0))
    lit, _ = augmentation(image, image[..., 0], np.random.default_rng(0))
    assert lit.mean() == pytest.approx(90, abs=2)


def test_mirroring_mirrors() -> None:
    image, labels = random_sample()
    kept, mirrored = (
        steady((48, 64), flip=chance)(image, labels, np.random.default_rng(0))[1]
        for chance in (0.0, 1.0)
    )
    np.testing.assert_array_equal(kept, labels)
    np.testing.assert_array_equal(mirrored, labels[:, ::-1])
