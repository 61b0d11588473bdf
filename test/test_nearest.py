from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seg_perception.nearest import resize_nearest

side = st.integers(1, 40)


@given(side, side, st.integers(1, 5))
def test_enlarging_by_a_whole_factor_repeats_every_pixel(h: int, w: int, factor: int) -> None:
    values = np.random.default_rng(h * w).integers(0, 256, (h, w), np.uint8)
    expected = values.repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(resize_nearest(values, h * factor, w * factor), expected)


@given(side, side, side, side)
def test_every_pixel_is_the_one_under_its_centre(h: int, w: int, height: int, width: int) -> None:
    # The values are the coordinates, so that the answer says where each pixel came from.
    rows, columns = np.indices((h, w), dtype=np.uint8)
    centre_rows = (np.arange(height) + 0.5) * h / height
    centre_columns = (np.arange(width) + 0.5) * w / width
    found_rows = resize_nearest(rows, height, width)[:, 0]
    found_columns = resize_nearest(columns, height, width)[0]
    assert np.abs(found_rows + 0.5 - centre_rows).max() <= 0.5 + 1e-9
    assert np.abs(found_columns + 0.5 - centre_columns).max() <= 0.5 + 1e-9


def test_a_map_that_fits_is_not_copied() -> None:
    values = np.zeros((3, 4), np.uint8)
    assert resize_nearest(values, 3, 4) is values
