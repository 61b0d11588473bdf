from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS
from seg_perception.datasets.partial_truth import ego_lane, parse_kind, partial_truth
from seg_perception.errors import ConfigError
from seg_perception.evidence.record import Evidence

VOID, SKY, ROAD, SIDEWALK, CAR = 255, 0, 3, 4, 8
HEIGHT, WIDTH = 90, 120


def street_labels() -> NDArray[np.uint8]:
    labels = np.full((HEIGHT, WIDTH), SKY, np.uint8)
    labels[40:] = ROAD
    labels[40:, 100:] = SIDEWALK
    labels[45:60, 50:70] = CAR
    labels[85:] = VOID
    return labels


def make(kind: str, class_id: int | None = None, seed: int = 0) -> Evidence:
    return partial_truth(
        street_labels(),
        kind,
        class_id,
        classes=CAMVID_CLASSES,
        groups=CAMVID_GROUPS,
        rng=np.random.default_rng(seed),
    )


def possible(evidence: Evidence) -> NDArray[np.bool_]:
    """[H, W, C]: the classes that remain possible."""
    return evidence.sets[evidence.index] > 0


@pytest.mark.parametrize(
    ("kind", "class_id"),
    [
        ("positive", ROAD),
        ("complete", CAR),
        ("partial:0.3", SKY),
        ("ego_lane", None),
        ("points:0.05", None),
        ("sets:0.2", None),
    ],
)
def test_no_kind_lies_or_knows_void(kind: str, class_id: int | None) -> None:
    labels, evidence = street_labels(), make(kind, class_id)
    assert evidence.index.any()
    assert not evidence.index[labels == VOID].any()
    known = evidence.index > 0
    truth_is_possible = np.take_along_axis(possible(evidence)[known], labels[known][:, None], 1)
    assert truth_is_possible.all()
    assert evidence.source == kind


def test_positive_knows_all_pixels_of_the_class_and_no_other() -> None:
    evidence = make("positive", ROAD)
    np.testing.assert_array_equal(evidence.index > 0, street_labels() == ROAD)
    np.testing.assert_array_equal(np.flatnonzero(evidence.sets[1]), [ROAD])


def test_complete_excludes_the_class_elsewhere() -> None:
    labels, evidence = street_labels(), make("complete", ROAD)
    np.testing.assert_array_equal(evidence.index > 0, labels != VOID)
    elsewhere = possible(evidence)[(labels != ROAD) & (labels != VOID)]
    assert not elsewhere[:, ROAD].any()
    assert elsewhere[:, np.arange(11) != ROAD].all()


@pytest.mark.parametrize("fraction", [0.01, 0.25, 1.0])
def test_partial_knows_that_fraction_of_the_class(fraction: float) -> None:
    n_road = (street_labels() == ROAD).sum()
    assert np.count_nonzero(make(f"partial:{fraction}", ROAD).index) == round(fraction * n_road)


def test_points_know_labels_of_a_fraction_of_all_labelled_pixels() -> None:
    labels, evidence = street_labels(), make("points:0.1")
    known = evidence.index > 0
    assert known.sum() == round(0.1 * (labels != VOID).sum())
    assert (possible(evidence)[known].sum(axis=1) == 1).all()


def test_sets_know_groups_only() -> None:
    labels, evidence = street_labels(), make("sets:0.5")
    seen = {label: possible(evidence)[(evidence.index > 0) & (labels == label)] for label in (0, 4)}
    np.testing.assert_array_equal(np.unique(seen[SKY], axis=0), [np.arange(11) == SKY])
    np.testing.assert_array_equal(
        np.unique(seen[SIDEWALK], axis=0), [np.isin(np.arange(11), [ROAD, SIDEWALK])]
    )


def test_a_class_in_no_group_stays_unknown() -> None:
    evidence = partial_truth(
        street_labels(),
        "sets:1",
        None,
        classes=CAMVID_CLASSES,
        groups={"ground": ("road", "sidewalk")},
        rng=np.random.default_rng(0),
    )
    np.testing.assert_array_equal(evidence.index > 0, np.isin(street_labels(), [ROAD, SIDEWALK]))


def test_ego_lane_is_a_wedge_of_road() -> None:
    road = street_labels() == ROAD
    lane = make("ego_lane").index > 0
    assert not (lane & ~road).any()
    widths = lane[60:85].sum(axis=1)  # below the car
    assert 10 < widths[0] < widths[-1] < WIDTH * 0.9
    assert np.all(np.diff(widths) >= 0)
    assert abs(np.flatnonzero(lane[84]).mean() - WIDTH / 2) < 0.1 * WIDTH


def test_ego_lane_without_road_knows_nothing() -> None:
    assert not ego_lane(np.zeros((4, 5), bool), np.random.default_rng(0)).any()


@pytest.mark.parametrize("kind", ["ego_lane", "points:0.05"])
def test_the_seed_decides(kind: str) -> None:
    np.testing.assert_array_equal(make(kind, seed=1).index, make(kind, seed=1).index)
    assert (make(kind, seed=1).index != make(kind, seed=2).index).any()


@pytest.mark.parametrize(
    "kind",
    ["", "all", "partial", "partial:", "partial:x", "points:0", "sets:1.5", "partial:nan",
     "positive:0.5", "ego_lane:1", "partial:F"],
)  # fmt: skip
def test_unknown_kinds_list_the_known(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"positive, complete, partial:F, ego_lane, points:F"):
        parse_kind(kind)


@pytest.mark.parametrize("class_id", [None, -1, 11])
def test_a_kind_of_one_class_needs_it(class_id: int | None) -> None:
    with pytest.raises(ConfigError, match="0 sky, 1 building"):
        make("positive", class_id)


def test_sets_need_groups_and_ego_lane_needs_a_road() -> None:
    labels, rng = street_labels(), np.random.default_rng(0)
    with pytest.raises(ConfigError, match="class groups"):
        partial_truth(labels, "sets:0.1", None, classes=CAMVID_CLASSES, groups={}, rng=rng)
    with pytest.raises(ConfigError, match="road"):
        partial_truth(labels, "ego_lane", None, classes=CAMVID_CLASSES[:3], groups={}, rng=rng)
