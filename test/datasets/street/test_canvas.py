from __future__ import annotations

import numpy as np
import pytest

from seg_perception.datasets import Camera
from seg_perception.datasets.street.canvas import Canvas
from seg_perception.datasets.street.texture import Texture

RED = (250, 0, 0)
LABEL = 7


@pytest.fixture
def canvas() -> Canvas:
    """Level, one metre high: a point (x, y, z) is seen at (40 - 50 y / x, 30 - 50 (z - 1) / x)."""
    return Canvas(Camera(81, 61, 50.0, 50.0, 40.0, 30.0, 1.0, 0.0))


def upright(x: float, half: float) -> np.ndarray:
    return np.array([(x, half, 1 + half), (x, -half, 1 + half), (x, -half, 1 - half),
                     (x, half, 1 - half)])  # fmt: skip


def draw_face(canvas: Canvas, points: np.ndarray, color=RED, label=LABEL) -> None:
    outline = canvas.outline(points)
    assert outline is not None
    canvas.face(outline, color, label)


def test_a_face_changes_picture_labels_and_depth_in_the_same_pixels(canvas: Canvas) -> None:
    draw_face(canvas, upright(5.0, 1.0))
    mask = canvas.labels == LABEL
    assert 19 * 19 <= mask.sum() <= 23 * 23  # 20 pixels a side
    assert mask[30, 40]
    assert not mask[30, 52]
    np.testing.assert_array_equal(np.isfinite(canvas.depth), mask)
    np.testing.assert_allclose(canvas.depth[mask], 5.0, rtol=1e-6)
    assert (canvas.image[mask][:, 0] >= 125).all()
    assert (canvas.image[~mask][:, 0] <= 125).all()


def test_depth_of_a_slanting_face_is_exact_in_every_pixel(canvas: Canvas) -> None:
    draw_face(canvas, np.array([(4.0, 1, 0.5), (8.0, -2, 0.5), (8.0, -2, 1.5), (4.0, 1, 1.5)]))
    rows, columns = np.nonzero(canvas.labels == LABEL)
    inner = (columns > 29) & (columns < 50)
    ray_y = -(columns[inner] - 40) / 50
    expected = (4 + 4 / 3) / (1 + 4 / 3 * ray_y)  # x = 4 + (1 - y) * 4 / 3 and y = ray_y * x
    np.testing.assert_allclose(canvas.depth[rows[inner], columns[inner]], expected, rtol=1e-4)


def test_a_face_beside_and_behind_the_camera_is_cut_off(canvas: Canvas) -> None:
    draw_face(canvas, np.array([(-5.0, 1, 0.5), (9.0, 1, 0.5), (9.0, 1, 1.5), (-5.0, 1, 1.5)]))
    _rows, columns = np.nonzero(canvas.labels == LABEL)
    assert len(columns)
    assert columns.max() < 40
    assert canvas.depth.min() >= 0.5


@pytest.mark.parametrize("points", [upright(-3.0, 1.0), upright(5.0, 1.0) + np.array([0, 9, 0])])
def test_what_is_out_of_the_picture_has_no_outline(canvas: Canvas, points: np.ndarray) -> None:
    assert canvas.outline(points) is None


def test_paint_changes_the_picture_only(canvas: Canvas) -> None:
    outline = canvas.outline(upright(5.0, 1.0))
    canvas.paint(outline, RED)
    assert canvas.image.any()
    assert not (canvas.labels == LABEL).any()
    assert np.isinf(canvas.depth).all()


def test_what_is_drawn_later_hides_what_is_earlier(canvas: Canvas) -> None:
    draw_face(canvas, upright(9.0, 2.0))
    draw_face(canvas, upright(5.0, 0.5), color=(0, 0, 250), label=3)
    assert (canvas.labels[30, 40], canvas.depth[30, 40]) == (3, 5.0)
    assert tuple(canvas.image[30, 40]) == (0, 0, 250)
    assert (canvas.labels == LABEL).any()


def test_a_surface_shows_its_texture_the_right_way_round(canvas: Canvas) -> None:
    quarters = np.zeros((8, 8, 3), np.uint8)
    quarters[:4, :4], quarters[:4, 4:] = (200, 0, 0), (0, 200, 0)
    quarters[4:, :4], quarters[4:, 4:] = (0, 0, 200), (200, 200, 0)
    corner, across, down = np.array([5.0, 1, 2]), np.array([0, -2.0, 0]), np.array([0, 0, -2.0])
    canvas.surface(corner, across, down, Texture(quarters), LABEL, tint=(0.5, 1.0, 1.0))
    assert tuple(canvas.image[25, 35]) == (100, 0, 0)
    assert tuple(canvas.image[25, 45]) == (0, 200, 0)
    assert tuple(canvas.image[35, 35]) == (0, 0, 200)
    assert tuple(canvas.image[35, 45]) == (100, 200, 0)
    np.testing.assert_allclose(canvas.depth[canvas.labels == LABEL], 5.0, rtol=1e-6)


def test_gaps_show_what_is_behind_but_are_labelled_as_far_as_the_extent(canvas: Canvas) -> None:
    bars = np.zeros((8, 8), np.uint8)
    bars[:, :4] = 255
    texture = Texture(np.full((8, 8, 3), 200, np.uint8), bars, np.full((8, 8), 255, np.uint8))
    corner, across, down = np.array([5.0, 1, 2]), np.array([0, -2.0, 0]), np.array([0, 0, -2.0])
    canvas.surface(corner, across, down, texture, LABEL)
    assert tuple(canvas.image[30, 33]) == (200, 200, 200)
    assert tuple(canvas.image[30, 47]) == (0, 0, 0)
    assert canvas.labels[30, 33] == canvas.labels[30, 47] == LABEL


def test_a_billboard_stands_on_its_foot(canvas: Canvas) -> None:
    opacity = np.zeros((40, 40), np.uint8)
    opacity[:, 10:30] = 255
    texture = Texture(np.full((40, 40, 3), 90, np.uint8), opacity)
    canvas.billboard(np.array([5.0, 0, 0]), 4.0, 2.0, texture, LABEL)
    rows, columns = np.nonzero(canvas.labels == LABEL)
    assert rows.min() == 20
    assert rows.max() == 40
    assert abs(columns.min() - 30) <= 1
    assert abs(columns.max() - 50) <= 1
    assert set(canvas.depth[rows, columns]) == {5.0}


def test_rods_are_as_thick_as_they_are_near(canvas: Canvas) -> None:
    canvas.rod([(5.0, 0, 0.5), (5.0, 0, 1.5)], 0.5, RED, LABEL)
    assert 5 <= (canvas.labels[30] == LABEL).sum() <= 7
    canvas.rod([(-5.0, 0, 0.5), (-5.0, 0, 1.5)], 0.5, RED, 2)
    assert not (canvas.labels == 2).any()


def test_a_far_figure_is_flat(canvas: Canvas) -> None:
    outlines = [canvas.outline(upright(10.0, 1.0)), canvas.outline(upright(10.4, 0.5))]
    canvas.figure(outlines, [RED, (0, 250, 0)], LABEL)
    assert set(canvas.depth[canvas.labels == LABEL]) == {10.0}
    assert tuple(canvas.image[30, 40]) == (0, 250, 0)


def test_a_glow_brightens_around_its_lamp_only(canvas: Canvas) -> None:
    canvas.glow(np.array([5.0, 0, 1]), 0.5, (100, 100, 100))
    assert canvas.image[30, 40, 0] > canvas.image[30, 43, 0] > 0
    assert canvas.image[30, 50, 0] == 0
