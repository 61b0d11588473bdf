"""The ids of CamVid's classes by name, as the street's parts are labelled with."""

from __future__ import annotations

from seg_perception.classes import CAMVID_CLASSES, class_ids

(SKY, BUILDING, POLE, ROAD, SIDEWALK, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST) = class_ids(
    CAMVID_CLASSES,
    (
        "sky",
        "building",
        "pole",
        "road",
        "sidewalk",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
)
