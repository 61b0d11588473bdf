"""What height above the ground says about classes: the rules that depth and lidar share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import ClassInfo, class_ids
from seg_perception.errors import EvidenceError

UNKNOWN, GROUND, OBSTACLE, FAR, SOLID, HIGH, HIGHER = TERRAINS = range(7)
"""Rows of `terrain_sets`."""

GRASS_CLASSES = frozenset({"terrain", "grass", "field", "earth"})
"""Names of classes that a lawn has, where a model tells it from trees ..."""
GREENERY_CLASSES = frozenset({"tree", "vegetation", "plant"})
"""... and where it does not: as flat as a pavement."""

LOW_CLASSES = frozenset({"pedestrian", "person", "rider", "bicyclist", "bicycle", "minibike"})
LOWER_THAN_M = 2.5
"""Names of classes whose things are never as high as these metres ..."""
VEHICLE_CLASSES = frozenset({"car", "van", "truck", "bus", "motorcycle"})
VEHICLES_LOWER_THAN_M = 4.5
"""... nor these as high as those."""

FAR_CLASSES = frozenset(
    {"sky", "building", "tree", "vegetation", "wall", "mountain", "hill", "terrain", "skyscraper"}
    | {"pole", "sign", "traffic sign", "traffic light", "streetlight"}
)
"""Names of classes that a depth sensor may get no return from above the horizon, because they are
so far or so thin: those of CamVid, Cityscapes and ADE20K."""


@dataclass(frozen=True)
class GroundRules:
    """From heights to knowledge; metres.

    The plane is fitted near by, so that errors of its slope grow with the depth z: bands are
    widened by `slope` * z.

    Attributes:
        ground_band_m: what is within this of the plane is ground; above a kerb's height.
        obstacle_min_m: what is higher than this is an obstacle; what is between is not told.
        slope: widening of both, metres per metre of depth.
        min_range_m: nearer is the vehicle itself.
        max_range_m: beyond this, ground and obstacles are not told apart.
        far_m: beyond this, above the horizon, nothing was hit that stands on the street.
        far_weight: factor on the weight of that, because a missing return is weak evidence.
    """

    ground_band_m: float = 0.15
    obstacle_min_m: float = 0.35
    slope: float = 0.01
    min_range_m: float = 0.5
    max_range_m: float = 40.0
    far_m: float = 80.0
    far_weight: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.ground_band_m < self.obstacle_min_m < LOWER_THAN_M:
            raise EvidenceError(
                f"ground within {self.ground_band_m} m and obstacles above {self.obstacle_min_m} "
                f"m: give 0 < ground_band_m < obstacle_min_m < {LOWER_THAN_M}"
            )
        if not 0 <= self.min_range_m < self.max_range_m <= self.far_m:
            raise EvidenceError(
                f"ranges {self.min_range_m}, {self.max_range_m}, {self.far_m} m: give "
                "0 <= min_range_m < max_range_m <= far_m"
            )

    def rows(self, depth: NDArray[np.float32], height: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Which row tells of points at these depths and heights above the ground; never FAR.

        Args:
            depth: float32 [...], metres; NaN and what is out of range is UNKNOWN.
            height: float32 of the same shape, metres.

        Returns:
            uint8 of the same shape.
        """
        slack = depth * np.float32(self.slope)
        with np.errstate(invalid="ignore"):  # inf - inf on the horizon
            above = height - slack
        seen = depth > self.min_range_m
        ground = np.abs(height) < slack + np.float32(self.ground_band_m)
        rows = ground.view(np.uint8) * np.uint8(GROUND)
        below = UNKNOWN
        for row, from_m in (
            (OBSTACLE, self.obstacle_min_m),
            (HIGH, LOWER_THAN_M),
            (HIGHER, VEHICLES_LOWER_THAN_M),
        ):
            rows += (above > np.float32(from_m)).view(np.uint8) * np.uint8(row - below)
            below = row
        rows *= (seen & (depth < self.max_range_m)).view(np.uint8)
        solid = (rows == UNKNOWN) & seen & (depth < self.far_m)
        rows += solid.view(np.uint8) * np.uint8(SOLID)
        return rows


def terrain_sets(
    classes: Sequence[ClassInfo], groups: Mapping[str, tuple[str, ...]], source: str
) -> NDArray[np.float32]:
    """The sets behind each row: float32 [len(TERRAINS), C].

    GROUND is the group "ground", and greenery where the model has no class for grass; OBSTACLE is
    every class that is neither in that group nor in "sky", HIGH and HIGHER those of them that are
    so high; SOLID is all but sky; FAR is the group "far" where the manifest has one, else the group
    "sky" and the `FAR_CLASSES`.

    Args:
        classes: of the model, by id.
        groups: class names by group, from the model's manifest.
        source: named in errors.

    Raises:
        EvidenceError: the groups do not say what is ground, or leave no class to obstacles.
    """
    if not groups.get("ground"):
        raise EvidenceError(
            f"evidence {source!r} needs to know which classes lie on the ground, but the model's "
            f"groups are {list(groups)}: export it with a class group 'ground'"
        )
    names = {info.name for info in classes}
    ground, sky = set(groups["ground"]), set(groups.get("sky", ()))
    obstacle = names - ground - sky
    members = {
        UNKNOWN: names,
        GROUND: ground if ground & GRASS_CLASSES else ground | (GREENERY_CLASSES & names),
        OBSTACLE: obstacle,
        FAR: set(groups.get("far", ())) or sky | (FAR_CLASSES & names) or names,
        SOLID: names - sky,
        HIGH: obstacle - LOW_CLASSES or obstacle,
        HIGHER: obstacle - LOW_CLASSES - VEHICLE_CLASSES or obstacle,
    }
    sets = np.zeros((len(members), len(classes)), np.float32)
    for row, chosen in members.items():
        sets[row, list(class_ids(classes, chosen))] = 1.0
    if not sets[OBSTACLE].any():
        raise EvidenceError(
            f"evidence {source!r}: every class of the model is ground or sky, so that nothing can "
            "be an obstacle: mend the class groups of the model"
        )
    return sets


def terrain_weights(weight: float, rules: GroundRules) -> NDArray[np.float32]:
    """Float32 [len(TERRAINS)]: what a pixel of each row counts."""
    weights = np.full(len(TERRAINS), weight, np.float32)
    weights[UNKNOWN], weights[FAR] = 0.0, weight * rules.far_weight
    return weights


def obstacle_ids(
    classes: Sequence[ClassInfo], groups: Mapping[str, tuple[str, ...]]
) -> tuple[int, ...]:
    """Ids of what may stand on the ground; none where the groups do not say what is ground."""
    ground = set(groups.get("ground", ()))
    other = ground | set(groups.get("sky", ()))
    return tuple(info.id for info in classes if ground and info.name not in other)
