from __future__ import annotations

import pytest

from seg_perception.classes import CAMVID_CLASSES, CAMVID_GROUPS, class_ids
from seg_perception.errors import ConfigError


def test_camvid_has_the_eleven_classes_in_order() -> None:
    assert [info.id for info in CAMVID_CLASSES] == list(range(11))
    assert len({info.color for info in CAMVID_CLASSES}) == 11


def test_the_groups_share_out_all_classes() -> None:
    members = [name for group in CAMVID_GROUPS.values() for name in group]
    assert sorted(members) == sorted(info.name for info in CAMVID_CLASSES)


def test_ids_come_in_the_order_of_the_names() -> None:
    assert class_ids(CAMVID_CLASSES, ["car", "sky"]) == (8, 0)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'raod'.*use one of sky, building, .*road"):
        class_ids(CAMVID_CLASSES, ["sky", "raod"])
