from __future__ import annotations

import numpy as np
import pytest

from seg_perception.datasets.street.along import Along
from seg_perception.datasets.street.road import MiddleLine, Section

SECTION = Section(3.0, 1, 2, 2.0, 0.0, 2.5, 3.0, 0.0, 0.1, -1)


def test_a_section_adds_up() -> None:
    assert (SECTION.edge(1), SECTION.edge(-1)) == (5.25, 6.25)
    assert (SECTION.front(1), SECTION.front(-1)) == (7.75, 9.25)
    assert SECTION.lane_center(-1, 1) == -4.5
    assert SECTION.ego_center == -1.5


@pytest.mark.parametrize("seed", range(3))
def test_the_ground_gets_the_road_coordinates_it_was_made_from(seed: int) -> None:
    road = MiddleLine(300.0, 1 / 120, np.random.default_rng(seed))
    ego = road.pose(100.0, -1.5, 0.02)
    s, d = (a.ravel() for a in np.meshgrid(np.linspace(104, 200, 25), np.linspace(-9, 9, 7)))
    points = road.in_vehicle(s, d, ego)
    found_s, found_d = road.of_ground(points[:, 0], points[:, 1:2].astype(np.float32), ego)
    np.testing.assert_allclose(found_d[:, 0], d, atol=0.003)
    np.testing.assert_allclose(found_s[:, 0], s, atol=0.05)


def test_the_vehicle_is_at_the_origin_and_looks_ahead() -> None:
    road = MiddleLine(100.0, 1 / 150, np.random.default_rng(0))
    ego = road.pose(40.0, 1.5, 0.0)
    here, ahead = road.in_vehicle(np.array([40.0, 42.0]), 1.5, ego)
    np.testing.assert_allclose(here, 0, atol=1e-6)
    np.testing.assert_allclose(ahead, (2, 0, 0), atol=0.05)


def test_curvature_stays_gentle() -> None:
    road = MiddleLine(1000.0, 1 / 100, np.random.default_rng(1))
    heading = np.array([road.at(s)[2] for s in np.arange(0, 1000.0)])
    assert 0 < np.abs(np.diff(heading)).max() <= 1 / 100 + 1e-9


def test_items_are_found_by_the_stretch_they_touch() -> None:
    items = Along(
        [((0.0, 2.0), "a"), ((5.0, 30.0), "long"), ((10.0, 11.0), "b"), ((40.0, 41.0), "c")]
    )
    assert items.between(1.0, 4.0) == ["a"]
    assert items.between(25.0, 39.0) == ["long"]
    assert items.between(10.5, 40.0) == ["long", "b", "c"]
    assert items.between(42.0, 99.0) == []
    assert Along[str]().between(0.0, 1.0) == []
