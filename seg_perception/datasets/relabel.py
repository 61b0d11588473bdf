"""A dataset in the classes of a model that was trained for others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import VOID, ClassInfo, class_ids
from seg_perception.datasets.sample import Dataset, Sample
from seg_perception.errors import ConfigError

ClassMap = Mapping[str, str | None]


class Relabelled:
    """A dataset whose labels are renamed, and renumbered, into other classes.

    Args:
        dataset: to read from.
        classes: to label by.
        groups: of those classes.
        class_map: the new class of each class of the dataset by name; None = void.

    Raises:
        ConfigError: a class of the dataset is not in the map, or the map names one that is in
            neither list.
    """

    def __init__(
        self,
        dataset: Dataset,
        classes: Sequence[ClassInfo],
        groups: Mapping[str, tuple[str, ...]],
        class_map: ClassMap,
    ) -> None:
        self._table = label_table(dataset.name, dataset.classes, classes, class_map)
        self._dataset = dataset
        self.name, self.drives = dataset.name, dataset.drives
        self.classes, self.groups = tuple(classes), groups

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """Sample `index`, relabelled."""
        sample = self._dataset[index]
        return replace(sample, labels=np.asarray(cv2.LUT(sample.labels, self._table), np.uint8))


def label_table(
    name: str, theirs: Sequence[ClassInfo], ours: Sequence[ClassInfo], class_map: ClassMap
) -> NDArray[np.uint8]:
    """The id among our classes of each id among theirs, uint8 [256]; 255 for all that is void.

    Args:
        name: of what is labelled by their classes.
        theirs: classes.
        ours: classes.
        class_map: our class of each of theirs by name; None = void.

    Raises:
        ConfigError: one of theirs is not in the map, or it names one that is in neither list.
    """
    class_ids(theirs, class_map)
    if lacking := [info.name for info in theirs if info.name not in class_map]:
        raise ConfigError(
            f"the class map leaves out {', '.join(lacking)} of {name}; "
            "give each a class of the bundle, or null for void"
        )
    wanted = [class_map[info.name] for info in theirs]
    ids = [VOID if new is None else class_ids(ours, [new])[0] for new in wanted]
    table = np.full(256, VOID, np.uint8)
    table[[info.id for info in theirs]] = ids
    return table


def read_class_map(path: Path) -> dict[str, str | None]:
    """Read a class map: a JSON object, {"vegetation": "tree", "terrain": null}.

    Raises:
        ConfigError: no such file, or it holds something else.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the class map {path}: {error}") from error
    if not isinstance(found, dict) or not all(
        name is None or isinstance(name, str) for name in found.values()
    ):
        raise ConfigError(
            f'{path} is no class map; write {{"class of the dataset": "class of the bundle"}}, '
            "null for void"
        )
    return found


def in_classes(
    dataset: Dataset,
    classes: Sequence[ClassInfo],
    groups: Mapping[str, tuple[str, ...]],
    class_map: ClassMap | None = None,
) -> Dataset:
    """The dataset in other classes, as a map says, or where only their order differs.

    Args:
        dataset: to read from.
        classes: to label by.
        groups: of those classes.
        class_map: see `Relabelled`; None = a class is the one of its name.

    Returns:
        The dataset itself where its classes have the same names and ids, and, without a map, where
        the names differ.

    Raises:
        ConfigError: the map does not fit.
    """
    theirs, ours = ([info.name for info in each] for each in (dataset.classes, classes))
    if class_map is None:
        if theirs == ours or set(theirs) != set(ours):
            return dataset
        class_map = {name: name for name in theirs}
    return Relabelled(dataset, classes, groups, class_map)
