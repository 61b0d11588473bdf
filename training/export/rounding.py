"""Rounding to eight bits as part of an export: on which frames, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from seg_perception.datasets import Sample
from seg_perception.evaluation.scores import ConfusionMatrix
from seg_perception.runtime.bundle import Quantisation
from training.datasets.frames import Streamed, open_without, spread
from training.export.quantise import quantise
from training.recipe import Data

SCORED = 25
"""Frames of val, at most, that the loss is measured on."""


Inputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Rounding:
    """How an export is to be rounded.

    Attributes:
        precision: a key of `training.export.quantise.FORMATS`.
        source: where `frames` come from, for the record.
        frames: to calibrate on.
        scored: labelled frames that were not trained on, for the loss.
    """

    precision: str
    source: Mapping[str, Any]
    frames: Sequence[Sample]
    scored: Sequence[Sample]


def open_rounding(precision: str, data: Data, root: Path | None, frames: int) -> Rounding:
    """With frames of a recipe's training split, and its val split for the loss.

    Args:
        precision: a key of `training.export.quantise.FORMATS`.
        data: of the recipe.
        root: folder of its dataset.
        frames: how many to calibrate on, evenly spread.

    Raises:
        DatasetError: the dataset is not there.
    """
    train, val = (
        Streamed(dataset, range(len(dataset)))
        for dataset, _ in (
            open_without(data.dataset, root, split, data.leave_out) for split in (data.split, "val")
        )
    )
    chosen = spread(train, frames)
    source = {"dataset": data.dataset, "split": data.split, "frames": len(chosen)}
    return Rounding(precision, source, chosen, spread(val, SCORED))


def round_model(
    model: onnx.ModelProto, rounding: Rounding, unknown: Inputs, classes: int
) -> tuple[onnx.ModelProto, Quantisation]:
    """Round a model, and score it on frames beside what it was before.

    Args:
        model: as `training.export.onnx_file.to_onnx` writes it.
        rounding: how.
        unknown: what the model takes besides an image, with nothing known about it.
        classes: number of classes C.

    Raises:
        TrainingError: see `training.export.quantise.quantise`.
    """
    _, height, width, _ = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    images = (_fitting(sample.image, height, width) for sample in rounding.frames)
    rounded = quantise(model, rounding.precision, images)
    scored = [
        (
            {**unknown, "image": _fitting(sample.image, height, width)[None]},
            _fitting(sample.labels, height, width),
        )
        for sample in rounding.scored
    ]
    loss = _loss((_session(model), _session(rounded)), scored, classes)
    return rounded, Quantisation(rounding.precision, rounding.source, loss)


def answer(model: onnx.ModelProto, inputs: Inputs) -> dict[str, NDArray[Any]]:
    """All outputs by name."""
    session = _session(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Computes what the file says, node by node: no optimiser may change the rounding."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def _loss(
    sessions: tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession],
    scored: Sequence[tuple[Inputs, NDArray[np.uint8]]],
    classes: int,
) -> dict[str, Any]:
    """What the second differs by from the first, percent, on inputs with their true labels."""
    confusions = [ConfusionMatrix.empty(classes)] * len(sessions)
    changed = []
    for inputs, truth in scored:
        answers = [session.run(["labels"], dict(inputs))[0][0] for session in sessions]
        changed.append(100 * float(np.mean(answers[0] != answers[1])))
        confusions = [
            confusion + ConfusionMatrix.of(labels, truth, classes)
            for confusion, labels in zip(confusions, answers, strict=True)
        ]
    before, after = (round(confusion.miou(), 3) for confusion in confusions)
    return {
        "val_frames": len(scored),
        "miou_before": before,
        "miou_after": after,
        "labels_changed": round(float(np.mean(changed)), 3),
    }


def _fitting(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """An image, or labels, at the graph's size."""
    method = cv2.INTER_AREA if picture.ndim == 3 else cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)
