"""Evidence made from true labels: what a vehicle's sensors might know, to score correction with.

The kinds, as `seg-perception evaluate --evidence-kind` takes them:

- `positive`: all pixels of one class (the protocol of the optimisable-code paper);
- `complete`: those, and "not the class" on every other labelled pixel;
- `partial:F`: a random fraction F of the pixels of one class;
- `ego_lane`: road pixels in a wedge that narrows from the vehicle to the vanishing point;
- `points:F`: a random fraction F of all labelled pixels, each with its label;
- `sets:F`: such pixels with only their group known (ground, obstacle, sky), as a lidar sees them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID, ClassInfo, class_ids
from seg_perception.errors import ConfigError
from seg_perception.evidence.record import Evidence, row_weights

KINDS = ("positive", "complete", "partial:F", "ego_lane", "points:F", "sets:F")
OF_ONE_CLASS = ("positive", "complete", "partial")
WITHOUT_FRACTION = ("positive", "complete", "ego_lane")
WITH_FRACTION = ("partial", "points", "sets")


@dataclass(frozen=True)
class Kind:
    """A kind of partial truth; `fraction` is 1 where the kind takes none."""

    name: str
    fraction: float = 1.0

    @property
    def of_one_class(self) -> bool:
        """Whether the kind speaks about one class, which must then be chosen."""
        return self.name in OF_ONE_CLASS


def parse_kind(text: str) -> Kind:
    """Read a kind as the command line gives it: "ego_lane", "partial:0.1".

    Raises:
        ConfigError: no such kind, or its fraction is missing, unwanted or not in (0, 1].
    """
    if text in WITHOUT_FRACTION:
        return Kind(text)
    name, _, fraction = text.partition(":")
    if name in WITH_FRACTION and 0 < _number(fraction) <= 1:
        return Kind(name, float(fraction))
    raise ConfigError(
        f"evidence kind {text!r} is none of {', '.join(KINDS)}; "
        "F is a fraction above 0 and up to 1, as in partial:0.1"
    )


def partial_truth(
    labels: NDArray[np.uint8],
    kind: str,
    class_id: int | None,
    *,
    classes: Sequence[ClassInfo],
    groups: Mapping[str, tuple[str, ...]],
    rng: np.random.Generator,
    stamp_ns: int = 0,
) -> Evidence:
    """Make evidence of one kind from true labels.

    Args:
        labels: uint8 [H, W] class ids, 255 = void, of which nothing is ever known.
        kind: see the module's docstring.
        class_id: the class that `positive`, `complete` and `partial:F` speak about; the other
            kinds do not look at it.
        classes: the classes by id; ids must be 0 ... C-1.
        groups: class names by group, for `sets:F`; a class in no group stays unknown.
        rng: decides which pixels are known; the same state gives the same evidence.
        stamp_ns: moment of the observation, nanoseconds.

    Raises:
        ConfigError: the kind is not one of these, or the class (or "road") is not among `classes`.
    """
    wanted = parse_kind(kind)
    one_hot = np.eye(len(classes), dtype=np.float32)
    if wanted.name == "points":
        sets = one_hot
        rows = _sample(labels != VOID, wanted.fraction, rng) * (labels + np.uint8(1))
    elif wanted.name == "sets":
        sets = _group_sets(classes, groups)
        row_of_label = _row_of_label(sets)
        rows = _sample(row_of_label[labels] > 0, wanted.fraction, rng) * row_of_label[labels]
    elif wanted.name == "ego_lane":
        (road,) = class_ids(classes, ["road"])
        sets = one_hot[[road]]
        rows = ego_lane(labels == road, rng)
    else:
        chosen = _checked_class(class_id, kind, classes)
        sets = one_hot[[chosen]]
        rows = _sample(labels == chosen, wanted.fraction, rng)
        if wanted.name == "complete":
            sets = np.vstack([sets, 1 - sets])
            rows = rows + 2 * ((labels != chosen) & (labels != VOID))
    sets = np.vstack([np.ones((1, len(classes)), np.float32), sets])
    index = rows.astype(np.uint8)
    return Evidence(index, sets, row_weights(len(sets), 1.0), stamp_ns, kind)


def ego_lane(road: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Road pixels in a wedge like the ego lane seen from a camera 1.5 m above it.

    The wedge's apex is where the road is last seen; its base, at the bottom of the image, is 3 m
    wide. Both are jittered by a few per cent of the image.

    Args:
        road: bool [H, W].
        rng: of the jitter.

    Returns:
        bool [H, W], a part of `road`; nothing where no road is seen.
    """
    height, width = road.shape
    jitter_apex, jitter_base, jitter_size = rng.uniform(-1, 1, 3)
    seen = np.flatnonzero(road.sum(axis=1) > 0.01 * width)
    if not len(seen):
        return np.zeros_like(road)
    apex_row = seen[0]
    apex = np.flatnonzero(road[apex_row]).mean() + 0.02 * width * jitter_apex
    base = width / 2 + 0.03 * width * jitter_base
    half_base = (height - apex_row) * (1 + 0.1 * jitter_size)
    corners = [(apex, apex_row), (base + half_base, height), (base - half_base, height)]
    wedge = np.zeros(road.shape, np.uint8)
    cv2.fillPoly(wedge, [np.round(corners).astype(np.int32)], 1)
    return road & (wedge > 0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _sample(
    mask: NDArray[np.bool_], fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """The given fraction of the mask's pixels, rounded to whole pixels."""
    pixels = np.flatnonzero(mask)
    kept = rng.choice(pixels, round(fraction * len(pixels)), replace=False, shuffle=False)
    sample = np.zeros(mask.shape, bool)
    sample.flat[kept] = True
    return sample


def _group_sets(
    classes: Sequence[ClassInfo], groups: Mapping[str, tuple[str, ...]]
) -> NDArray[np.float32]:
    """Multi-hot float32 [G, C], one row for each group."""
    if not groups:
        raise ConfigError("evidence kind 'sets' needs class groups, and there are none")
    sets = np.zeros((len(groups), len(classes)), np.float32)
    for row, names in zip(sets, groups.values(), strict=True):
        row[list(class_ids(classes, names))] = 1.0
    return sets


def _row_of_label(sets: NDArray[np.float32]) -> NDArray[np.uint8]:
    """For each label, void included, 1 + the first set that holds it, or 0: uint8 [256]."""
    rows = np.zeros(256, np.uint8)
    rows[: sets.shape[1]] = np.where(sets.any(axis=0), sets.argmax(axis=0) + 1, 0)
    return rows


def _checked_class(class_id: int | None, kind: str, classes: Sequence[ClassInfo]) -> int:
    if class_id is None or not 0 <= class_id < len(classes):
        names = ", ".join(f"{info.id} {info.name}" for info in classes)
        raise ConfigError(
            f"evidence kind {kind!r} speaks about one class, not {class_id}; choose of {names}"
        )
    return class_id
