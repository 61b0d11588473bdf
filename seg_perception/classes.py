"""The classes a model tells apart: ids, names, colours, groups."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from seg_perception.errors import ConfigError

VOID = 255
"""The label of a pixel that has none; never the id of a class."""


@dataclass(frozen=True)
class ClassInfo:
    """One class.

    Attributes:
        id: value in a label map, 0 to 254, and column in `evidence_sets`.
        name: as printed in tables and published in `~/label_info`.
        color: RGB, each 0 to 255.
    """

    id: int
    name: str
    color: tuple[int, int, int]


CAMVID_CLASSES: tuple[ClassInfo, ...] = (
    ClassInfo(0, "sky", (128, 128, 128)),
    ClassInfo(1, "building", (128, 0, 0)),
    ClassInfo(2, "pole", (192, 192, 128)),
    ClassInfo(3, "road", (128, 64, 128)),
    ClassInfo(4, "sidewalk", (60, 40, 222)),
    ClassInfo(5, "tree", (128, 128, 0)),
    ClassInfo(6, "sign", (192, 128, 128)),
    ClassInfo(7, "fence", (64, 64, 128)),
    ClassInfo(8, "car", (64, 0, 128)),
    ClassInfo(9, "pedestrian", (64, 64, 0)),
    ClassInfo(10, "bicyclist", (0, 128, 192)),
)
"""The 11 classes of CamVid in the order and colours of SegNet (Badrinarayanan et al., 2017)."""

CAMVID_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ground": ("road", "sidewalk"),
        "sky": ("sky",),
        "obstacle": (
            "building",
            "pole",
            "tree",
            "sign",
            "fence",
            "car",
            "pedestrian",
            "bicyclist",
        ),
    }
)
"""What a sensor without colour can tell apart: drivable height, nothing there, something there."""


def class_ids(classes: Sequence[ClassInfo], names: Iterable[str]) -> tuple[int, ...]:
    """Look up the ids of classes by name, in the order of the names.

    Raises:
        ConfigError: a name is not among the classes.
    """
    ids = {info.name: info.id for info in classes}
    wanted = tuple(names)
    unknown = [name for name in wanted if name not in ids]
    if unknown:
        raise ConfigError(
            f"unknown class {', '.join(map(repr, unknown))}: use one of {', '.join(ids)}"
        )
    return tuple(ids[name] for name in wanted)


def classes_to_json(classes: Sequence[ClassInfo]) -> str:
    """Names and colours (RGB) by id, as `~/label_info` tells them where vision_msgs is missing."""
    class_map = [
        {"class_id": info.id, "class_name": info.name, "color": list(info.color)}
        for info in classes
    ]
    return json.dumps({"class_map": class_map})


def classes_from_json(text: str) -> tuple[ClassInfo, ...]:
    """What `classes_to_json` wrote.

    Raises:
        ConfigError: it is something else.
    """
    try:
        return tuple(
            ClassInfo(int(one["class_id"]), str(one["class_name"]), tuple(one["color"]))
            for one in json.loads(text)["class_map"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{text[:80]!r} names no classes ({error!r}): write them as ~/label_info has them"
        ) from error
