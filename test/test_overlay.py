from __future__ import annotations

import numpy as np
import pytest

from seg_perception.classes import CAMVID_CLASSES, VOID, ClassInfo
from seg_perception.overlay import OUTLINE_COLOR, colorize, hatch, outline, overlay

LABELS = np.arange(11, dtype=np.uint8)[None].repeat(20, axis=0)
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 11, 3), np.uint8)


def test_every_class_is_painted_in_its_own_color() -> None:
    painted = colorize(LABELS, CAMVID_CLASSES)
    for info in CAMVID_CLASSES:
        assert (painted[:, info.id] == info.color).all()


def test_what_is_no_class_is_black() -> None:
    assert not colorize(np.array([[VOID, 77]], np.uint8), CAMVID_CLASSES).any()


def test_ids_may_have_gaps() -> None:
    painted = colorize(np.array([[200]], np.uint8), [ClassInfo(200, "rail", (1, 2, 3))])
    assert painted.tolist() == [[[1, 2, 3]]]


def test_labels_may_be_a_view_with_steps() -> None:
    wide = np.repeat(LABELS, 2, axis=1)
    np.testing.assert_array_equal(
        colorize(wide[:, ::2], CAMVID_CLASSES), colorize(LABELS, CAMVID_CLASSES)
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_blend_is_the_weighted_mean(alpha: float) -> None:
    blended = overlay(IMAGE, LABELS, CAMVID_CLASSES, alpha)
    expected = (1 - alpha) * IMAGE.astype(float) + alpha * colorize(LABELS, CAMVID_CLASSES)
    assert np.abs(blended - expected).max() <= 0.5 + 1e-9


def test_image_stays_where_there_is_no_class() -> None:
    labels = LABELS.copy()
    labels[:10] = VOID
    blended = overlay(IMAGE, labels, CAMVID_CLASSES, 1.0)
    np.testing.assert_array_equal(blended[:10], IMAGE[:10])
    np.testing.assert_array_equal(blended[10:], colorize(labels, CAMVID_CLASSES)[10:])


def test_neither_input_is_written_to() -> None:
    image, labels = IMAGE.copy(), LABELS.copy()
    overlay(image, labels, CAMVID_CLASSES, 0.5, legend=True)
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(labels, LABELS)


def test_legend_names_only_classes_that_occur() -> None:
    image = np.zeros((60, 120, 3), np.uint8)
    labels = np.full((60, 120), VOID, np.uint8)
    labels[50:, 100:] = 3
    road = next(info for info in CAMVID_CLASSES if info.name == "road")
    written = overlay(image, labels, CAMVID_CLASSES, 0.5, legend=True)
    assert tuple(written[2, 2]) == road.color
    assert written[:16, 20:].max() == 255, "the name is written beside the colour"
    assert not written[16:50].any(), "one row for the one class"


def test_hatching_tells_sets_apart_and_leaves_the_rest_alone() -> None:
    picture = np.full((40, 60, 3), 100, np.uint8)
    index = np.zeros((40, 60), np.uint8)
    index[:, 20:40], index[:, 40:] = 1, 2
    sets = np.ones((3, 11), np.float32)
    sets[1] = np.arange(11) == 3
    sets[2] = np.isin(np.arange(11), (3, 4))
    shown = hatch(picture, index, sets, CAMVID_CLASSES).astype(int)
    np.testing.assert_array_equal(shown[:, :20], picture[:, :20])
    road, sidewalk = (np.array(CAMVID_CLASSES[i].color) for i in (3, 4))
    assert (shown[:, 20:40] == road).all(axis=2).mean() == pytest.approx(1 / 8, abs=0.02)
    mean = (road + sidewalk) // 2
    assert (np.abs(shown[:, 40:] - mean) <= 1).all(axis=2).mean() == pytest.approx(1 / 8, abs=0.02)
    assert (picture == 100).all()


def test_outline_is_the_inner_edge() -> None:
    pixels = np.zeros((10, 12), bool)
    pixels[2:8, 3:9] = True
    shown = outline(np.zeros((10, 12, 3), np.uint8), pixels)
    edge = pixels.copy()
    edge[3:7, 4:8] = False
    np.testing.assert_array_equal((shown == OUTLINE_COLOR).all(axis=2), edge)


def test_nothing_changed_has_no_outline() -> None:
    np.testing.assert_array_equal(outline(IMAGE, np.zeros(IMAGE.shape[:2], bool)), IMAGE)
