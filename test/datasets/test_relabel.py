from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import TINY_CLASSES, color_image
from tiny_drives import tiny_drive

from seg_perception.classes import ClassInfo
from seg_perception.datasets.relabel import in_classes, read_class_map
from seg_perception.errors import ConfigError

TURNED = tuple(ClassInfo(i, info.name, info.color) for i, info in enumerate(reversed(TINY_CLASSES)))
COARSE = (ClassInfo(0, "ground", (9, 9, 9)), ClassInfo(1, "above", (8, 8, 8)))


def test_the_same_names_in_another_order_are_renumbered() -> None:
    drive = tiny_drive()
    turned = in_classes(drive, TURNED, {})
    assert (turned.classes, turned.drives, len(turned)) == (TURNED, drive.drives, len(drive))
    before, after = drive[1].labels, turned[1].labels
    np.testing.assert_array_equal(after == 255, before == 255)
    known = before != 255
    np.testing.assert_array_equal(
        color_image(before[known], TINY_CLASSES), color_image(after[known], TURNED)
    )


def test_the_same_classes_and_other_ones_are_left_alone() -> None:
    drive = tiny_drive()
    assert in_classes(drive, TINY_CLASSES, {}) is drive
    assert in_classes(drive, COARSE, {}) is drive


def test_a_map_joins_classes_and_voids_them() -> None:
    names = {"sky": "above", "car": None, "road": "ground", "sidewalk": "ground"}
    drive = tiny_drive()
    coarse = in_classes(drive, COARSE, {"ground": ("ground",)}, names)
    assert coarse.groups == {"ground": ("ground",)}
    lookup = np.full(256, 255, np.uint8)
    lookup[:4] = (1, 0, 0, 255)
    np.testing.assert_array_equal(coarse[0].labels, lookup[drive[0].labels])
    np.testing.assert_array_equal(coarse[0].image, drive[0].image)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"sky": "above"}, "leaves out road, sidewalk, car of tiny"),
        ({"sky": "above", "lunar": None}, "'lunar': use one of sky"),
        (
            {"sky": "heaven", "car": None, "road": None, "sidewalk": None},
            "'heaven': use one of ground, above",
        ),
    ],
)
def test_a_map_that_does_not_fit_is_refused(names: dict[str, str | None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        in_classes(tiny_drive(), COARSE, {}, names)


@pytest.mark.parametrize("text", ["[1]", '{"sky": 3}'])
def test_what_is_no_map_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is no class map"):
        read_class_map(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"cannot read the class map .*map\.json"):
        read_class_map(path)
