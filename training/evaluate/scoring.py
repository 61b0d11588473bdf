"""Scoring several rows of a table on the same images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.classes import class_ids
from seg_perception.datasets import Dataset, Sample
from seg_perception.datasets.partial_truth import partial_truth
from seg_perception.evaluation.scores import (
    BoundaryScore,
    ConfusionMatrix,
    SuperpixelScore,
    TrimapScore,
)
from training.errors import TrainingError
from training.evaluate.models import Model

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Reading:
    """Where a row's labels come from.

    Attributes:
        model: that answers.
        point: of its chain.
        given: the class whose true pixels it is told; "" = none.
    """

    model: Model
    point: str
    given: str = ""


@dataclass(frozen=True)
class Scores:
    """All scores of one row; scores of several images add up."""

    confusion: ConfusionMatrix
    boundary: BoundaryScore
    trimap: TrimapScore
    superpixels: SuperpixelScore

    @classmethod
    def empty(cls, n_classes: int) -> Scores:
        """The scores of no image."""
        return cls(
            ConfusionMatrix.empty(n_classes),
            BoundaryScore.empty(n_classes),
            TrimapScore.empty(n_classes),
            SuperpixelScore(),
        )

    @classmethod
    def of(cls, labels: Labels, sample: Sample, n_classes: int) -> Scores:
        """Score one image's labels uint8 [H, W]."""
        truth, superpixels = sample.labels, SuperpixelScore()
        if sample.superpixels is not None:
            superpixels = SuperpixelScore.of(labels, truth, sample.superpixels, n_classes)
        return cls(
            ConfusionMatrix.of(labels, truth, n_classes),
            BoundaryScore.of(labels, truth, n_classes),
            TrimapScore.of(labels, truth, n_classes),
            superpixels,
        )

    def __add__(self, other: Scores) -> Scores:
        return Scores(
            self.confusion + other.confusion,
            self.boundary + other.boundary,
            self.trimap + other.trimap,
            self.superpixels + other.superpixels,
        )

    def to_record(self) -> dict[str, Any]:
        """As plain JSON values, percent; null for what has no value."""
        record = {
            "miou": self.confusion.miou(),
            "pixel_accuracy": self.confusion.pixel_accuracy,
            "mean_class_accuracy": self.confusion.mean_class_accuracy,
            "foreground_iou": self.confusion.foreground_iou(),
            "superpixel_accuracy": self.superpixels.accuracy,
            "boundary_f": self.boundary.mean_f,
            "class_iou": self.confusion.class_iou.tolist(),
            "trimap": self.trimap.to_record(),
        }
        plain: dict[str, Any] = _without_nan(record)
        return plain


def score(
    readings: Mapping[str, Reading],
    dataset: Dataset,
    observe: Callable[[Sample, Mapping[str, Labels]], None],
    every: int = 1,
) -> dict[str, Scores]:
    """Score every row on the same images.

    Args:
        readings: by the row's key.
        dataset: with the classes of all models.
        observe: gets each sample and its labels by row.
        every: distance of the images that are scored; neighbours in a drive are much alike.

    Raises:
        TrainingError: a model tells other classes apart, or takes no evidence where it is given
            some.
    """
    n_classes = len(dataset.classes)
    _check_classes(readings, dataset)
    totals = {key: Scores.empty(n_classes) for key in readings}
    for i in range(0, len(dataset), every):
        sample = dataset[i]
        labels = _labels(readings, sample, dataset)
        for key, one in labels.items():
            totals[key] += Scores.of(one, sample, n_classes)
        observe(sample, labels)
    return totals


def _labels(readings: Mapping[str, Reading], sample: Sample, dataset: Dataset) -> dict[str, Labels]:
    """Labels by row; each model answers once for each evidence it is given."""
    answers: dict[tuple[int, str], dict[str, Labels]] = {}
    labels = {}
    for key, reading in readings.items():
        asked = (id(reading.model), reading.given)
        if asked not in answers:
            answers[asked] = _answer(reading, sample, dataset)
        labels[key] = answers[asked][reading.point]
    return labels


def _answer(reading: Reading, sample: Sample, dataset: Dataset) -> dict[str, Labels]:
    if not reading.given:
        return reading.model.label(sample.image)
    (given,) = class_ids(dataset.classes, [reading.given])
    evidence = partial_truth(
        sample.labels,
        "positive",
        given,
        classes=dataset.classes,
        groups=dataset.groups,
        rng=np.random.default_rng(0),
    )
    return reading.model.correct(sample.image, evidence)


def _check_classes(readings: Mapping[str, Reading], dataset: Dataset) -> None:
    wanted = [info.name for info in dataset.classes]
    for key, reading in readings.items():
        found = [info.name for info in reading.model.classes]
        if found != wanted:
            raise TrainingError(
                f"{key}: the model tells {', '.join(found)} apart, but {dataset.name} is labelled "
                f"with {', '.join(wanted)}; give a model of these classes, or another --dataset"
            )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
