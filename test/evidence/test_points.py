from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_scene import BOX_M, CAMERA, PLANE, POSE

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.errors import EvidenceError
from seg_perception.evidence.geometry import project
from seg_perception.evidence.points import check_points, evidence_from_points
from seg_perception.evidence.record import Evidence
from seg_perception.evidence.terrain import GROUND, OBSTACLE

GROUND_POINT, BOX_POINT = (8.0, 2.0, 0.0), (BOX_M, 0.0, 1.0)


def scan(points: list[tuple[float, ...]] | NDArray[np.float32], splat_px: int = 1) -> Evidence:
    return evidence_from_points(
        np.asarray(points, np.float32),
        CAMERA,
        POSE,
        PLANE,
        CAMVID_CLASSES,
        CAMVID_GROUPS,
        splat_px=splat_px,
    )


def pixel(point: tuple[float, ...]) -> tuple[int, int]:
    (column, row), _ = np.rint(project(np.array([point]), POSE, CAMERA)[0][0]).astype(int), 0
    return row, column


def test_each_point_speaks_for_its_pixel() -> None:
    index = scan([GROUND_POINT, BOX_POINT]).index
    assert index[pixel(GROUND_POINT)] == GROUND
    assert index[pixel(BOX_POINT)] == OBSTACLE
    assert np.count_nonzero(index) == 2


def test_a_splat_is_a_square_around_the_pixel() -> None:
    index = scan([GROUND_POINT], splat_px=3).index
    row, column = pixel(GROUND_POINT)
    assert (index[row - 1 : row + 2, column - 1 : column + 2] == GROUND).all()
    assert np.count_nonzero(index) == 9


def test_gaps_between_points_of_the_ground_are_ground() -> None:
    ahead = [(8.0, y, 0.0) for y in np.arange(1.0, 2.0, 0.2)]  # 3.5 pixels apart
    index, (row, left) = scan(ahead).index, pixel(ahead[-1])
    between = slice(left, pixel(ahead[0])[1] + 1)
    assert (index[row, between] == GROUND).all()
    assert np.count_nonzero(index) == between.stop - between.start
    assert not scan([ahead[0], ahead[3]]).index[row, left + 8], "too far apart"


def test_nothing_is_filled_beside_what_stands_there() -> None:
    ground = [(16.0, y, 0.0) for y in np.arange(2.0, 4.0, 0.4)]
    row, middle = pixel(ground[2])
    assert scan(ground).index[row, middle + 2] == GROUND
    assert not scan([*ground, (16.0, 2.8, 0.33)]).index[row, middle + 2], "it may be its foot"


def test_a_point_behind_an_obstacle_is_dropped() -> None:
    behind = (40.0 * BOX_M / 10, 0.0, 1.5 - 4 * 0.5)  # on the same ray as the box's point
    beside = (20.0, 5.0, 0.0)
    index = scan([(20.0, 0.0, 0.4), BOX_POINT, (BOX_M, 0.0, 0.8), beside, behind]).index
    row, column = pixel((20.0, 0.0, 0.4))
    assert index[row, column] != GROUND
    assert index[pixel(beside)] == GROUND


def test_the_ground_before_an_obstacle_stays_but_its_foot_is_no_ground() -> None:
    ground, foot = (BOX_M - 3.0, 0.0, 0.0), (BOX_M, 0.0, 0.1)
    index = scan([(BOX_M, 0.0, 0.4), ground, foot]).index
    assert index[pixel(ground)] == GROUND
    assert index[pixel(foot)] == 0


def test_where_splats_meet_the_nearer_point_is_seen() -> None:
    near, far = (8.0, 0.0, 0.0), (11.0, 0.0, 0.6)
    index = scan([far, near], splat_px=41).index
    assert index[pixel(near)] == GROUND
    assert index[pixel(far)] == GROUND, "covered by the splat of the nearer one"
    assert OBSTACLE in index


def test_what_the_camera_does_not_see_is_left_out() -> None:
    behind, aside, wild = (-5.0, 0.0, 0.0), (3.0, 30.0, 0.0), (np.nan, 0.0, 0.0)
    assert not scan([behind, aside, wild, (np.inf, 0.0, 0.0), (0.0, 0.0, 1.5)]).index.any()


def test_an_empty_cloud_says_nothing() -> None:
    assert not scan(np.empty((0, 3), np.float32)).index.any()


def test_points_at_the_border_do_not_wrap_around() -> None:
    rows = [project(np.array([[6.0, y, 0.0]]), POSE, CAMERA)[0][0] for y in (3.4, -3.4)]
    assert rows[0][0] < 2
    index = scan([(6.0, 3.4, 0.0), (6.0, -3.4, 0.0)], splat_px=5).index
    assert not index[:, 8:-8].any()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((4, 4), np.float32), r"float32 \[N, 3\]"),
        (np.full((4, 3), 5000, np.float32), "millimetres; divide by 1000"),
    ],
)
def test_what_are_no_points_is_refused(points: NDArray[np.float32], message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        scan(points)


def test_float64_points_are_refused() -> None:
    with pytest.raises(EvidenceError, match=r"float64 \[4, 3\]: give points float32"):
        check_points(np.zeros((4, 3)), "lidar")  # type: ignore[arg-type]


def test_a_splat_of_nothing_is_refused() -> None:
    with pytest.raises(EvidenceError, match="give 1 or more"):
        scan([GROUND_POINT], splat_px=0)
