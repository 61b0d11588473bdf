from __future__ import annotations

import numpy as np
import pytest
from tiny_scene import CAMERA, HEIGHT_M, PITCH_RAD, PLANE, on_box, street_depth

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.datasets.catalogue import CITYSCAPES_CLASSES, CITYSCAPES_GROUPS
from seg_perception.errors import EvidenceError
from seg_perception.evidence.depth import (
    STEEP_ROWS,
    GroundRules,
    GroundTracker,
    evidence_from_depth,
    sample_points,
)
from seg_perception.evidence.geometry import Pinhole
from seg_perception.evidence.terrain import (
    FAR,
    GROUND,
    HIGH,
    HIGHER,
    OBSTACLE,
    SOLID,
    UNKNOWN,
    obstacle_ids,
    terrain_sets,
)

RULES = GroundRules(max_range_m=30.0, far_m=60.0)


def look(depth: np.ndarray, camera=CAMERA, rules: GroundRules = RULES):  # type: ignore[no-untyped-def]
    return evidence_from_depth(depth, camera, PLANE, CAMVID_CLASSES, CAMVID_GROUPS, rules=rules)


def names(row: np.ndarray) -> set[str]:
    return {CAMVID_CLASSES[i].name for i in np.flatnonzero(row)}


def test_ground_box_and_sky_are_told_apart() -> None:
    depth = street_depth()
    evidence = look(depth)
    clear = on_box() & (depth * PLANE.ray_heights(CAMERA) + HEIGHT_M > 0.5)
    assert (evidence.index[clear] == OBSTACLE).all()
    ground = np.isfinite(depth) & ~on_box()
    below_box = np.zeros_like(ground)
    below_box[STEEP_ROWS:] = on_box()[:-STEEP_ROWS]
    assert not (evidence.index[on_box()] == GROUND).any(), "its foot is low, but no ground"
    ground &= ~below_box
    assert (evidence.index[ground & (depth < 30)] == GROUND).all()
    assert (evidence.index[ground & (depth > 30) & (depth < 60)] == SOLID).all()
    assert (evidence.index[ground & (depth > 60)] == UNKNOWN).all()
    assert (evidence.index[np.isinf(depth)] == FAR).all()


def test_the_sets_come_from_the_groups() -> None:
    sets = terrain_sets(CAMVID_CLASSES, CAMVID_GROUPS, "depth")
    assert names(sets[GROUND]) == {"road", "sidewalk", "tree"}, "a lawn is flat, and a tree here"
    assert names(sets[OBSTACLE]) == set(CAMVID_GROUPS["obstacle"])
    assert names(sets[OBSTACLE] - sets[HIGH]) == {"pedestrian", "bicyclist"}
    assert names(sets[HIGH] - sets[HIGHER]) == {"car"}
    assert names(1 - sets[SOLID]) == {"sky"}
    assert names(sets[FAR]) == {"sky", "building", "tree", "pole", "sign"}
    own = terrain_sets(CAMVID_CLASSES, {**CAMVID_GROUPS, "far": ("sky",)}, "depth")
    assert names(own[FAR]) == {"sky"}


def test_a_class_for_grass_leaves_trees_out_of_the_ground() -> None:
    sets = terrain_sets(CITYSCAPES_CLASSES, CITYSCAPES_GROUPS, "depth")
    ground = {CITYSCAPES_CLASSES[i].name for i in np.flatnonzero(sets[GROUND])}
    assert ground == {"road", "sidewalk", "terrain"}


def test_obstacles_are_told_by_the_groups() -> None:
    ids = obstacle_ids(CAMVID_CLASSES, CAMVID_GROUPS)
    assert {CAMVID_CLASSES[i].name for i in ids} == set(CAMVID_GROUPS["obstacle"])
    assert obstacle_ids(CAMVID_CLASSES, {}) == ()


def test_what_is_high_is_neither_a_person_nor_higher_up_a_car() -> None:
    height = np.array([[2.4, 2.7, 4.4, 4.7]], np.float32)
    told = RULES.rows(np.full_like(height, 10.0), height)
    assert told.tolist() == [[OBSTACLE, HIGH, HIGH, HIGHER]]


def test_no_return_is_weak_evidence() -> None:
    assert look(street_depth()).weight.tolist() == [0, 1, 1, 0.25, 1, 1, 1]


def test_unknown_depth_says_nothing() -> None:
    depth = street_depth()
    depth[::2], depth[1::4] = np.nan, 0
    index = look(depth).index
    assert not index[::2].any()
    assert not index[1::4].any()
    assert (index[3::4] > 0).any()


def test_what_is_missing_below_the_horizon_says_nothing() -> None:
    depth = np.full_like(street_depth(), np.inf)
    rising = PLANE.ray_heights(CAMERA) > 0
    np.testing.assert_array_equal(look(depth).index == FAR, rising)
    assert (look(depth).index[~rising] == UNKNOWN).all()


def test_kerbs_and_holes_are_not_told() -> None:
    depth = np.full((1, 3), 5.0, np.float32)
    index = RULES.rows(depth, np.array([[0.25, -1.0, 0.1]], np.float32))
    assert index.tolist() == [[SOLID, SOLID, GROUND]], "no sky, that much is known"


def test_depth_of_another_size_is_taken_at_the_cameras_pixels() -> None:
    double = CAMERA.scaled(320, 240)
    small, sampled = look(street_depth()), look(street_depth(double))
    assert sampled.index.shape == (120, 160)
    assert (small.index == sampled.index).mean() > 0.97


def test_millimetres_are_noticed() -> None:
    with pytest.raises(EvidenceError, match="millimetres; divide by 1000"):
        look(street_depth() * 1000)
    with pytest.raises(EvidenceError, match="16UC1 is millimetres"):
        look(np.ones((4, 4), np.uint16))  # type: ignore[arg-type]


def test_a_model_without_ground_cannot_use_depth() -> None:
    with pytest.raises(EvidenceError, match="export it with a class group 'ground'"):
        terrain_sets(CAMVID_CLASSES, {"sky": ("sky",)}, "depth")
    everything = {"ground": tuple(info.name for info in CAMVID_CLASSES)}
    with pytest.raises(EvidenceError, match="mend the class groups"):
        terrain_sets(CAMVID_CLASSES, everything, "depth")


@pytest.mark.parametrize(
    "values",
    [
        {"ground_band_m": 0.5},
        {"obstacle_min_m": 2.5},  # above which nothing may be low
        {"max_range_m": 90.0},
        {"min_range_m": 50.0},
    ],
)
def test_rules_that_contradict_themselves_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(EvidenceError, match="give 0 <"):
        GroundRules(**values)


def test_the_plane_is_found_in_a_depth_image_that_shows_a_box() -> None:
    tracker = GroundTracker(HEIGHT_M * 1.2, PITCH_RAD + 0.05)
    plane = tracker.update(sample_points(street_depth(), CAMERA))
    assert plane is not None
    assert plane.offset_m == pytest.approx(HEIGHT_M, abs=0.01)
    assert plane.normal @ PLANE.normal > np.cos(np.radians(0.2))


def test_no_points_are_sampled_from_an_open_sky() -> None:
    straight_ahead_at_a_pixel = Pinhole(16, 12, 14.0, 14.0, 8.0, 8.0)
    sky = np.full((12, 16), np.inf, np.float32)
    assert len(sample_points(sky, straight_ahead_at_a_pixel)) == 0


def test_sampled_points_lie_where_the_depth_is() -> None:
    points = sample_points(street_depth(), CAMERA, limit=500)
    assert 100 < len(points) <= 600
    heights = PLANE.heights(points)
    assert ((np.abs(heights) < 1e-4) | (heights < 1.7)).all()
